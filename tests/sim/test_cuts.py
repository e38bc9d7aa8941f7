"""A cut heals by itself, however long it lasted; a mesh that cannot find together again is noticed."""

import pytest

from meshnode.gossip import contacts
from meshnode.kernel.backoff import Backoff
from meshnode.kernel.instant import SECOND
from meshnode.sim.cuts import AGED_S, CutRun
from meshnode.sim.hours import HoursRun
from tests.faults import sim as planted
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize("seed", [1, 5])
def test_a_week_old_cut_heals_within_ten_seconds(seed: int) -> None:
    run = CutRun(seed)
    outcome = run.play()
    assert not outcome.why, str(outcome)
    assert outcome.old_s >= AGED_S
    assert run.world.now_us > AGED_S * SECOND


def test_a_cut_played_event_by_event_heals_too() -> None:
    outcome = CutRun(9, soak=True).play()
    assert not outcome.why, str(outcome)
    assert outcome.old_s == outcome.cut_s


def test_nodes_that_give_up_looking_for_each_other_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "NODE_PACE", Backoff(first_us=3600 * SECOND, cap_us=3600 * SECOND))
    monkeypatch.setattr(contacts, "PLACE_PACE", Backoff(first_us=3600 * SECOND, cap_us=3600 * SECOND))
    monkeypatch.setattr(contacts, "LONELY_US", 3600 * SECOND)
    assert noticed_by_some_seed(lambda seed: "not whole 10 s after the cut" in CutRun(seed).play().why, first=67)


def test_hours_count_nodes_that_ran_and_notice_a_false_death() -> None:
    run = HoursRun(1, nodes=4, span_s=120.0, times=20.0)
    quiet = run.play()
    assert not quiet.why, quiet.why
    assert 0.1 < quiet.node_hours < 0.3

    def notices(seed: int) -> bool:
        lied = HoursRun(seed, nodes=4, span_s=120.0, only=[])
        lied.world.at(100 * SECOND, planted.secret_cut(lied.world, [0], rejects=True))
        return lied.play().why.startswith("NoFalseDeath: ")

    assert noticed_by_some_seed(notices, first=1)
