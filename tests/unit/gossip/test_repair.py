"""Repairs of much at once: in slices and within budgets, of regions only between those who hold them."""

import msgspec
import pytest

from meshnode.gossip.budget import Budgets, Kind
from meshnode.gossip.letters import Pull, Repair, Roots, SoftBatch, decode
from meshnode.gossip.repair import REGION, SLICE, Repairs
from meshnode.kernel.effects import Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.repair import RepairRoot
from tests.unit.gossip.regions import Lands, Place, lands

HALF = 1_000


def two_meshes(world: Lands) -> tuple[Place, Place]:
    one, two = world.place("one", "east"), world.place("two", "east")
    for number in range(HALF):
        one.learn(world.row(f"a{number}", "east"))
        two.learn(world.row(f"b{number}", "east"))
    return one, two


def test_two_meshes_that_meet_are_one_directory_in_slices() -> None:
    world = Lands(whole_mesh_max=10_000)
    one, two = two_meshes(world)
    world.link(one, two)
    world.run_for(0.05)
    assert max(sum(one.rows_got), sum(two.rows_got)) <= SLICE
    world.run_until(lambda: one.directory.rows.root() == two.directory.rows.root(), 30.0)
    assert len(one.directory) == 2 * HALF
    assert sum(one.rows_got) + sum(two.rows_got) <= 2 * HALF * 1.1


def test_each_node_begins_its_slices_elsewhere() -> None:
    world = Lands(whole_mesh_max=10_000)
    one, two = two_meshes(world)
    keys = sorted(node for node in one.directory.members())
    first, second = one.repairs._part_of(keys), two.repairs._part_of(keys)
    assert len(first) == len(second) == SLICE and first != second
    assert first[0] >= one.id or first[0] == keys[0]


def test_a_few_rows_come_in_one_exchange() -> None:
    world = Lands(whole_mesh_max=10_000)
    one, two = world.place("one", "east"), world.place("two", "east")
    for number in range(100):
        one.learn(world.row(f"a{number}", "east"))
    world.link(one, two)
    world.run_for(0.05)
    assert len(two.directory) == 100


def test_a_comparison_that_nothing_asks_for_waits_for_something_to_ride_on_and_no_other_does() -> None:
    world = Lands(whole_mesh_max=10_000)
    one, two = world.place("one", "east"), world.place("two", "east")
    one.repairs.start(Instant(0, 0))
    due_us = one.repairs.deadline()
    assert due_us is not None
    regular, asked_for = one.repairs.wake([two.id], Instant(due_us, 0)), one.repairs.open(two.id)
    assert [send.patient for send in (*regular, *asked_for) if isinstance(send, Send)] == [True, False]


def test_over_budget_rows_are_shed_and_come_later() -> None:
    world = Lands(whole_mesh_max=10_000)
    one, two = two_meshes(world)
    for place, other in ((one, two), (two, one)):
        budgets = Budgets("edge")
        place.repairs._budgets = budgets
        budgets.sent(other.id, b"\x90\x03" + b"x" * 65_000, world.now_us)
    world.link(one, two)
    world.run_for(0.1)
    assert sum(one.rows_got) < SLICE / 2
    world.run_until(lambda: one.directory.rows.root() == two.directory.rows.root(), 60.0)
    assert one.repairs._budgets.allowed(two.id, Kind.URGENT, world.now_us) > 0


def test_a_whole_region_comes_paced_and_complete() -> None:
    world = lands({"east": 40, "west": 5}, whole_mesh_max=4)
    east = [place for place in world.places.values() if place.region == "east"]
    for place in east:
        for number in range(10):
            world.publish(place, f"skill/s{number}", b"x" * 300)
    world.run_for(20.0)
    late = world.place("late", "east")
    begin_us = world.now_us
    world.link(late, east[0])
    world.run_until(lambda: len(late.soft.index.part("east")) == 400, 30.0)
    assert late.soft.index.part("east").root() == east[0].soft.index.part("east").root()
    sent = sum(place.sent["SoftBatch"] for place in (east[0],))
    assert sent > 0 and (world.now_us - begin_us) / SECOND <= 5.0


def test_a_stranger_to_a_region_is_neither_told_its_roots_nor_its_facts() -> None:
    world = lands({"east": 4, "west": 4}, whole_mesh_max=4)
    for place in world.places.values():
        world.publish(place, "load", b"1")
    world.run_for(5.0)
    east = next(place for place in world.places.values() if place.region == "east")
    west = next(place for place in world.places.values() if place.region == "west")
    if west.id not in east.links:
        world.link(east, west)
    (send,) = [effect for effect in east.repairs.open(west.id) if isinstance(effect, Send)]
    opening = decode(send.body)
    assert isinstance(opening, Roots) and opening.regions == {}
    asked = Repair(REGION, RepairRoot(b"r" * 8), "east")
    assert east.repairs.step(west.id, asked, world.now()) == []
    keys = [key for number in range(256) for key, _ in east.soft.index.part("east").bucket(number)]
    assert east.repairs.pulled(west.id, Pull(REGION, keys, "east"), world.now()) == []
    world.run_for(2.0)
    assert not west.soft.facts(east.id)


def test_a_node_that_believes_the_mesh_small_is_not_compared_with_one_that_knows_better() -> None:
    world = lands({"east": 3, "west": 3}, whole_mesh_max=4)
    for place in world.places.values():
        world.publish(place, "load", b"1")
    world.run_for(5.0)
    east = next(iter(world.places.values()))
    peer = next(iter(east.links))
    small = Roots(east.directory.rows.root(), east.directory.tombstones.root(), b"s" * 8)
    assert east.repairs.roots(peer, small, world.now()) == []


def test_an_opening_of_a_large_mesh_is_read_by_who_knows_only_small_ones() -> None:
    class OldRoots(msgspec.Struct, frozen=True, array_like=True, tag=4):
        rows: bytes
        tombstones: bytes
        soft: bytes

    class OldBatch(msgspec.Struct, frozen=True, array_like=True, tag=11):
        facts: list[msgspec.Raw]

    world = lands({"east": 3, "west": 3}, whole_mesh_max=4)
    east = next(iter(world.places.values()))
    (send,) = [e for e in east.repairs.open(next(iter(east.links))) if isinstance(e, Send)]
    old = msgspec.msgpack.decode(send.body, type=OldRoots | OldBatch)
    assert isinstance(old, OldRoots) and len(old.rows) == 8
    batch = msgspec.msgpack.encode(SoftBatch([], 1))
    assert msgspec.msgpack.decode(batch, type=OldRoots | OldBatch) == OldBatch([])


def late_one(world: Lands) -> Place:
    """Somebody who knows nobody is linked to four at once that know a thousand."""
    late = world.place("late", "east")
    knowing = [world.place(f"old{number}", "east") for number in range(4)]
    for number in range(HALF):
        row = world.row(f"a{number}", "east")
        for place in knowing:
            place.learn(row)
    for place in knowing:
        world.link(late, place)
    world.run_until(lambda: all(late.directory.rows.root() == p.directory.rows.root() for p in knowing), 60.0)
    return late


def test_who_lacks_much_asks_each_neighbour_for_another_part() -> None:
    assert sum(late_one(Lands(whole_mesh_max=10_000)).rows_got) <= 1.6 * HALF


def test_without_that_the_same_rows_come_from_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Repairs, "_unasked", lambda _self, keys, _now: list(keys))
    assert sum(late_one(Lands(whole_mesh_max=10_000)).rows_got) > 1.8 * HALF
