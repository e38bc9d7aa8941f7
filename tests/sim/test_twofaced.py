"""A member signs two writes under every number, to each half one: all hold the same in the end, and without what heals
that it is noticed. Longer runs: ``python -m meshnode.sim.twofaced --seeds 100``."""

import pytest

from meshnode.crdt import succession
from meshnode.crdt.succession import Succession
from meshnode.model.commands import GetStatus
from meshnode.model.views import StatusView
from meshnode.sim.twofaced import OwnedRun, TwoFacedRun
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize(("seed", "nodes"), [(1, 5), (2, 4)])
def test_all_hold_the_same_and_nothing_acknowledged_is_missing(seed: int, nodes: int) -> None:
    doubled = TwoFacedRun(seed, nodes=nodes).play()
    assert not doubled.why, doubled.why
    assert doubled.lies > 10
    assert doubled.refused["rejected-fork"] > 0
    assert doubled.told >= 2
    assert doubled.writes > 20


def test_halves_that_stay_apart_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Succession, "forked", lambda *_: None)
    assert noticed_by_some_seed(lambda seed: "documents: " in TwoFacedRun(seed).play().why, first=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_documents_that_only_the_liar_may_write_are_one_again_though_he_is_gone(seed: int) -> None:
    run = OwnedRun(seed)
    done = run.play()
    assert not done.why, done.why
    assert done.lies > 5
    assert done.told >= 2
    told = [run.world.ask(node, GetStatus()) for node in run.world.nodes]
    said = [problem for view in told if isinstance(view, StatusView) for problem in view.problems]
    assert any(each.startswith("n4 signed two writes of AgentCluster/default/c") for each in said), said


def test_documents_that_wait_for_who_may_write_them_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "OTHERS_FIRST_US", 1 << 60)
    assert noticed_by_some_seed(lambda seed: OwnedRun(seed).play().why.startswith("Owned: "), first=0)
