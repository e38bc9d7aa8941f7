"""One agents room in virtual time, with what it asked for."""

from random import Random

import msgspec

from meshnode.agents.config import AgentsConfig
from meshnode.agents.life import Agents
from meshnode.agents.messages import (
    AgentRegistered,
    AgentsInput,
    FoundProcess,
    ProcessesFound,
    ProcessExited,
    ProcessStarted,
    RestartUnit,
    RunUnit,
    StartProcess,
    StopUnit,
    WelcomeAgent,
)
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.kernel.records import Record
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.model.recipe import Recipe
from meshnode.wire.calls import RegisterHeader, SkillDescription

WORDS = InstanceId("words/0")
COMMAND = Recipe(("python", "words.py"), "/srv")
OTHER = Recipe(("python", "other.py"), "/srv")
SDK_FILE = Recipe((), "/srv", file="/srv/words.py")
COUNT = SkillDescription("words.count")


class Story:
    """One agents room, its clock, and all it asked for so far. ``found``: what runs already; ``None``: not told yet."""

    def __init__(
        self,
        restored: tuple[Record, ...] = (),
        config: AgentsConfig | None = None,
        seed: int = 7,
        found: tuple[FoundProcess, ...] | None = (),
    ) -> None:
        self.config = config or AgentsConfig(node="north")
        self.room = Agents(self.config, Random(seed), restored)
        self.mono_us = 0
        self.all: list[Effect] = []
        if found is not None:
            self.tell(ProcessesFound(found))

    @property
    def now(self) -> Instant:
        return Instant(self.mono_us, 0)

    def note(self, effects: list[Effect]) -> list[Effect]:
        self.all += effects
        return effects

    def tell(self, event: AgentsInput) -> list[Effect]:
        return self.note(self.room.handle(event, self.now))

    def run(self, recipe: Recipe = COMMAND, unit: InstanceId = WORDS) -> list[Effect]:
        return self.tell(RunUnit(unit, recipe, int(unit.partition("/")[2])))

    def stop(self, unit: InstanceId = WORDS) -> list[Effect]:
        return self.tell(StopUnit(unit, "asked to stop"))

    def restart(self, unit: InstanceId = WORDS) -> list[Effect]:
        return self.tell(RestartUnit(unit, "asked to restart"))

    def pass_to_deadline(self) -> list[Effect]:
        deadline = self.room.deadline()
        assert deadline is not None, "nothing is pending"
        self.mono_us = max(self.mono_us, deadline)
        return self.note(self.room.wake(self.now))

    def last_start(self) -> StartProcess:
        return [e for e in self.all if isinstance(e, StartProcess)][-1]

    def starts(self) -> int:
        return sum(isinstance(e, StartProcess) for e in self.all)

    def started(self, pid: int = 100) -> list[Effect]:
        return self.tell(ProcessStarted(WORDS, self.last_start().run_no, pid))

    def exited(self, code: int = 1, signal: str = "", tail: str = "") -> list[Effect]:
        return self.tell(ProcessExited(WORDS, self.last_start().run_no, code, signal, tail))

    def register(self, conn: int = 1, pid: int = 100, **changes: object) -> list[Effect]:
        header = RegisterHeader("words", WORDS, self.last_start().ticket, pid)
        event = AgentRegistered(AgentConn(conn), header, (COUNT,), pid, 0)
        return self.tell(msgspec.structs.replace(event, **changes))

    def register_again(self, process: FoundProcess, conn: int = 1, *, merge_no: int = 3) -> list[Effect]:
        """A process of a former daemon finds the bus of this one."""
        header = RegisterHeader(
            "words", process.instance, process.ticket, process.pid, resume=True, merge_no=merge_no, hooks=["*"]
        )
        return self.tell(AgentRegistered(AgentConn(conn), header, (COUNT,), process.pid, 0))

    def state(self, unit: InstanceId = WORDS) -> tuple[str, str]:
        info = self.room.instance(unit)
        assert info is not None
        return info.state.value, info.reason


def only(kind: type[Effect], effects: list[Effect]) -> Effect:
    found = [e for e in effects if isinstance(e, kind)]
    assert len(found) == 1, effects
    return found[0]


def refusal(effects: list[Effect]) -> str:
    welcome = only(WelcomeAgent, effects)
    assert isinstance(welcome, WelcomeAgent)
    return welcome.refusal


def running(recipe: Recipe = COMMAND) -> Story:
    story = Story()
    story.run(recipe)
    story.started()
    story.register()
    return story


def left_by(former: Story) -> tuple[FoundProcess, ...]:
    """What a host finds after the daemon of that story was killed."""
    start = former.last_start()
    return (FoundProcess(start.instance, start.run_no, 100, start.ticket),)
