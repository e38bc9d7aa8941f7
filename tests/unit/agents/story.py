"""One agents room in virtual time, with what it asked for."""

from random import Random

import msgspec

from meshnode.agents.instance import AgentsConfig
from meshnode.agents.life import Agents
from meshnode.agents.messages import (
    AgentRegistered,
    AgentsInput,
    ProcessExited,
    ProcessStarted,
    StartProcess,
    WelcomeAgent,
)
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.kernel.records import Record
from meshnode.model.commands import RunAgent
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.wire.calls import RegisterHeader, SkillDescription

WORDS = InstanceId("words/north")
RECIPE = RunAgent(name="words", argv=["python", "words.py"], cwd="/srv")
COUNT = SkillDescription("words.count")


class Story:
    """One agents room, its clock, and all it asked for so far."""

    def __init__(self, restored: tuple[Record, ...] = (), config: AgentsConfig | None = None, seed: int = 7) -> None:
        self.config = config or AgentsConfig(node="north")
        self.room = Agents(self.config, Random(seed), restored)
        self.mono_us = 0
        self.all: list[Effect] = []

    @property
    def now(self) -> Instant:
        return Instant(self.mono_us, 0)

    def note(self, effects: list[Effect]) -> list[Effect]:
        self.all += effects
        return effects

    def run(self, command: RunAgent = RECIPE) -> list[Effect]:
        return self.note(self.room.run(command, self.now))

    def stop(self, name: str = "words") -> list[Effect]:
        return self.note(self.room.stop(name, self.now))

    def tell(self, event: AgentsInput) -> list[Effect]:
        return self.note(self.room.handle(event, self.now))

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

    def state(self) -> tuple[str, str]:
        info = self.room.instance("words")
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


def running() -> Story:
    story = Story()
    story.run()
    story.started()
    story.register()
    return story
