"""What a store keeps in memory beside its tables: who hears of commits, which nodes fit, how many there are."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cloud_gateway.model.batch import Changes
from cloud_gateway.model.rows import NodeRow, WishRow
from cloud_gateway.store.columns import LAYOUTS
from cloud_gateway.store.feed import QUEUE_MAX, Feed
from cloud_gateway.store.fitness import Fitness
from cloud_gateway.store.tallies import Change, Tallies
from meshnode.model.where import parse_where, unfit


def test_a_reader_that_falls_behind_hears_that_it_missed_something() -> None:
    async def story() -> None:
        feed = Feed()
        slow, quick = feed.changes(), feed.changes()
        for seq in range(1, QUEUE_MAX + 6):
            feed.tell(Changes(seq=seq, at_ms=seq))
            assert (await anext(quick)).seq == seq
        feed.close()
        heard = [(changes.seq, changes.whole) async for changes in slow]
        assert heard[0] == (QUEUE_MAX + 1, False)
        assert heard[1:] == [(seq, True) for seq in range(QUEUE_MAX + 2, QUEUE_MAX + 6)]
        assert [changes async for changes in quick] == []

    asyncio.run(story())


attributes = st.dictionaries(
    st.sampled_from(["site", "cpus", "memory"]),
    st.sampled_from(["plant-7", "plant-8", 4, 4.0, 16, "16", "2Gi", 2 << 30, 1.5]),
)


@given(
    steps=st.lists(st.tuples(st.sampled_from("abcd"), st.none() | attributes), max_size=20),
    where=st.sampled_from(["site=plant-7", "cpus>=4,site!=plant-7", "memory>=2Gi", "cpus=4", "cpus<16,memory>1"]),
)
def test_the_nodes_that_fit_are_those_that_fit_one_by_one(
    steps: list[tuple[str, dict[str, str | float | int] | None]], where: str
) -> None:
    fitness, nodes = Fitness(), dict[str, dict[str, str | float | int]]()
    for name, has in steps:
        fitness.fitting(where)
        if has is None:
            nodes.pop(name, None)
            fitness.delete([name])
        else:
            nodes[name] = has
            fitness.put([NodeRow(node_id=name * 2, name=name, attributes=has)])
    constraints = parse_where(where)
    assert fitness.fitting(where) == {name for name, has in nodes.items() if not unfit(constraints, has)}
    assert fitness.fitting("") is None


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["ready", "down"]), st.none() | st.floats(0, 100))
    ),
    pending=st.lists(st.integers(0, 9), max_size=4),
)
def test_tallies_are_what_counting_would_say(steps: list[tuple[str, str, float | None]], pending: list[int]) -> None:
    tallies, rows = Tallies(), dict[str, NodeRow]()
    for name, state, cpu in steps:
        row = NodeRow(node_id=name, name=name, region=name, state=state, cpu_percent=cpu)
        old = rows.get(name)
        layout = LAYOUTS["nodes"]
        tallies.apply([Change("nodes", layout.values(old) if old else None, layout.values(row))])
        rows[name] = row
    for at, count in enumerate(pending):
        row = WishRow(kind="Agent", namespace="x", name=str(at), pending=count)
        tallies.apply([Change("wishes", None, LAYOUTS["wishes"].values(row))])
    overview = tallies.overview(0)
    assert overview.nodes == dict(Counter(row.state for row in rows.values()))
    assert (overview.wishes, overview.pending) == (len(pending), sum(pending))
    for region in overview.regions:
        told = rows[region.region].cpu_percent
        assert (region.cpu_percent is None) == (told is None)
        assert told is None or abs((region.cpu_percent or 0) - told) < 1e-6
