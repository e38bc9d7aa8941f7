"""Reads server-sent events: the subset that a node writes (id, event, data on one line, comments)."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from meshnode.client.errors import error_from
from meshnode.model.document_views import DocumentEvent
from meshnode.model.view_parts import TopicEventView
from meshnode.model.views import EventView, Failure

LINE_BYTES_MAX = 1024 * 1024


class Told(msgspec.Struct, frozen=True):
    """One event with its number, to resume after (0 where the node keeps no count)."""

    number: int
    event: EventView


class TopicEvent(msgspec.Struct, frozen=True):
    """One event of a topic with its number in this stream; ``dropped``: how many before it were lost, because they were
    not read in time. Without an ``event``: the node listens from now on."""

    number: int
    event: TopicEventView | None
    dropped: int = 0


class _Dropped(msgspec.Struct, frozen=True):
    dropped: int


class Lines(Protocol):
    """What an HTTP response is, as far as this reader cares."""

    def readline(self, limit: int = -1, /) -> bytes: ...


def read_events(response: Lines) -> Iterator[Told]:
    """Events until the node ends the stream; an event cut in the middle is not given."""
    number = 0
    data = b""
    while line := response.readline(LINE_BYTES_MAX):
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        match name:
            case b"id":
                number = int(value)
            case b"data":
                data = value.strip()
            case b"" if data and not value:
                yield Told(number, msgspec.json.decode(data, type=EventView))
                number, data = 0, b""
            case _:
                pass


def read_changes(response: Lines) -> Iterator[DocumentEvent]:
    """Changes of documents until the node ends the stream; one cut in the middle is not given.

    An event of type "" carries nothing but a cursor: what changed was not asked for, and the reader's place moved on.
    """
    cursor, data = "", b""
    while line := response.readline(LINE_BYTES_MAX):
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        match field:
            case b"id":
                cursor = value.strip().decode("ascii", "replace")
            case b"data":
                data = value.strip()
            case b"" if not value and (data or cursor):
                yield msgspec.json.decode(data, type=DocumentEvent) if data else DocumentEvent(type="", cursor=cursor)
                cursor, data = "", b""
            case _:
                pass


def read_topics(response: Lines) -> Iterator[TopicEvent]:
    """Events of topics until the node ends the stream; one cut in the middle is not given."""
    number = dropped = 0
    name, data = b"", b""
    while line := response.readline(LINE_BYTES_MAX):
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        match field:
            case b"id":
                number = int(value)
            case b"event":
                name = value.strip()
            case b"data":
                data = value.strip()
            case b"" if data and not value:
                if name == b"dropped":
                    dropped = msgspec.json.decode(data, type=_Dropped).dropped
                elif name == b"failure":
                    raise error_from(msgspec.json.decode(data, type=Failure))
                else:
                    event = msgspec.json.decode(data, type=TopicEventView) if name == b"event" else None
                    yield TopicEvent(number, event, dropped)
                    dropped = 0
                name, data = b"", b""
            case _:
                pass
