"""Nodes that want the documents of their region alone. Longer runs: ``python -m meshnode.sim.regional --seeds 100``."""

import pytest

from meshnode.crdt.exchange import Exchange
from meshnode.crdt.interest import Interests
from meshnode.node.interests import InterestReader
from meshnode.sim.regional import RegionalRun
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize("seed", [1, 2])
def test_who_wants_a_document_has_it_and_nobody_is_sent_another(seed: int) -> None:
    kept = RegionalRun(seed).play()
    assert not kept.why, kept.why
    assert kept.writes > 10
    assert kept.changes
    assert kept.refused


def all_is_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Interests, "is_for", lambda *_: True)


def all_is_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Interests, "share", lambda self, _peer: self._index)


def shares_stand_still(patch: pytest.MonkeyPatch) -> None:
    """What two compare is never brought up to date."""
    patch.setattr(Interests, "_put", lambda *_: None)


def nobody_hears_of_interests(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(InterestReader, "changed", lambda *_: ())


def nobody_is_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Exchange, "fetch", lambda *_: [])


@pytest.mark.parametrize(
    "plant", [all_is_sent, all_is_compared, shares_stand_still, nobody_hears_of_interests, nobody_is_asked]
)
def test_a_fault_is_noticed(plant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(plant)
    plant(monkeypatch)
    assert noticed_by_some_seed(lambda seed: bool(RegionalRun(seed).play().why), first=1)
