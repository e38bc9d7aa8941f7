"""Many keys with a number each, in a third of the memory that a dict of them takes.

A dict keeps an object for every key and every number, and they lie between all that is made and dropped while it grows,
so that the memory of that is never given back. Here keys lie in one buffer one behind the other, their numbers in an
array, and a table of slots finds them (open addressing with linear probing: Knuth, The Art of Computer Programming,
volume 3, 6.4). What was removed is left as a hole until there are many.
"""

from array import array
from collections.abc import Iterator

_SLOTS_MIN = 8
_REMOVED = (1 << 32) - 1
_LENGTH_BITS = 24
_LENGTH = (1 << _LENGTH_BITS) - 1
_HOLE = (1 << 64) - 1


class KeyTable:
    """``find`` gives the place of a key, or -1; places are good until the next ``put`` or ``remove``.
    ``numbers[place]`` is its number, of 64 bits."""

    def __init__(self) -> None:
        self._begin(_SLOTS_MIN)

    def __len__(self) -> int:
        return len(self.numbers) - self._holes

    def find(self, key: bytes) -> int:
        slots, spans, keys = self._slots, self._spans, self._keys
        mask = len(slots) - 1
        at = hash(key) & mask
        while found := slots[at]:
            if found != _REMOVED:
                span = spans[found - 1]
                if span & _LENGTH == len(key) and keys.startswith(key, span >> _LENGTH_BITS):
                    return found - 1
            at = (at + 1) & mask
        return -1

    def put(self, key: bytes, number: int) -> None:
        place = self.find(key)
        if place >= 0:
            self.numbers[place] = number
            return
        if 3 * (len(self.numbers) + 1) > 2 * len(self._slots):
            self._anew()
        self._append(key, number)

    def remove(self, key: bytes) -> None:
        """Nothing happens where it is not."""
        place = self.find(key)
        if place < 0:
            return
        mask = len(self._slots) - 1
        at = hash(key) & mask
        while self._slots[at] != place + 1:
            at = (at + 1) & mask
        self._slots[at] = _REMOVED
        self._spans[place] = _HOLE
        self._holes += 1
        if 2 * self._holes > len(self.numbers) and len(self.numbers) > _SLOTS_MIN:
            self._anew()

    def items(self) -> Iterator[tuple[bytes, int]]:
        """In the order they came. Nothing may be put or removed meanwhile."""
        for span, number in zip(self._spans, self.numbers, strict=True):
            if span != _HOLE:
                start = span >> _LENGTH_BITS
                yield bytes(self._keys[start : start + (span & _LENGTH)]), number

    def _begin(self, slots: int) -> None:
        self._slots = array("I", bytes(4 * slots))
        self._spans, self.numbers = array("Q"), array("Q")
        self._keys = bytearray()
        self._holes = 0

    def _append(self, key: bytes, number: int) -> None:
        self._spans.append(len(self._keys) << _LENGTH_BITS | len(key))
        self._keys += key
        self.numbers.append(number)
        mask = len(self._slots) - 1
        at = hash(key) & mask
        while self._slots[at]:
            at = (at + 1) & mask
        self._slots[at] = len(self.numbers)

    def _anew(self) -> None:
        """Without holes, and with room."""
        kept, slots = list(self.items()), _SLOTS_MIN
        while slots < 3 * len(kept):
            slots *= 2
        self._begin(slots)
        for key, number in kept:
            self._append(key, number)
