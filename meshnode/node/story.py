"""What happened on this node, for ``why``, for watchers and for readers of its journal: a bounded ring, also kept in
the journal.

Invariants: ``lost`` counts every event that was told once and is not kept any more, so that a hole is seen as one;
readers are shown an event only when its record is durable (or known to be refused by the disk): shown earlier, a power
cut could take it back, and its number would come again for another event.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from meshnode.kernel.decoding import JUNK
from meshnode.kernel.instant import Instant
from meshnode.kernel.ledger import decode_gap
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.commands import JournalCursor
from meshnode.model.view_parts import JournalEntry
from meshnode.model.views import EventView

EVENTS_MAX = 4_000
TEXT_CHARS_MAX = 400
NUMBER_BYTES = 8
NUMBER_MAX = (1 << 63) - 1  # no node tells so much: behind a larger one there would be no number for the next event
# Of one page as JSON: what another node answers must fit into one frame with room to spare.
PAGE_BYTES_MAX = 256 * 1024


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """``boot``, ``run``: of the daemon that wrote it; 0 and b"" in records of older versions."""

    at_ms: int
    subject: str
    text: str
    boot: int = 0
    run: bytes = b""


class Page(msgspec.Struct, frozen=True):
    """Events behind a cursor, oldest first, and the cursor of the last one. ``anew``: the cursor is of another
    journal, and the events begin at the oldest kept."""

    items: list[JournalEntry]
    boot: int
    run: str
    anew: bool
    more: bool


class Story:
    """The newest events, in order. Restored from EVENT and GAP records. ``boot``, ``run``: of this daemon."""

    def __init__(self, restored: Sequence[Record], *, boot: int = 0, run: bytes = b"") -> None:
        self._boot, self._run = boot, run
        self._entries: deque[tuple[int, _Entry]] = deque()
        self._storing: deque[tuple[int, int]] = deque(maxlen=EVENTS_MAX)  # batch and event, on their way to the disk
        self.last_number = 0
        self.lost = 0
        for record in restored:
            if record.kind is RecordKind.EVENT:
                self._restore(record)
            elif (gap := decode_gap(record)) and (last := _number(gap.last)) is not None:
                self.lost = gap.count
                self.last_number = max(self.last_number, last)
        self._let_go()
        self.shown = self.last_number  # the newest that readers may have

    def add(self, subject: str, text: str, now: Instant) -> tuple[Record, EventView]:
        self.last_number += 1
        entry = _Entry(now.wall_ms, subject, text[:TEXT_CHARS_MAX], self._boot, self._run)
        self._entries.append((self.last_number, entry))
        self._let_go()
        record = Record(RecordKind.EVENT, self.last_number.to_bytes(NUMBER_BYTES), msgspec.msgpack.encode(entry))
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

    # -- for readers of the journal -----------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The oldest number that is kept; without any, the one that comes next."""
        return self._entries[0][0] if self._entries else self.last_number + 1

    def storing(self, batch_no: int) -> None:
        """The newest event is on its way to the disk in this batch."""
        self._storing.append((batch_no, self.last_number))

    def stored(self, batch_no: int) -> bool:
        """The disk is done with all batches up to this one. Whether readers may see more now.

        What it refused is shown as well: a node with a broken disk is what a reader wants to hear of.
        """
        before = self.shown
        while self._storing and self._storing[0][0] <= batch_no:
            self.shown = self._storing.popleft()[1]
        return self.shown > before

    def has_news(self, cursor: JournalCursor) -> bool:
        return self.shown > cursor.number or (self.first <= self.shown and self.is_foreign(cursor))

    def is_foreign(self, cursor: JournalCursor) -> bool:
        """The cursor is of another journal: one this disk had before it was lost, or before a backup was restored.

        It is if it is ahead of this journal, if the event of its number was written by another run of the daemon, or if
        what follows it here is of an earlier boot.
        """
        if cursor.number == 0:
            return False
        if cursor.number > self.last_number or cursor.boot > self._boot:
            return True
        following: _Entry | None = None
        for number, entry in reversed(self._entries):
            if number < cursor.number:
                break
            if number == cursor.number:
                return bool(cursor.run) and entry.run.hex() != cursor.run
            following = entry
        return following is not None and 0 < following.boot < cursor.boot

    def page(self, cursor: JournalCursor, limit: int, bytes_max: int = PAGE_BYTES_MAX) -> Page:
        """At most ``limit`` events behind the cursor; at least one if there is any."""
        anew = self.first <= self.shown and self.is_foreign(cursor)  # with its first event it is told
        items: list[JournalEntry] = []
        boot, run = (0, "") if anew else (cursor.boot, cursor.run)
        left = bytes_max
        for number, entry in self._behind(0 if anew else cursor.number):
            item = JournalEntry(
                number=number, boot=entry.boot, at_ms=entry.at_ms, subject=entry.subject, text=entry.text
            )
            left -= len(msgspec.json.encode(item)) + 1
            if items and (left < 0 or len(items) >= limit):
                return Page(items, boot, run, anew, more=True)
            items.append(item)
            boot, run = entry.boot, entry.run.hex()
        return Page(items, boot, run, anew, more=False)

    def _behind(self, after: int) -> Iterator[tuple[int, _Entry]]:
        """Readers come for the newest: the way to them is short."""
        found: list[tuple[int, _Entry]] = []
        for number, entry in reversed(self._entries):
            if number <= after:
                break
            if number <= self.shown:
                found.append((number, entry))
        return reversed(found)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _restore(self, record: Record) -> None:
        number = _number(record.key)
        if number is None:
            return
        try:
            entry = msgspec.msgpack.decode(record.body, type=_Entry)
        except JUNK:
            return
        before = self._entries[-1][1].run if self._entries else self._run
        if entry.run == before:  # one object for all events of a run
            entry = _Entry(entry.at_ms, entry.subject, entry.text, entry.boot, before)
        self.last_number = max(self.last_number, number)
        self._entries.append((number, entry))

    def _let_go(self) -> None:
        while len(self._entries) > EVENTS_MAX:
            self._entries.popleft()
            self.lost += 1


def _number(key: bytes) -> int | None:
    """Of an event, by its key; ``None``: no event of ours has such a key."""
    number = int.from_bytes(key)
    return number if len(key) == NUMBER_BYTES and number <= NUMBER_MAX else None


def _view(entry: _Entry, now: Instant) -> EventView:
    age_s = max(0.0, (now.wall_ms - entry.at_ms) / 1000)
    return EventView(at_ms=entry.at_ms, age_s=round(age_s, 1), subject=entry.subject, text=entry.text)


def _remark(at: EventView, text: str) -> EventView:
    return EventView(at_ms=at.at_ms, age_s=at.age_s, subject="story", text=text)
