"""Headers of events, on links and on the local agent socket alike. Payloads are JSON.

A topic is ``topic/a/b``: plain words with slashes between them. A filter is a topic, or ``topic/a/*`` for everything
below ``topic/a``, however deep; ``topic/*`` is everything.
"""

import re

import msgspec

from meshnode.model.errors import RemoteError
from meshnode.wire.frame import Frame, Kind

TOPIC_PREFIX = "topic/"
TOPIC_CHARS_MAX = 160
TOPIC_WORDS_MAX = 16
EVENT_BYTES_MAX = 64 * 1024
FILTERS_MAX = 64  # of one listener
PUBLISHER_CHARS_MAX = 256
BELOW = "/*"
# Plain words: "." and "..", "%" and empty ones would let one topic pass for another.
_TOPIC = re.compile(r"topic(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._:@+-]+)+")


class EventHeader(msgspec.Struct, frozen=True, array_like=True):
    """One event. ``publisher``: "node/NAME" or "agent/NAME/NODE", set by the daemon where it was published."""

    topic: str
    publisher: str = ""


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


def read_event(frame: Frame) -> EventHeader:
    """Raises ``RemoteError``: it is none, or over the limits."""
    try:
        header = _events.decode(frame.header)
    except (ValueError, RecursionError) as error:  # of msgspec: junk, no UTF-8, or nested too deep
        raise RemoteError("event-junk", str(error)[:80]) from error
    if len(frame.payload) > EVENT_BYTES_MAX:
        raise RemoteError("event-too-long", f"{len(frame.payload)} bytes, the limit is {EVENT_BYTES_MAX}")
    if len(header.publisher) > PUBLISHER_CHARS_MAX:
        raise RemoteError("event-junk", f"a publisher of {len(header.publisher)} characters")
    return header


def read_subscribe(frame: Frame) -> tuple[str, ...]:
    """Raises ``RemoteError``: not what one can listen to."""
    try:
        filters = _subscribes.decode(frame.header).filters
    except (ValueError, RecursionError) as error:  # of msgspec: junk, no UTF-8, or nested too deep
        raise RemoteError("subscribe-junk", str(error)[:80]) from error
    return checked(filters)


def checked(filters: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ``RemoteError``: not what one can listen to."""
    if len(filters) > FILTERS_MAX:
        raise RemoteError("subscribe-too-many", f"{len(filters)} filters, the limit is {FILTERS_MAX}")
    for name in filters:
        if not is_filter(name):
            raise RemoteError("event-topic", f"{name[:80]!r}: a filter is topic/a/b or topic/a/*")
    return tuple(dict.fromkeys(filters))
