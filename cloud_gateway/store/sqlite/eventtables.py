"""Segments, runs, origins and cursors in the file: what one transaction writes, and what memory takes over after it."""

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from cloud_gateway.model.rows import CursorRow, EventRow
from cloud_gateway.store.eventlog import cursor_log
from cloud_gateway.store.eventlog.catalog import Catalog, groups
from cloud_gateway.store.eventlog.run import RunHead, made_run
from cloud_gateway.store.eventlog.search import Need, NeedDirectory, NeedPosts, NeedSegment
from cloud_gateway.store.eventlog.segment import (
    Events,
    Head,
    Origin,
    Origins,
    columns_of,
    head_of,
    joined,
    pack,
    pieces,
    unpack,
)

Place = tuple[int, int]


class EventTables:
    """Owned by the writing thread; ``catalog`` and ``origins`` are read by others. After ``write`` call ``kept`` or
    ``lost``, according to how the transaction ended."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.catalog, self.origins = Catalog(), Origins()
        self.logged: set[str] = set()  # nodes whose cursor is not in its table yet
        self._places: dict[str, Place] = {}
        self._next = 1
        self._moved: dict[str, Place] = {}
        self._heads: list[Head] = []
        self._origins_before = 0
        self._load(connection)

    def cursors(self, connection: sqlite3.Connection) -> dict[str, CursorRow]:
        """The newest of each node."""
        found: dict[str, CursorRow] = {}
        for (body,) in connection.execute("SELECT body FROM cursors"):
            cursor = msgspec.msgpack.decode(body, type=CursorRow)
            found[cursor.node_id] = cursor
        for (body,) in connection.execute("SELECT body FROM cursor_log ORDER BY no"):
            cursors, gone = cursor_log.unpack(body, self.origins)
            found.update((cursor.node_id, cursor) for cursor in cursors)
            self.logged.update(cursor.node_id for cursor in cursors)
            for node_id in gone:
                found.pop(node_id, None)
        return found

    def begin(self) -> None:
        self._moved, self._heads, self._origins_before = {}, [], len(self.origins)

    def fresh(self, events: Iterable[EventRow], cursors: Iterable[CursorRow]) -> list[EventRow]:
        """Those that are not committed yet; from now on they count as such."""
        new: list[EventRow] = []
        for event in events:
            place = (event.life, event.number)
            if place > self._place(event.node_id):
                self._moved[event.node_id] = place
                new.append(event)
        for cursor in cursors:
            place = (cursor.life, cursor.number)
            if place > self._place(cursor.node_id):
                self._moved[cursor.node_id] = place
        return new

    def write(
        self,
        connection: sqlite3.Connection,
        events: Sequence[EventRow],
        cursors: Sequence[CursorRow],
        gone: Sequence[str],
    ) -> None:
        for piece in pieces(events):
            self._write_segment(connection, columns_of(piece, self.origins))
        if cursors or gone:
            body = cursor_log.pack(cursors, gone, self.origins)
            connection.execute("INSERT INTO cursor_log (body) VALUES (?)", (body,))
            connection.executemany("DELETE FROM cursors WHERE node_id=?", [(node_id,) for node_id in gone])

    def origin_of(self, node_id: str) -> int:
        """For loads: an origin without a name."""
        return self.origins.number_of(node_id)

    def write_origins(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            "INSERT INTO origins (no, node_id, node, region) VALUES (?, ?, ?, ?)",
            [(no, *origin) for no, origin in self.origins.fresh()],
        )

    def kept(self) -> None:
        self._places.update(self._moved)
        self.catalog.add(self._heads)
        self.begin()

    def lost(self) -> None:
        self.origins.forget(self._origins_before)
        self._next -= len(self._heads)
        self.begin()

    def fold(self, connection: sqlite3.Connection, cursors: Iterable[CursorRow]) -> RunHead:
        """Make a run of the recent segments, in the caller's transaction; ``folded`` takes it over."""
        connection.executemany(
            "INSERT OR REPLACE INTO cursors (node_id, body) VALUES (?, ?)",
            [(cursor.node_id, msgspec.msgpack.encode(cursor)) for cursor in cursors],
        )
        connection.execute("DELETE FROM cursor_log")
        heads = [self._joined(connection, group) for group in groups(self.catalog.recent)]
        (size,) = connection.execute(
            "SELECT sum(length(body)) FROM segments WHERE no BETWEEN ? AND ?", (heads[0].no, self.catalog.recent[-1].no)
        ).fetchone()
        run = made_run(self._run_last + 1, heads, size)
        # The last number of the range, also where the last segments were joined to one before.
        head = run.head._replace(last_segment=self.catalog.recent[-1].no)
        connection.execute(
            "INSERT INTO runs (no, head, directory) VALUES (?, ?, ?)",
            (head.no, msgspec.msgpack.encode(head), run.directory),
        )
        connection.executemany(
            "INSERT INTO posts (run, first, last, body) VALUES (?, ?, ?, ?)",
            [(head.no, *block) for block in run.blocks],
        )
        return head

    def folded(self, run: RunHead) -> None:
        self._run_last = run.no
        self.catalog.add_run(run)

    def drop_oldest(self, connection: sqlite3.Connection) -> RunHead:
        """In the caller's transaction; afterwards ``catalog.drop_run``."""
        run = self.catalog.runs[0]
        connection.execute("DELETE FROM segments WHERE no BETWEEN ? AND ?", (run.first_segment, run.last_segment))
        connection.execute("DELETE FROM posts WHERE run=?", (run.no,))
        connection.execute("DELETE FROM runs WHERE no=?", (run.no,))
        dropped_ms = max(self.catalog.dropped_ms, run.last_ms + 1)
        connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('dropped_ms', ?)", (dropped_ms,))
        return run

    def _joined(self, connection: sqlite3.Connection, group: Sequence[Head]) -> Head:
        if len(group) == 1:
            return group[0]
        parts = [
            unpack(connection.execute("SELECT body FROM segments WHERE no=?", (head.no,)).fetchone()[0])
            for head in group
        ]
        events = joined(parts)
        connection.execute("DELETE FROM segments WHERE no BETWEEN ? AND ?", (group[0].no, group[-1].no))
        connection.execute("INSERT INTO segments (no, body) VALUES (?, ?)", (group[0].no, pack(events)))
        return head_of(group[0].no, events, self.origins)

    def _write_segment(self, connection: sqlite3.Connection, events: Events) -> None:
        connection.execute("INSERT INTO segments (no, body) VALUES (?, ?)", (self._next, pack(events)))
        self._heads.append(head_of(self._next, events, self.origins))
        self._next += 1

    def _place(self, node_id: str) -> Place:
        return self._moved.get(node_id) or self._places.get(node_id) or (0, 0)

    def _load(self, connection: sqlite3.Connection) -> None:
        for no, node_id, node, region in connection.execute(
            "SELECT no, node_id, node, region FROM origins ORDER BY no"
        ):
            self.origins.add(no, Origin(node_id, node, region))
        for (body,) in connection.execute("SELECT head FROM runs ORDER BY no"):
            self.catalog.add_run(msgspec.msgpack.decode(body, type=RunHead))
        dropped = connection.execute("SELECT value FROM meta WHERE name='dropped_ms'").fetchone()
        self.catalog.dropped_ms = int(dropped[0]) if dropped else 0
        last = self.catalog.runs[-1].last_segment if self.catalog.runs else 0
        self._run_last = self.catalog.runs[-1].no if self.catalog.runs else 0
        self._next = last + 1
        for no, body in connection.execute("SELECT no, body FROM segments WHERE no>? ORDER BY no", (last,)):
            self.catalog.add([head_of(no, unpack(body), self.origins)])
            self._next = no + 1
        for node_id, cursor in self.cursors(connection).items():
            self._places[node_id] = (cursor.life, cursor.number)
        self._catch_up()

    def _catch_up(self) -> None:
        """Events beyond their cursor count as committed, too: they are."""
        for head in self.catalog.recent:
            for span in head.all_spans():
                node_id = self.origins[span.origin].node_id
                self._places[node_id] = max(self._places.get(node_id, (0, 0)), (span.life, span.last))


def answer(connection: sqlite3.Connection, need: Need) -> Sequence[bytes]:
    """What a search asks for."""
    match need:
        case NeedSegment(no):
            rows = connection.execute("SELECT body FROM segments WHERE no=?", (no,))
        case NeedDirectory(run):
            rows = connection.execute("SELECT directory FROM runs WHERE no=?", (run,))
        case NeedPosts(run, origins):
            rows = connection.execute(
                "SELECT body FROM posts WHERE run=? AND first<=? AND last>=?", (run, max(origins), min(origins))
            )
    return [body for (body,) in rows]
