"""Pages of current rows: which index a question goes along, so that it looks at few rows."""

import math
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import Listed, Query, Told
from cloud_gateway.model.rows import Key, NodeRow, Row
from cloud_gateway.store.columns import LAYOUTS, SQLITE, Layout, folded, page_listed, page_sql, page_told
from cloud_gateway.store.sqlite.schema import INDEXES, SEARCHED
from cloud_gateway.store.tallies import Tallies

# Microseconds a row, measured: in an index that has all columns, in the table in its own order, from an index to the
# table.
_COVERED_US, _SCANNED_US, _FETCHED_US = 0.25, 0.15, 0.7
# Up to so long a filter's rows are all read and sorted; where that takes longer, walking in the order of the sort finds
# a page sooner.
_SORTED_US_MAX = 4_000
_HITS_MAX = 2_000
# How far a question with many answers walks in the order of the sort, before it fetches and sorts all of them.
_WALKED = (200, 1_000)
# The same without ``q``, where it is known how many rows fit: so many times as far as a page would reach if those were
# spread evenly, if that is less work than all rows of a filter.
_WALKED_TIMES, _WALKED_US = 2, 2.0
# A unit's name begins with its agent's: where many rows are equal and follow by name, an agent's stand together.
_TOGETHER = {("instances", "restarts"), ("instances", "state")}
_TRIGRAM = 3
_NAMED_BY_AGENT = ("instances", "skills")  # ``q`` finds the agent's name in each of its rows
_UNCOUNTED = 16  # rows of one value of a filter that is not counted: nodes and names have few


class _Way(NamedTuple):
    """``along``: the index, "" for the table itself. ``found``: ``q`` is answered by the trigrams. ``walked``: only the
    first so many rows in the order of the sort are looked at."""

    along: str = ""
    found: bool = False
    walked: int = 0


class Pages:
    """Stateless but for ``tallies``: how rare a value is decides the way."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def listed(self, connection: sqlite3.Connection, query: Query) -> Listed:
        return page_listed(LAYOUTS[query.kind], self.told(connection, query))

    def told(self, connection: sqlite3.Connection, query: Query) -> Told:
        layout = LAYOUTS[query.kind]
        query = self._by_agent(connection, query)
        found: list[bytes] = []
        for way in self._ways(connection, layout, query):
            found = self._page(connection, layout, query, way)
            if len(found) > query.limit:
                break
        return page_told(layout, page_sql(layout, query, SQLITE), found)

    def _page(self, connection: sqlite3.Connection, layout: Layout, query: Query, way: _Way) -> list[bytes]:
        """Bodies of a page and of one row more."""
        kind = layout.kind
        page = page_sql(layout, query, SQLITE, searched="" if way.found else '"search"')
        source, params = f'"{kind}"', page.params
        if way.found:
            source = (
                f'(SELECT rowid AS hit FROM "{kind}_found" WHERE "{kind}_found" MATCH ?)'  # noqa: S608 - names of our own tables
                f' CROSS JOIN "{kind}" ON "{kind}".no = hit'
            )
            params = [_phrase(query.q), *params]
        elif way.walked:
            first = page_sql(layout, msgspec.structs.replace(query, where={}, q=""), SQLITE)
            source = f'(SELECT * FROM "{kind}" INDEXED BY "{way.along}" {first.where} {first.order} LIMIT {way.walked})'  # noqa: S608 - names of our own tables
            params = [*first.params, *params]
        elif way.along:
            source += f' INDEXED BY "{way.along}"'
        elif kind in SEARCHED:
            source += " NOT INDEXED"
        # Bodies of the page only, behind its limit: a sort that carried them would carry those of all that fit.
        text = (
            f'SELECT (SELECT body FROM "{kind}_body" WHERE no = page.no)'  # noqa: S608 - names of our own tables
            f" FROM (SELECT no FROM {source} {page.where} {page.order} LIMIT {page.limit + 1}) AS page"
        )
        return [body for (body,) in connection.execute(text, params)]

    def get(self, connection: sqlite3.Connection, kind: str, key: Key) -> Row | None:
        layout = LAYOUTS[kind]
        found = self._where(connection, layout, " AND ".join(f'"{name}"=?' for name in layout.key), key)
        return found[0] if found else None

    def named(self, connection: sqlite3.Connection, name: str) -> Row | None:
        found = self._where(connection, LAYOUTS["nodes"], '"name"=?', (name,))
        rows = [row for row in found if isinstance(row, NodeRow)]
        return max(rows, key=lambda row: (row.as_of_ms, row.proof_ms, row.node_id), default=None)

    def keys(self, connection: sqlite3.Connection, kind: str) -> dict[Key, int]:
        names = ", ".join(f'"{name}"' for name in LAYOUTS[kind].key)
        return {tuple(key): mark for *key, mark in connection.execute(f'SELECT {names}, "mark" FROM "{kind}"')}  # noqa: S608 - names of our own tables

    def of_node(self, connection: sqlite3.Connection, kind: str, node_id: str) -> list[Row]:
        """Those whose key begins with that node's id."""
        return self._where(connection, LAYOUTS[kind], '"node_id"=?', (node_id,))

    def everything(self, connection: sqlite3.Connection, kind: str) -> Iterator[Row]:
        """All rows of a kind, one at a time."""
        layout = LAYOUTS[kind]
        for (body,) in connection.execute(f'SELECT body FROM "{kind}_body"'):  # noqa: S608 - names of our own tables
            yield layout.row(body)

    def newest_version(self, connection: sqlite3.Connection, agent: str, region: str) -> int:
        found = connection.execute(
            'SELECT max("version") FROM "instances" WHERE "agent"=? AND "region"=?', (agent, region)
        ).fetchone()
        return found[0] or 0

    def rows_of(self, connection: sqlite3.Connection, kind: str, numbers: list[int]) -> list[Row]:
        """Rows by number, in that order."""
        layout = LAYOUTS[kind]
        text = f'SELECT body FROM "{kind}_body" WHERE no=?'  # noqa: S608 - names of our own tables
        return [layout.row(connection.execute(text, (no,)).fetchone()[0]) for no in numbers]

    def _where(self, connection: sqlite3.Connection, layout: Layout, matches: str, params: Key) -> list[Row]:
        """The few rows that match."""
        kind = layout.kind
        text = f'SELECT body FROM "{kind}" JOIN "{kind}_body" USING (no) WHERE {matches}'  # noqa: S608 - names of our own tables
        return [layout.row(body) for (body,) in connection.execute(text, params)]

    def _ways(self, connection: sqlite3.Connection, layout: Layout, query: Query) -> list[_Way]:
        """To be tried one after the other, until one fills the page; the last one always answers."""
        if layout.kind not in SEARCHED:
            return [_Way()]
        trigrams = len(folded(query.q)) >= _TRIGRAM
        if trigrams and self._hits(connection, layout.kind, query.q, _HITS_MAX) <= _HITS_MAX:
            return [_Way(found=True)]
        ordered, along = self._sort_index(layout, query)
        if ordered and not query.q:
            return [_Way(along)]
        cost_us, best = self._best_filter(layout, query)
        if cost_us <= _SORTED_US_MAX or not query.q:
            walked = self._reach(layout, query) * _WALKED_TIMES
            even = not (query.where.get("agent") and (layout.kind, _sorted_by(query)) in _TOGETHER)
            first = along and even and not query.q and walked * _WALKED_US < cost_us
            return [*([_Way(along, walked=walked)] if first else []), _Way(best)]
        last = _Way(found=True) if trigrams else _Way()
        return [*(_Way(along, walked=rows) for rows in _WALKED), last] if along else [last]

    def _by_agent(self, connection: sqlite3.Connection, query: Query) -> Query:
        """The same question without ``q``, where ``q`` is a part of agents' names and of nothing else: then it has as
        many hits as those agents have rows."""
        if query.kind not in _NAMED_BY_AGENT or len(folded(query.q)) < _TRIGRAM:
            return query
        agents = [
            str(name) for name in self._tallies.values(query.kind, "agent") if folded(query.q) in folded(str(name))
        ]
        rows = sum(self._tallies.having(query.kind, "agent", name) or 0 for name in agents)
        if rows <= _HITS_MAX or self._hits(connection, query.kind, query.q, rows) != rows:
            return query
        asked = query.where.get("agent") or agents
        wanted = [name for name in agents if name in asked] or [""]
        return msgspec.structs.replace(query, q="", where={**query.where, "agent": wanted})

    def _best_filter(self, layout: Layout, query: Query) -> tuple[float, str]:
        """Cheapest way to look at all rows that fit, in microseconds: along a filter's index, or the whole table."""
        kind = layout.kind
        ways = [(self._tallies.rows(kind) * _SCANNED_US, "")]
        needed = {_sorted_by(query), *layout.key, *(name for name, values in query.where.items() if values)}
        for name, values in query.where.items():
            columns = INDEXES[kind].get(name)
            if values and columns:
                covered = not query.q and needed <= {*columns}
                row_us = _COVERED_US if covered else _FETCHED_US
                ways.append((self._count(layout, name, values) * row_us, f"{kind}_{name}"))
        return min(ways)

    def _reach(self, layout: Layout, query: Query) -> int:
        """Within how many rows, in any order, a page is found, if those that fit are spread evenly."""
        rows = max(self._tallies.rows(layout.kind), 1)
        share = math.prod(self._count(layout, name, values) / rows for name, values in query.where.items() if values)
        return math.ceil((query.limit + 1) / max(share, 1 / rows))

    def _sort_index(self, layout: Layout, query: Query) -> tuple[bool, str]:
        """An index in the order of the sort, "" if there is none; and whether all that it leads along fits."""
        kind = layout.kind
        sort = _sorted_by(query)
        ordered = (sort, *(name for name in layout.key if name != sort))
        filters = [name for name, values in query.where.items() if values]
        for name in filters:
            columns, rest = INDEXES[kind].get(name, ()), tuple(part for part in ordered if part != name)
            if len(query.where[name]) == 1 and columns and columns[1 : 1 + len(rest)] == rest:
                return len(filters) == 1, f"{kind}_{name}"
        if sort == layout.key[0]:
            return not filters, f"sqlite_autoindex_{kind}_1"
        columns = INDEXES[kind].get(sort, ())
        return (not filters, f"{kind}_{sort}") if columns[: len(ordered)] == ordered else (False, "")

    def _count(self, layout: Layout, name: str, values: list[str]) -> int:
        column = layout.column(name)
        counts = [self._tallies.having(layout.kind, name, column.stored(value)) for value in values]
        return sum(_UNCOUNTED if count is None else count for count in counts)

    def _hits(self, connection: sqlite3.Connection, kind: str, q: str, most: int) -> int:
        """How many rows have it; counted up to one more than ``most``."""
        text = f'SELECT 1 FROM "{kind}_found" WHERE "{kind}_found" MATCH ? LIMIT {most + 1}'  # noqa: S608 - names of our own tables
        return connection.execute(f"SELECT count(*) FROM ({text})", (_phrase(q),)).fetchone()[0]  # noqa: S608 - names of our own tables


def _sorted_by(query: Query) -> str:
    return (query.sort or LISTINGS[query.kind].sorts[0]).removeprefix("-")


def _phrase(q: str) -> str:
    return '"' + folded(q).replace('"', '""') + '"'
