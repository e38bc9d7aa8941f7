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
        self._first: tuple[int, int, KeyT] | None = None  # the earliest that counts, while it does

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: KeyT) -> bool:
        return key in self._due

    def place(self) -> int:
        """A place in the order of setting, for a deadline that may be set later."""
        self._count += 1
        return self._count

    def at(self, key: KeyT) -> int | None:
        """Its deadline."""
        entry = self._due.get(key)
        return entry[0] if entry is not None else None

    def set(self, key: KeyT, at_us: int, place: int = 0) -> None:
        entry = (at_us, place or self.place(), key)
        first, self._due[key] = self._first, entry
        if first is not None and (first[2] == key or entry < first):
            self._first = None
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 64 + 4 * len(self._due):
            self._heap = list(self._due.values())
            heapq.heapify(self._heap)

    def cancel(self, key: KeyT) -> None:
        if self._due and self._due.pop(key, None) is self._first:
            self._first = None

    def deadline(self) -> int | None:
        if not self._due:
            return None
        if self._first is None:
            self._first = self._earliest()
        return self._first[0]

    def first(self) -> KeyT | None:
        """Whose deadline it is."""
        return None if self.deadline() is None or self._first is None else self._first[2]

    def _earliest(self) -> tuple[int, int, KeyT]:
        """Entries that do not count any more are thrown away on the way."""
        heap, due = self._heap, self._due
        while due.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0]

    def pop_due(self, now_us: int) -> list[KeyT]:
        """Keys that are due, earliest first; they are no longer set."""
        keys: list[KeyT] = []
        while (at_us := self.deadline()) is not None and at_us <= now_us:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            self._first = None
            keys.append(key)
        return keys
