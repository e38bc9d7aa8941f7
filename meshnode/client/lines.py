"""Reads the answer to a streaming call: JSON lines, an item each, then how it ended."""

from collections.abc import Generator

import msgspec

from meshnode.client.errors import error_from
from meshnode.client.events import Lines
from meshnode.client.exchange import BrokenAnswer
from meshnode.model.views import CallView, Failure, StreamItem

LINE_BYTES_MAX = 32 * 1024 * 1024


class _Line(msgspec.Struct, frozen=True):
    """One of the three."""

    item: StreamItem | None = None
    end: CallView | None = None
    failure: Failure | None = None


_line = msgspec.json.Decoder(_Line)


def read_call(response: Lines) -> Generator[StreamItem | CallView]:
    """Items, then the ``CallView``.

    Raises:
        LocalError: the call failed, after the items given so far.
        BrokenAnswer: it was cut off before its end.
    """
    while raw := response.readline(LINE_BYTES_MAX):
        try:
            line = _line.decode(raw)
        except msgspec.DecodeError as error:
            raise BrokenAnswer(f"a line of the stream cannot be read: {error}") from error
        if line.item is not None:
            yield line.item
        elif line.end is not None:
            yield line.end
            return
        elif line.failure is not None:
            raise error_from(line.failure)
    raise BrokenAnswer("the stream has no end")
