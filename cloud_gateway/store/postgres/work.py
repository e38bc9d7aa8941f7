"""What one transaction writes: all waiting batches as one, each key once, events that are new. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import CURRENT, CursorRow, EventRow, Key, LoadPoint, Row, SourceRow, key_of

# Where a journal is committed to: (life, number).
Mark = tuple[int, int]
_NOWHERE: Mark = (0, 0)


@dataclass(slots=True)
class Work:
    """``rows``, ``gone``: what each key comes to after all batches, in order of arrival. ``counts``: new events, by
    batch."""

    rows: dict[str, dict[Key, Row]] = field(default_factory=dict[str, dict[Key, Row]])
    gone: dict[str, dict[Key, None]] = field(default_factory=dict[str, dict[Key, None]])
    events: list[EventRow] = field(default_factory=list[EventRow])
    loads: list[LoadPoint] = field(default_factory=list[LoadPoint])
    source: SourceRow | None = None
    counts: list[int] = field(default_factory=list[int])

    def sorted_rows(self) -> Iterable[tuple[str, list[Row]]]:
        """In one order for all replicas: two transactions that touch the same rows wait, and never for each other."""
        for kind in CURRENT:
            if rows := self.rows.get(kind):
                yield kind, [rows[key] for key in sorted(rows)]

    def sorted_gone(self) -> Iterable[tuple[str, list[Key]]]:
        for kind in CURRENT:
            if gone := self.gone.get(kind):
                yield kind, sorted(gone)


def nodes_of(batches: Sequence[Batch]) -> list[str]:
    """Whose committed cursors ``merged`` must be told."""
    found = {event.node_id for batch in batches for event in batch.events}
    for batch in batches:
        found.update(row.node_id for row in batch.rows.get("cursors", ()) if isinstance(row, CursorRow))
    return sorted(found)


def merged(batches: Sequence[Batch], committed: Mapping[str, Mark]) -> Work:
    """Batches in their order. Of events and cursors only what lies behind the committed cursors: batches may come
    twice."""
    work, marks = Work(), dict(committed)
    for batch in batches:
        _take_events(work, batch.events, marks)
        for kind, keys in batch.gone.items():
            for key in keys:
                _take_gone(work, kind, tuple(key), marks)
        for kind, rows in batch.rows.items():
            _take_rows(work, kind, rows, marks)
        work.loads.extend(batch.loads)
        work.source = batch.source or work.source
    return work


def _take_events(work: Work, events: Sequence[EventRow], marks: dict[str, Mark]) -> None:
    before = len(work.events)
    for event in events:
        place = (event.life, event.number)
        if place > marks.get(event.node_id, _NOWHERE):
            marks[event.node_id] = place
            work.events.append(event)
    work.counts.append(len(work.events) - before)


def _take_rows(work: Work, kind: str, rows: Sequence[Row], marks: dict[str, Mark]) -> None:
    kept, gone = work.rows.setdefault(kind, {}), work.gone.get(kind, {})
    for row in rows:
        if isinstance(row, CursorRow):
            place = (row.life, row.number)
            if place < marks.get(row.node_id, _NOWHERE):
                continue
            marks[row.node_id] = place
        key = key_of(kind, row)
        kept[key] = row
        gone.pop(key, None)


def _take_gone(work: Work, kind: str, key: Key, marks: dict[str, Mark]) -> None:
    work.gone.setdefault(kind, {})[key] = None
    work.rows.get(kind, {}).pop(key, None)
    if kind == "cursors":
        marks.pop(str(key[0]), None)
