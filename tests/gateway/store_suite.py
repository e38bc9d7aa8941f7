"""What every store promises: an implementation's tests inherit ``StoreSuite`` and give it an ``opener``.

class TestSqlite(StoreSuite):
    @pytest.fixture
    def opener(self, tmp_path): ...
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_gateway.model.batch import Batch, Changes
from cloud_gateway.model.fingerprint import fingerprint
from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import AgentQuery, EventQuery, JournalQuery, LoadQuery, Query, SkillQuery
from cloud_gateway.model.rows import (
    CURRENT,
    CommandRow,
    CursorRow,
    EventRow,
    GapRow,
    LoadPoint,
    NodeRow,
    Row,
    SourceRow,
    key_of,
)
from cloud_gateway.store.port import Store
from meshnode.model.where import parse_where, unfit
from tests.gateway.fleet import Fleet
from tests.gateway.store_model import expected, newest_first

Opener = Callable[[], Awaitable[Store]]
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


def now_ms() -> int:
    return int(time.time() * 1000)


def run(main: Coroutine[Any, Any, None]) -> None:
    """One test's story, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(120):
            await main

    asyncio.run(bounded())


def small_fleet(nodes: int = 30) -> Fleet:
    return Fleet(nodes, per_node=4, regions=3, now_ms=now_ms())


def event(number: int, *, node: str = "a", life: int = 1, at_ms: int = 0, text: str = "") -> EventRow:
    return EventRow(
        node_id=f"{node}{node}",
        node=node,
        region="here",
        life=life,
        boot=1,
        number=number,
        at_ms=at_ms or 1_000 + number,
        subject=f"agent/{node}",
        text=text or f"event {number} of {node}",
    )


def told(*events: EventRow) -> Batch:
    """Events with the cursors that count them."""
    newest = {one.node_id: one for one in events}
    cursors = [
        CursorRow(node_id=one.node_id, node=one.node, life=one.life, boot=one.boot, number=one.number, last=one.number)
        for one in newest.values()
    ]
    return Batch(events=list(events), rows={"cursors": list[Row](cursors)})


async def all_pages(store: Store, query: Query) -> list[Row]:
    rows: list[Row] = []
    while True:
        listed = await store.listed(query)
        assert len(listed.items) <= query.limit
        told = await store.told(query)
        assert [msgspec.json.decode(row) for row in told.items] == msgspec.to_builtins(listed.items)
        assert told.after == listed.after
        rows += listed.items
        if listed.after is None:
            return rows
        query = msgspec.structs.replace(query, after=listed.after)


async def all_events(store: Store, query: EventQuery) -> list[EventRow]:
    events: list[EventRow] = []
    while True:
        listed = await store.events(query)
        events += listed.items
        if not listed.after:
            return events
        query = msgspec.structs.replace(query, after=listed.after)


async def fill(store: Store, fleet: Fleet) -> None:
    for batch in fleet.batches():
        await store.commit(batch)


def rows_of(fleet: Fleet) -> dict[str, list[Row]]:
    made: dict[str, list[Row]] = {kind: [] for kind in CURRENT}
    for batch in fleet.batches():
        for kind, rows in batch.rows.items():
            made[kind] += rows
    return made


@st.composite
def queries(draw: st.DrawFn, rows: dict[str, list[Row]]) -> Query:
    """Questions about rows that are there, for the most part."""
    kind = draw(st.sampled_from(sorted(rows)))
    listing = LISTINGS[kind]
    where: dict[str, list[str]] = {}
    for name in draw(st.lists(st.sampled_from(listing.filters), unique=True, max_size=2)):
        values = sorted({str(getattr(row, name)).lower() for row in rows[kind]}) or ["none"]
        where[name] = draw(st.lists(st.sampled_from([*values, "no such"]), min_size=1, max_size=2, unique=True))
    sort = draw(st.sampled_from(listing.sorts)).removeprefix("-")
    q = draw(st.sampled_from(["", "", "", "AM", "insp", "er-0", "7", "no such", '"', "%"]))
    limit = draw(st.integers(1, 60))
    return Query(kind=kind, where=where, q=q, sort=draw(st.sampled_from(["", "-"])) + sort, limit=limit)


class StoreSuite:
    """``opener`` opens the same store again and again, as its leader; each test has a new one."""

    @pytest.fixture
    def opener(self) -> Opener:
        raise NotImplementedError

    # -- current rows ------------------------------------------------------------------------------------------------

    def test_every_page_of_every_list_is_what_a_plain_list_says(self, opener: Opener) -> None:
        fleet = small_fleet()
        rows = rows_of(fleet)

        async def story() -> None:
            store = await opener()
            await fill(store, fleet)

            @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
            @given(query=queries(rows))
            def asked(query: Query) -> None:
                wanted = expected(rows[query.kind], query)
                got = asyncio.run_coroutine_threadsafe(all_pages(store, query), loop).result(30)
                assert got == wanted

            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, asked)
            await store.close()

        run(story())

    def test_rows_are_replaced_by_key_go_by_key_and_survive_a_restart(self, opener: Opener) -> None:
        async def story() -> None:
            fleet, luck = small_fleet(), random.Random(5)
            store = await opener()
            await fill(store, fleet)
            kept = rows_of(fleet)
            for kind in ("nodes", "instances", "skills"):
                gone = luck.sample(kept[kind], 7)
                kept[kind] = [row for row in kept[kind] if row not in gone]
                keys = [key_of(kind, row) for row in gone]
                await store.commit(Batch(gone={kind: [*keys, keys[0], ("no", "such", "key")[: len(keys[0])]]}))
            changed = [msgspec.structs.replace(node, state="down", cpu_percent=None) for node in fleet.nodes[:9]]
            changed = [
                node for node in changed if any(key_of("nodes", node) == key_of("nodes", old) for old in kept["nodes"])
            ]
            await store.commit(Batch(rows={"nodes": list[Row](changed)}))
            places = {key_of("nodes", node): node for node in changed}
            kept["nodes"] = [places.get(key_of("nodes", row), row) for row in kept["nodes"]]
            for again in (False, True):
                if again:
                    await store.close()
                    store = await opener()
                for kind, rows in kept.items():
                    assert await all_pages(store, Query(kind=kind, limit=500)) == expected(rows, Query(kind=kind))
                    assert await store.keys(kind) == {key_of(kind, row): fingerprint(row) for row in rows}
                assert await store.get("nodes", key_of("nodes", changed[0])) == changed[0]
                assert await store.named(changed[0].name) == changed[0]
                assert await store.get("nodes", ("no such",)) is None
            await store.close()

        run(story())

    def test_the_overview_counts_what_the_lists_show(self, opener: Opener) -> None:
        async def story() -> None:
            fleet = small_fleet()
            store = await opener()
            await fill(store, fleet)
            await store.commit(Batch(gone={"instances": [key_of("instances", row) for row in fleet.instances[:11]]}))
            instances = fleet.instances[11:]
            for _ in range(2):
                overview = await store.overview()
                assert sum(overview.nodes.values()) == len(fleet.nodes)
                assert overview.nodes["ready"] == sum(node.state == "ready" for node in fleet.nodes)
                assert sum(overview.instances.values()) == len(instances)
                assert overview.agents == len({row.agent for row in instances})
                assert overview.skills == len({row.skill for row in fleet.offers})
                assert (overview.wishes, overview.pending) == (8, sum(wish.pending for wish in fleet.wishes))
                assert overview.conflicts == 1
                for region in overview.regions:
                    here = [node for node in fleet.nodes if node.region == region.region]
                    assert sum(region.nodes.values()) == len(here)
                    mean = sum(node.cpu_percent or 0 for node in here) / len(here)
                    assert region.cpu_percent == pytest.approx(mean)
                grid = await store.grid()
                assert sorted(cell.name for cells in grid.values() for cell in cells) == sorted(
                    n.name for n in fleet.nodes
                )
                well = {"running", "starting", "stopped", "stopping"}
                assert sum(cell.troubled for cells in grid.values() for cell in cells) == sum(
                    row.state not in well for row in instances
                )
                for agent in await store.agents(AgentQuery(region=[fleet.nodes[0].region])):
                    units = [r for r in instances if r.agent == agent.agent and r.region == fleet.nodes[0].region]
                    assert (agent.instances, agent.nodes) == (len(units), len({row.node for row in units}))
                    assert agent.version_max == max(row.version for row in units)
                await store.close()
                store = await opener()
            await store.close()

        run(story())

    @pytest.mark.parametrize("where", ["", "site=plant-7", "gpu_mem>=2Gi", "cpus>=16,memory>=64Gi", "site=nowhere"])
    @pytest.mark.parametrize("skill", ["", "inspector.run", "*.ask", "no such"])
    def test_skills_are_found_by_constraints_and_ranked(self, opener: Opener, where: str, skill: str) -> None:
        import fnmatch

        async def story() -> None:
            fleet = small_fleet()
            store = await opener()
            await fill(store, fleet)
            nodes = {node.name: node for node in fleet.nodes}
            fits = [
                row
                for row in fleet.offers
                if fnmatch.fnmatchcase(row.skill, skill or "*")
                and not unfit(parse_where(where), nodes[row.node].attributes)
            ]
            wanted = sorted(fits, key=lambda row: (bool(row.excluded), row.rtt_ms or 0))
            got: list[Row] = []
            after = 0
            while True:
                page, after = await store.skills(SkillQuery(skill=skill, where=where, limit=7, after=after))
                got += page
                if not after:
                    break
            assert got == wanted
            await store.close()

        run(story())

    # -- events ------------------------------------------------------------------------------------------------------

    def test_events_sent_again_are_not_doubled(self, opener: Opener) -> None:
        async def story() -> None:
            store = await opener()
            first = told(*(event(number) for number in range(1, 60)))
            assert (await store.commit(first)).events == 59
            assert (await store.commit(first)).events == 0
            overlapping = told(*(event(number) for number in range(40, 80)))
            assert (await store.commit(overlapping)).events == 20
            await store.close()
            store = await opener()
            assert (await store.commit(overlapping)).events == 0
            assert (await store.cursors())["aa"].number == 79
            assert [one.number for one in (await store.journal(JournalQuery(node_id="aa", limit=500))).items] == list(
                range(1, 80)
            )
            assert (await store.overview()).events_total == 79
            await store.close()

        run(story())

    def test_a_journal_that_began_anew_goes_on_in_a_new_life(self, opener: Opener) -> None:
        async def story() -> None:
            store = await opener()
            await store.commit(told(*(event(number) for number in range(1, 30))))
            gap = GapRow(node_id="aa", node="a", life=2, first=1, last=4, count=4, why="lost", noticed_ms=1)
            batch = told(*(event(number, life=2) for number in range(5, 9)))
            await store.commit(msgspec.structs.replace(batch, rows={**batch.rows, "gaps": [gap]}))
            assert (await store.commit(told(event(29)))).events == 0
            page = await store.journal(JournalQuery(node_id="aa", limit=20))
            assert page.more
            assert not page.gaps
            last = page.items[-1]
            rest = await store.journal(JournalQuery(node_id="aa", life=last.life, number=last.number))
            assert not rest.more
            assert [(one.life, one.number) for one in (*page.items, *rest.items)] == [
                *((1, number) for number in range(1, 30)),
                *((2, number) for number in range(5, 9)),
            ]
            assert rest.gaps == [gap]
            await store.close()

        run(story())

    def test_events_are_found_newest_first_by_every_filter(self, opener: Opener) -> None:
        async def story() -> None:
            fleet = small_fleet()
            store = await opener()
            events: list[EventRow] = []
            for _ in range(12):
                batch = fleet.events(100, spread_ms=500)
                fleet.now_ms += 400
                events += batch.events
                await store.commit(batch)
            node, middle = fleet.nodes[3], events[600].at_ms
            filters: list[tuple[EventQuery, Callable[[EventRow], bool]]] = [
                (EventQuery(limit=37), lambda _: True),
                (EventQuery(node=node.name), lambda one: one.node == node.name),
                (EventQuery(region=node.region), lambda one: one.region == node.region),
                (EventQuery(subject="agent/welder"), lambda one: one.subject == "agent/welder"),
                (EventQuery(subject="agent/"), lambda _: True),
                (EventQuery(subject="node/"), lambda _: False),
                (EventQuery(q="EPOCH 1"), lambda one: "epoch 1" in one.text.casefold()),
                (EventQuery(from_ms=middle), lambda one: one.at_ms >= middle),
                (EventQuery(to_ms=middle), lambda one: one.at_ms < middle),
            ]
            for _ in range(2):
                for query, fits in filters:
                    got = await all_events(store, query)
                    wanted = newest_first(one for one in events if fits(one))
                    assert [one.at_ms for one in got] == [one.at_ms for one in wanted], query
                    assert sorted(got, key=str) == sorted(wanted, key=str), query
                await store.close()
                store = await opener()
            await store.close()

        run(story())

    def test_many_small_commits_keep_every_event_once(self, opener: Opener) -> None:
        async def story() -> None:
            fleet = small_fleet(12)
            store = await opener()
            events: list[EventRow] = []
            for _ in range(300):
                batch = fleet.events(2, spread_ms=5)
                fleet.now_ms += 10
                events += batch.events
                await store.commit(batch)
            for _ in range(2):
                got = await all_events(store, EventQuery(limit=500))
                assert len(got) == len({(one.node_id, one.number) for one in got}) == 600
                for node in fleet.nodes:
                    journal = await store.journal(JournalQuery(node_id=node.node_id, limit=500))
                    assert journal.items == [one for one in events if one.node_id == node.node_id]
                assert {row.node_id: row.number for row in (await store.cursors()).values()} == {
                    node_id: number for node_id, number in fleet.numbers.items() if number
                }
                await store.close()
                store = await opener()
            await store.close()

        run(story())

    # -- load --------------------------------------------------------------------------------------------------------

    def test_rollups_count_each_sample_once_also_late_ones(self, opener: Opener) -> None:
        async def story() -> None:
            store = await opener()
            start = now_ms() // HOUR_MS * HOUR_MS - HOUR_MS
            points = [
                LoadPoint(node_id="aa", at_ms=start + at * 10_000, cpu=float(at % 7), load=1.0) for at in range(60)
            ]
            late = points.pop(20)
            await store.commit(Batch(loads=points))
            await store.commit(Batch(loads=[late, *points[:30]]))
            await store.commit(Batch(loads=[late]))
            query = LoadQuery(node_id="aa", from_ms=start, to_ms=start + HOUR_MS)
            for _ in range(2):
                minutes = await store.loads(query)
                assert set(minutes) == {"cpu", "load"}
                assert [span.count for span in minutes["cpu"]] == [6] * 10
                assert minutes["cpu"][0].mean == pytest.approx(sum(range(6)) / 6)
                assert (minutes["cpu"][1].low, minutes["cpu"][1].high) == (0, 6)
                hours = await store.loads(msgspec.structs.replace(query, step_ms=HOUR_MS))
                assert [(span.at_ms, span.step_ms, span.count) for span in hours["cpu"]] == [(start, HOUR_MS, 60)]
                await store.close()
                store = await opener()
            await store.close()

        run(story())

    # -- requests ----------------------------------------------------------------------------------------------------

    def test_requests_are_kept_until_they_are_done(self, opener: Opener) -> None:
        async def story() -> None:
            store = await opener()
            commands = [
                CommandRow(command_id=f"c{at}", verb="drain", body={"node": "a"}, asked_ms=at) for at in (3, 1, 2)
            ]
            for command in commands:
                await store.ask(command)
            await store.ask(commands[0])
            await store.tell(msgspec.structs.replace(commands[1], state="applied"))
            await store.tell(msgspec.structs.replace(commands[2], state="accepted"))
            await store.ask(msgspec.structs.replace(commands[1], state="queued"))
            await store.close()
            store = await opener()
            assert [row.command_id for row in await store.open_commands(10)] == ["c2", "c3"]
            assert [row.command_id for row in await store.open_commands(1)] == ["c2"]
            done = await store.get("commands", ("c1",))
            assert isinstance(done, CommandRow)
            assert done.state == "applied"
            await store.close()

        run(story())

    # -- commits and changes -----------------------------------------------------------------------------------------

    def test_watchers_hear_every_commit_in_order(self, opener: Opener) -> None:
        async def story() -> None:
            store = await opener()
            fleet = small_fleet()
            heard: list[Changes] = []
            changes = store.changes()
            batches = [told(event(number)) for number in range(1, 20)]
            outcomes = [await store.commit(batch) for batch in batches]
            await store.commit(Batch(rows={"nodes": list[Row](fleet.nodes)}, source=SourceRow(node="x", as_of_ms=7)))
            await store.commit(Batch(gone={"nodes": [key_of("nodes", fleet.nodes[0])]}))
            async for change in changes:
                heard.append(change)
                if change.gone:
                    break
            assert [one.number for change in heard for one in change.events] == list(range(1, 20))
            seqs = [change.seq for change in heard]
            assert seqs == sorted(set(seqs))
            assert [outcome.seq for outcome in outcomes] == seqs[: len(outcomes)]
            assert heard[-2].rows["nodes"] == fleet.nodes
            assert heard[-1].gone == {"nodes": [key_of("nodes", fleet.nodes[0])]}
            assert (await store.source()).as_of_ms == 7
            before = seqs[-1]
            await store.close()
            store = await opener()
            assert (await store.commit(told(event(30)))).seq > before
            await store.close()

        run(story())

    def test_batches_at_the_same_time_are_all_kept_once(self, opener: Opener) -> None:
        async def story() -> None:
            store = await opener()

            async def puller(name: str) -> int:
                new = 0
                for at in range(20):
                    first = at * 10 + 1
                    batch = told(*(event(number, node=name) for number in range(max(1, first - 5), first + 10)))
                    new += (await store.commit(batch)).events
                return new

            names = [f"n{at}" for at in range(12)]
            assert await asyncio.gather(*(puller(name) for name in names)) == [200] * len(names)
            for name in names:
                journal = await store.journal(JournalQuery(node_id=name * 2, limit=500))
                assert [one.number for one in journal.items] == list(range(1, 201))
            await store.close()

        run(story())

    def test_a_row_with_odd_texts_comes_back_as_it_was(self, opener: Opener) -> None:
        async def story() -> None:
            store = await opener()
            odd = NodeRow(
                node_id="odd",
                name="Straße \"'%_\\ 漢字 🙂",
                region="",
                attributes={"a": 1.5, "b": "x"},
                load={"x": [None]},
            )
            await store.commit(Batch(rows={"nodes": [odd]}))
            assert await store.get("nodes", ("odd",)) == odd
            for q in ("STRASSE", "%_\\", "漢字", "🙂", "\"'"):
                assert (await store.listed(Query(kind="nodes", q=q))).items == [odd], q
            assert (await store.listed(Query(kind="nodes", q="nothing"))).items == []
            await store.close()

        run(story())
