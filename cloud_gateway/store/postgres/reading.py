"""Questions, each over one of a few shared connections; any replica answers them."""

import time
from collections.abc import Sequence

import msgspec

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
from cloud_gateway.model.rows import CommandRow, CursorRow, GapRow, Key, LoadSpan, NodeRow, OfferRow, Row, SourceRow
from cloud_gateway.store.columns import LAYOUTS, POSTGRES, Value, page_listed, page_sql, page_told
from cloud_gateway.store.eventlog.journal import journal
from cloud_gateway.store.eventlog.search import search
from cloud_gateway.store.postgres import glances, loads, offers
from cloud_gateway.store.postgres.archive import Archive
from cloud_gateway.store.postgres.wire import SCHEMA, Link, Wire, storable

_NAMESAKES_MAX = 100
_GAPS_MAX = 10_000
_OPEN = "\"state\" IN ('queued', 'accepted') ORDER BY asked_ms, command_id LIMIT $1"
_SIZES = """
SELECT (SELECT seq FROM counter), (SELECT count(*) FROM changes),
    (SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
     WHERE relnamespace = $1::regnamespace AND relkind = 'r'),
    (SELECT reltuples::bigint FROM pg_class WHERE oid = 'segments'::regclass), (SELECT count(*) FROM runs)"""


class Reading:
    def __init__(self, wire: Wire, archive: Archive) -> None:
        self._wire, self._archive = wire, archive

    # -- current rows -----------------------------------------------------------------------------------------------

    async def listed(self, query: Query) -> Listed:
        return page_listed(LAYOUTS[query.kind], await self.told(query))

    async def told(self, query: Query) -> Told:
        layout = LAYOUTS[query.kind]
        page = page_sql(layout, query, POSTGRES)
        rest = f"{page.where} {page.order} LIMIT {page.limit + 1}"
        return page_told(layout, page, await self._bodies(query.kind, rest, *map(_given, page.params)))

    async def get(self, kind: str, key: Key) -> Row | None:
        layout = LAYOUTS[kind]
        wanted = " AND ".join(f'"{name}" = ${at}' for at, name in enumerate(layout.key, 1))
        found = await self._rows(kind, f"WHERE {wanted}", *(_given(part) for part in key))
        return found[0] if found else None

    async def named(self, name: str) -> Row | None:
        found = await self._rows("nodes", f'WHERE "name" = $1 LIMIT {_NAMESAKES_MAX}', _given(name))
        nodes = [row for row in found if isinstance(row, NodeRow)]
        return max(nodes, key=lambda row: (row.as_of_ms, row.proof_ms, row.node_id), default=None)

    async def cursors(self) -> dict[str, CursorRow]:
        return {row.node_id: row for row in await self._rows("cursors", "") if isinstance(row, CursorRow)}

    async def keys(self, kind: str) -> dict[Key, int]:
        key = ", ".join(f'"{name}"' for name in LAYOUTS[kind].key)
        async with self._wire.reading() as link:
            rows = await link.fetch(f"SELECT {key}, mark FROM {kind}")  # noqa: S608 - names of our own fields
        return {tuple(row)[:-1]: row[-1] for row in rows}

    async def open_commands(self, limit: int) -> list[CommandRow]:
        return [row for row in await self._rows("commands", f"WHERE {_OPEN}", limit) if isinstance(row, CommandRow)]

    async def _rows(self, kind: str, rest: str, *args: object) -> list[Row]:
        layout = LAYOUTS[kind]
        return [layout.row(body) for body in await self._bodies(kind, rest, *args)]

    async def _bodies(self, kind: str, rest: str, *args: object) -> list[bytes]:
        async with self._wire.reading() as link:
            rows = await link.fetch(f"SELECT body FROM {kind} {rest}", *args)  # noqa: S608 - names of our own fields
        return [bytes(row[0]) for row in rows]

    async def skills(self, query: SkillQuery) -> tuple[Sequence[OfferRow], int]:
        async with self._wire.reading() as link:
            return await offers.skills(link, query)

    # -- history ----------------------------------------------------------------------------------------------------

    async def events(self, query: EventQuery) -> EventsListed:
        async with self._wire.reading() as link, self._archive.current(link) as snapshot:
            return await self._archive.answer(link, search(query, snapshot, self._archive.origins))

    async def journal(self, query: JournalQuery) -> JournalListed:
        rows = await self._rows("gaps", f'WHERE "node_id" = $1 LIMIT {_GAPS_MAX}', _given(query.node_id))
        gaps = [row for row in rows if isinstance(row, GapRow)]
        async with self._wire.reading() as link, self._archive.current(link) as snapshot:
            return await self._archive.answer(link, journal(query, snapshot, self._archive.origins, gaps))

    async def loads(self, query: LoadQuery) -> dict[str, list[LoadSpan]]:
        async with self._wire.reading() as link:
            return await loads.read(link, query, time.time_ns() // 1_000_000)

    # -- one glance -------------------------------------------------------------------------------------------------

    async def source(self) -> SourceRow:
        async with self._wire.reading() as link:
            row = await link.fetchrow("SELECT body FROM source")
        return msgspec.msgpack.decode(row[0], type=SourceRow) if row is not None else SourceRow()

    async def regions(self) -> list[RegionCount]:
        async with self._wire.reading() as link:
            return await glances.regions(link)

    async def overview(self) -> Overview:
        async with self._wire.reading() as link:
            return await glances.overview(link, await self._events_kept(link))

    async def grid(self) -> dict[str, list[GridCell]]:
        async with self._wire.reading() as link:
            return await glances.grid(link)

    async def agents(self, query: AgentQuery) -> list[AgentCount]:
        async with self._wire.reading() as link:
            return await glances.agents(link, query)

    async def sizes(self) -> dict[str, int]:
        async with self._wire.reading() as link:
            row = await link.fetchrow(_SIZES, SCHEMA)
            events = await self._events_kept(link)
        assert row is not None, "aggregates always answer"
        seq, changes, size, segments, runs = row
        return {
            "store_commits": seq,
            "store_changes": changes,
            "store_bytes": size,
            "store_segments": max(segments, 0),
            "store_runs": runs,
            "store_events": events,
        }

    async def _events_kept(self, link: Link) -> int:
        async with self._archive.current(link) as snapshot:
            return sum(head.events for head in (*snapshot.recent, *snapshot.runs))


def _given(value: Value) -> Value:
    return storable(value) if isinstance(value, str) else value
