"""A segment: up to 256 events, packed by column and compressed.

``pack`` and ``unpack`` are inverse. A segment's ``Head`` is what searches look at before they read it.
"""

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import zstandard

from cloud_gateway.model.rows import EventRow

SEGMENT_ROWS_MAX = 256
SEGMENT_BYTES_MAX = 256 * 1024
_BODY_BYTES_MAX = 64 * 1024 * 1024  # of a body that was read, before it is unpacked
_LEVEL = 3


class Origin(NamedTuple):
    """Who wrote an event, as it was named then; numbered once, because an id is as long as a short text."""

    node_id: str
    node: str
    region: str


class Origins:
    """Numbers of origins, from 1 on. ``add`` what the tables hold; ``number`` gives new ones, which ``fresh`` hands
    over to be stored with the events that need them."""

    def __init__(self) -> None:
        self._numbers: dict[Origin, int] = {}
        self._origins: list[Origin] = [Origin("", "", "")]
        self._by_node: dict[str, tuple[int, ...]] = {}
        self._fresh: list[tuple[int, Origin]] = []

    def __getitem__(self, number: int) -> Origin:
        return self._origins[number]

    def __len__(self) -> int:
        return len(self._origins) - 1

    def add(self, number: int, origin: Origin) -> None:
        """Numbers come without holes, in order."""
        assert number == len(self._origins), f"origin {number} after {len(self)}"
        self._origins.append(origin)
        self._numbers[origin] = number
        for name in {origin.node_id, origin.node}:
            self._by_node[name] = (*self._by_node.get(name, ()), number)

    def number(self, event: EventRow) -> int:
        return self._number(Origin(event.node_id, event.node, event.region))

    def number_of(self, node_id: str, node: str = "") -> int:
        """Of a node by that name, whatever its region."""
        for number in self._by_node.get(node_id, ()):
            if self._origins[number].node == node:
                return number
        return self._number(Origin(node_id, node, ""))

    def _number(self, origin: Origin) -> int:
        known = self._numbers.get(origin)
        if known is None:
            known = len(self._origins)
            self.add(known, origin)
            self._fresh.append((known, origin))
        return known

    def fresh(self) -> list[tuple[int, Origin]]:
        """Those given since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def forget(self, above: int) -> None:
        """Take back those above this number: the commit that held them failed."""
        while len(self) > above:
            origin = self._origins.pop()
            del self._numbers[origin]
            for name in {origin.node_id, origin.node}:
                kept = tuple(number for number in self._by_node[name] if number <= above)
                if kept:
                    self._by_node[name] = kept
                else:
                    del self._by_node[name]
        self._fresh = [pair for pair in self._fresh if pair[0] <= above]

    def of_node(self, name: str) -> tuple[int, ...]:
        """All origins of a node, by id or name."""
        return self._by_node.get(name, ())


class Span(NamedTuple):
    """Events ``first``..``last`` of one life of one origin lie in segment ``segment``."""

    origin: int
    life: int
    first: int
    last: int
    segment: int


class Head(NamedTuple):
    """What is known of a segment without reading it. ``words``: see ``word``, sorted. ``spans``: origin, life,
    first, last, four numbers each; empty where a run holds them."""

    no: int
    first_ms: int
    last_ms: int
    events: int
    text_bytes: int
    words: bytes
    spans: Sequence[int]

    def all_spans(self) -> Iterator[Span]:
        numbers = self.spans
        for at in range(0, len(numbers), 4):
            yield Span(numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3], self.no)

    def spans_of(self, origins: frozenset[int]) -> Iterator[Span]:
        """Those of these origins. Most segments have none of them, and that is found without a look at each span."""
        if not self.has_any(origins):
            return
        yield from (span for span in self.all_spans() if span.origin in origins)

    def has_any(self, origins: frozenset[int]) -> bool:
        """Whether a span is of one of these origins."""
        return not origins.isdisjoint(self.spans[::4])


class Events(msgspec.Struct, array_like=True):
    """Columns of a segment; all but ``subjects``, the distinct ones, are equally long. Fields are only added."""

    origins: list[int]
    lives: list[int]
    boots: list[int]
    numbers: list[int]
    times: list[int]
    subjects: list[str]
    subject_at: list[int]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.numbers)

    def row(self, at: int, origins: Origins) -> EventRow:
        origin = origins[self.origins[at]]
        return EventRow(
            node_id=origin.node_id,
            node=origin.node,
            region=origin.region,
            life=self.lives[at],
            boot=self.boots[at],
            number=self.numbers[at],
            at_ms=self.times[at],
            subject=self.subjects[self.subject_at[at]],
            text=self.texts[at],
        )


def word(kind: str, text: str) -> int:
    """Two bytes for something a segment may be asked for: kind "s" subject, "k" kind of subject, "r" region."""
    return zlib.crc32(f"{kind}{text}".encode("utf-8", "replace")) & 0xFFFF


def pieces(events: Sequence[EventRow]) -> Iterator[Sequence[EventRow]]:
    """Cut events into what fits into one segment each."""
    first, size = 0, 0
    for at, event in enumerate(events):
        size += len(event.text)
        if at - first >= SEGMENT_ROWS_MAX or (size > SEGMENT_BYTES_MAX and at > first):
            yield events[first:at]
            first, size = at, len(event.text)
    if first < len(events):
        yield events[first:]


def columns_of(events: Iterable[EventRow], origins: Origins) -> Events:
    """Events by column; gives numbers to new origins."""
    made = Events([], [], [], [], [], [], [], [])
    subjects: dict[str, int] = {}
    for event in events:
        made.origins.append(origins.number(event))
        made.lives.append(event.life)
        made.boots.append(event.boot)
        made.numbers.append(event.number)
        made.times.append(event.at_ms)
        made.subject_at.append(subjects.setdefault(event.subject, len(subjects)))
        made.texts.append(event.text)
    made.subjects.extend(subjects)
    return made


def joined(parts: Sequence[Events]) -> Events:
    """Several segments as one, in order."""
    made = Events([], [], [], [], [], [], [], [])
    subjects: dict[str, int] = {}
    for part in parts:
        places = [subjects.setdefault(subject, len(subjects)) for subject in part.subjects]
        made.origins += part.origins
        made.lives += part.lives
        made.boots += part.boots
        made.numbers += part.numbers
        made.times += part.times
        made.subject_at += [places[at] for at in part.subject_at]
        made.texts += part.texts
    made.subjects.extend(subjects)
    return made


def pack(events: Events) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(msgspec.msgpack.encode(events))


def unpack(body: bytes) -> Events:
    """Raises ``zstandard.ZstdError`` or ``msgspec.DecodeError`` for what is no segment."""
    plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=_BODY_BYTES_MAX)
    return msgspec.msgpack.decode(plain, type=Events)


def head_of(no: int, events: Events, origins: Origins) -> Head:
    """The index of one segment."""
    words = {word("s", subject) for subject in events.subjects}
    words |= {word("k", subject.partition("/")[0]) for subject in events.subjects}
    words |= {word("r", origins[origin].region) for origin in set(events.origins)}
    return Head(
        no=no,
        first_ms=min(events.times),
        last_ms=max(events.times),
        events=len(events),
        text_bytes=sum(map(len, events.texts)),
        words=array("H", sorted(words)).tobytes(),
        spans=_spans(events),
    )


def _spans(events: Events) -> Sequence[int]:
    ends: dict[tuple[int, int], list[int]] = {}
    for origin, life, number in zip(events.origins, events.lives, events.numbers, strict=True):
        span = ends.setdefault((origin, life), [number, number])
        span[0], span[1] = min(span[0], number), max(span[1], number)
    flat = array("q")
    for (origin, life), (first, last) in sorted(ends.items()):
        flat.extend((origin, life, first, last))
    return flat
