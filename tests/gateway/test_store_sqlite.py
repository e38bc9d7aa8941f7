"""The SQLite store keeps what every store promises, and what only a file can break."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud_gateway.model.batch import Batch
from cloud_gateway.model.queries import EventQuery, JournalQuery, Query
from cloud_gateway.model.rows import NodeRow, Row
from cloud_gateway.store import StoreFailed, open_store
from cloud_gateway.store.eventlog import catalog
from cloud_gateway.store.port import Store
from cloud_gateway.store.sqlite import schema
from cloud_gateway.store.sqlite.store import open_sqlite
from cloud_gateway.store.sqlite.writer import Writer
from tests.gateway import store_crash
from tests.gateway.fleet import Fleet
from tests.gateway.store_suite import Opener, StoreSuite, all_events, event, now_ms, told


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        async def opened() -> Store:
            return await open_store(f"sqlite:{tmp_path / 'gateway.db'}")

        return opened


def refusal(url: str) -> str:
    """Why a store is not opened."""

    async def story() -> str:
        with pytest.raises(StoreFailed) as caught:
            await open_store(url)
        return str(caught.value)

    return asyncio.run(story())


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 120))


def test_memory_keeps_what_a_file_keeps_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def story() -> None:
        store = await open_store("sqlite::memory:")
        fleet = Fleet(40, per_node=2, now_ms=now_ms())
        for batch in (*fleet.batches(), *(fleet.events(5, spread_ms=9) for _ in range(300))):
            await store.commit(batch)
        assert len(await all_events(store, EventQuery(limit=500))) == 1500
        assert len((await store.listed(Query(kind="nodes", q="amst"))).items) == 4
        await asyncio.gather(*(store.listed(Query(kind="nodes")) for _ in range(50)), store.commit(fleet.events(3)))
        await store.close()

    run(story())
    assert not list(tmp_path.iterdir())


def test_an_unknown_store_is_refused_with_what_to_write() -> None:
    assert "write sqlite:PATH" in refusal("mysql://x")


def test_two_gateways_never_share_a_file(tmp_path: Path) -> None:
    async def story() -> None:
        url = f"sqlite:{tmp_path / 'gateway.db'}"
        store = await open_store(url)
        with pytest.raises(StoreFailed, match="in use by another gateway; stop that one"):
            await open_store(url)
        await store.close()
        await (await open_store(url)).close()

    run(story())


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    assert "is not a store of the gateway; nothing was changed" in refusal(f"sqlite:{path}")
    (tmp_path / "text.db").write_text("not a database at all, and long enough to be looked at" * 50)
    assert "Move it" in refusal(f"sqlite:{tmp_path / 'text.db'}")
    (tmp_path / "file").write_text("")
    assert "name a directory you may write to" in refusal(f"sqlite:{tmp_path / 'file' / 'gateway.db'}")


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story() -> None:
        await (await open_store(f"sqlite:{path}")).close()

    run(story())
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    connection.close()
    assert "written by a newer gateway" in refusal(f"sqlite:{path}")


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story() -> None:
        store = await open_store(f"sqlite:{path}")
        for batch in Fleet(50, now_ms=now_ms()).batches():
            await store.commit(batch)
        await store.close()

    run(story())
    data = bytearray(path.read_bytes())
    luck = random.Random(1)
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = luck.randbytes(64)
    path.write_bytes(data)
    text = refusal(f"sqlite:{path}")
    assert "is damaged" in text
    assert "current rows come back" in text


def test_a_full_disk_refuses_the_batch_and_the_store_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async def story() -> None:
        store = await open_sqlite(str(tmp_path / "gateway.db"))
        await store.commit(told(event(1)))
        pages = store._files.writer.execute("PRAGMA page_count").fetchone()[0]
        store._files.writer.execute(f"PRAGMA max_page_count={pages}")
        big = told(*(event(number, text=random.Random(number).randbytes(2000).hex()) for number in range(2, 80)))
        with pytest.raises(StoreFailed, match="the disk is full; nothing of this was stored"):
            await store.commit(big)
        assert (await store.cursors())["aa"].number == 1
        store._files.writer.execute("PRAGMA max_page_count=1000000")
        assert (await store.commit(big)).events == 78
        assert len((await store.journal(JournalQuery(node_id="aa", limit=500))).items) == 79
        await store.close()

    run(story())


def test_a_failed_sync_ends_all_writing_for_good() -> None:
    calls: list[int] = []

    class SyncFailed(sqlite3.OperationalError):
        sqlite_errorname = "SQLITE_IOERR_FSYNC"

    def perform(work: object) -> list[int]:
        calls.append(1)
        raise SyncFailed("disk I/O error")

    writer: Writer[int, int] = Writer(perform, lambda: None, "gateway.db")
    with pytest.raises(StoreFailed, match="could not be synced"):
        writer.submit(1).result(10)
    with pytest.raises(StoreFailed, match="could not be synced"):
        writer.submit(2)
    writer.close()
    assert len(calls) == 1


def test_a_batch_that_cannot_be_stored_takes_no_other_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = await open_store(f"sqlite:{tmp_path / 'gateway.db'}")
        odd = Batch(rows={"nodes": list[Row]([NodeRow(node_id="x", name="x", agents=2**70)])})
        batches = [told(event(number, node=f"n{at}")) for at, number in enumerate([1] * 20)]
        outcomes = await asyncio.gather(
            *(store.commit(batch) for batch in (*batches[:10], odd, *batches[10:])), return_exceptions=True
        )
        assert [type(outcome).__name__ for outcome in outcomes].count("StoreFailed") == 1
        assert isinstance(outcomes[10], StoreFailed)
        assert len(await store.cursors()) == 20
        assert await store.get("nodes", ("x",)) is None
        await store.close()

    run(story())


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run every few commits instead of every few hundred."""
    monkeypatch.setattr(catalog, "RUN_SEGMENTS_MAX", 12)


@pytest.mark.usefixtures("short_runs")
def test_the_oldest_events_go_when_they_take_too_much_and_the_answer_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        store = await open_sqlite(str(tmp_path / "gateway.db"), event_bytes_max=200_000)
        fleet = Fleet(20, now_ms=now_ms())
        written = 0
        for _ in range(250):
            await store.commit(fleet.events(20, body_bytes=300, spread_ms=5))
            fleet.now_ms += 10
            written += 20
        for _ in range(2):
            listed = await store.events(EventQuery(limit=500))
            events = list(listed.items)
            while listed.after:
                listed = await store.events(EventQuery(limit=500, after=listed.after))
                events += listed.items
            assert 100 < len(events) < written
            assert (await store.overview()).events_total == len(events)
            assert events[-1].at_ms - 1_000 < listed.searched_to_ms <= events[-1].at_ms
            await store.close()
            store = await open_sqlite(str(tmp_path / "gateway.db"), event_bytes_max=200_000)
        await store.close()

    run(story())


@pytest.mark.usefixtures("short_runs")
def test_readers_see_whole_commits_while_runs_are_made(tmp_path: Path) -> None:
    async def story() -> None:
        store = await open_store(f"sqlite:{tmp_path / 'gateway.db'}")
        done = threading.Event()

        async def write() -> None:
            for number in range(1, 300):
                await store.commit(told(event(number)))
            done.set()

        async def read() -> None:
            seen = 0
            while not done.is_set():
                page = await store.journal(JournalQuery(node_id="aa", limit=500, number=max(0, seen - 100), life=1))
                numbers = [one.number for one in page.items]
                assert numbers == list(range(max(0, seen - 100) + 1, max(0, seen - 100) + 1 + len(numbers)))
                assert not numbers or numbers[-1] >= seen
                seen = numbers[-1] if numbers else seen

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(), name="write")
            tasks.create_task(read(), name="read")
        await store.close()

    run(story())


@pytest.mark.real
def test_a_kill_at_any_moment_loses_nothing_acked_and_doubles_nothing(tmp_path: Path) -> None:
    path, luck = tmp_path / "gateway.db", random.Random(11)

    async def story() -> None:
        acked: dict[str, int] = {}
        for _ in range(5):
            acked |= await store_crash.run_and_kill(f"sqlite:{path}", luck.randrange(5, 500))
            assert await store_crash.faults(f"sqlite:{path}", acked) == []
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()

    run(story())


@pytest.mark.real
def test_a_store_that_acks_before_it_commits_is_found_out(tmp_path: Path) -> None:
    async def story() -> None:
        url = f"sqlite:{tmp_path / 'gateway.db'}"
        acked = await store_crash.run_and_kill(url, 60, hasty=True)
        assert any("are lost" in fault for fault in await store_crash.faults(url, acked))

    run(story())


def test_events_that_are_there_twice_are_found_out(tmp_path: Path) -> None:
    """The planted fault of the other kind: a segment that was written twice."""
    path = tmp_path / "gateway.db"

    async def story() -> None:
        store = await open_store(f"sqlite:{path}")
        await store.commit(store_crash.batch_of("n0", 1))
        await store.close()
        connection = sqlite3.connect(path)
        connection.execute("INSERT INTO segments (body) SELECT body FROM segments")
        connection.commit()
        connection.close()
        acked = {"n0": store_crash.EVENTS}
        assert await store_crash.faults(f"sqlite:{path}", acked) == [f"{store_crash.EVENTS} events are there twice"]

    run(story())


def test_fields_added_later_read_from_older_bodies() -> None:
    from cloud_gateway.store.columns import LAYOUTS

    layout = LAYOUTS["nodes"]
    row = NodeRow(node_id="a", name="a", as_of_ms=5)
    told = msgspec.json.decode(layout.body(row))
    older = msgspec.json.encode({name: told[name] for name in told if name != "as_of_ms"})
    assert layout.row(older) == msgspec.structs.replace(row, as_of_ms=0)
