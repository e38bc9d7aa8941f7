"""``Store`` on one SQLite file."""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
import zstandard

from cloud_gateway.model.batch import Batch, Changes, Committed
from cloud_gateway.model.queries import (
    AgentCount,
    AgentQuery,
    EventQuery,
    EventsListed,
    GridCell,
    JournalListed,
    JournalQuery,
    Listed,
    LoadQuery,
    Overview,
    Query,
    RegionCount,
    SkillQuery,
    Told,
)
from cloud_gateway.model.rows import CommandRow, CursorRow, GapRow, Key, LoadSpan, OfferRow, Row, SourceRow
from cloud_gateway.store.eventlog.catalog import Snapshot
from cloud_gateway.store.eventlog.journal import journal
from cloud_gateway.store.eventlog.search import drive, search
from cloud_gateway.store.feed import Feed
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.sqlite import loadtables
from cloud_gateway.store.sqlite.commits import Commits, Outcome, Work
from cloud_gateway.store.sqlite.eventtables import answer
from cloud_gateway.store.sqlite.offers import Offers
from cloud_gateway.store.sqlite.pages import Pages
from cloud_gateway.store.sqlite.schema import LIVE, MEMORY, Opened, opened, reader
from cloud_gateway.store.sqlite.writer import Writer

log = logging.getLogger(__name__)

EVENT_BYTES_MAX = 8 * 1024**3
_READERS = 2
_SNAPSHOT_TRIES = 50
AnswerT = TypeVar("AnswerT")


async def open_sqlite(path: str, *, event_bytes_max: int = EVENT_BYTES_MAX) -> "SqliteStore":
    """Open or begin a store; ``event_bytes_max``: the oldest events go where theirs take more."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: SqliteStore(opened(path), loop, event_bytes_max))


class SqliteStore:
    """One writing thread, a few reading ones. See ``Store``."""

    def __init__(self, files: Opened, loop: asyncio.AbstractEventLoop, event_bytes_max: int) -> None:
        self._files, self._loop = files, loop
        self._commits = Commits(files, event_bytes_max, self._tell)
        self._pages = Pages(self._commits.tallies)
        self._offers = Offers(self._commits.tallies, self._commits.fitness, self._pages)
        self._feed = Feed()
        self._writer: Writer[Work, Outcome] = Writer(self._commits.perform, self._commits.rest, files.path)
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        # Taken and given back at its end: the one used last is used next, and has in its cache what is asked for.
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    # -- writing -----------------------------------------------------------------------------------------------------

    async def lead(self) -> None:
        return

    async def commit(self, batch: Batch) -> Committed:
        outcome = await self._submit(Work(batch))
        return Committed(outcome.seq, outcome.events)

    async def cursors(self) -> dict[str, CursorRow]:
        return self._commits.live.all()

    async def keys(self, kind: str) -> dict[Key, int]:
        if kind == LIVE:
            return self._commits.live.keys()
        return await self._read(lambda connection: self._pages.keys(connection, kind))

    # -- requests ----------------------------------------------------------------------------------------------------

    async def ask(self, command: CommandRow) -> None:
        await self._submit(Work(Batch(rows={"commands": [command]}), unless_known=True))

    async def open_commands(self, limit: int) -> list[CommandRow]:
        query = Query(kind="commands", where={"state": ["queued", "accepted"]}, sort="asked_ms", limit=limit)
        return [row for row in (await self.listed(query)).items if isinstance(row, CommandRow)]

    async def tell(self, command: CommandRow) -> None:
        await self._submit(Work(Batch(rows={"commands": [command]})))

    # -- reading -----------------------------------------------------------------------------------------------------

    async def listed(self, query: Query) -> Listed:
        if query.kind == LIVE:
            return await self._read(lambda _: self._commits.live.listed(query))
        return await self._read(lambda connection: self._pages.listed(connection, query))

    async def told(self, query: Query) -> Told:
        if query.kind == LIVE:
            return await self._read(lambda _: self._commits.live.told(query))
        return await self._read(lambda connection: self._pages.told(connection, query))

    async def get(self, kind: str, key: Key) -> Row | None:
        if kind == LIVE:
            return self._commits.live.get(key)
        return await self._read(lambda connection: self._pages.get(connection, kind, key))

    async def named(self, name: str) -> Row | None:
        return await self._read(lambda connection: self._pages.named(connection, name))

    async def agents(self, query: AgentQuery) -> list[AgentCount]:
        def counted(connection: sqlite3.Connection) -> list[AgentCount]:
            def newest(agent: str, region: str) -> int:
                return self._pages.newest_version(connection, agent, region)

            return self._commits.tallies.agents(query, newest)

        return await self._read(counted)

    async def skills(self, query: SkillQuery) -> tuple[Sequence[OfferRow], int]:
        return await self._read(lambda connection: self._offers.ranked(connection, query))

    async def events(self, query: EventQuery) -> EventsListed:
        origins = self._commits.events.origins

        def found(connection: sqlite3.Connection, snapshot: Snapshot) -> EventsListed:
            return drive(search(query, snapshot, origins), lambda need: answer(connection, need))

        return await self._read_events(found)

    async def journal(self, query: JournalQuery) -> JournalListed:
        origins = self._commits.events.origins

        def found(connection: sqlite3.Connection, snapshot: Snapshot) -> JournalListed:
            gaps = self._pages.of_node(connection, "gaps", query.node_id)
            kept = [gap for gap in gaps if isinstance(gap, GapRow)]
            return drive(journal(query, snapshot, origins, kept), lambda need: answer(connection, need))

        return await self._read_events(found)

    async def loads(self, query: LoadQuery) -> dict[str, list[LoadSpan]]:
        origins = self._commits.events.origins.of_node(query.node_id)
        now_ms = int(time.time() * 1000)
        return await self._read(lambda connection: loadtables.told(connection, query, origins, now_ms))

    async def overview(self) -> Overview:
        return self._commits.tallies.overview(self._commits.events.catalog.events)

    async def regions(self) -> list[RegionCount]:
        return self._commits.tallies.regions()

    async def grid(self) -> dict[str, list[GridCell]]:
        return self._commits.tallies.grid()

    async def source(self) -> SourceRow:
        return self._commits.source

    def changes(self) -> AsyncIterator[Changes]:
        return self._feed.changes()

    async def sizes(self) -> dict[str, int]:
        catalog = self._commits.events.catalog
        return {
            "store_bytes": _size(self._files.path),
            "store_wal_bytes": _size(f"{self._files.path}-wal"),
            "store_event_bytes": sum(run.body_bytes for run in catalog.runs),
            "store_events": catalog.events,
            "store_segments_recent": len(catalog.recent),
            "store_runs": len(catalog.runs),
            "store_commits": self._commits.commits,
            "store_origins": len(self._commits.events.origins),
        }

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._feed.close()
        await self._loop.run_in_executor(None, self._close)

    # -- threads -----------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        self._writer.close()
        self._pool.shutdown()
        for connection in self._idle:
            connection.close()
        self._files.writer.close()
        self._commits.live.close()
        if self._files.lock is not None:
            os.close(self._files.lock)

    def _tell(self, changes: Changes) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._feed.tell, changes)

    async def _submit(self, work: Work) -> Outcome:
        return await asyncio.wrap_future(self._writer.submit(work))

    async def _read(self, ask: Callable[[sqlite3.Connection], AnswerT]) -> AnswerT:
        if self._closed:
            raise StoreFailed(f"{self._files.path} is closed")
        return await self._loop.run_in_executor(self._pool, self._asked, ask)

    def _asked(self, ask: Callable[[sqlite3.Connection], AnswerT]) -> AnswerT:
        try:
            if self._files.path == MEMORY:
                with self._files.guard:
                    return ask(self._files.writer)
            connection = self._connection()
            try:
                # One snapshot for all that is read: a row and its body are never of two commits.
                connection.execute("BEGIN")
                try:
                    return ask(connection)
                finally:
                    connection.execute("COMMIT")
            finally:
                self._idle.append(connection)
        except (sqlite3.Error, zstandard.ZstdError, msgspec.DecodeError) as error:
            raise StoreFailed(f"{self._files.path} cannot be read: {error}") from error

    async def _read_events(self, ask: Callable[[sqlite3.Connection, Snapshot], AnswerT]) -> AnswerT:
        """With a snapshot of the catalog and one of the file that belong together."""

        def asked(connection: sqlite3.Connection) -> AnswerT:
            for _ in range(_SNAPSHOT_TRIES):
                newest = connection.execute("SELECT max(no) FROM runs").fetchone()[0] or 0
                snapshot = self._commits.events.catalog.snapshot()
                # A run that only one of the two knows would hide its events from this search.
                if newest == (snapshot.runs[-1].no if snapshot.runs else 0):
                    return ask(connection, snapshot)
                connection.execute("COMMIT")
                time.sleep(0.002)
                connection.execute("BEGIN")
            raise StoreFailed(f"{self._files.path}: no quiet moment to read; ask again")

        return await self._read(asked)

    def _connection(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return reader(self._files.path)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
