"""Streams of items between caller and callee: credit, so that what nobody reads is not made.

What a skill gives as bytes goes as it is to a reader that takes it so; to others, and by way of nodes that do not know
of it, as base64 in JSON.

The reader grants bytes as soon as it asks; a maker of an earlier release (or a node of one between the two) knows items
only, and its items say so: of those the reader grants as many as it would hold of the largest that came.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from meshnode.wire.calls import ChunkHeader
from meshnode.wire.frame import Frame, Kind

# Items that may be sent before any GRANT, and the fewest that a reader lets wait for it.
INITIAL_GRANT = 16
# Bytes that a reader lets wait for it; the last item may overdraw, so that any passes.
WINDOW_BYTES = 2 * 1024 * 1024
# Items that a reader lets wait of a maker that counts bytes: what small ones cost beside their bytes is bounded, too.
ITEMS_MAX = 1024
# Of one that does not: as many of the largest that came as are so many bytes, and no more than these.
WINDOW_MAX = 64
# Of large items fewer, once it is known how large they are: a reader that sleeps holds four of a megabyte, not sixteen.
WINDOW_MIN = 4

# Items of one frame: so many bytes, or so many.
TOGETHER_BYTES = 120 * 1024
TOGETHER_MAX = 256

Granted = tuple[int, int]  # in items and bytes
Answer = tuple[bytes, bool]  # the payload of a result, and whether it is bytes as they are

_encode = msgspec.msgpack.Encoder().encode


class Credit:
    """The maker's side: how many items the reader takes in all, and how many bytes, if it counts those."""

    __slots__ = ("_more", "_sent_bytes", "raw", "total", "total_bytes")

    def __init__(self) -> None:
        self.total, self.total_bytes = INITIAL_GRANT, 0
        self._sent_bytes = 0
        self.raw = False  # items that are bytes may go as they are
        self._more: asyncio.Future[None] | None = None

    @property
    def metered(self) -> bool:
        """The reader counts bytes."""
        return self.total_bytes > 0

    def grant(self, total: int, total_bytes: int = 0, *, raw: bool = False) -> None:
        self.raw = self.raw or raw
        self.total, self.total_bytes = max(self.total, total), max(self.total_bytes, total_bytes)
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def allows(self, number: int) -> bool:
        """The item of that number may leave."""
        return number < self.total and (not self.total_bytes or self._sent_bytes < self.total_bytes)

    async def wait_for(self, number: int) -> None:
        """Until it may."""
        while not self.allows(number):
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    def sent(self, item: bytes) -> None:
        self._sent_bytes += len(item)


class Flow:
    """The items of one call on their way. The first of a turn of the loop leaves at once, those that follow it before
    the loop has its next one leave as one frame, if the reader counts bytes.
    """

    __slots__ = ("_call_id", "_first", "_in_turn", "_items", "_items_bytes", "_loop", "_raw_waits", "_send", "credit")

    def __init__(self, call_id: bytes, credit: Credit, send: Callable[[Frame], object]) -> None:
        self._call_id, self.credit, self._send = call_id, credit, send
        self._loop = asyncio.get_running_loop()
        self._items: list[bytes] = []
        self._items_bytes = self._first = 0
        self._in_turn = False  # something has left, and the loop had no turn since
        self._raw_waits = False  # what waits is bytes as they are

    @property
    def raw(self) -> bool:
        """The reader takes bytes as they are."""
        return self.credit.raw

    async def item(self, number: int, data: bytes, *, raw: bool = False) -> None:
        """Returns when it may leave. ``raw``: it is no JSON but the item itself, which the reader must take so."""
        credit = self.credit
        if not credit.allows(number):
            await credit.wait_for(number)
        credit.sent(data)
        if not (credit.metered and self._in_turn):
            self._first = number
            self._send(self._frame((data,), raw=raw))
            if credit.metered:
                self._in_turn = True
                self._loop.call_soon(self._turned)
            return
        if self._items_bytes + len(data) > TOGETHER_BYTES or len(self._items) >= TOGETHER_MAX or raw != self._raw_waits:
            self.flush()
        if not self._items:
            self._first, self._raw_waits = number, raw
        self._items.append(data)
        self._items_bytes += len(data)

    def flush(self) -> None:
        """What waits leaves now."""
        if self._items:
            items = self._items
            self.drop()
            self._send(self._frame(items, raw=self._raw_waits))

    def _turned(self) -> None:
        self._in_turn = False
        self.flush()

    def drop(self) -> None:
        """Nobody reads what waits."""
        self._items, self._items_bytes = [], 0

    def _frame(self, items: Sequence[bytes], *, raw: bool) -> Frame:
        lengths = tuple(map(len, items)) if len(items) > 1 else ()
        header = _encode(ChunkHeader(self._call_id, self._first, self.credit.metered, lengths, raw))
        return Frame(Kind.CHUNK, header=header, payload=b"".join(items) if lengths else items[0])


class Inbox:
    """The reader's side: items that came and were not yet read, within what was granted. ``as_bytes``: it takes items
    as they are; ``raw``: so came the one taken last, else it is JSON."""

    __slots__ = (
        "_came", "_came_bytes", "_items", "_largest", "_metered", "_more", "_taken", "_taken_bytes", "_window",
        "as_bytes", "end", "granted", "granted_bytes", "raw",
    )  # fmt: skip

    def __init__(self, *, as_bytes: bool = False) -> None:
        self.as_bytes, self.raw = as_bytes, False
        self._items: deque[tuple[bytes, bool]] = deque()
        self._came = self._taken = self._largest = 0
        self._came_bytes = self._taken_bytes = 0
        self._metered = False
        self._more: asyncio.Future[None] | None = None
        self.granted = self._window = INITIAL_GRANT
        self.granted_bytes = WINDOW_BYTES  # told with the call
        self.end: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def add(self, number: int, item: bytes, *, metered: bool = False, raw: bool = False) -> bool:
        """False: out of order, more than was granted, or as bytes for who reads JSON."""
        if raw and not self.as_bytes:
            return False
        if number != self._came or number >= self.granted or (metered and self._came_bytes >= self.granted_bytes):
            return False
        self._came += 1
        self._came_bytes += len(item)
        self._largest = max(self._largest, len(item))
        self._metered = metered
        self._items.append((item, raw))
        self.wake()
        return True

    def add_all(self, header: ChunkHeader, payload: bytes) -> bool:
        """What one frame holds."""
        if not header.lengths:
            return self.add(header.number, payload, metered=header.metered, raw=header.raw)
        at = 0
        for number, length in enumerate(header.lengths, start=header.number):
            if length < 0 or not self.add(number, payload[at : at + length], metered=True, raw=header.raw):
                return False
            at += length
        return at == len(payload)

    def grant(self) -> Granted | None:
        """New totals to tell the maker, when half of what was granted is used up."""
        left, left_bytes = self.granted - self._taken, self.granted_bytes - self._taken_bytes
        if left > self._window // 2 and left_bytes > WINDOW_BYTES // 2:
            return None
        if self._metered:
            self._window = ITEMS_MAX
        else:
            self._window = min(WINDOW_MAX, max(WINDOW_MIN, WINDOW_BYTES // max(1, self._largest)))
        before = self.granted, self.granted_bytes
        self.granted = max(self.granted, self._taken + self._window)
        # Also to one that counts no bytes yet: it may have heard of them since it sent what came last.
        self.granted_bytes = max(self.granted_bytes, self._taken_bytes + WINDOW_BYTES)
        granted = self.granted, self.granted_bytes
        return granted if granted != before else None

    def next(self) -> bytes | None:
        """The next item if it is here."""
        if not self._items:
            return None
        item, self.raw = self._items.popleft()
        self._taken += 1
        self._taken_bytes += len(item)
        return item

    async def take(self) -> bytes | None:
        """The next item; ``None`` at the end. Raises what ended the stream."""
        while not self._items:
            if self.end.done():
                self.end.result()
                return None
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        return self.next()

    def wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
