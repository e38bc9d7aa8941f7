"""A firewall that refuses is no death: those behind it do not call each other down when it is lifted, nor do others."""

import pytest

from meshnode.gossip import council
from meshnode.kernel.instant import SECOND
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.network import Cut
from meshnode.sim.safety import NoFalseDeath
from meshnode.sim.watching import Checker, Violated
from meshnode.sim.world import Setup, World
from tests.sim.luck import noticed_by_some_seed

NODES, BEHIND, LASTS_S = 12, 4, 6.0


def played(seed: int) -> str:
    """What the checker found around a firewall that comes twice; "" if nothing."""
    world = World(Setup(seed=seed, nodes=NODES, traced=False))
    checker: Checker = NoFalseDeath(world)
    world.audience.gather([checker])

    def look() -> None:
        checker.look()
        world.at(world.now_us + SECOND // 20, look)

    try:
        world.start_all()
        assert world.run_till(lambda: not unmet_by_gossip(world), 30.0)
        world.run_for(25.0)
        look()
        for _ in range(2):
            firewalled(world)
        assert world.run_till(lambda: not unmet_by_gossip(world), 10.0), unmet_by_gossip(world)
    except Violated as violated:
        return str(violated)
    return ""


def firewalled(world: World) -> None:
    inside = [node.name for node in world.nodes[:BEHIND]]
    outside = [node.name for node in world.nodes[BEHIND:]]
    pairs = tuple(pair for a in inside for b in outside for pair in ((a, b), (b, a)))
    cut = world.network.cut(Cut(pairs, rejects=True), reset=True)
    world.run_for(LASTS_S)
    world.network.heal(cut)
    world.run_for(8.0)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_firewall_makes_nobody_dead_to_those_on_its_own_side(seed: int) -> None:
    assert played(seed) == ""


def test_whoever_believes_two_refusals_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(council, "HEARING_US", -1)
    monkeypatch.setattr(council, "HEARING_LONG_US", -1)
    monkeypatch.setattr(council, "HEARING_TRIPS", 0)
    assert noticed_by_some_seed(lambda seed: "as down: refuses a fresh dial" in played(seed), first=1)
