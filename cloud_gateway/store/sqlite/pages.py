"""Pages of current rows: which index a question goes along, so that it looks at few rows."""

import sqlite3
from typing import NamedTuple

from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import GridCell, Listed, Query
from cloud_gateway.model.rows import Key, NodeRow, Row
from cloud_gateway.store.columns import LAYOUTS, SQLITE, Layout, Value, folded, page_sql, selected
from cloud_gateway.store.sqlite.schema import INDEXES, SEARCHED
from cloud_gateway.store.tallies import Tallies

# Up to so many rows are fetched by a filter and then sorted; where more fit, walking in the order of the sort finds a
# page sooner.
_SORTED_MAX = 2_000
_TRIGRAM = 3
_UNCOUNTED = 16  # rows of one value of a filter that is not counted: nodes and names have few


class _Way(NamedTuple):
    """``along``: by name, "" for what SQLite finds itself. ``found``: ``q`` is answered by the trigrams."""

    along: str = ""
    found: bool = False


class Pages:
    """Stateless but for ``tallies``: how rare a value is decides the way."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def listed(self, connection: sqlite3.Connection, query: Query) -> Listed:
        layout = LAYOUTS[query.kind]
        way = self._way(connection, layout, query)
        page = page_sql(layout, query, SQLITE, searched="" if way.found else '"search"')
        source = f'"{query.kind}"'
        params = page.params
        if way.found:
            source = (
                f'(SELECT rowid AS hit FROM "{query.kind}_found" WHERE "{query.kind}_found" MATCH ?)'  # noqa: S608 - names of our own tables
                f' CROSS JOIN "{query.kind}" ON "{query.kind}".no = hit'
            )
            params = [_phrase(query.q), *params]
        elif way.along:
            source += f' INDEXED BY "{way.along}"'
        rows = connection.execute(
            f"SELECT no, {selected(layout)} FROM {source} {page.where} {page.order} LIMIT {page.limit + 1}",
            params,  # noqa: S608 - names of our own tables
        ).fetchall()
        items = self._rows(connection, layout, rows[: page.limit])
        return Listed(items, page.after(layout, items[-1]) if len(rows) > page.limit else None)

    def get(self, connection: sqlite3.Connection, kind: str, key: Key) -> Row | None:
        layout = LAYOUTS[kind]
        matches = " AND ".join(f'"{name}"=?' for name in layout.key)
        found = connection.execute(f'SELECT no, {selected(layout)} FROM "{kind}" WHERE {matches}', key).fetchall()  # noqa: S608 - names of our own tables
        return self._rows(connection, layout, found)[0] if found else None

    def named(self, connection: sqlite3.Connection, name: str) -> Row | None:
        layout = LAYOUTS["nodes"]
        found = connection.execute(f'SELECT no, {selected(layout)} FROM "nodes" WHERE "name"=?', (name,)).fetchall()  # noqa: S608 - names of our own tables
        rows = [row for row in self._rows(connection, layout, found) if isinstance(row, NodeRow)]
        return max(rows, key=lambda row: (row.as_of_ms, row.proof_ms, row.node_id), default=None)

    def keys(self, connection: sqlite3.Connection, kind: str) -> dict[Key, int]:
        names = ", ".join(f'"{name}"' for name in LAYOUTS[kind].key)
        return {tuple(key): mark for *key, mark in connection.execute(f'SELECT {names}, "mark" FROM "{kind}"')}  # noqa: S608 - names of our own tables

    def of_node(self, connection: sqlite3.Connection, kind: str, node_id: str) -> list[Row]:
        """Those whose key begins with that node's id."""
        layout = LAYOUTS[kind]
        text = f'SELECT no, {selected(layout)} FROM "{kind}" WHERE "node_id"=?'  # noqa: S608 - names of our own tables
        return self._rows(connection, layout, connection.execute(text, (node_id,)).fetchall())

    def everything(self, connection: sqlite3.Connection, kind: str) -> list[Row]:
        """For kinds of few rows."""
        layout = LAYOUTS[kind]
        return self._rows(
            connection,
            layout,
            connection.execute(f'SELECT no, {selected(layout)} FROM "{kind}"').fetchall(),  # noqa: S608 - names of our own tables
        )

    def grid(self, connection: sqlite3.Connection) -> dict[str, list[GridCell]]:
        troubled = self._tallies.troubled()
        cells: dict[str, list[GridCell]] = {}
        rows = connection.execute(
            'SELECT "region", "name", "state", "cpu_percent" FROM "nodes" ORDER BY "region", "name"'
        )
        for region, name, state, cpu in rows:
            cells.setdefault(region, []).append(
                GridCell(name, state, max(-1, round(cpu)) if cpu >= 0 else -1, troubled.get(name, 0))
            )
        return cells

    def rows_of(self, connection: sqlite3.Connection, kind: str, numbers: list[int]) -> list[Row]:
        """Rows by number, in that order."""
        layout = LAYOUTS[kind]
        text = f'SELECT no, {selected(layout)} FROM "{kind}" WHERE no=?'  # noqa: S608 - names of our own tables
        return self._rows(connection, layout, [connection.execute(text, (no,)).fetchone() for no in numbers])

    def _rows(self, connection: sqlite3.Connection, layout: Layout, rows: list[tuple[Value, ...]]) -> list[Row]:
        text = f'SELECT body FROM "{layout.kind}_body" WHERE no=?'  # noqa: S608 - names of our own tables
        return [layout.row(values, connection.execute(text, (no,)).fetchone()[0]) for no, *values in rows]

    def _way(self, connection: sqlite3.Connection, layout: Layout, query: Query) -> _Way:
        kind = layout.kind
        if kind not in SEARCHED:
            return _Way()
        if query.q and len(folded(query.q)) >= _TRIGRAM and self._few_hits(connection, kind, query.q):
            return _Way(found=True)
        filters = [(self._count(layout, name, values), name) for name, values in query.where.items() if values]
        indexed = [(count, name) for count, name in filters if name in INDEXES[kind]]
        sort = (query.sort or LISTINGS[kind].sorts[0]).removeprefix("-")
        if indexed and (min(indexed)[0] <= _SORTED_MAX or sort not in self._walked(layout)):
            return _Way(f"{kind}_{min(indexed)[1]}")
        return _Way(self._sort_index(layout, query, sort))

    def _walked(self, layout: Layout) -> set[str]:
        return {layout.key[0], *INDEXES[layout.kind]}

    def _sort_index(self, layout: Layout, query: Query, sort: str) -> str:
        """Along the sort; along a filter, where its index goes on in the order of the sort."""
        ordered = (sort, *(name for name in layout.key if name != sort))
        for name, values in query.where.items():
            columns = INDEXES[layout.kind].get(name, ())
            if len(values) == 1 and columns[1 : 1 + len(ordered)] == ordered[: len(columns) - 1] and columns[1:]:
                return f"{layout.kind}_{name}"
        if sort in INDEXES[layout.kind]:
            return f"{layout.kind}_{sort}"
        return f"sqlite_autoindex_{layout.kind}_1" if sort == layout.key[0] else ""

    def _count(self, layout: Layout, name: str, values: list[str]) -> int:
        column = layout.column(name)
        counts = [self._tallies.having(layout.kind, name, column.stored(value)) for value in values]
        return sum(_UNCOUNTED if count is None else count for count in counts)

    def _few_hits(self, connection: sqlite3.Connection, kind: str, q: str) -> bool:
        hits = connection.execute(
            f'SELECT count(*) FROM (SELECT 1 FROM "{kind}_found" WHERE "{kind}_found" MATCH ? LIMIT {_SORTED_MAX + 1})',  # noqa: S608 - names of our own tables
            (_phrase(q),),
        ).fetchone()
        return hits[0] <= _SORTED_MAX


def _phrase(q: str) -> str:
    return '"' + folded(q).replace('"', '""') + '"'
