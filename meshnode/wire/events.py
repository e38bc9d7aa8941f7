"""Headers of events, on links and on the local agent socket alike. Payloads are JSON.

A topic is ``topic/a/b``: plain words with slashes between them. A filter is a topic, or ``topic/a/*`` for everything
below ``topic/a``, however deep; ``topic/*`` is everything.
"""

import re
from collections.abc import Sequence

import msgspec

from meshnode.kernel.decoding import JUNK, decoded, refusal
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import Frame, Kind

TOPIC_PREFIX = "topic/"
TOPIC_CHARS_MAX = 160
TOPIC_WORDS_MAX = 16
EVENT_BYTES_MAX = 64 * 1024
PACK_BYTES_MAX = 32 * 1024  # of several in one frame
PACK_MAX = 256
FILTERS_MAX = 64  # of one listener
PUBLISHER_CHARS_MAX = 256
BELOW = "/*"
# Plain words: "." and "..", "%" and empty ones would let one topic pass for another.
_TOPIC = re.compile(r"topic(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._:@+-]+)+")


class EventHeader(msgspec.Struct, frozen=True, array_like=True):
    """One event, or several of one topic and publisher in a row. ``publisher``: "node/NAME" or "agent/NAME/NODE", set
    by the daemon where it was published. ``lengths``: of each payload where the frame holds several; none = one.
    """

    topic: str
    publisher: str = ""
    lengths: tuple[int, ...] = ()


class SubscribeHeader(msgspec.Struct, frozen=True, array_like=True):
    """All filters an agent listens to from now on; none = it listens no more."""

    filters: tuple[str, ...]


encode = msgspec.msgpack.Encoder().encode
_events = msgspec.msgpack.Decoder(EventHeader)
_subscribes = msgspec.msgpack.Decoder(SubscribeHeader)


def is_topic(name: str) -> bool:
    """Whether something can be published under this name."""
    return len(name) <= TOPIC_CHARS_MAX and name.count("/") <= TOPIC_WORDS_MAX and _TOPIC.fullmatch(name) is not None


def is_filter(name: str) -> bool:
    """Whether one can listen to this."""
    return name == TOPIC_PREFIX + "*" or is_topic(name.removesuffix(BELOW))


def matches(wanted: str, topic: str) -> bool:
    """Whether a filter lets a topic through."""
    return topic.startswith(wanted[:-1]) if wanted.endswith(BELOW) else topic == wanted


def covering(topic: str) -> tuple[str, ...]:
    """All filters that let a topic through, the narrowest first."""
    words = topic.split("/")
    return topic, *("/".join(words[:count]) + BELOW for count in range(len(words) - 1, 0, -1))


def event_frame(topic: str, publisher: str, payload: bytes) -> Frame:
    return Frame(Kind.EVENT, header=encode(EventHeader(topic, publisher)), payload=payload)


def event_frames(topic: str, publisher: str, payloads: Sequence[bytes]) -> tuple[Frame, ...]:
    """Many events of one topic and publisher in as few frames as ``packed`` would make of them."""
    out: list[Frame] = []
    begin = row_bytes = 0
    for at, payload in enumerate(payloads):
        if at > begin and (row_bytes + len(payload) > PACK_BYTES_MAX or at - begin == PACK_MAX):
            out.append(_row(topic, publisher, payloads[begin:at]))
            begin, row_bytes = at, 0
        row_bytes += len(payload)
    if begin < len(payloads):
        out.append(_row(topic, publisher, payloads[begin:]))
    return tuple(out)


def _row(topic: str, publisher: str, row: Sequence[bytes]) -> Frame:
    lengths = tuple(map(len, row)) if len(row) > 1 else ()
    return Frame(Kind.EVENT, header=encode(EventHeader(topic, publisher, lengths)), payload=b"".join(row))


def packed(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The same events in fewer frames: those of one topic and publisher that follow each other share one."""
    out: list[Frame] = []
    row: list[bytes] = []
    row_bytes, first = 0, frames[0]
    for frame in frames:
        size = len(frame.payload)
        joins = frame.header == first.header and frame.kind is Kind.EVENT and len(row) < PACK_MAX
        if joins and len(row) == 1:
            joins = not _events.decode(first.header).lengths  # packed by a peer: it has bounds of its own
        if row and not (joins and row_bytes + size <= PACK_BYTES_MAX):
            out.append(_pack(first, row))
            row, row_bytes = [], 0
        if not row:
            first = frame
        row.append(frame.payload)
        row_bytes += size
    out.append(_pack(first, row))
    return tuple(out)


def _pack(first: Frame, row: list[bytes]) -> Frame:
    if len(row) == 1:
        return first
    header = _events.decode(first.header)
    return _row(header.topic, header.publisher, row)


def read_event(frame: Frame) -> EventHeader:
    """Raises ``RemoteError``: it is none, or over the limits."""
    header = decoded(_events.decode, frame.header, "event-junk")
    if len(frame.payload) > EVENT_BYTES_MAX:
        raise RemoteError("event-too-long", f"{len(frame.payload)} bytes, the limit is {EVENT_BYTES_MAX}")
    if len(header.publisher) > PUBLISHER_CHARS_MAX:
        raise RemoteError("event-junk", f"a publisher of {len(header.publisher)} characters")
    if header.lengths:
        _check_lengths(header.lengths, len(frame.payload))
    return header


def _check_lengths(lengths: tuple[int, ...], payload_bytes: int) -> None:
    if len(lengths) > PACK_MAX or min(lengths) < 0 or sum(lengths) != payload_bytes:
        raise RemoteError("event-junk", f"{len(lengths)} events that do not fill their {payload_bytes} bytes")


def payloads(header: EventHeader, frame: Frame) -> list[bytes]:
    """Of each event in a frame that was read."""
    if not header.lengths:
        return [frame.payload]
    out: list[bytes] = []
    at = 0
    for length in header.lengths:
        out.append(frame.payload[at : at + length])
        at += length
    return out


def count_in(frame: Frame) -> int:
    """How many events are lost with a frame; one that cannot be read is one."""
    return count_told(frame.header)


def count_told(header: bytes) -> int:
    """The same by its header alone."""
    try:
        return max(1, len(_events.decode(header).lengths))
    except JUNK:
        return 1


def events_in(frame: Frame) -> list[bytes]:
    """The payloads of a frame. Raises ``RemoteError``."""
    return payloads(read_event(frame), frame)


def read_subscribe(frame: Frame) -> tuple[str, ...]:
    """Raises ``RemoteError``: not what one can listen to."""
    try:
        filters = _subscribes.decode(frame.header).filters
    except JUNK as error:
        raise refusal("subscribe-junk", error) from error
    return checked(filters)


def checked(filters: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ``RemoteError``: not what one can listen to."""
    if len(filters) > FILTERS_MAX:
        raise RemoteError("subscribe-too-many", f"{len(filters)} filters, the limit is {FILTERS_MAX}")
    for name in filters:
        if not is_filter(name):
            raise RemoteError("event-topic", f"{name[:80]!r}: a filter is topic/a/b or topic/a/*")
    return tuple(dict.fromkeys(filters))
