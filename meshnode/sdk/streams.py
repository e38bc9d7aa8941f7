"""Streams of items between caller and callee: credit, so that what nobody reads is not made."""

import asyncio
from collections import deque

# Items that may be sent before any GRANT, and that a reader lets wait for it.
INITIAL_GRANT = 16


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
    """The reader's side: items that came and were not yet read, at most ``INITIAL_GRANT``."""

    __slots__ = ("_came", "_items", "_loop", "_more", "_taken", "end")

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._came = self._taken = 0
        self._more: asyncio.Future[None] | None = None
        self.end: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def add(self, number: int, item: bytes) -> bool:
        """False: out of order, or more than was granted."""
        if number != self._came or number >= self.granted:
            return False
        self._came += 1
        self._items.append(item)
        self.wake()
        return True

    @property
    def granted(self) -> int:
        return self._taken // (INITIAL_GRANT // 2) * (INITIAL_GRANT // 2) + INITIAL_GRANT

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

    @property
    def grant_due(self) -> bool:
        return self._taken % (INITIAL_GRANT // 2) == 0

    def wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
