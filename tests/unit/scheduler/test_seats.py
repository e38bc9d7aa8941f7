"""Who comes first: balanced, stable, weighted, the same everywhere; in a large mesh region by region."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.ids import NodeId
from meshnode.scheduler.fitting import Part
from meshnode.scheduler.pools import pool_of
from meshnode.scheduler.ports import DOWN, NodeFacts
from meshnode.scheduler.seats import Seats, seed_of
from tests.unit.scheduler.test_fitting import node
from tests.unit.scheduler.town import want

ONE = Part(0, 1, "")
NODES = [node(f"n{no}") for no in range(10)]
REGIONS = ("north", "south", "west")
MIXED = [
    node(f"m{no:02}", region=REGIONS[no % 3], cpu_milli=1000 * (1 + no % 4), state=DOWN if no % 11 == 0 else "ready")
    for no in range(40)
]


def seats(
    nodes: Sequence[NodeFacts], counts: Mapping[NodeId, int] | None = None, near: str = "", *, agent: str = "words",
    divided: bool = False, full: Iterable[str] = (),
) -> Seats:  # fmt: skip
    pool = pool_of(want(), ONE, nodes, divided=divided)
    near_id = next((each.node for each in nodes if near and each.name == near), None)
    crammed = list(full)
    return Seats(agent, pool, counts or {}, near_id, full=lambda region: region in crammed)


def firsts(nodes: Sequence[NodeFacts], slots: int, near: str = "", *, divided: bool = False) -> list[NodeId]:
    held = seats(nodes, near=near, divided=divided)
    found: list[NodeId] = []
    for slot in range(slots):
        first = held.first(slot, {})
        assert first is not None and first.node is not None
        held.take(first)
        found.append(first.node)
    return found


def first_of(held: Seats, slot: int, without: Mapping[NodeId, object] | None = None) -> NodeId | None:
    seat = held.first(slot, without or {})
    return seat.node if seat is not None else None


def drawn(agent: str, about: NodeFacts, slot: int) -> float:
    """The score of a node as the papers have it, told once more."""
    mask = 2**64 - 1
    mixed = ((seed_of(agent) ^ int.from_bytes(about.node[:8])) + (slot + 1) * 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    mixed ^= mixed >> 31
    return -about.cpu_milli / math.log(((mixed >> 12) + 0.5) / (1 << 52))


@given(slots=st.integers(0, 60), count=st.integers(1, 10))
def test_no_node_has_two_units_more_than_another(slots: int, count: int) -> None:
    counts = Counter(firsts(NODES[:count], slots))
    each = [counts.get(node.node, 0) for node in NODES[:count]]
    assert max(each) - min(each) <= 1


@given(slots=st.integers(0, 90))
def test_no_node_of_several_regions_has_two_units_more_than_another(slots: int) -> None:
    counts = Counter(firsts(MIXED, slots, divided=True))
    each = [counts.get(node.node, 0) for node in MIXED if node.state != DOWN]
    assert max(each) - min(each) <= 1 and sum(each) == slots


@given(st.permutations(MIXED), st.booleans())
def test_the_order_in_which_nodes_are_known_does_not_matter(nodes: list[NodeFacts], divided: bool) -> None:
    assert firsts(nodes, 20, divided=divided) == firsts(MIXED, 20, divided=divided)


def test_a_small_mesh_is_drawn_all_at_once_as_it_always_was() -> None:
    for slot in range(50):
        naive = sorted((each for each in MIXED if each.state != DOWN), key=lambda e: (-drawn("words", e, slot), e.node))
        assert seats(MIXED).order(slot, {}) == [each.node for each in naive]


def test_a_node_that_goes_moves_only_what_it_had_first() -> None:
    whole = [seats(NODES).order(slot, {}) for slot in range(200)]
    without = [seats(NODES[1:]).order(slot, {}) for slot in range(200)]
    assert [[each for each in order if each != NODES[0].node] for order in whole] == without


@pytest.mark.parametrize("divided", [False, True])
def test_a_bigger_node_comes_first_more_often(divided: bool) -> None:
    nodes = [node("small", cpu_milli=1000, region="a"), node("big", cpu_milli=3000, region="b")]
    wins = Counter(first_of(seats(nodes, divided=divided), slot) for slot in range(4000))
    assert 0.70 < wins[nodes[1].node] / 4000 < 0.80


def test_a_node_is_drawn_as_often_by_its_region_as_among_all() -> None:
    """One region has one node, another thirty: nobody is favoured for the company it keeps."""
    nodes = [node("lonely", region="a"), *(node(f"n{no}", region="b") for no in range(30))]
    held = seats(nodes, divided=True)
    wins = Counter(first_of(held, slot) for slot in range(20_000))
    assert len(wins) == 31
    assert all(0.75 < count / (20_000 / 31) < 1.25 for count in wins.values())


def test_different_agents_begin_on_different_nodes() -> None:
    begun = Counter(first_of(seats(NODES, agent=f"agent{no}"), 0) for no in range(2000))
    assert all(140 < begun[each.node] < 260 for each in NODES)


def test_the_preferred_node_comes_first_among_those_with_the_fewest_units() -> None:
    assert firsts(NODES[:3], 4, near="n2")[0] == NODES[2].node
    assert firsts(NODES[:3], 4, near="n2")[3] == NODES[2].node


def test_a_region_that_says_it_is_full_comes_after_the_others() -> None:
    order = seats(MIXED, divided=True, full=["north", "west"]).order(0, {})
    regions = {each.node: each.region for each in MIXED}
    at = [regions[each] == "south" for each in order]
    assert at == sorted(at, reverse=True) and at[0] and not at[-1]


class Lopsided(Seats):
    """Planted fault: the region of the node itself is drawn as if it were empty of rivals."""

    def before(self, node: NodeId, slot: int, without: Mapping[NodeId, object]) -> int:
        return self.below(node, without)


def rivals(kind: type[Seats], seed: int) -> list[tuple[object, object]]:
    """What the quick answers say beside what a sort of all says."""
    luck = random.Random(seed)
    counts = {each.node: luck.randrange(4) for each in luck.sample(MIXED, 25)}
    without: Mapping[NodeId, object] = dict.fromkeys(each.node for each in luck.sample(MIXED, luck.randrange(30)))
    near = luck.choice([None, *(each.node for each in MIXED)])
    pool = pool_of(want(), ONE, MIXED, divided=luck.random() < 0.7)
    crammed = luck.choice(["", *REGIONS])
    held = kind("words", pool, counts, near, full=lambda region: region == crammed)
    for taken in luck.sample(MIXED, 5):
        if taken.node in held:
            held.take(held.seat_of(taken.node))
    slot = luck.randrange(1000)
    order = held.order(slot, without)
    said: list[tuple[object, object]] = [(first_of(held, slot, without), order[0] if order else None)]
    said += [(held.before(each, slot, without), at) for at, each in enumerate(order)]
    said += [(held.below(each, without) <= at, True) for at, each in enumerate(order)]
    said.append(([held.count(each) for each in order], sorted(held.count(each) for each in order)))
    return said


@given(seed=st.integers(0, 2**32))
def test_who_is_first_and_how_many_are_ahead_is_as_in_the_order_of_all(seed: int) -> None:
    assert all(quick == sorted_ for quick, sorted_ in rivals(Seats, seed))


@given(slots=st.integers(1, 60), full=st.sampled_from(["", *REGIONS]))
def test_each_region_knows_who_of_its_own_comes_first_and_of_the_others_only_the_region(slots: int, full: str) -> None:
    """What all of them together know is what somebody who ranks everybody knows."""
    pool = pool_of(want(), ONE, MIXED, divided=True)
    views = {
        home: Seats("words", pool, {}, full=lambda region: region == full, home=home) for home in (None, *REGIONS)
    }  # fmt: skip
    for slot in range(slots):
        seat_of = {home: view.first(slot, {}) for home, view in views.items()}
        whole = seat_of[None]
        assert whole is not None
        for home, seat in seat_of.items():
            assert seat is not None and (seat.division, seat.level) == (whole.division, whole.level)
            assert seat.node == (whole.node if home in (None, whole.division) else None)
            views[home].take(seat)


def test_a_planted_fault_in_counting_who_is_ahead_is_seen() -> None:
    assert any(quick != sorted_ for seed in range(20) for quick, sorted_ in rivals(Lopsided, seed))
