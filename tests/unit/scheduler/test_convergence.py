"""Whatever happens: after all heals exactly what is wanted runs, once; nothing is moved to and fro."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import InstanceId
from meshnode.model.resources import Resources
from meshnode.scheduler.fitting import layout
from meshnode.scheduler.messages import UnitReleased, Want
from meshnode.scheduler.scheduler import SchedulerConfig
from tests.unit.scheduler.town import NAMES, Town, want

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["kill", "boot", "sever", "heal", "scale"]), st.sampled_from(NAMES[:3]), st.integers(0, 4000)
    ),
    max_size=8,
)  # fmt: skip
DELAYS = st.sampled_from([5 * MS, 50 * MS, 300 * MS])


def play(town: Town, names: tuple[str, ...], steps: list[tuple[str, str, int]]) -> None:
    for what, name, after_ms in steps:
        town.run_for(after_ms / 1000)
        if name not in names:
            continue
        match what:
            case "kill" if town.house(name).up:
                town.kill(name)
            case "boot" if not town.house(name).up:
                town.boot(name)
            case "sever":
                town.sever(name)
            case "heal":
                town.heal()
            case "scale":
                town.want(want(replicas=after_ms % 7), want("solo", near=name))
            case _:
                pass


def mend(town: Town, names: tuple[str, ...]) -> None:
    for name in names:
        if not town.house(name).up:
            town.boot(name)
    town.heal()


@given(seed=st.integers(0, 2**32), count=st.integers(1, 3), delay=DELAYS, steps=STEPS, replicas=st.integers(0, 6))
def test_after_everything_healed_exactly_what_is_wanted_runs_once(
    seed: int, count: int, delay: int, steps: list[tuple[str, str, int]], replicas: int
) -> None:
    names = NAMES[:count]
    town = Town(count, seed, delay_us=delay)
    town.want(want(replicas=replicas), want("solo", near=names[-1]))
    play(town, names, steps)
    mend(town, names)
    town.run_for(15)
    found = town.running()
    assert len(found) == sum(want.replicas for want in town.wants)
    assert all(len(places) == 1 for places in found.values()), found
    assert all(town.claimants(unit) == found[unit] for unit in found)
    claims = town.claimed
    town.run_for(60)
    assert town.claimed == claims, "it does not come to rest"
    assert claims <= 7 * (len(steps) + 2) + 7


SPARE = st.lists(st.sampled_from([None, Resources(), Resources(64_000, 2**40, 8)]), min_size=15, max_size=15)


@given(seed=st.integers(0, 2**32), delay=DELAYS, steps=STEPS, replicas=st.integers(0, 6), spare=SPARE)
def test_regions_that_are_said_to_be_full_here_and_empty_there_end_in_the_same(
    seed: int, delay: int, steps: list[tuple[str, str, int]], replicas: int, spare: list[Resources | None]
) -> None:
    """A large mesh in small: the region is drawn first, and every node has heard something else of what is left."""
    regions = ("east", "west", "south")
    places = {name: {"region": regions[at % 3]} for at, name in enumerate(NAMES)}
    town = Town(5, seed, delay_us=delay, config=SchedulerConfig(flat_max=1), **places)
    for at, house in enumerate(town.houses.values()):
        house.told = {region: left for region, left in zip(regions, spare[3 * at :], strict=False) if left is not None}
    town.want(want(replicas=replicas, resources=Resources(500)), want("solo", near=NAMES[2]))
    play(town, NAMES[:3], steps)
    mend(town, NAMES)
    town.run_for(20)
    found = town.running()
    assert len(found) == sum(want.replicas for want in town.wants)
    assert all(len(places) == 1 for places in found.values()), found
    claims = town.claimed
    town.run_for(60)
    assert town.claimed == claims, "it does not come to rest"


@given(seed=st.integers(0, 2**32), count=st.integers(2, 5), dead=st.sampled_from(NAMES[:2]))
def test_no_unit_is_without_a_claimant_for_longer_than_it_takes_to_know(seed: int, count: int, dead: str) -> None:
    town = Town(count, seed)
    town.run_for(2)
    town.want(want(replicas=4))
    town.run_for(5)
    town.kill(dead, seen_us=300 * MS)
    since: dict[str, int] = {}
    worst = 0

    def look() -> None:
        nonlocal worst
        for slot in range(4):
            unit = InstanceId(f"words/{slot}")
            if town.claimants(unit):
                since.pop(unit, None)
            else:
                worst = max(worst, town.now_us - since.setdefault(unit, town.now_us))

    town.run_for(10, look)
    assert not since
    assert worst <= 300 * MS + town.config.turn_us + 200 * MS


@given(seed=st.integers(0, 2**32), cut_s=st.floats(2.0, 30.0), delay=DELAYS)
def test_after_a_cut_the_loser_always_yields_to_the_higher_epoch(seed: int, cut_s: float, delay: int) -> None:
    town = Town(3, seed, delay_us=delay)
    town.run_for(2)
    town.want(want(replicas=3))
    town.run_for(4)
    town.sever("alpha")
    town.run_for(cut_s)
    newest = {unit: max(epoch for each, epoch in town.epochs if each == unit) for unit, _ in town.epochs}
    before = len(town.facts)
    town.heal()
    town.run_for(5)
    for unit, epoch in newest.items():
        assert [house.processes[unit].epoch for house in town.houses.values() if unit in house.processes] == [epoch]
    for node, fact in town.facts[before:]:
        if isinstance(fact, UnitReleased):
            assert fact.winner == newest[fact.unit].node != node


@given(seed=st.integers(0, 2**32), replicas=st.integers(1, 12), count=st.integers(1, 5))
def test_with_the_same_facts_every_node_has_the_same_plan(seed: int, replicas: int, count: int) -> None:
    town = Town(count, seed)
    town.run_for(2)
    plans = []
    for house in town.houses.values():
        assert house.scheduler is not None
        rows = house.scheduler.intended(want().agent, want(replicas=replicas), town.now)
        plans.append([(row.unit, row.action, row.node) for row in rows])
    assert all(plan == plans[0] for plan in plans)
    town.want(want(replicas=replicas))
    town.run_for(5)
    found = town.running()
    assert [(unit, "start", found[InstanceId(unit)][0]) for unit, _, _ in plans[0]] == plans[0]
    assert town.claimed == replicas
    assert town.now_us < 60 * SECOND


def wishes(luck: random.Random, names: tuple[str, ...]) -> list[Want]:
    found = [want(replicas=luck.randint(0, 6), generation=luck.randint(0, 2), near=luck.choice(["", *names]))]
    more = [
        want("pinned", on=luck.choice(names)),
        want("crowd", luck.randint(1, 9), slots_a_unit=3),
        want("big", luck.randint(1, 2 * len(names)), resources=Resources(cpu_milli=2000)),
        want("near", 3, regions=(("eu", 2),)),
    ]
    return found + [each for each in more if luck.random() < 0.5]


@given(seed=st.integers(0, 2**32), count=st.integers(1, 5), delay=DELAYS, steps=st.integers(0, 10))
def test_also_when_units_fail_fill_nodes_and_are_wanted_elsewhere_the_mesh_comes_to_rest(
    seed: int, count: int, delay: int, steps: int
) -> None:
    luck, names = random.Random(seed), NAMES[:count]
    regions: dict[str, dict[str, object]] = {
        name: {"region": "us" if no % 2 else "eu"} for no, name in enumerate(names)
    }
    town = Town(count, seed, delay_us=delay, **regions)
    town.want(*wishes(luck, names), only=luck.choice(names))
    for _ in range(steps):
        town.run_for(luck.choice([0.05, 1, 4]) * luck.random())
        match luck.choice(["kill", "boot", "sever", "heal", "want", "fail"]):
            case "want":
                town.want(*wishes(luck, names))
            case "fail":
                town.failing[luck.choice(names), InstanceId(f"words/{luck.randint(0, 3)}")] = "exit code 1"
            case what:
                play(town, names, [(what, luck.choice(names), 0)])
    town.failing.clear()
    town.want(*[msgspec.structs.replace(want, generation=7) for want in town.wants])  # what failed is tried again
    mend(town, names)
    town.run_for(45)
    claims, found = town.claimed, town.running()
    parts = [f"{want.agent}/{part.first_slot}" for want in town.wants for part in layout(want, 99)]
    assert sorted(found) == sorted(parts)
    assert all(town.claimants(unit) == found[unit] and len(found[unit]) == 1 for unit in found)
    assert all(found[InstanceId("pinned/0")] == [want.on] for want in town.wants if want.on)
    town.run_for(100)
    assert town.claimed == claims, "it does not come to rest"
