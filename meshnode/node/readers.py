"""Readers of this node's own journal: how far each has committed it, and who waits for the next event.

Invariant: a wait ends with an event, at its time, when its asker is gone, or when its reader asks again through the
same node.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.timers import Timers
from meshnode.model.errors import Invalid, LocalError
from meshnode.node.effects import Reply

if TYPE_CHECKING:
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import JournalCursor, ReadJournal
    from meshnode.model.views import JournalView
    from meshnode.node.story import Story

READERS_MAX = 64  # whose progress is remembered
WAITS_MAX = 256
LIMIT_MAX = 2_000  # events in one answer
WAIT_MS_MAX = 8_000
NUMBER_MAX = 1 << 53
RUN = re.compile(r"[0-9a-f]{0,32}")
_READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class _Committed(msgspec.Struct, frozen=True):
    number: int  # 0: nothing of this journal
    at_us: int


class _Wait(msgspec.Struct, frozen=True):
    reader: str
    cursor: JournalCursor
    limit: int


class Readers:
    """``ask`` ends in one ``Reply``. ``view``: what is behind a cursor, as this node shows it."""

    def __init__(self, story: Story, view: Callable[[JournalCursor, int], JournalView]) -> None:
        self._story, self._view = story, view
        self._committed: dict[str, _Committed] = {}  # by reader, the one heard of last at the end
        self._waits: dict[int, _Wait] = {}  # by command
        self._due: Timers[int] = Timers()

    def ask(self, command_no: int, reader: str, command: ReadJournal, now: Instant) -> list[Effect]:
        """``reader``: as it is shown; asked through another node it carries that node's name."""
        self.acknowledge(reader, command.cursor, now)
        effects = self._instead_of_former(reader) if command_no < 0 else []
        if not command.wait_ms or self._story.has_news(command.cursor):
            return [*effects, Reply(command_no, self._view(command.cursor, command.limit))]
        if len(self._waits) >= WAITS_MAX:
            raise LocalError(f"{WAITS_MAX} readers wait for this journal already", next_step="ask without wait_ms")
        self._waits[command_no] = _Wait(reader, command.cursor, command.limit)
        self._due.set(command_no, now.mono_us + command.wait_ms * MS)
        return effects

    def acknowledge(self, reader: str, cursor: JournalCursor, now: Instant) -> None:
        number = 0 if self._story.is_foreign(cursor) else cursor.number
        self._committed.pop(reader, None)
        self._committed[reader] = _Committed(number, now.mono_us)
        while len(self._committed) > READERS_MAX:
            del self._committed[next(iter(self._committed))]

    def told(self) -> list[Effect]:
        """There are events that readers may have since now."""
        ready = [number for number, wait in self._waits.items() if self._story.has_news(wait.cursor)]
        return [self._end(number) for number in ready]

    def dropped(self, command_no: int) -> None:
        self._waits.pop(command_no, None)
        self._due.cancel(command_no)

    def committed(self, now: Instant) -> dict[str, str]:
        """How far each reader is, for people."""
        shown = self._story.shown
        return {
            reader: f"events up to {kept.number} of {shown} are committed, {_ago(kept.at_us, now)}"
            if kept.number
            else f"nothing of this journal is committed yet, asked {_ago(kept.at_us, now)}"
            for reader, kept in sorted(self._committed.items())
        }

    def wake(self, now: Instant) -> list[Effect]:
        return [self._end(number) for number in self._due.pop_due(now.mono_us)]

    def deadline(self) -> int | None:
        return self._due.deadline()

    def _end(self, command_no: int) -> Effect:
        wait = self._waits.pop(command_no)
        self._due.cancel(command_no)
        return Reply(command_no, self._view(wait.cursor, wait.limit))

    def _instead_of_former(self, reader: str) -> list[Effect]:
        """A node asks once at a time for one reader: what it asked before, it has given up."""
        former = [number for number, wait in self._waits.items() if number < 0 and wait.reader == reader]
        return [self._end(number) for number in former]


def check_reading(reader: str, limit: int, wait_ms: int) -> None:
    """Raises ``Invalid``."""
    if not _READER.fullmatch(reader):
        raise Invalid(
            f"reader is {reader[:80]!r}; it is one word of at most 64 letters, digits and . _ @ -",
            next_step="give a name that stays the same, e.g. gateway-1",
        )
    if not 1 <= limit <= LIMIT_MAX:
        raise Invalid(f"limit is {limit}; it may be 1 to {LIMIT_MAX}", next_step="ask in turns, by the cursor")
    if not 0 <= wait_ms <= WAIT_MS_MAX:
        raise Invalid(f"wait_ms is {wait_ms}; it may be 0 to {WAIT_MS_MAX}", next_step="ask again when it is over")


def check_cursor(cursor: JournalCursor, where: str = "cursor") -> None:
    """Raises ``Invalid``."""
    if not (0 <= cursor.boot < NUMBER_MAX and 0 <= cursor.number < NUMBER_MAX and RUN.fullmatch(cursor.run)):
        raise Invalid(
            f"{where} is no cursor: boot and number are counts, run is hex as the answer before gave it",
            next_step="an empty cursor reads from the oldest event that is kept",
        )


def _ago(at_us: int, now: Instant) -> str:
    return f"{max(0, now.mono_us - at_us) // SECOND} s ago"
