"""What one group of batches writes, in one transaction, and what memory knows after it."""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from cloud_gateway.model.batch import Batch, Changes
from cloud_gateway.model.rows import CURRENT, CursorRow, EventRow, Key, LoadPoint, NodeRow, Row, SourceRow, key_of
from cloud_gateway.store.fitness import Fitness
from cloud_gateway.store.sqlite import loadtables
from cloud_gateway.store.sqlite.eventtables import EventTables
from cloud_gateway.store.sqlite.live import LiveCursors
from cloud_gateway.store.sqlite.pages import Pages
from cloud_gateway.store.sqlite.schema import LIVE, Opened
from cloud_gateway.store.sqlite.tables import all_changes, tables
from cloud_gateway.store.tallies import Change, Tallies

log = logging.getLogger(__name__)

_SEQS_RESERVED = 1_000_000
_FORGET_EVERY_S = 600.0

DoneT = TypeVar("DoneT")


class Work(NamedTuple):
    """``unless_known``: rows whose key is there already stay as they are."""

    batch: Batch
    unless_known: bool = False


class Outcome(NamedTuple):
    """See ``Committed``."""

    seq: int
    events: int


class _Group(msgspec.Struct):
    """What several batches come to."""

    rows: dict[str, dict[Key, Row | None]]
    events: list[EventRow] = []
    loads: list[LoadPoint] = []
    new: list[int] = []
    source: SourceRow | None = None
    changes: list[Change] = []

    def of(self, kind: str) -> tuple[list[Row], list[Key]]:
        """What stays of a kind: rows, and keys that go."""
        rows = self.rows[kind]
        return [row for row in rows.values() if row is not None], [key for key, row in rows.items() if row is None]


class Commits:
    """Owned by the writing thread, ``tallies``, ``fitness``, ``live``, ``events`` and ``source`` are read by others."""

    def __init__(self, files: Opened, event_bytes_max: int, tell: Callable[[Changes], None]) -> None:
        self._connection, self._guard = files.writer, files.guard
        self._event_bytes_max, self._tell = event_bytes_max, tell
        self.tallies, self.fitness = Tallies(), Fitness()
        self.events = EventTables(self._connection)
        self.live = LiveCursors(self.events.cursors(self._connection).values())
        self._tables, self._pages = tables(), Pages(self.tallies)
        self.source = self._stored_source()
        self.commits = 0
        self._dirty: dict[str, CursorRow] = {}
        self._forget_at = 0.0
        self._seq = self._seq_end = 0
        self._load()

    def perform(self, work: Sequence[Work]) -> list[Outcome]:
        """Durable when it returns; raises ``sqlite3.Error`` and the like when nothing of it is stored."""
        group = _Group({kind: {} for kind in CURRENT})
        self.events.begin()
        with self._guard:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for one in work:
                    self._take(group, one)
                self._write(group)
                self._next_seq()
                self._connection.execute("COMMIT")
            except BaseException:
                self.events.lost()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._kept(group)
        return [Outcome(self._seq, new) for new in group.new]

    def rest(self) -> None:
        """Upkeep between two commits: runs, and what is too old."""
        try:
            if self.events.catalog.due:
                self._fold()
            while self._over():
                self._drop()
            if time.monotonic() >= self._forget_at:
                self._forget_at = time.monotonic() + _FORGET_EVERY_S
                self._transaction(lambda: loadtables.forget(self._connection, _now_ms()))
        except sqlite3.Error as error:
            # Nothing is lost by it: what could not be put in order stays as it is, and is tried after the next commit.
            log.warning("upkeep of the store failed", extra={"why": str(error)})

    # -- one group ---------------------------------------------------------------------------------------------------

    def _take(self, group: _Group, work: Work) -> None:
        batch = work.batch
        for kind, rows in batch.rows.items():
            for row in rows:
                key = key_of(kind, row)
                if not (work.unless_known and self._known(group, kind, key)):
                    group.rows[kind][key] = row
        for kind, keys in batch.gone.items():
            group.rows[kind].update((tuple(key), None) for key in keys)
        cursors = [row for row in batch.rows.get(LIVE, ()) if isinstance(row, CursorRow)]
        new = self.events.fresh(batch.events, cursors)
        group.events.extend(new)
        group.new.append(len(new))
        group.loads.extend(batch.loads)
        group.source = batch.source or group.source

    def _known(self, group: _Group, kind: str, key: Key) -> bool:
        return group.rows[kind].get(key) is not None or self._pages.get(self._connection, kind, key) is not None

    def _write(self, group: _Group) -> None:
        for kind in CURRENT:
            rows, gone = group.of(kind)
            if kind == LIVE:
                self._write_cursors(group, rows, gone)
                continue
            group.changes += self._tables[kind].put(self._connection, rows)
            group.changes += self._tables[kind].delete(self._connection, gone)
        loadtables.count_in(self._connection, group.loads, self.events.origin_of, _now_ms())
        self.events.write_origins(self._connection)
        if group.source is not None and _settled(group.source) != _settled(self.source):
            self._put_meta("source", msgspec.msgpack.encode(group.source))

    def _write_cursors(self, group: _Group, rows: Sequence[Row], gone: Sequence[Key]) -> None:
        cursors = [row for row in rows if isinstance(row, CursorRow)]
        self.events.write(self._connection, group.events, cursors, [str(node_id) for (node_id,) in gone])

    def _kept(self, group: _Group) -> None:
        self.commits += 1
        self.events.kept()
        self.tallies.apply(group.changes)
        cursors, gone = group.of(LIVE)
        kept = [row for row in cursors if isinstance(row, CursorRow)]
        self.live.put(kept)
        self.live.delete(gone)
        self._dirty.update((cursor.node_id, cursor) for cursor in kept)
        for (node_id,) in gone:
            self._dirty.pop(str(node_id), None)
        self.fitness.put(row for row in group.rows["nodes"].values() if isinstance(row, NodeRow))
        self.fitness.delete(str(old[1]) for kind, old, new in group.changes if kind == "nodes" and old and not new)
        self.source = group.source or self.source
        self._tell(
            Changes(
                seq=self._seq,
                at_ms=_now_ms(),
                rows={kind: rows for kind in CURRENT if (rows := group.of(kind)[0])},
                gone={kind: keys for kind in CURRENT if (keys := group.of(kind)[1])},
                events=group.events,
                source=group.source,
            )
        )

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def _fold(self) -> None:
        run = self._transaction(lambda: self.events.fold(self._connection, self._dirty.values()))
        self._dirty = {}
        self.events.logged.clear()
        self.events.folded(run)

    def _over(self) -> bool:
        runs = self.events.catalog.runs
        return len(runs) > 1 and sum(run.body_bytes for run in runs) > self._event_bytes_max

    def _drop(self) -> None:
        self.events.catalog.drop_run(self._transaction(lambda: self.events.drop_oldest(self._connection)))

    def _transaction(self, write: Callable[[], DoneT]) -> DoneT:
        with self._guard:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                done = write()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return done

    # -- at a start --------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        self.tallies.apply(all_changes(self._connection))
        self.fitness.put(row for row in self._pages.everything(self._connection, "nodes") if isinstance(row, NodeRow))
        # What the log of cursors holds goes to its table with the next run.
        self._dirty = {node_id: cursor for node_id, cursor in self.live.all().items() if node_id in self.events.logged}
        self._seq = self._seq_end = int(self._meta("seq") or 0)

    def _next_seq(self) -> None:
        """Numbers are reserved in advance: a store that starts again begins behind all that it may have given."""
        if self._seq >= self._seq_end:
            self._seq_end = self._seq + _SEQS_RESERVED
            self._put_meta("seq", self._seq_end)
        self._seq += 1

    def _stored_source(self) -> SourceRow:
        body = self._meta("source")
        return msgspec.msgpack.decode(body, type=SourceRow) if isinstance(body, bytes) else SourceRow()

    def _meta(self, name: str) -> bytes | int | None:
        found = self._connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return found[0] if found else None

    def _put_meta(self, name: str, value: bytes | int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))


def _settled(source: SourceRow) -> SourceRow:
    """Without what changes every second: it would cost a page with each commit."""
    return msgspec.structs.replace(source, as_of_ms=0)


def _now_ms() -> int:
    return int(time.time() * 1000)
