"""Who hears of commits: bounded queues, one a reader. Belongs to one event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from cloud_gateway.model.batch import Changes

QUEUE_MAX = 64


class Feed:
    """``tell`` reaches every reader that was there; one that falls behind loses what waited and hears ``whole=False``
    instead."""

    def __init__(self) -> None:
        self._readers: list[_Reader] = []
        self._closed = False

    def tell(self, changes: Changes) -> None:
        for reader in self._readers:
            reader.put(changes)

    def close(self) -> None:
        """Readers come to their end."""
        self._closed = True
        for reader in self._readers:
            reader.close()

    def changes(self) -> AsyncIterator[Changes]:
        """From now on: also what is told before the first is taken."""
        reader = _Reader()
        if self._closed:
            reader.close()
        self._readers.append(reader)
        return self._read(reader)

    async def _read(self, reader: "_Reader") -> AsyncIterator[Changes]:
        try:
            while (changes := await reader.take()) is not None:
                yield changes
        finally:
            self._readers.remove(reader)


class _Reader:
    def __init__(self) -> None:
        self._queue: deque[Changes] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def put(self, changes: Changes) -> None:
        if len(self._queue) >= QUEUE_MAX:
            self._queue.clear()
            changes = Changes(seq=changes.seq, at_ms=changes.at_ms, source=changes.source, whole=False)
        self._queue.append(changes)
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def take(self) -> Changes | None:
        while not self._queue:
            if self._closed:
                return None
            self._news.clear()
            await self._news.wait()
        return self._queue.popleft()
