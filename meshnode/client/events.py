"""Reads server-sent events: the subset that a node writes (id, event, data on one line, comments)."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from meshnode.model.views import DocumentEvent, EventView

LINE_BYTES_MAX = 1024 * 1024


class Told(msgspec.Struct, frozen=True):
    """One event with its number, to resume after (0 where the node keeps no count)."""

    number: int
    event: EventView


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
