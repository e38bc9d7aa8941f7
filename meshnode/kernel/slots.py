"""Deadlines that are hardly ever met: thousands of keys, each put off again and again, that may fire a little late.

A key is entered once and found again when its slot comes; whoever asks then looks whether it was put off meanwhile, and
enters it anew. So a key costs one place in a list, where ``Timers`` keep each deadline on its own. The idea: Varghese,
Lauck, "Hashed and Hierarchical Timing Wheels", 1987, section 5.
"""

from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")


class Slots(Generic[KeyT]):
    """Keys by slot. ``grid_us``: how long a slot is, which is how late a key may be."""

    def __init__(self, grid_us: int) -> None:
        self._grid_us = grid_us
        self._keys: dict[int, tuple[int, list[KeyT]]] = {}  # with the time, which all keys of a slot may keep
        self._first_us: int | None = None

    def add(self, key: KeyT, due_us: int) -> int:
        """Enter it. Returns when its slot is over: not before ``due_us``."""
        over_us = -(-due_us // self._grid_us) * self._grid_us
        slot = self._keys.get(over_us)
        if slot is None:
            slot = self._keys[over_us] = (over_us, [])
        at_us, keys = slot
        keys.append(key)
        if self._first_us is None or at_us < self._first_us:
            self._first_us = at_us
        return at_us

    def pop_due(self, now_us: int) -> list[tuple[int, KeyT]]:
        """Those whose slot is over, earliest first, each with its time; they are entered no longer."""
        due: list[tuple[int, KeyT]] = []
        while self._first_us is not None and self._first_us <= now_us:
            at_us = self._first_us
            due += [(at_us, key) for key in self._keys.pop(at_us)[1]]
            self._first_us = min(self._keys, default=None)
        return due

    def deadline(self) -> int | None:
        return self._first_us
