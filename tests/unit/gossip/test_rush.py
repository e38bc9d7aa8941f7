"""Many who meet for the first time: one link each until the news calm down, then half of the links at a time."""

from meshnode.gossip.messages import Publish
from meshnode.gossip.planning import RUSH_CALM_US, RUSH_MAX_US, Rush
from meshnode.kernel.instant import SECOND, Instant
from tests.unit.gossip.world import World

SIZE = 30


def at(us: int) -> Instant:
    return Instant(us, 0)


def test_while_the_known_ones_double_links_are_planned_after_the_last_of_them() -> None:
    rush = Rush()
    for members in range(2, 40):
        rush.count(members, at(SECOND + 10_000 * members))
    assert rush.after(SECOND, links=True) == SECOND + 390_000 + RUSH_CALM_US
    assert rush.after(SECOND, links=False) == SECOND, "who has no link waits for nobody"


def test_a_rush_without_end_is_waited_for_so_long_only() -> None:
    rush = Rush()
    for members in range(2, 4_000):
        rush.count(members, at(SECOND + 10_000 * members))
    assert rush.after(0, links=True) == SECOND + 20_000 + RUSH_MAX_US


def test_one_more_member_of_a_mesh_is_no_rush() -> None:
    rush = Rush()
    rush.count(30, at(SECOND))
    rush.over(30, at(3 * SECOND))
    for members in range(31, 60):
        rush.count(members, at(5 * SECOND))
        assert rush.after(5 * SECOND, links=True) == 5 * SECOND
    rush.count(60, at(6 * SECOND))
    assert rush.after(6 * SECOND, links=True) == 6 * SECOND + RUSH_CALM_US


def test_all_who_join_one_seed_at_once_know_each_other_over_it_and_dial_others_later() -> None:
    world = World(seed=3)
    world.box("n0")
    boxes = [world.box(f"n{number}", seeds=["n0"]) for number in range(1, SIZE)]
    assert world.run_until(world.all_ready, 2.0) < 1.0
    assert sum(len(box.dials) for box in boxes) <= SIZE + 2, "one dial each is enough to know all others"
    world.run_for(20.0)
    assert world.all_ready()
    assert all(4 <= len(box.links) <= 9 for box in world.boxes.values())
    assert sum(len(box.dials) for box in boxes) <= 6 * SIZE, "evictions and second tries among them"


def arrival_us(nodes: int) -> int:
    """How long a fact that the last node tells as it joins needs to reach the first."""
    world = World(seed=3)
    first = world.box("n0")
    others = [world.box(f"n{number}", seeds=["n0"]) for number in range(1, nodes)]
    assert world.run_until(lambda: bool(others[-1].links), 2.0) < 1.0
    world.tell(others[-1], Publish("skill/words", b"new"))
    began_us = world.now_us
    world.run_until(lambda: "skill/words" in first.gossip.soft(others[-1].id), 20.0)
    return world.now_us - began_us


def test_a_fact_of_a_small_mesh_waits_for_no_rush() -> None:
    assert arrival_us(2) < SECOND // 4
    assert arrival_us(20) > RUSH_CALM_US // 2, "of many who meet facts follow when it is over"
