"""Who was away calls nobody dead before it has read what was answered meanwhile."""

import pytest

from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import Subject
from meshnode.kernel.instant import MS, SECOND
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.network import Cut
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Checker, Violated
from meshnode.sim.world import Setup, World, stream
from tests.sim.luck import noticed_by_some_seed
from tests.sim.test_firewalls import between

NODES, BEHIND, SLEEPERS = 15, 5, 3
UNREACHABLE = MemberState.UNREACHABLE
SILENT_US, MORE_US = 3_200 * MS, 700 * MS  # long enough to be called unreachable, too short to be called down
BACK_US = SECOND // 2  # so long after it woke all have its answer, unless they sleep themselves


class NoDeadAwake(Checker):
    """None of these holds another of them for dead that runs, not for one turn: its units would be taken over then."""

    def __init__(self, world: World, among: list[SimNode]) -> None:
        super().__init__(world)
        self._among = among

    def stepped(self, node: SimNode) -> None:
        for other in self._among if node.core is not None and node in self._among else ():
            awake = not other.paused and self.world.now_us - other.woken_us > BACK_US
            if node.core and other is not node and awake and node.core.gossip.state(other.node) is MemberState.DOWN:
                self.wrong(node, f"holds {other.name} as down: {node.core.gossip.reason(other.node)}")


def joined(seed: int, nodes: int) -> World:
    world = World(Setup(seed=seed, nodes=nodes, traced=False))
    world.start_all()
    assert world.run_till(lambda: not unmet_by_gossip(world), 40.0)
    world.run_for(20.0)
    return world


def asleep_as_another_is_called_gone(seed: int) -> str:
    """A third of the mesh calls nodes gone from behind a firewall. Whoever hears of it falls asleep until the time is
    over in which those may answer. What the checker found; "" if nothing."""
    world = joined(seed, NODES)
    others, slept = world.nodes[BEHIND:], dict[str, None]()
    world.audience.gather([NoDeadAwake(world, others)])
    behind = world.network.cut(Cut(between(world, range(BEHIND)), rejects=True), reset=True)
    world.run_for(3.0)
    world.network.heal(behind)

    def hearer() -> SimNode | None:
        accused = [node.node for node in others]
        return next(
            (
                node for node in others if node.core is not None and node.name not in slept
                and any(node.core.gossip.state(other) is UNREACHABLE for other in accused if other != node.node)
            ), None,
        )  # fmt: skip

    try:
        for _ in range(SLEEPERS):
            if world.run_till(lambda: hearer() is not None, 3.0) and (node := hearer()) is not None:
                slept[node.name] = None
                node.pause()
                world.at(world.now_us + 2 * SECOND, node.resume)
        world.run_for(8.0)
        assert slept
    except Violated as violated:
        return str(violated)
    return ""


def asleep_as_another_wakes(seed: int, nodes: int = 7) -> str:
    """One stands still until all call it unreachable; some of these stand still when it goes on, and answers them."""
    world, luck = joined(seed, nodes), stream(seed, "asleep")
    world.audience.gather([NoDeadAwake(world, world.nodes)])
    try:
        for _ in range(SLEEPERS):
            first, *others = luck.sample(world.nodes, 4)
            first.pause()
            world.at(world.now_us + SILENT_US + round(MORE_US * luck.random()), first.resume)
            world.run_for(2.4 + luck.random())
            for node in others:
                node.pause()
                world.at(world.now_us + round((2 + 3 * luck.random()) * SECOND), node.resume)
            world.run_for(15.0)
    except Violated as violated:
        return str(violated)
    return ""


def awake_at_once(self: Subject, for_us: int, now_us: int, calm_us: int) -> None:
    """The planted fault: only who is suspected is given the time back."""
    del calm_us
    if self.state is MemberState.SUSPECT:
        self.since_us = min(now_us, self.since_us + for_us)
        self.hearing_us += for_us if self.hearing_us else 0


@pytest.mark.parametrize("seed", range(3))
def test_who_slept_while_the_accused_answered_calls_nobody_dead(seed: int) -> None:
    assert asleep_as_another_is_called_gone(seed) == ""


def test_whoever_counts_the_time_it_slept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subject, "slept", awake_at_once)
    called = "as down: refuses a fresh dial"
    assert noticed_by_some_seed(lambda seed: called in asleep_as_another_is_called_gone(seed), first=0)


@pytest.mark.parametrize("seed", range(6))
def test_who_slept_while_a_silent_one_came_back_calls_nobody_dead(seed: int) -> None:
    assert asleep_as_another_wakes(seed) == ""


def test_whoever_counts_a_silence_it_slept_through_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subject, "slept", awake_at_once)
    assert noticed_by_some_seed(lambda seed: "as down: silent" in asleep_as_another_wakes(seed), first=0)
