"""A cut of days heals with all that was deleted meanwhile, before the horizon of tombstones and after it."""

import pytest

from meshnode.crdt.freeze import Freezes
from meshnode.gossip.doorway import Doorway
from meshnode.sim.days import DaysRun
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize(("days", "told"), [(7.0, ()), (40.0, ("n3", "n4"))])
def test_what_was_deleted_in_a_cut_of_days_stays_deleted_and_all_find_together(
    days: float, told: tuple[str, ...]
) -> None:
    lasted = DaysRun(3, days=days).play()
    assert not lasted.why, lasted.why
    assert set(lasted.told) == set(told)


def test_nodes_that_do_not_ask_whom_they_forgot_to_come_back_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doorway, "_remembered", lambda self, peer: [])
    assert noticed_by_some_seed(lambda seed: "not whole after the cut" in DaysRun(seed, days=40.0).play().why, first=3)


def test_deletions_that_are_never_buried_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    propose = Freezes.propose
    monkeypatch.setattr(
        Freezes, "propose", lambda self, doc, grave_ms, now: None if grave_ms else propose(self, doc, 0, now)
    )
    assert noticed_by_some_seed(lambda seed: "contested is there" in DaysRun(seed, days=40.0).play().why, first=3)
