"""Writing current rows: only the columns that differ, so that indexes of the others stay as they are."""

import sqlite3
from collections.abc import Iterable, Mapping

from cloud_gateway.model.rows import InstanceRow, Key, OfferRow, Row
from cloud_gateway.store.columns import LAYOUTS, Layout, Value, selected
from cloud_gateway.store.sqlite.schema import EXTRA, LIVE, RANK_EXCLUDED, RANK_UNKNOWN, SEARCHED
from cloud_gateway.store.tallies import Change

Values = tuple[Value, ...]


class Table:
    """One kind of current row. Every method belongs into a transaction, and tells what it changed."""

    def __init__(self, layout: Layout) -> None:
        kind, self._layout = layout.kind, layout
        self._kind, self._searched = kind, kind in SEARCHED
        matches = " AND ".join(f'"{name}"=?' for name in layout.key)
        names = [column.name for column in layout.columns]
        extra = list(EXTRA.get(kind, {}))
        stored = ['"no"', *(f'"{name}"' for name in (*names, *extra, "search", "mark"))]
        more = "".join(f', "{name}"' for name in (*extra, "search"))
        self._find = f'SELECT no, {selected(layout)}{more} FROM "{kind}" WHERE {matches}'  # noqa: S608 - names of our own tables
        self._insert = f'INSERT INTO "{kind}" ({", ".join(stored)}) VALUES ({", ".join("?" * len(stored))})'  # noqa: S608 - names of our own tables
        self._body = f'INSERT OR REPLACE INTO "{kind}_body" (no, body) VALUES (?, ?)'  # noqa: S608 - names of our own tables
        self._names = (*names, *extra, "search")
        self._width = len(names) + len(extra)

    def put(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> list[Change]:
        changes: list[Change] = []
        for row in rows:
            values = self._layout.values(row)
            key = values[: len(self._layout.key)]
            values = (*values, *_extra(row))
            all_values = (*values, self._layout.search_text(row))
            found = connection.execute(self._find, key).fetchone()
            if found is None:
                no = self._insert_row(connection, row, all_values)
            else:
                no = int(found[0])
                self._update(connection, no, row, found[1:], all_values)
            connection.execute(self._body, (no, self._layout.body(row)))
            changes.append(Change(self._kind, found[1 : 1 + self._width] if found else None, values))
        return changes

    def delete(self, connection: sqlite3.Connection, keys: Iterable[Key]) -> list[Change]:
        changes: list[Change] = []
        for key in keys:
            found = connection.execute(self._find, key).fetchone()
            if found is None:
                continue
            no = found[0]
            self._unfind(connection, no)
            connection.execute(f'DELETE FROM "{self._kind}" WHERE no=?', (no,))  # noqa: S608 - names of our own tables
            connection.execute(f'DELETE FROM "{self._kind}_body" WHERE no=?', (no,))  # noqa: S608 - names of our own tables
            changes.append(Change(self._kind, found[1 : 1 + self._width], None))
        return changes

    def _insert_row(self, connection: sqlite3.Connection, row: Row, values: Values) -> int:
        no = connection.execute(self._insert, (None, *values, self._layout.mark(row))).lastrowid
        assert no is not None
        self._find_by(connection, no, values[-1])
        return no

    def _update(self, connection: sqlite3.Connection, no: int, row: Row, old: Values, new: Values) -> None:
        differs = [
            (f'"{name}"=?', value) for name, was, value in zip(self._names, old, new, strict=True) if was != value
        ]
        sets = ", ".join(('"mark"=?', *(text for text, _ in differs)))
        params = (self._layout.mark(row), *(value for _, value in differs), no)
        if old[-1] != new[-1]:
            self._unfind(connection, no)
        connection.execute(f'UPDATE "{self._kind}" SET {sets} WHERE no=?', params)  # noqa: S608 - names of our own tables
        if old[-1] != new[-1]:
            self._find_by(connection, no, new[-1])

    def _find_by(self, connection: sqlite3.Connection, no: int, search: Value) -> None:
        if self._searched:
            connection.execute(f'INSERT INTO "{self._kind}_found" (rowid, "search") VALUES (?, ?)', (no, search))  # noqa: S608 - names of our own tables

    def _unfind(self, connection: sqlite3.Connection, no: int) -> None:
        if self._searched:
            connection.execute(
                f'INSERT INTO "{self._kind}_found" ("{self._kind}_found", rowid, "search")'  # noqa: S608 - names of our own tables
                f' SELECT \'delete\', no, "search" FROM "{self._kind}" WHERE no=?',
                (no,),
            )


def _extra(row: Row) -> Values:
    match row:
        case InstanceRow():
            return ("\n".join(row.skills),)
        case OfferRow():
            near = RANK_UNKNOWN if row.rtt_ms is None else row.rtt_ms
            return (near + RANK_EXCLUDED if row.excluded else near,)
        case _:
            return ()


def tables() -> Mapping[str, Table]:
    """All kinds, cursors included: those live in memory, in a table of the same shape."""
    return {kind: Table(layout) for kind, layout in LAYOUTS.items()}


def all_changes(connection: sqlite3.Connection) -> Iterable[Change]:
    """What is there, as if it had just come: for tallies at a start."""
    for kind, layout in LAYOUTS.items():
        if kind == LIVE:
            continue
        more = "".join(f", {name}" for name in EXTRA.get(kind, {}))
        for values in connection.execute(f'SELECT {selected(layout)}{more} FROM "{kind}"'):  # noqa: S608 - names of our own tables
            yield Change(kind, None, values)
