"""What happened on this node, for ``why`` and for watchers: a bounded ring, also kept in the journal.

Invariant: ``lost`` counts every event that was told once and is not kept any more, so that a hole is seen as one.
"""

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from meshnode.kernel.instant import Instant
from meshnode.kernel.ledger import decode_gap
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.views import EventView

EVENTS_MAX = 2_000
TEXT_CHARS_MAX = 400


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    at_ms: int
    subject: str
    text: str


class Story:
    """The newest events, in order. Restored from EVENT and GAP records."""

    def __init__(self, restored: Sequence[Record]) -> None:
        self._entries: deque[tuple[int, _Entry]] = deque()
        self.last_number = 0
        self.lost = 0
        for record in restored:
            if record.kind is RecordKind.EVENT:
                self._restore(record)
            elif gap := decode_gap(record):
                self.lost = gap.count
                self.last_number = max(self.last_number, int.from_bytes(gap.last))
        self._let_go()

    def add(self, subject: str, text: str, now: Instant) -> tuple[Record, EventView]:
        self.last_number += 1
        entry = _Entry(now.wall_ms, subject, text[:TEXT_CHARS_MAX])
        self._entries.append((self.last_number, entry))
        self._let_go()
        record = Record(RecordKind.EVENT, self.last_number.to_bytes(8), msgspec.msgpack.encode(entry))
        return record, _view(entry, now)

    def about(self, fits: Callable[[str], bool], now: Instant, limit: int = 50) -> list[EventView]:
        """The newest events of the subjects that fit, oldest first; before them a word about what is missing."""
        found = [_view(entry, now) for _, entry in self._entries if fits(entry.subject)]
        left_out = len(found) - limit
        if left_out > 0:
            text = f"{left_out} earlier events about it are not shown: meshnode events has them"
            return [_remark(found[left_out], text), *found[left_out:]]
        if found and self.lost:
            text = f"{self.lost} older events of this node, about anything, are not kept any more"
            return [_remark(_view(self._entries[0][1], now), text), *found]
        return found

    def since(self, number: int, now: Instant) -> list[tuple[int, EventView]]:
        return [(at, _view(entry, now)) for at, entry in self._entries if at > number]

    def _restore(self, record: Record) -> None:
        try:
            entry = msgspec.msgpack.decode(record.body, type=_Entry)
        except ValueError:
            return
        self.last_number = max(self.last_number, int.from_bytes(record.key))
        self._entries.append((int.from_bytes(record.key), entry))

    def _let_go(self) -> None:
        while len(self._entries) > EVENTS_MAX:
            self._entries.popleft()
            self.lost += 1


def _view(entry: _Entry, now: Instant) -> EventView:
    age_s = max(0.0, (now.wall_ms - entry.at_ms) / 1000)
    return EventView(at_ms=entry.at_ms, age_s=round(age_s, 1), subject=entry.subject, text=entry.text)


def _remark(at: EventView, text: str) -> EventView:
    return EventView(at_ms=at.at_ms, age_s=at.age_s, subject="story", text=text)
