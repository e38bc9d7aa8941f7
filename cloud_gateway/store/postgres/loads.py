"""Rollups of load, kept by node and minute, by node and hour."""

from collections.abc import Sequence
from typing import NamedTuple

from cloud_gateway.model.queries import LoadQuery
from cloud_gateway.model.rows import LoadPoint, LoadSpan
from cloud_gateway.store.postgres.wire import Link, storable
from cloud_gateway.store.rollup import (
    HOUR_MS,
    HOURS_KEPT_MS,
    MINUTE_MS,
    MINUTES_KEPT_MS,
    hour_with,
    minute_with,
    slot,
    spans,
    step_of,
)

_Place = tuple[str, int]


class _Table(NamedTuple):
    known: str
    put: str
    trim: str
    between: str


def _table(name: str) -> _Table:
    # The names are the two below.
    return _Table(
        known=f"SELECT node_id, slot, body FROM {name} JOIN unnest($1::text[], $2::bigint[]) AS wanted (node_id, slot) "  # noqa: S608
        "USING (node_id, slot)",
        put=f"INSERT INTO {name} SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]) "  # noqa: S608
        "ON CONFLICT (node_id, slot) DO UPDATE SET body = excluded.body",
        trim=f"DELETE FROM {name} WHERE node_id = ANY($1::text[]) AND slot < $2",  # noqa: S608
        between=f"SELECT slot, body FROM {name} WHERE node_id = $1 AND slot BETWEEN $2 AND $3 ORDER BY slot",  # noqa: S608
    )


_MINUTES, _HOURS = _table("minutes"), _table("hours")


async def write(link: Link, samples: Sequence[LoadPoint], now_ms: int) -> None:
    """Samples of one commit, each counted once however often it comes: what is older than minutes are kept could not
    be told from a repetition."""
    points = [point for point in samples if point.at_ms >= now_ms - MINUTES_KEPT_MS]
    if not points:
        return
    minutes = await _known(link, _MINUTES, sorted({_place(point, MINUTE_MS) for point in points}))
    hours = await _known(link, _HOURS, sorted({_place(point, HOUR_MS) for point in points}))
    begun: dict[str, int] = {}
    for point in points:
        at, hour = _place(point, MINUTE_MS), _place(point, HOUR_MS)
        body = minute_with(minutes[at], point)
        if body is None:
            continue
        if hours[hour] is None:
            begun[hour[0]] = point.at_ms
        minutes[at], hours[hour] = body, hour_with(hours[hour], point)
    await _put(link, _MINUTES, minutes)
    await _put(link, _HOURS, hours)
    if begun:
        # Once an hour and node; a node that is gone for good leaves what it has.
        newest_ms, nodes = min(begun.values()), sorted(begun)
        await link.execute(_MINUTES.trim, nodes, slot(newest_ms - MINUTES_KEPT_MS, MINUTE_MS))
        await link.execute(_HOURS.trim, nodes, slot(newest_ms - HOURS_KEPT_MS, HOUR_MS))


async def read(link: Link, query: LoadQuery, now_ms: int) -> dict[str, list[LoadSpan]]:
    base, step = step_of(query, now_ms)
    table = _MINUTES if base == MINUTE_MS else _HOURS
    rows = await link.fetch(
        table.between, storable(query.node_id), slot(query.from_ms, base), slot(max(query.to_ms - 1, 0), base)
    )
    return spans(((row[0], row[1]) for row in rows), base, step)


def _place(point: LoadPoint, step_ms: int) -> _Place:
    return storable(point.node_id), slot(point.at_ms, step_ms)


async def _known(link: Link, table: _Table, places: Sequence[_Place]) -> dict[_Place, bytes | None]:
    found: dict[_Place, bytes | None] = dict.fromkeys(places)
    for node_id, at, body in await link.fetch(table.known, [p[0] for p in places], [p[1] for p in places]):
        found[node_id, at] = body
    return found


async def _put(link: Link, table: _Table, bodies: dict[_Place, bytes | None]) -> None:
    kept = [(node_id, at, body) for (node_id, at), body in bodies.items() if body is not None]
    if kept:
        await link.execute(table.put, *zip(*kept, strict=True))
