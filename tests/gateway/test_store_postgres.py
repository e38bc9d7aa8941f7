"""What only the PostgreSQL store promises; what every store promises is in ``store_suite.py``."""

import asyncio
import logging
import random
import sys
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import pytest

from cloud_gateway.model.batch import Batch
from cloud_gateway.model.queries import EventQuery, JournalQuery, Query
from cloud_gateway.model.rows import CommandRow, EventRow, Row, WishRow, key_of
from cloud_gateway.store.eventlog import catalog
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres.store import PostgresStore, open_postgres
from cloud_gateway.store.postgres.wire import SCHEMA, Address, Bounds
from tests.gateway import postgres_kit as kit
from tests.gateway.fleet import Fleet
from tests.gateway.postgres_replica import batch
from tests.gateway.store_suite import Opener, StoreSuite

pytestmark = [pytest.mark.postgres, kit.needs_postgres]
NOW_MS = 1_764_000_000_000
SECRET = "zwiebel77"


@pytest.fixture(scope="module")
def server() -> Iterator[kit.Server]:
    with kit.server() as running:
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name.partition("[")[0][:60]


@pytest.fixture
def url(server: kit.Server, name: str) -> Iterator[str]:
    with kit.database(server, name) as made:
        yield made


class TestPostgres(StoreSuite):
    """All that is promised of every store."""

    @pytest.fixture
    def opener(self, server: kit.Server, name: str) -> Iterator[Opener]:
        async def opened() -> PostgresStore:
            store = await open_postgres(server.url(name), bounds=Bounds(poll_s=0.02))
            await store.lead()
            return store

        with kit.database(server, name):
            yield opened


def leading(url: str, scenario: Callable[[PostgresStore], Awaitable[None]], bounds: Bounds | None = None) -> None:
    """Run a scenario with a store that leads."""

    async def run() -> None:
        store = await open_postgres(url, bounds=bounds)
        try:
            await store.lead()
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


def refusal(url: str) -> str:
    """Why it cannot be opened."""
    with pytest.raises(StoreFailed) as failed:
        asyncio.run(open_postgres(url))
    assert failed.value.__cause__ is None, "a cause may quote what it was given"
    return str(failed.value)


# -- opening --------------------------------------------------------------------------------------------------------


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    assert "pip install 'meshnode[postgres]'" in refusal("postgresql://a@localhost/b")


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://ann:12/{SECRET}@host/db",
        f"postgresql://ann:12#{SECRET}@host/db",
        f"postgresql://ann:12?{SECRET}@host/db",
        f"postgresql://ann:{SECRET}@host:port/db",
        f"mysql://ann:{SECRET}@host/db",
        f"postgresql://ann:{SECRET}@[::1/db",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(address: str) -> None:
    said = refusal(address)
    assert "postgresql://USER@HOST:PORT/DATABASE" in said
    assert SECRET not in said


def test_a_server_that_is_away_is_named_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = refusal(f"postgresql://ann:{SECRET}@127.0.0.1:1/db")
    assert "postgresql://ann@127.0.0.1:1/db cannot be reached" in said
    assert "Is the server running" in said
    assert SECRET not in said + caplog.text + repr(Address(f"postgresql://ann:{SECRET}@127.0.0.1:1/db"))


def test_what_the_server_refuses_is_said_in_plain_words(server: kit.Server, url: str, name: str) -> None:
    assert "Create it: createdb" in refusal(server.url("nothing_here"))
    assert "Check the user" in refusal(server.url(name, user="nobody_here"))
    server.sql("CREATE ROLE guest LOGIN")
    assert "GRANT CREATE ON DATABASE" in refusal(server.url(name, user="guest"))
    server.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert "standby" in refusal(url)


def test_a_schema_made_by_an_administrator_is_enough(server: kit.Server, name: str) -> None:
    server.sql("CREATE ROLE tenant LOGIN")
    with kit.database(server, name):
        server.sql(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION tenant", name)

        async def opens() -> None:
            await (await open_postgres(server.url(name, user="tenant"))).close()

        asyncio.run(opens())


def test_replicas_that_start_at_once_make_the_tables_once(url: str) -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            opening = [tasks.create_task(open_postgres(url), name=f"open-{at}") for at in range(5)]
        stores = [task.result() for task in opening]
        await stores[3].lead()
        assert (await stores[3].commit(batch(0, 0))).events == 5
        for store in stores:
            assert len(await store.cursors()) == 1
            await store.close()

    asyncio.run(scenario())


def test_tables_of_a_newer_gateway_are_left_alone(server: kit.Server, url: str, name: str) -> None:
    async def opens() -> None:
        await (await open_postgres(url)).close()

    asyncio.run(opens())
    server.sql(f"UPDATE {SCHEMA}.schema_version SET version = 99", name)
    assert "newer gateway (version 99" in refusal(url)
    assert server.sql(f"SELECT version FROM {SCHEMA}.schema_version", name) == "99"


def test_acked_means_on_disk_whatever_the_database_says(server: kit.Server, url: str, name: str) -> None:
    server.sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')

    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(0, 0))
        assert store._writing._link is not None
        assert await store._writing._link.fetchrow("SHOW synchronous_commit") == ("on",)

    leading(url, scenario)


def test_a_server_that_does_not_sync_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with kit.server({"fsync": "off"}) as careless, kit.database(careless, "careless") as url:

        async def opens() -> None:
            await (await open_postgres(url)).close()

        asyncio.run(opens())
    assert "a power cut loses what was acked" in caplog.text


# -- committing -----------------------------------------------------------------------------------------------------


def test_a_replica_that_does_not_lead_stores_nothing(url: str) -> None:
    async def scenario() -> None:
        store = await open_postgres(url)
        with pytest.raises(StoreFailed, match="does not lead"):
            await store.commit(batch(0, 0))
        assert not await store.cursors()
        await store.close()

    asyncio.run(scenario())


def test_batches_that_wait_share_a_commit_and_count_their_own_events(url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        async with asyncio.TaskGroup() as tasks:
            # The first goes alone, the others wait for it; one of them comes twice.
            going = [tasks.create_task(store.commit(batch(node, 0)), name="commit") for node in (0, 1, 2, 1, 3)]
        done = [task.result() for task in going]
        assert [one.events for one in done] == [5, 5, 5, 0, 5]
        assert len({one.seq for one in done}) == 2

    leading(url, scenario)


def test_a_cancelled_caller_takes_only_its_own_batch_back(url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(store.commit(batch(0, 0)), name="first")
            second = tasks.create_task(store.commit(batch(1, 0)), name="second")
            third = tasks.create_task(store.commit(batch(2, 0)), name="third")
            await asyncio.sleep(0)
            second.cancel()
        assert (first.result().events, third.result().events) == (5, 5)
        assert sorted(await store.cursors()) == [f"{node:064x}" for node in (0, 2)]

    leading(url, scenario)


def test_texts_that_postgresql_cannot_keep_in_a_column_come_back_whole(url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        wish = WishRow(kind="Agent", namespace="default", name="a\0b")
        other = WishRow(kind="Agent", namespace="default", name="b")
        event = EventRow(node_id="n\0", node="a\0", life=1, boot=1, number=1, at_ms=1, subject="s\0", text="t\0")
        assert (await store.commit(Batch(rows={"wishes": [wish, other]}, events=[event]))).events == 1
        (row,) = (await store.listed(Query(kind="wishes", q="A\0B"))).items
        assert row == wish
        first = await store.listed(Query(kind="wishes", limit=1))
        assert first.items == [wish]
        assert (await store.listed(Query(kind="wishes", after=first.after))).items == [other]
        assert [found.text for found in (await store.events(EventQuery())).items] == ["t\0"]
        await store.commit(Batch(gone={"wishes": [("Agent", "default", "a\0b")]}))
        assert (await store.listed(Query(kind="wishes"))).items == [other]

    leading(url, scenario)


def test_requests_go_in_and_are_answered_through_any_replica(url: str) -> None:
    async def scenario(leader: PostgresStore) -> None:
        other = await open_postgres(url)
        changes = leader.changes()
        asked = CommandRow(command_id="c1", verb="drain", body={"node": "a"}, asked_ms=1)
        await other.ask(asked)
        assert await leader.open_commands(10) == [asked]
        assert (await asyncio.wait_for(anext(changes), 10)).rows == {"commands": [asked]}
        done = CommandRow(command_id="c1", verb="drain", body={"node": "a"}, asked_ms=1, state="applied")
        await leader.tell(done)
        await other.ask(asked)  # again, late: it stays answered
        assert await other.get("commands", ("c1",)) == done
        assert not await other.open_commands(10)
        await other.close()

    leading(url, scenario)


def test_tallies_are_what_counting_would_say_after_any_changes(server: kit.Server, url: str, name: str) -> None:
    fleet = Fleet(12, per_node=6, now_ms=NOW_MS)
    luck = random.Random(7)

    async def scenario(store: PostgresStore) -> None:
        for part in fleet.batches():
            await store.commit(part)
        for _ in range(8):
            some = luck.sample(fleet.instances, 20)
            moved = [msgspec.structs.replace(row, state=luck.choice(("running", "failed", "pending"))) for row in some]
            gone = [key_of("instances", row) for row in luck.sample(fleet.instances, 5)]
            skills = [key_of("skills", row) for row in luck.sample(fleet.offers, 5)]
            await store.commit(Batch(rows={"instances": list[Row](moved)}, gone={"instances": gone, "skills": skills}))
            assert _tallies(server, name) == _counted(server, name)
        # The planted fault: one row behind the back of the triggers.
        server.sql(f"SET session_replication_role = replica; DELETE FROM {SCHEMA}.skills", name)
        assert _tallies(server, name) != _counted(server, name)

    leading(url, scenario)


def _tallies(server: kit.Server, name: str) -> str:
    return server.sql(f"SELECT what, a, b, n FROM {SCHEMA}.tallies WHERE n <> 0 ORDER BY what, a, b", name)


def _counted(server: kit.Server, name: str) -> str:
    return server.sql(
        f"""SET search_path = {SCHEMA};
        SELECT 'agents', agent COLLATE "C" AS a, '' AS b, count(*) FROM instances GROUP BY agent
        UNION ALL SELECT 'skills', skill, '', count(*) FROM skills GROUP BY skill
        UNION ALL SELECT 'trouble', node, '', count(*) FROM instances
            WHERE state IN ('backoff', 'failed', 'unreachable', 'pending') GROUP BY node
        UNION ALL SELECT 'units', region, state, count(*) FROM instances GROUP BY region, state
        ORDER BY 1, 2, 3""",
        name,
    )


# -- the event log --------------------------------------------------------------------------------------------------


def test_events_are_found_in_runs_as_before_and_only_the_oldest_go(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "RUN_SEGMENTS_MAX", 8)

    async def scenario(leader: PostgresStore) -> None:
        reader = await open_postgres(url)
        for number in range(0, 100, 5):
            await leader.commit(batch(0, number))
            await leader.commit(batch(1, number))
            # One reader is there all the time, and sees runs come and segments go.
            page = await reader.journal(JournalQuery(node_id=f"{0:064x}", life=1, number=number))
            assert [event.number for event in page.items] == list(range(number + 1, number + 6))
        sizes = await leader.sizes()
        assert sizes["store_runs"] == 5
        for store in (leader, reader, fresh := await open_postgres(url)):
            found = await store.journal(JournalQuery(node_id=f"{1:064x}", limit=500))
            assert [event.number for event in found.items] == list(range(1, 101))
            newest = await store.events(EventQuery(limit=500))
            assert len(newest.items) == 200
        await fresh.close()
        await reader.close()

    leading(url, scenario)


def test_the_log_stays_in_its_budget_and_says_since_when_it_knows(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "RUN_SEGMENTS_MAX", 4)

    async def scenario(leader: PostgresStore) -> None:
        reader = await open_postgres(url)
        for number in range(0, 200, 5):
            await leader.commit(batch(0, number))
            await reader.events(EventQuery(limit=1))
        for store in (leader, reader):
            page = await store.events(EventQuery(limit=500))
            numbers = [event.number for event in page.items]
            assert numbers == list(range(200, 200 - len(numbers), -1))
            assert 20 <= len(numbers) < 200
            assert page.searched_to_ms == page.items[-1].at_ms
        await reader.close()

    leading(url, scenario, Bounds(events_bytes_max=1000))


# -- a server in trouble --------------------------------------------------------------------------------------------


def test_a_question_waits_no_longer_than_it_may(server: kit.Server, url: str, name: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        blocker = await store._wire.connect(60)
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE nodes")
            with pytest.raises(StoreFailed, match=r"did not answer|lock timeout"):
                await asyncio.wait_for(store.listed(Query(kind="nodes")), 10)
        await blocker.close()
        assert not (await store.listed(Query(kind="nodes"))).items

    leading(url, scenario, Bounds(read_s=0.3))


def test_a_server_that_comes_back_is_used_again_by_itself(server: kit.Server, url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        rows: list[Row] = [WishRow(kind="Agent", namespace="default", name="words")]
        await store.commit(Batch(rows={"wishes": rows}))
        server.stop()
        for question in (
            store.overview(),
            store.ask(CommandRow(command_id="c", verb="drain", body={})),
            store.source(),
        ):
            with pytest.raises(StoreFailed, match=r"cannot be reached|ended the connection"):
                await question
        server.start()
        assert (await store.listed(Query(kind="wishes"))).items == rows
        await store.lead()
        assert (await store.commit(batch(0, 0))).events == 5

    leading(url, scenario)
