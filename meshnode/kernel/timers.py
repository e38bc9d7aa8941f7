"""Keyed deadlines with one minimum: what a machine needs instead of timers."""

import heapq
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")


class Timers(Generic[KeyT]):
    """Deadlines by key on the ``mono_us`` axis.

    Setting a key again moves it; equal deadlines fire in the order of setting.
    """

    def __init__(self) -> None:
        self._due: dict[KeyT, tuple[int, int, KeyT]] = {}  # the entry of the heap that counts
        self._heap: list[tuple[int, int, KeyT]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: KeyT) -> bool:
        return key in self._due

    def set(self, key: KeyT, at_us: int) -> None:
        self._count += 1
        entry = (at_us, self._count, key)
        self._due[key] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 64 + 4 * len(self._due):
            self._heap = list(self._due.values())
            heapq.heapify(self._heap)

    def cancel(self, key: KeyT) -> None:
        self._due.pop(key, None)

    def deadline(self) -> int | None:
        heap, due = self._heap, self._due
        while heap:
            entry = heap[0]
            if due.get(entry[2]) is entry:
                return entry[0]
            heapq.heappop(heap)
        return None

    def pop_due(self, now_us: int) -> list[KeyT]:
        """Keys that are due, earliest first; they are no longer set."""
        keys: list[KeyT] = []
        while (at_us := self.deadline()) is not None and at_us <= now_us:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            keys.append(key)
        return keys
