"""Many nodes in a small world: joining at once, and finding each other after a week in two halves."""

import pytest

from meshnode.gossip import strays
from meshnode.gossip.config import SLOTS
from meshnode.gossip.planning import Planning
from meshnode.gossip.strays import OWN_MAX, STRAYS, Strays
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import Box, World, mesh

WEEK_S = 7 * 24 * 3600.0
REGIONS = ("east", "west", "north")


def halves(boxes: list[Box]) -> tuple[list[Box], list[Box]]:
    """Cut through all regions."""
    return boxes[: len(boxes) // 2], boxes[len(boxes) // 2 :]


def cut_for_a_week(world: World, boxes: list[Box]) -> None:
    """Some seconds of it event by event; in between only the clocks go on."""
    world.cut(*halves(boxes))
    world.run_for(15.0)
    world.leap(WEEK_S)
    world.run_for(30.0)


def nobody(_strays: Strays, *, few: bool = False) -> list[NodeId]:
    """A planted fault."""
    return []


@pytest.mark.parametrize(("count", "seed"), [(40, 1), (24, 2)])
def test_two_halves_find_each_other_after_a_week(count: int, seed: int) -> None:
    world, boxes = mesh(count, seed, REGIONS)
    cut_for_a_week(world, boxes)
    since_us = world.now_us - 20 * SECOND
    looked_for = {box.name: {host for at_us, host in box.dials if at_us > since_us} for box in boxes}
    assert max(len(hosts) for hosts in looked_for.values()) <= OWN_MAX + STRAYS + 2
    assert all(box.gossip.reachable(boxes[1].id) for box in halves(boxes)[0][2:])
    world.heal()
    assert world.run_until(world.all_ready, 10.0) < 10.0
    world.run_for(5.0)
    assert max(len(box.links) for box in boxes) <= 12
    assert world.all_ready()


def test_without_looking_for_the_lost_the_halves_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Strays, "sought", nobody)
    world, boxes = mesh(20, 1, REGIONS)
    cut_for_a_week(world, boxes)
    world.heal()
    world.run_for(10.0)
    assert not world.all_ready()


def test_dials_into_a_cut_leave_room_for_those_to_who_is_well() -> None:
    """Six at a time are under way. Sixteen lost neighbours took all of them, again and again: nobody had the links he
    wanted while the cut lasted, so all looked for all of theirs, and a healed cut was a storm of handshakes."""
    world, boxes = mesh(24, 1, REGIONS)
    world.cut(*halves(boxes))
    world.run_for(30.0)
    linked = [sum(link.cut_us is None for link in box.links.values()) for box in boxes]
    assert min(linked) >= SLOTS["default"], linked
    before = {box.name: len(box.dials) for box in boxes}
    world.run_for(10.0)
    assert max(len(box.dials) - before[box.name] for box in boxes) <= 20, "one or two of the lost, every two seconds"


def dialled_in_heal(seed: int) -> float:
    """How many dials a node begins in the seconds in which a mesh that was cut becomes one again."""
    world, boxes = mesh(24, seed, REGIONS)
    world.cut(*halves(boxes))
    world.run_for(45.0)
    before = sum(len(box.dials) for box in boxes)
    world.heal()
    assert world.run_until(world.all_ready, 5.0) < 5.0
    return (sum(len(box.dials) for box in boxes) - before) / len(boxes)


def test_of_the_lost_who_are_to_be_heard_of_over_a_link_that_is_back_nobody_is_dialled() -> None:
    assert sum(dialled_in_heal(seed) for seed in range(1, 5)) / 4 <= 1.0, "mostly 0.3, and 2.0 now and then"


def test_who_dials_the_next_of_the_lost_as_soon_as_one_is_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Planning, "spared_us", lambda *_args: 0)
    assert sum(dialled_in_heal(seed) for seed in (1, 2)) / 2 > 2.0


def test_a_hundred_who_join_one_seed_at_once_leave_it_alone_soon() -> None:
    world, boxes = mesh(100)
    seed = boxes[0]
    began_us = world.now_us
    dialled = sum(len(box.dials) for box in boxes)
    to_seed = [host for box in boxes for _, host in box.dials if host == seed.address[0]]
    assert len(to_seed) <= 100 + 20, "once each, and then it is known as one of many"
    assert dialled <= 100 * 5
    assert sum(box.evictions for box in boxes) <= 100 * 3
    world.run_for(60.0)
    assert sum(at_us > began_us for box in boxes for at_us, _ in box.dials) <= 40, "half of the links are drawn later"
    assert len(seed.links) <= 8
    assert min(len(box.links) for box in boxes) >= 5


def test_of_the_lost_each_node_looks_for_other_few() -> None:
    lost = [NodeId(bytes([n]) * 32) for n in range(200)]
    drawn: dict[NodeId, None] = {}
    for me in range(201, 256):
        mine = Strays(NodeId(bytes([me]) * 32))
        for node in lost:
            mine.lose(node, 1, ours=False)
        assert len(mine.sought()) == strays.STRAYS
        drawn |= dict.fromkeys(mine.sought())
    assert len(drawn) > 100


def test_own_lost_neighbours_are_bounded_and_the_oldest_join_the_others() -> None:
    mine = Strays(NodeId(b"m" * 32))
    lost = [NodeId(bytes([n]) * 32) for n in range(40)]
    for node in lost:
        mine.lose(node, 7, ours=True)
    assert mine.sought()[:OWN_MAX] == lost[-OWN_MAX:]
    assert len(mine.sought()) == OWN_MAX + STRAYS and len(mine) == 40
    assert [mine.find(node) for node in lost] == [7] * 40
    assert mine.sought() == [] and mine.find(lost[0]) is None
