"""A third of the members works together against the others, and reaches nothing; a weaker mesh is noticed."""

from collections.abc import Sequence

import pytest

from meshnode.gossip import council
from meshnode.sim import liars
from meshnode.sim.liars import LiarRun
from meshnode.sim.node import SimNode
from tests.sim.luck import noticed_by_some_seed


def test_honest_members_stay_together_and_alive_in_each_others_eyes() -> None:
    done = LiarRun(0, nodes=12, span_s=21.0).play()
    assert not done.why, done.why
    assert done.liars == 4
    assert done.lies > 3_000


def test_members_that_believe_two_liars_at_once_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(council, "HEARING_US", -1)
    monkeypatch.setattr(council, "HEARING_LONG_US", -1)
    monkeypatch.setattr(council, "HEARING_TRIPS", 0)
    monkeypatch.setattr(council, "TRUSTED", 1_000_000)

    def notices(seed: int) -> bool:
        return "HonestLive: " in LiarRun(seed, nodes=12, span_s=21.0).play().why

    assert noticed_by_some_seed(notices, first=0)


def test_honest_members_that_fall_apart_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_two(_nodes: Sequence[SimNode]) -> int:
        return 2

    monkeypatch.setattr(liars, "parts_of", in_two)
    assert "are 2 components since" in LiarRun(0, nodes=12, span_s=21.0).play().why
