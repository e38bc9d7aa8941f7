"""Whatever happens in whatever order, after whatever crash of the daemon: never two processes of a unit, never a skill
without one, never a unit that nobody thinks of any more.
"""

from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.agents.config import AgentsConfig
from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    AgentsStopped,
    FoundProcess,
    InstanceState,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    RestartUnit,
    Shutdown,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.kernel.effects import Effect
from meshnode.model.ids import AgentConn
from meshnode.wire.calls import RegisterHeader
from tests.unit.agents.story import COMMAND, COUNT, OTHER, SDK_FILE, WORDS, Story

CONFIG = AgentsConfig(node="north", intensity_max=3)
PID = 100
AT_REST = (InstanceState.STOPPED, InstanceState.FAILED)


class Host:
    """The other side of the room: it obeys, it checks, and its process outlives a daemon that is killed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.process: FoundProcess | None = None
        self.stopped = False  # the process was asked to end, by this daemon
        self.conn = 0
        self.boot()

    def boot(self) -> None:
        """A new daemon: nothing is offered, nothing is wanted, and it is not told yet what runs."""
        self.story = Story(config=CONFIG, seed=self.seed, found=None)
        self.seen, self.told, self.wanted = 0, False, False
        self.offered = self.closing = self.closed = self.connected = self.stopped = False

    def step(self, name: str) -> None:
        getattr(self, name)()
        for effect in self.story.all[self.seen :]:
            self.check(effect)
        self.seen = len(self.story.all)
        info = self.story.room.instance(WORDS)
        assert not self.offered or (self.process is not None and info is not None)
        if self.wanted and not self.closing:
            assert info is not None
            pending = self.process is not None or self.story.room.deadline() is not None or not self.told
            assert pending or info.state in AT_REST
        if self.process is not None and self.told and info is None:
            assert self.story.room.deadline() is not None, "a process nobody thinks of"

    def check(self, effect: Effect) -> None:
        match effect:
            case StartProcess():
                assert self.told and self.process is None and not self.closing
                self.process, self.stopped = FoundProcess(WORDS, effect.run_no, 0, effect.ticket), False
            case StopProcess():
                assert self.process is not None and self.process.run_no == effect.run_no
                self.stopped = True
            case SkillsOffered():
                assert not self.offered and not self.stopped
                self.offered = True
            case SkillsWithdrawn():
                assert self.offered
                self.offered = False
            case WelcomeAgent(refusal=refusal):
                self.connected = self.connected and not refusal
            case AgentsStopped():
                assert (self.process is None or not self.told) and not self.closed
                self.closed = True
            case _:
                pass

    # What people and the scheduler want

    def run(self) -> None:
        self.story.run(COMMAND)
        self.wanted = not self.closing

    def run_other(self) -> None:
        self.story.run(OTHER)
        self.wanted = not self.closing

    def run_file(self) -> None:
        self.story.run(SDK_FILE)
        self.wanted = not self.closing

    def stop(self) -> None:
        self.story.stop()
        self.wanted = False

    def restart(self) -> None:
        self.story.restart()

    def refuse(self) -> None:
        self.story.tell(RestartUnit(WORDS, "its state was refused", at_fault=True))

    def shutdown(self) -> None:
        self.closing = True
        self.story.tell(Shutdown())

    # What the host tells

    def find(self) -> None:
        if not self.told:
            self.told = True
            self.story.tell(ProcessesFound((self.process,) if self.process is not None else ()))

    def crash(self) -> None:
        self.boot()

    def started(self) -> None:
        if self.process is not None and self.process.pid == 0:
            self.process = FoundProcess(WORDS, self.process.run_no, PID, self.process.ticket)
            self.story.tell(ProcessStarted(WORDS, self.process.run_no, PID))

    def register(self) -> None:
        if self.process is not None and self.process.pid:
            self.conn += 1
            self.connected = True
            header = RegisterHeader("words", WORDS, self.process.ticket, PID, resume=True)
            self.story.tell(AgentRegistered(AgentConn(self.conn), header, (COUNT,), PID, 0))

    def ended(self, code: int) -> None:
        process, self.process, self.connected = self.process, None, False
        if process is not None and self.told:
            self.story.tell(ProcessExited(WORDS, process.run_no, code))

    def exited(self) -> None:
        self.ended(1)

    def finished(self) -> None:
        self.ended(0)

    def failed(self) -> None:
        if self.process is not None and self.process.pid == 0 and self.told:
            process, self.process = self.process, None
            self.story.tell(ProcessFailed(WORDS, process.run_no, "no such file"))

    def gone(self) -> None:
        if self.connected:
            self.connected = False
            self.story.tell(AgentGone(AgentConn(self.conn)))

    def deadline(self) -> None:
        if self.story.room.deadline() is not None:
            self.story.pass_to_deadline()


STEPS = [
    "run", "run_other", "run_file", "stop", "restart", "refuse", "shutdown", "find", "crash", "started", "register",
    "exited", "finished", "failed", "gone", "deadline",
]  # fmt: skip


@given(steps=st.lists(st.sampled_from(STEPS), max_size=60), seed=st.integers(0, 1000))
@example(["find", "run", "started", "register", "stop", "gone", "exited"], 1)
@example(["find", "run", "started", "register", "crash", "register", "find", "run", "gone", "deadline"], 1)
@example(["find", "run", "started", "crash", "run", "restart", "run_other", "find", "register", "exited"], 1)
@example(["find", "run", "started", "crash", "find", "deadline", "run", "shutdown", "exited"], 1)
@example(["run", "find", "crash", "shutdown", "deadline", "find"], 0)
def test_there_is_never_a_second_process_nor_a_skill_without_one(steps: list[str], seed: int):
    host = Host(seed)
    for name in steps:
        host.step(name)


@given(steps=st.lists(st.sampled_from([s for s in STEPS if s != "shutdown"]), max_size=60), seed=st.integers(0, 1000))
def test_what_is_wanted_runs_in_the_end_and_a_shutdown_ends(steps: list[str], seed: int):
    host = Host(seed)
    for name in [*steps, "find", "run", "restart"]:
        host.step(name)
    if host.stopped:
        host.step("exited")
    for name in ("started", "register"):
        host.step(name)
    assert host.offered
    host.step("shutdown")
    host.step("exited")
    assert host.closed
