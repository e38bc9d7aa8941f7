"""What placement knows of the nodes, kept as they change, is what a walk over all of them would say."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.ids import NodeId
from meshnode.model.resources import Resources
from meshnode.scheduler.fitting import Part, able
from meshnode.scheduler.land import POOLS_MAX, Land
from meshnode.scheduler.messages import Want
from meshnode.scheduler.pools import Pool, pool_of
from meshnode.scheduler.ports import DOWN, READY, SUSPECT, UNREACHABLE, NodeFacts
from tests.unit.scheduler.test_fitting import node
from tests.unit.scheduler.town import want

GIB = 2**30
WANTS = (
    want(), want(on="n3"), want(labels={"site": "a"}), want(resources=Resources(4000)),
    want(resources=Resources(500, 8 * GIB, 1000), labels={"site": "b"}),
)  # fmt: skip
PARTS = (Part(0, 1, ""), Part(0, 2, "east"), Part(3, 1, "nowhere"))


class Rooms:
    """The rooms a land asks, and how often it asked for all nodes."""

    def __init__(self) -> None:
        self.all = {
            each.node: each for each in (node(f"n{no}", region=("east", "west")[no % 2]) for no in range(12))
        }  # fmt: skip
        self.told: dict[str, Resources] = {}
        self.walks = 0

    def nodes(self) -> list[NodeFacts]:
        self.walks += 1
        return [self.all[node] for node in sorted(self.all)]

    def facts_of(self, node: NodeId, /) -> NodeFacts | None:
        return self.all.get(node)

    def spare(self, region: str, /) -> Resources | None:
        return self.told.get(region)


def changed(luck: random.Random, about: NodeFacts) -> NodeFacts:
    return msgspec.structs.replace(
        about, state=luck.choice((READY, READY, READY, SUSPECT, UNREACHABLE, DOWN)), drained=luck.random() < 0.2,
        labels={"site": luck.choice("ab")}, cpu_milli=luck.choice((0, 2000, 8000)), gpus=luck.randrange(2),
        region=luck.choice(("east", "west", "south")),
    )  # fmt: skip


def step(luck: random.Random, rooms: Rooms, land: Land, *, told: bool = True) -> None:
    """Something becomes so, and the land hears of it as the stairs tell it."""
    here = sorted(rooms.all)
    name = f"n{luck.randrange(16)}"
    about = luck.choice(here) if here and luck.random() < 0.7 else node(name).node
    kind = luck.randrange(4)
    if kind == 0:
        rooms.all.pop(about, None)
    elif about not in rooms.all:
        rooms.all[about] = node(name, region="west")
    elif rooms.all[about].state != READY and kind == 1:
        rooms.all[about] = msgspec.structs.replace(rooms.all[about], state=UNREACHABLE)  # nobody hears it any more
        return
    else:
        rooms.all[about] = changed(luck, rooms.all[about])
        if told and rooms.all[about].state == READY and luck.random() < 0.5:
            land.described(about)
            return
    if told:
        land.look(about)


def contents(pool: Pool) -> object:
    return {name: dict(sorted(nodes.items())) for name, nodes in sorted(pool.divisions.items())}, sorted(
        pool.weights.items()
    )


def differences(rooms: Rooms, land: Land) -> list[object]:
    found: list[object] = []
    for each in WANTS:
        for part in PARTS:
            pool, naive = land.pool(each, part), pool_of(each, part, rooms.all.values(), divided=True)
            if contents(pool) != contents(naive) or sorted(pool) != sorted(n.node for n in able_(each, part, rooms)):
                found.append((each, part))
    if list(land.all()) != [rooms.all[node] for node in sorted(rooms.all)]:
        found.append("facts")
    return found


def able_(each: Want, part: Part, rooms: Rooms) -> list[NodeFacts]:
    return able(each, part, rooms.all.values())


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 60))
def test_pools_hold_who_fits_as_a_walk_over_all_would_find_them(seed: int, steps: int) -> None:
    luck, rooms = random.Random(seed), Rooms()
    land = Land(rooms, flat_max=1)
    land.walk()
    for at in range(steps):
        step(luck, rooms, land)
        if at % 7 == 0:
            land.pool(luck.choice(WANTS), luck.choice(PARTS))
    if len({facts.region for facts in rooms.all.values()}) > 1 and len(rooms.all) > 1:
        assert differences(rooms, land) == []
    assert rooms.walks == 1


def test_a_change_that_nobody_tells_is_missed_so_the_comparison_sees_something() -> None:
    luck, rooms = random.Random(3), Rooms()
    land = Land(rooms, flat_max=1)
    land.walk()
    land.pool(WANTS[0], PARTS[0])
    for _ in range(20):
        step(luck, rooms, land, told=False)
    assert differences(rooms, land) != []


def test_a_mesh_is_divided_when_it_is_large_and_has_regions() -> None:
    rooms = Rooms()
    land = Land(rooms, flat_max=12)
    land.walk()
    assert list(land.pool(want(), PARTS[0]).divisions) == [""]
    assert land.breadth == 12
    rooms.all[node("n12").node] = node("n12", region="east")
    land.look(node("n12").node)
    assert sorted(land.pool(want(), PARTS[0]).divisions) == ["east", "west"]
    assert land.breadth == 6


def test_a_region_is_full_when_it_says_that_nothing_is_left_of_what_is_asked_for() -> None:
    rooms = Rooms()
    land = Land(rooms, flat_max=1)
    rooms.told = {"east": Resources(1000, GIB, 0), "west": Resources(9000, 9 * GIB, 40_000)}
    need = Resources(2000)
    assert [land.full(region, need) for region in ("east", "west", "never heard")] == [True, False, False]
    assert land.full("east", Resources(gpu_milli=500)) and not land.full("east", Resources())


def test_shapes_that_nobody_asks_for_any_more_are_forgotten() -> None:
    rooms = Rooms()
    land = Land(rooms, flat_max=1)
    land.walk()
    for cpu in range(3 * POOLS_MAX):
        land.pool(want(resources=Resources(cpu)), PARTS[0])
    assert len(land._pools) == POOLS_MAX
