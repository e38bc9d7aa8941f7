"""What happened on this node, for ``why`` and for watchers: a bounded ring, also kept in the journal."""

from collections import deque
from collections.abc import Sequence

import msgspec

from meshnode.kernel.instant import Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.views import EventView

EVENTS_MAX = 2_000
TEXT_CHARS_MAX = 400


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    at_ms: int
    subject: str
    text: str


class Story:
    """The newest events, in order. Restored from EVENT records."""

    def __init__(self, restored: Sequence[Record]) -> None:
        self._entries: deque[tuple[int, _Entry]] = deque(maxlen=EVENTS_MAX)
        self.last_number = 0
        for record in restored:
            if record.kind is RecordKind.EVENT:
                self._restore(record)

    def add(self, subject: str, text: str, now: Instant) -> tuple[Record, EventView]:
        self.last_number += 1
        entry = _Entry(now.wall_ms, subject, text[:TEXT_CHARS_MAX])
        self._entries.append((self.last_number, entry))
        record = Record(RecordKind.EVENT, self.last_number.to_bytes(8), msgspec.msgpack.encode(entry))
        return record, _view(entry, now)

    def about(self, subjects: Sequence[str], now: Instant, limit: int = 50) -> list[EventView]:
        wanted = dict.fromkeys(subjects)
        found = [_view(entry, now) for _, entry in self._entries if entry.subject in wanted]
        return found[-limit:]

    def since(self, number: int, now: Instant) -> list[tuple[int, EventView]]:
        return [(at, _view(entry, now)) for at, entry in self._entries if at > number]

    def _restore(self, record: Record) -> None:
        try:
            entry = msgspec.msgpack.decode(record.body, type=_Entry)
        except msgspec.MsgspecError:
            return
        self.last_number = max(self.last_number, int.from_bytes(record.key))
        self._entries.append((int.from_bytes(record.key), entry))


def _view(entry: _Entry, now: Instant) -> EventView:
    age_s = max(0.0, (now.wall_ms - entry.at_ms) / 1000)
    return EventView(at_ms=entry.at_ms, age_s=round(age_s, 1), subject=entry.subject, text=entry.text)
