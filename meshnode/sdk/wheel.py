"""Deadlines by the thousand: set and cleared for each call, and nearly always cleared.

A timer of the event loop costs more than the rest of a short call, and a cancelled one stays in its heap until it would
have been due. Here deadlines of the same few milliseconds share a bucket, and the loop has one timer for all of them:
what is due is called up to ``GRAIN_S`` late, never early.
"""

import asyncio
from collections.abc import Callable, Hashable

GRAIN_S = 1 / 64


class Wheel:
    """Keys with something to do at a time on the loop's clock. A key is set once until it is cleared or due."""

    __slots__ = ("_buckets", "_loop", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buckets: dict[int, dict[Hashable, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Buckets with something in them."""
        return len(self._buckets)

    def set(self, key: Hashable, at_s: float, act: Callable[[], None]) -> int:
        """Call ``act`` then. The number returned is what ``clear`` wants."""
        tick = int(at_s / GRAIN_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            self._arm(tick)
        bucket[key] = act
        return tick

    def clear(self, key: Hashable, tick: int) -> None:
        """It is over, or was due already."""
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.pop(key, None)
            if not bucket:  # an emptied dict would keep the room of the most it ever held
                del self._buckets[tick]

    def close(self) -> None:
        """Nothing is due any more."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, tick: int) -> None:
        at_s = tick * GRAIN_S
        if self._timer is None or at_s < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at_s, self._turn)

    def _turn(self) -> None:
        self._timer = None
        try:
            now_s = self._loop.time()
            for tick in sorted(self._buckets):
                if tick * GRAIN_S > now_s:
                    break
                self._fire(tick)
        finally:
            if self._buckets:
                self._arm(min(self._buckets))

    def _fire(self, tick: int) -> None:
        while bucket := self._buckets.get(tick):  # one that acts may clear others
            key = next(iter(bucket))
            act = bucket[key]
            self.clear(key, tick)
            act()
