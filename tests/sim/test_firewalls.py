"""A firewall that refuses is no death: those behind it do not call each other down when it is lifted, nor do others."""

from collections.abc import Callable, Sequence

import pytest

from meshnode.gossip import council
from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.network import Cut
from meshnode.sim.safety import NoFalseDeath
from meshnode.sim.watching import Checker, Violated
from meshnode.sim.world import Setup, World
from tests.sim.luck import noticed_by_some_seed

NODES, BEHIND, LASTS_S = 12, 4, 6.0
UNREACHABLE = MemberState.UNREACHABLE
MANY, BEHIND_FIRST, APART_THEN = 15, (1, 2, 7, 12), (0, 1, 8, 9, 12)


def between(world: World, inside: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Both ways between these nodes, by number, and all others."""
    names = [node.name for node in world.nodes]
    some = [names[number] for number in inside]
    return tuple(pair for a in some for b in names if b not in some for pair in ((a, b), (b, a)))


def firewalled(world: World) -> None:
    cut = world.network.cut(Cut(between(world, range(BEHIND)), rejects=True), reset=True)
    world.run_for(LASTS_S)
    world.network.heal(cut)
    world.run_for(8.0)


def firewalled_twice(world: World) -> None:
    for _ in range(2):
        firewalled(world)


def cut_anew(world: World) -> None:
    """Those behind a firewall are let out as others are cut off with some of them, who had all their links elsewhere
    and have to dial before they can answer what the firewall had them called."""
    behind = world.network.cut(Cut(between(world, BEHIND_FIRST), rejects=True), reset=True)
    world.run_for(8.0)
    apart = world.network.cut(Cut(between(world, APART_THEN)), reset=True)
    world.run_for(0.3)
    world.network.heal(behind)
    world.run_for(15.0)
    world.network.heal(apart)
    world.run_for(8.0)


def paused_as_called(world: World) -> None:
    """Whoever was called gone from behind a firewall stands still, for less than anybody need notice, as the others
    hear of it."""
    *others, called = world.nodes[2:]
    behind = world.network.cut(Cut(between(world, (0, 1)), rejects=True), reset=True)
    world.run_for(3.0)
    world.network.heal(behind)

    def is_called() -> bool:
        return any(node.core is not None and node.core.gossip.state(called.node) is UNREACHABLE for node in others)

    if world.run_till(is_called, 5.0):
        called.pause()
        world.run_for(0.95)
        called.resume()
    world.run_for(8.0)


def played(seed: int, weather: Callable[[World], None] = firewalled_twice, nodes: int = NODES) -> str:
    """What the checker found around such weather; "" if nothing."""
    world = World(Setup(seed=seed, nodes=nodes, traced=False))
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
        weather(world)
        assert world.run_till(lambda: not unmet_by_gossip(world), 10.0), unmet_by_gossip(world)
    except Violated as violated:
        return str(violated)
    return ""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_firewall_makes_nobody_dead_to_those_on_its_own_side(seed: int) -> None:
    assert played(seed) == ""


def test_whoever_believes_two_refusals_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(council, "HEARING_US", -1)
    monkeypatch.setattr(council, "HEARING_LONG_US", -1)
    monkeypatch.setattr(council, "HEARING_TRIPS", 0)
    assert noticed_by_some_seed(lambda seed: "as down: refuses a fresh dial" in played(seed), first=1)


@pytest.mark.parametrize("seed", [1, 17, 24])
def test_who_lost_all_its_links_at_once_is_given_time_to_dial_before_it_is_called_dead(seed: int) -> None:
    assert played(seed, cut_anew, MANY) == ""


def test_whoever_gives_such_a_one_no_more_time_than_others_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_council: council.Council, _now: Instant) -> bool:
        return False

    monkeypatch.setattr(council.Council, "many_lost", never)
    assert noticed_by_some_seed(lambda seed: "as down: refuses a fresh dial" in played(seed, cut_anew, MANY), first=19)


@pytest.mark.parametrize("seed", range(1, 5))
def test_who_stands_still_for_a_moment_as_it_is_called_gone_may_still_answer(seed: int) -> None:
    assert played(seed, paused_as_called, MANY) == ""


def test_whoever_gives_it_no_such_moment_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(council, "HEARING_US", 400 * MS)
    called = "as down: refuses a fresh dial"
    assert noticed_by_some_seed(lambda seed: called in played(seed, paused_as_called, MANY), first=1)
