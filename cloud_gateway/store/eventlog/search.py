"""Searching events: generators that say which blobs they need and are sent them, so that any engine can drive them.

    answer = drive(search(query, snapshot, origins), read)

or, where reading is awaited, ``send(await read(need))`` until it ends.
"""

import heapq
from array import array
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeVar

from cloud_gateway.model.queries import EventQuery, EventsListed
from cloud_gateway.model.rows import EventRow
from cloud_gateway.store.columns import folded
from cloud_gateway.store.eventlog.catalog import Snapshot
from cloud_gateway.store.eventlog.run import RunHead, directory, posts
from cloud_gateway.store.eventlog.segment import Events, Head, Origins, unpack, word

# A page that finds nothing reads so much, then it ends early and says how far it came.
SEGMENTS_READ_MAX = 96
RUNS_READ_MAX = 64
# One that found rows goes on until it can tell them in order, which takes all segments of the same time.
SEGMENTS_READ_CAP = 1024
_FOREVER_MS = 2**62

AnswerT = TypeVar("AnswerT")


class NeedDirectory(NamedTuple):
    """The directory of a run: one blob, or none if the run has been dropped."""

    run: int


class NeedPosts(NamedTuple):
    """The blocks of a run's posts in which these origins may be."""

    run: int
    origins: tuple[int, ...]


class NeedSegment(NamedTuple):
    """The body of a segment, or none if it has been dropped or joined to another."""

    no: int


Need = NeedDirectory | NeedPosts | NeedSegment
Blobs = Sequence[bytes]
Steps = Generator[Need, Blobs, AnswerT]


def drive(steps: Steps[AnswerT], read: Callable[[Need], Blobs]) -> AnswerT:
    """Run a search against a reader that answers at once."""
    try:
        need = next(steps)
        while True:
            need = steps.send(read(need))
    except StopIteration as ended:
        return ended.value


class Place(NamedTuple):
    """Where an event stands among all; newest first is descending. The same before and after segments are joined."""

    at_ms: int
    origin: int
    life: int
    number: int

    def __str__(self) -> str:
        return "-".join(map(str, self))


def place(text: str) -> Place:
    """Read ``str(place)``; raises ``ValueError`` for anything else."""
    at_ms, origin, life, number = (int(part) for part in text.split("-"))
    return Place(at_ms, origin, life, number)


def search(query: EventQuery, snapshot: Snapshot, origins: Origins) -> Steps[EventsListed]:
    """A page of events, newest first."""
    wanted = _Wanted(query, origins)
    if wanted.nothing:
        return EventsListed([], searched_to_ms=max(query.from_ms, snapshot.dropped_ms))
    return (yield from _Search(wanted, snapshot, origins).steps())


class _Wanted:
    """A query, prepared: which heads and which rows may fit."""

    def __init__(self, query: EventQuery, origins: Origins) -> None:
        self.limit, self.from_ms = query.limit, query.from_ms
        self.below = place(query.after) if query.after else Place(query.to_ms or _FOREVER_MS, 0, 0, 0)
        if query.to_ms and query.after:
            self.below = min(self.below, Place(query.to_ms, 0, 0, 0))
        self.origins = frozenset(origins.of_node(query.node)) if query.node else None
        self.nothing = self.origins is not None and not self.origins
        self._region, self._subject, self._q = query.region, query.subject, folded(query.q)
        self._words: list[int] = []
        if query.region:
            self._words.append(word("r", query.region))
        if query.subject:
            kind, _, name = query.subject.partition("/")
            self._words.append(word("s", query.subject) if name else word("k", kind))

    def may_hold(self, head: Head | RunHead) -> bool:
        if head.last_ms < self.from_ms or head.first_ms > self.below.at_ms:
            return False
        if not self._words:
            return True
        words = array("H", head.words)
        return all(wanted in words for wanted in self._words)

    def rows(self, events: Events, origins: Origins) -> list[tuple[Place, int]]:
        """Places of the rows that fit."""
        subjects = {at for at, text in enumerate(events.subjects) if self._fits_subject(text)}
        among = {
            number
            for number in set(events.origins)
            if (self.origins is None or number in self.origins)
            and (not self._region or origins[number].region == self._region)
        }
        found: list[tuple[Place, int]] = []
        for at, at_ms in enumerate(events.times):
            if at_ms < self.from_ms or events.origins[at] not in among or events.subject_at[at] not in subjects:
                continue
            here = Place(at_ms, events.origins[at], events.lives[at], events.numbers[at])
            if here < self.below and (not self._q or self._q in folded(events.texts[at])):
                found.append((here, at))
        return found

    def _fits_subject(self, subject: str) -> bool:
        if not self._subject:
            return True
        return subject.startswith(self._subject) if self._subject.endswith("/") else subject == self._subject


class _Search:
    """Segments are opened from the one with the newest event on; a row is told when no closed one can hold a newer."""

    def __init__(self, wanted: _Wanted, snapshot: Snapshot, origins: Origins) -> None:
        self._wanted, self._origins, self._dropped_ms = wanted, origins, snapshot.dropped_ms
        # (-last_ms, number, what): a heap, newest first.
        self._closed: list[tuple[int, int, Head | RunHead]] = []
        self._rows: list[tuple[tuple[int, ...], int, Events]] = []
        self._told: list[EventRow] = []
        self._last: Place = wanted.below
        self._segments_read = self._runs_read = 0
        for head in (*snapshot.recent, *snapshot.runs):
            self._offer(head)

    def steps(self) -> Steps[EventsListed]:
        while True:
            if self._tell():
                return EventsListed(self._told, after=str(self._last), searched_to_ms=self._last.at_ms)
            if not self._closed:
                return EventsListed(self._told, searched_to_ms=max(self._wanted.from_ms, self._dropped_ms))
            if self._spent():
                return self._early()
            head = heapq.heappop(self._closed)[2]
            if isinstance(head, RunHead):
                yield from self._open_run(head)
            else:
                yield from self._open_segment(head)

    def _spent(self) -> bool:
        newest_ms = -self._closed[0][0]
        if newest_ms >= self._wanted.below.at_ms:
            return False  # nothing has been looked at to the end: a page that ended here would never come further
        if self._segments_read >= SEGMENTS_READ_CAP:
            return True
        return not self._rows and (self._segments_read >= SEGMENTS_READ_MAX or self._runs_read >= RUNS_READ_MAX)

    def _early(self) -> EventsListed:
        """All events behind the newest closed one were looked at."""
        newest_ms = -self._closed[0][0]
        reached = min(self._last, Place(newest_ms + 1, 0, 0, 0))
        return EventsListed(self._told, after=str(reached), searched_to_ms=min(self._last.at_ms, newest_ms + 1))

    def _offer(self, head: Head | RunHead) -> None:
        if self._wanted.may_hold(head):
            kind = 0 if isinstance(head, RunHead) else 1
            heapq.heappush(self._closed, (-head.last_ms, head.no * 2 + kind, head))

    def _open_run(self, run: RunHead) -> Steps[None]:
        self._runs_read += 1
        only: frozenset[int] | None = None
        if self._wanted.origins is not None:
            numbers = tuple(sorted(self._wanted.origins))
            only = frozenset(span.segment for span in posts((yield NeedPosts(run.no, numbers)), numbers))
            if not only:
                return
        for body in (yield NeedDirectory(run.no)):
            for head in directory(body):
                if only is None or head.no in only:
                    self._offer(head)

    def _open_segment(self, head: Head) -> Steps[None]:
        among = self._wanted.origins
        if among is not None and head.spans and not head.has_any(among):
            return
        self._segments_read += 1
        for body in (yield NeedSegment(head.no)):
            events = unpack(body)
            for here, at in self._wanted.rows(events, self._origins):
                heapq.heappush(self._rows, (tuple(-part for part in here), at, events))

    def _tell(self) -> bool:
        """Move rows that no closed segment can precede; whether the page is full."""
        closed_ms = -self._closed[0][0] if self._closed else -1
        while self._rows and -self._rows[0][0][0] > closed_ms:
            if len(self._told) == self._wanted.limit:
                return True
            negative, at, events = heapq.heappop(self._rows)
            here = Place(*(-part for part in negative))
            if here == self._last:
                continue
            self._last = here
            self._told.append(events.row(at, self._origins))
        return False
