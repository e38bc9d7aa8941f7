"""Streams of items between caller and callee: credit, so that what nobody reads is not made."""

import asyncio
from collections import deque

# Items that may be sent before any GRANT, and the fewest that a reader lets wait for it.
INITIAL_GRANT = 16
# Of small items more, as many of the largest that came as are so many bytes: a stream of words needs no round trip
# every sixteen words.
WINDOW_BYTES = 1024 * 1024
WINDOW_MAX = 64
# Of large items fewer, once it is known how large they are: a reader that sleeps holds four of a megabyte, not sixteen.
WINDOW_MIN = 4


class Credit:
    """The maker's side: how many items the reader takes in all."""

    __slots__ = ("_more", "total")

    def __init__(self) -> None:
        self.total = INITIAL_GRANT
        self._more: asyncio.Future[None] | None = None

    def grant(self, total: int) -> None:
        self.total = max(self.total, total)
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def wait_for(self, number: int) -> None:
        """Until the item of that number may leave."""
        while number >= self.total:
            self._more = asyncio.get_running_loop().create_future()
            await self._more


class Inbox:
    """The reader's side: items that came and were not yet read, at most ``granted`` in all."""

    __slots__ = ("_came", "_items", "_largest", "_more", "_taken", "_window", "end", "granted")

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._came = self._taken = self._largest = 0
        self._more: asyncio.Future[None] | None = None
        self.granted = self._window = INITIAL_GRANT
        self.end: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def add(self, number: int, item: bytes) -> bool:
        """False: out of order, or more than was granted."""
        if number != self._came or number >= self.granted:
            return False
        self._came += 1
        self._largest = max(self._largest, len(item))
        self._items.append(item)
        self.wake()
        return True

    def grant(self) -> int | None:
        """A new total to tell the maker, when half of what was granted is used up."""
        if self.granted - self._taken > self._window // 2:
            return None
        self._window = min(WINDOW_MAX, max(WINDOW_MIN, WINDOW_BYTES // max(1, self._largest)))
        if self._taken + self._window <= self.granted:
            return None
        self.granted = self._taken + self._window
        return self.granted

    async def take(self) -> bytes | None:
        """The next item; ``None`` at the end. Raises what ended the stream."""
        while not self._items:
            if self.end.done():
                self.end.result()
                return None
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        self._taken += 1
        return self._items.popleft()

    def wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
