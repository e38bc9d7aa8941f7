"""Samples of load, rolled up as they come: one small body a node and minute, one a node and hour.

A body keeps, for each measure, lowest, sum, highest and count, and which seconds (of an hour: minutes and how many) it
has seen: a sample sent again, or late, counts once.
"""

import math
import struct
from collections.abc import Iterable, Sequence

from cloud_gateway.model.queries import LoadQuery
from cloud_gateway.model.rows import LoadPoint, LoadSpan

MEASURES = ("cpu", "memory", "disk", "accelerator", "load")
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
MINUTES_KEPT_MS, HOURS_KEPT_MS = 7 * 24 * HOUR_MS, 365 * 24 * HOUR_MS
SPANS_MAX = 2_000
# Seconds seen, one bit each; then a measure each: lowest, sum, highest, count.
_BODY = struct.Struct("<Q" + "fffI" * len(MEASURES))
_EMPTY = (0, *(0.0, 0.0, 0.0, 0) * len(MEASURES))


def slot(at_ms: int, step_ms: int) -> int:
    """Which minute or hour."""
    return at_ms // step_ms


def minute_with(body: bytes | None, point: LoadPoint) -> bytes | None:
    """A minute's body with one more sample; None: it has that second's sample already."""
    fields: list[float | int] = list(_BODY.unpack(body) if body else _EMPTY)
    bit = 1 << (point.at_ms // 1000 % 60)
    seen = int(fields[0])
    if seen & bit:
        return None
    fields[0] = seen | bit
    _count_in(fields, point)
    return _BODY.pack(*fields)


def hour_with(body: bytes | None, point: LoadPoint) -> bytes:
    """An hour's body with one more sample, one that its minute took."""
    fields: list[float | int] = list(_BODY.unpack(body) if body else _EMPTY)
    _count_in(fields, point)
    return _BODY.pack(*fields)


def step_of(query: LoadQuery, now_ms: int) -> tuple[int, int]:
    """(step of the rows to read, step of the answer): minutes where they are fine enough and still kept."""
    wide = -(-max(query.to_ms - query.from_ms, 1) // SPANS_MAX)
    wanted = max(query.step_ms, wide, MINUTE_MS)
    base = MINUTE_MS if wanted < HOUR_MS and query.from_ms >= now_ms - MINUTES_KEPT_MS else HOUR_MS
    return base, -(-wanted // base) * base


def spans(rows: Iterable[tuple[int, bytes]], base_ms: int, step_ms: int) -> dict[str, list[LoadSpan]]:
    """Rows (slot, body), oldest first, as spans by measure; measures that nobody told are left out."""
    told: dict[str, list[LoadSpan]] = {}
    part: list[tuple[float, float, float, int]] | None = None
    start_ms = -1
    for at, body in rows:
        here_ms = at * base_ms // step_ms * step_ms
        if here_ms != start_ms:
            _tell(told, part, start_ms, step_ms)
            part, start_ms = [(0.0, 0.0, 0.0, 0)] * len(MEASURES), here_ms
        assert part is not None
        fields = _BODY.unpack(body)
        for index in range(len(MEASURES)):
            low, total, high, count = fields[1 + index * 4 : 5 + index * 4]
            part[index] = _both(part[index], (low, total, high, count))
    _tell(told, part, start_ms, step_ms)
    return told


def _both(
    one: tuple[float, float, float, int], other: tuple[float, float, float, int]
) -> tuple[float, float, float, int]:
    if not one[3] or not other[3]:
        return one if one[3] else other
    return min(one[0], other[0]), one[1] + other[1], max(one[2], other[2]), one[3] + other[3]


def _tell(
    told: dict[str, list[LoadSpan]], part: Sequence[tuple[float, float, float, int]] | None, at_ms: int, step_ms: int
) -> None:
    for name, (low, total, high, count) in zip(MEASURES, part or (), strict=False):
        if count:
            span = LoadSpan(at_ms=at_ms, step_ms=step_ms, count=count, low=low, mean=total / count, high=high)
            told.setdefault(name, []).append(span)


def _count_in(fields: list[float | int], point: LoadPoint) -> None:
    for index, value in enumerate((point.cpu, point.memory, point.disk, point.accelerator, point.load)):
        if value is None or not math.isfinite(value) or abs(value) > 1e30:
            continue
        at = 1 + index * 4
        first = not fields[at + 3]
        fields[at] = value if first else min(fields[at], value)
        fields[at + 1] += value
        fields[at + 2] = value if first else max(fields[at + 2], value)
        fields[at + 3] += 1
