"""Acknowledged from memory: what the answer promises holds, whenever the writer dies. Longer runs: ``python -m
meshnode.sim.lazily --seeds 100``."""

import pytest

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.node.inputs import Input
from meshnode.node.puts import Puts
from meshnode.sim.lazily import LazyRun
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize("seed", [1, 3])
def test_a_lazy_write_is_read_at_once_and_outlives_its_writer_a_moment_later(seed: int) -> None:
    run = LazyRun(seed)
    assert run.play() == ""
    assert run.memory.acknowledged > 50 and run.memory.reads > 10
    assert run.memory.lost, "no crash came between an answer and the end of its promise: the runs prove little"


def test_a_promise_that_is_kept_with_whatever_comes_next_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Puts) -> None:
        """It waits for nothing."""

    monkeypatch.setattr(Puts, "deadline", never)
    assert noticed_by_some_seed(lambda seed: "was acknowledged and promised" in LazyRun(seed).play(), first=0)


def test_a_promise_that_is_never_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(self: Puts, _now: Instant) -> list[Effect]:
        self.__init__(self._documents)  # pyright: ignore[reportPrivateUsage]
        return []

    monkeypatch.setattr(Puts, "wake", forgets)
    assert noticed_by_some_seed(lambda seed: "was acknowledged and promised" in LazyRun(seed).play(), first=3)


def test_a_question_that_is_answered_before_what_was_promised_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(_: Input) -> bool:
        return True

    monkeypatch.setattr("meshnode.node.core.passes", always)
    assert noticed_by_some_seed(lambda seed: "reads" in LazyRun(seed).play(), first=3)
