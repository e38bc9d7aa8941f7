"""Cursors as they are shown: a table in memory, of the same shape and asked in the same way as those of the file.

One changes with nearly every event. In the file they would be the most written rows of all; there, the cursors of a
commit are one blob beside its events.
"""

import sqlite3
import threading
from collections.abc import Iterable

from cloud_gateway.model.queries import Listed, Query, Told
from cloud_gateway.model.rows import CursorRow, Key, Row
from cloud_gateway.store.columns import LAYOUTS
from cloud_gateway.store.sqlite.pages import Pages
from cloud_gateway.store.sqlite.schema import LIVE, create_table
from cloud_gateway.store.sqlite.tables import Table
from cloud_gateway.store.tallies import Tallies

_LAYOUT = LAYOUTS[LIVE]


class LiveCursors:
    """For any thread: one at a time."""

    def __init__(self, cursors: Iterable[CursorRow]) -> None:
        self._guard = threading.Lock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in create_table(_LAYOUT):
            self._connection.execute(statement)
        self._table, self._pages = Table(_LAYOUT), Pages(Tallies())
        self.put(cursors)

    def put(self, cursors: Iterable[CursorRow]) -> None:
        with self._guard:
            self._connection.execute("BEGIN")
            self._table.put(self._connection, cursors)
            self._connection.execute("COMMIT")

    def delete(self, keys: Iterable[Key]) -> None:
        with self._guard:
            self._table.delete(self._connection, keys)

    def listed(self, query: Query) -> Listed:
        with self._guard:
            return self._pages.listed(self._connection, query)

    def told(self, query: Query) -> Told:
        with self._guard:
            return self._pages.told(self._connection, query)

    def get(self, key: Key) -> Row | None:
        with self._guard:
            return self._pages.get(self._connection, LIVE, key)

    def keys(self) -> dict[Key, int]:
        with self._guard:
            return self._pages.keys(self._connection, LIVE)

    def all(self) -> dict[str, CursorRow]:
        with self._guard:
            rows = self._pages.everything(self._connection, LIVE)
        return {row.node_id: row for row in rows if isinstance(row, CursorRow)}

    def close(self) -> None:
        with self._guard:
            self._connection.close()
