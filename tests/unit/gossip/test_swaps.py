"""Slow links give way to faster ones: rarely, clearly, and never below the rules of the region."""

import itertools

from meshnode.gossip.swaps import SAVING_US, Swaps, clearly_better
from meshnode.kernel.effects import Effect, Hangup
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.ids import NodeId
from tests.unit.gossip.field import Field
from tests.unit.gossip.test_overlay import NODES, NOW, Town, greet, overlay
from tests.unit.gossip.world import luck

ENOUGH = NODES[100:108]


def at(seconds: float) -> Instant:
    return Instant(round(seconds * SECOND), 0)


def near_times(field: Field) -> list[int]:
    return [
        field.rtt_us(node, peer)
        for node, room in field.rooms.items()
        for peer in room.peers()
        if field.where[node] == field.where[peer]
    ]


def test_links_inside_regions_become_faster_and_the_mesh_stays_whole() -> None:
    field = Field(100, 2)
    field.width_us = 200 * MS
    field.run(20)
    before = near_times(field)
    field.run(900)
    after = near_times(field)
    assert sum(after) / len(after) < 0.9 * sum(before) / len(before)
    assert field.components() == [100]
    assert min(len(room.peers()) for room in field.rooms.values()) >= 5
    far = [any(field.where[peer] != field.where[node] for peer in room.peers()) for node, room in field.rooms.items()]
    assert all(far), "the long links stay"


def test_where_all_are_near_nothing_is_tried() -> None:
    field = Field(100, 2)
    field.run(60)
    made = field.links_made
    field.run(300)
    assert field.links_made - made <= 10


def test_a_swap_is_tried_once_a_minute_and_the_slowest_goes() -> None:
    town = Town(60)
    room = overlay(town)
    for node in NODES[:6]:
        assert greet(room, node, ENOUGH) == []
    town.times = dict.fromkeys(NODES[:60], 40 * MS) | {NODES[3]: 200 * MS}
    room.wake(NOW)
    room.wake(at(62))
    *_, candidate = room.wanted([], at(62))
    room.up(candidate, at(63))
    assert not hangups(room.wake(at(67)))
    assert hangups(room.wake(at(68.1))) == [NODES[3]]
    room.down(NODES[3], "", at(68.2))
    room.wake(at(100))
    assert not hangups(room.wake(at(127)))


def test_a_candidate_that_is_no_faster_goes_again_and_trials_become_rare() -> None:
    swaps, times = Swaps(luck(1)), {NODES[0]: 30 * MS, NODES[1]: 28 * MS}
    assert not swaps.due(at(0))
    tried: list[int] = []
    for _ in range(6):
        due_us = swaps.deadline()
        assert due_us is not None
        tried.append(due_us)
        assert swaps.due(Instant(due_us, 0)) and swaps.worth(times, Instant(due_us, 0))
        swaps.begin(NODES[1], Instant(due_us, 0))
        assert swaps.judge(times, Instant(due_us, 0)) == NODES[1]
    gaps = [(b - a) / SECOND for a, b in itertools.pairwise(tried)]
    assert gaps[0] >= 60 and gaps[-1] > 1000
    assert all(later > gap for gap, later in itertools.pairwise(gaps))


def test_better_means_a_third_and_five_milliseconds() -> None:
    assert clearly_better(70 * MS, 100 * MS) and not clearly_better(71 * MS, 100 * MS)
    assert clearly_better(SAVING_US, 2 * SAVING_US) and not clearly_better(MS, 4 * MS)


def hangups(effects: list[Effect]) -> list[NodeId]:
    return [effect.peer for effect in effects if isinstance(effect, Hangup)]
