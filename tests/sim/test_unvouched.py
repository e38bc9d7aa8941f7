"""Writes come before the admin's word about who made them, and by another road. Longer runs: ``python -m
meshnode.sim.unvouched --seeds 100``."""

import pytest

from meshnode.crdt.awaiting import Awaiting
from meshnode.crdt.replica import Documents
from meshnode.model.ids import NodeId
from meshnode.sim.unvouched import UnvouchedRun
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_brought_is_there_with_the_word_though_nobody_could_bring_it_again(seed: int) -> None:
    done = UnvouchedRun(seed).play()
    assert not done.why, done.why
    assert done.held >= 2 * done.writes >= 20


def notices(seed: int) -> bool:
    return UnvouchedRun(seed).play().why.startswith("ThereWithTheWord: ")


def test_writes_that_nobody_judges_anew_when_the_word_comes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:

    def deaf(_self: Documents, _node: NodeId) -> None:
        """Whatever is said of a member."""

    monkeypatch.setattr(Documents, "empowered", deaf)
    assert noticed_by_some_seed(notices, first=0)


def test_writes_that_are_refused_and_not_held_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would come in only when somebody is back who can bring them again."""

    def lost(_self: Awaiting, _node: NodeId | None) -> dict[NodeId, list[bytes]]:
        return {}

    monkeypatch.setattr(Awaiting, "release", lost)
    assert noticed_by_some_seed(notices, first=0)
