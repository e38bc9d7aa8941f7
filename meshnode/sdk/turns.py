"""Whose turn it is: at most one holder a slot, in the order of asking. Slots that nobody wants cost nothing."""

import asyncio
import contextlib
from collections import deque


class Turns:
    """A lock per slot that is handed from holder to waiter, so that nobody gets in between."""

    def __init__(self) -> None:
        self._held: dict[int, deque[asyncio.Future[None]]] = {}

    async def take(self, slot: int) -> None:
        queue = self._held.get(slot)
        if queue is None:
            self._held[slot] = deque()
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):
                    queue.remove(waiter)
            else:
                self.release(slot)  # it had been handed over when the cancellation came
            raise

    def release(self, slot: int) -> None:
        queue = self._held[slot]
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        del self._held[slot]


class Slots:
    """The instances of this process, ``first`` and the ``count - 1`` after it, and how busy each one is."""

    def __init__(self, first: int = 0, count: int = 1) -> None:
        self.first, self.count = first, count
        self._busy: dict[int, int] = {}
        self._next = 0

    def __contains__(self, slot: int) -> bool:
        return self.first <= slot < self.first + self.count

    def enter(self, wanted: int) -> int:
        """The slot for one more call: the wanted one, or with -1 the least busy one; paired with ``leave``."""
        slot = wanted if wanted >= 0 else self._least_busy()
        self._busy[slot] = self._busy.get(slot, 0) + 1
        return slot

    def leave(self, slot: int) -> None:
        left = self._busy[slot] - 1
        if left:
            self._busy[slot] = left
        else:
            del self._busy[slot]

    def _least_busy(self) -> int:
        if len(self._busy) >= self.count:
            return min(self._busy, key=self._busy.__getitem__)
        while True:  # ends: one of them is not busy
            slot = self.first + self._next
            self._next = (self._next + 1) % self.count
            if slot not in self._busy:
                return slot
