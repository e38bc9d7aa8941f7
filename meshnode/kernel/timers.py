"""Keyed deadlines with one minimum: what a machine needs instead of timers."""

import heapq
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")


class Timers(Generic[KeyT]):
    """Deadlines by key on the ``mono_us`` axis.

    Setting a key again moves it; equal deadlines fire in the order of setting.
    """

    def __init__(self) -> None:
        self._due: dict[KeyT, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, KeyT]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: KeyT) -> bool:
        return key in self._due

    def set(self, key: KeyT, at_us: int) -> None:
        self._count += 1
        self._due[key] = (at_us, self._count)
        heapq.heappush(self._heap, (at_us, self._count, key))
        if len(self._heap) > 64 + 4 * len(self._due):
            self._heap = [(at, no, k) for k, (at, no) in self._due.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: KeyT) -> None:
        self._due.pop(key, None)

    def deadline(self) -> int | None:
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_us: int) -> list[KeyT]:
        """Keys that are due, earliest first; they are no longer set."""
        due: list[KeyT] = []
        while True:
            self._drop_stale()
            if not self._heap or self._heap[0][0] > now_us:
                return due
            _, _, key = heapq.heappop(self._heap)
            del self._due[key]
            due.append(key)

    def _drop_stale(self) -> None:
        while self._heap:
            at, no, key = self._heap[0]
            if self._due.get(key) == (at, no):
                return
            heapq.heappop(self._heap)
