"""Reads server-sent events: the subset that a node writes (id, event, data on one line, comments)."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from meshnode.model.views import EventView

LINE_BYTES_MAX = 256 * 1024


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
