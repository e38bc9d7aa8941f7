"""A store with faults to be planted: what the API does when the one behind it is slow, broken or silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from cloud_gateway.model.batch import Batch, Changes, Committed
from cloud_gateway.store.port import Store, StoreFailed

_READING = frozenset({
    "listed", "told", "get", "named", "agents", "skills", "events", "journal", "loads", "overview", "regions", "grid",
    "source", "sizes",
})  # fmt: skip


class FaultyStore:
    """Every other method is the store's own. ``fails``: raised by all that reads. ``slow_s``: all that reads takes
    this long. ``silent``: commits are not told, and the next one says so. ``asked``: how often each was asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails: Exception | None = None
        self.slow_s = 0.0
        self.silent = False
        self.asked: dict[str, int] = {}
        self.seq = 0

    def __getattr__(self, name: str) -> object:
        target = getattr(self._store, name)
        return self._faulty(name, target) if name in _READING else target

    async def commit(self, batch: Batch) -> Committed:
        committed = await self._store.commit(batch)
        self.seq = committed.seq
        return committed

    async def changes(self) -> AsyncIterator[Changes]:
        async for changes in self._store.changes():
            if self.silent:
                raise StoreFailed("it lost its voice")
            yield changes

    def _faulty(self, name: str, target: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def read(*given: object) -> object:
            self.asked[name] = self.asked.get(name, 0) + 1
            if self.slow_s:
                await asyncio.sleep(self.slow_s)
            if self.fails is not None:
                raise self.fails
            return await target(*given)

        return read
