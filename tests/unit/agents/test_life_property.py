"""Whatever happens in whatever order: never two processes, never a skill without one."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from meshnode.agents.messages import (
    AgentGone,
    InstanceState,
    ProcessFailed,
    Shutdown,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    StopProcess,
)
from meshnode.kernel.effects import Effect
from meshnode.model.errors import NotFound, Offline
from meshnode.model.ids import AgentConn
from tests.unit.agents.story import WORDS, Story


class Host:
    """The other side of the room: at most one process, at most one connection; it obeys and it checks."""

    def __init__(self, story: Story) -> None:
        self.story, self.seen, self.conn = story, 0, 0
        self.process = False
        self.offered = False

    def step(self, name: str) -> None:
        if name in ("exited", "finished", "failed"):
            self.process = False
        getattr(self, name)()
        for effect in self.story.all[self.seen :]:
            self.check(effect)
        self.seen = len(self.story.all)
        assert self.process or not self.offered
        info = self.story.room.instance("words")
        if info is not None and info.state is InstanceState.BACKOFF:
            assert self.story.room.deadline() is not None

    def check(self, effect: Effect) -> None:
        match effect:
            case StartProcess():
                assert not self.process
                self.process = True
            case StopProcess():
                assert self.process
            case SkillsOffered():
                assert not self.offered
                self.offered = True
            case SkillsWithdrawn():
                assert self.offered
                self.offered = False
            case _:
                pass

    def run(self) -> None:
        with contextlib.suppress(Offline):
            self.story.run()

    def stop(self) -> None:
        with contextlib.suppress(NotFound):
            self.story.stop()

    def started(self) -> None:
        if self.process:
            self.story.started()

    def register(self) -> None:
        if self.process:
            self.conn += 1
            self.story.register(conn=self.conn)

    def exited(self) -> None:
        if self.story.starts():
            self.story.exited()

    def finished(self) -> None:
        if self.story.starts():
            self.story.exited(code=0)

    def failed(self) -> None:
        if self.story.starts():
            self.story.tell(ProcessFailed(WORDS, self.story.last_start().run_no, "no such file"))

    def gone(self) -> None:
        self.story.tell(AgentGone(AgentConn(self.conn)))

    def deadline(self) -> None:
        if self.story.room.deadline() is not None:
            self.story.pass_to_deadline()

    def shutdown(self) -> None:
        self.story.tell(Shutdown())


STEPS = ["run", "stop", "started", "register", "exited", "finished", "failed", "gone", "deadline", "shutdown"]


@given(steps=st.lists(st.sampled_from(STEPS), max_size=40), seed=st.integers(0, 1000))
def test_there_is_never_a_second_process_nor_a_skill_without_one(steps: list[str], seed: int):
    host = Host(Story(seed=seed))
    for name in steps:
        host.step(name)
