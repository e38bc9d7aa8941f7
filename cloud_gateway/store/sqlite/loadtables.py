"""Rollups of load in the file: a row a node and minute, and a node and hour, in order of time."""

import sqlite3
from collections.abc import Callable, Sequence

from cloud_gateway.model.queries import LoadQuery
from cloud_gateway.model.rows import LoadPoint, LoadSpan
from cloud_gateway.store import rollup


def count_in(
    connection: sqlite3.Connection, points: Sequence[LoadPoint], origin_of: Callable[[str], int], now_ms: int
) -> None:
    """Those that are new; what is older than minutes are kept would not be told from a repetition."""
    for point in points:
        if point.at_ms < now_ms - rollup.MINUTES_KEPT_MS:
            continue
        origin = origin_of(point.node_id)
        minute = (rollup.slot(point.at_ms, rollup.MINUTE_MS), origin)
        body = rollup.minute_with(_body(connection, "minutes", minute), point)
        if body is None:
            continue
        connection.execute("INSERT OR REPLACE INTO minutes (slot, origin, body) VALUES (?, ?, ?)", (*minute, body))
        hour = (rollup.slot(point.at_ms, rollup.HOUR_MS), origin)
        body = rollup.hour_with(_body(connection, "hours", hour), point)
        connection.execute("INSERT OR REPLACE INTO hours (slot, origin, body) VALUES (?, ?, ?)", (*hour, body))


def forget(connection: sqlite3.Connection, now_ms: int) -> None:
    """What is older than it is kept."""
    minute = rollup.slot(now_ms - rollup.MINUTES_KEPT_MS, rollup.MINUTE_MS)
    connection.execute("DELETE FROM minutes WHERE slot<?", (minute,))
    connection.execute("DELETE FROM hours WHERE slot<?", (rollup.slot(now_ms - rollup.HOURS_KEPT_MS, rollup.HOUR_MS),))


def told(
    connection: sqlite3.Connection, query: LoadQuery, origins: Sequence[int], now_ms: int
) -> dict[str, list[LoadSpan]]:
    base_ms, step_ms = rollup.step_of(query, now_ms)
    table = "minutes" if base_ms == rollup.MINUTE_MS else "hours"
    from_ms, to_ms = max(query.from_ms, now_ms - rollup.HOURS_KEPT_MS), min(query.to_ms, now_ms + rollup.HOUR_MS)
    rows = (
        (slot, body)
        for slot in range(rollup.slot(from_ms, base_ms), rollup.slot(to_ms - 1, base_ms) + 1)
        for origin in origins
        if (body := _body(connection, table, (slot, origin))) is not None
    )
    return rollup.spans(rows, base_ms, step_ms)


def _body(connection: sqlite3.Connection, table: str, key: tuple[int, int]) -> bytes | None:
    found = connection.execute(f"SELECT body FROM {table} WHERE slot=? AND origin=?", key).fetchone()  # noqa: S608 - names of our own tables
    return found[0] if found else None
