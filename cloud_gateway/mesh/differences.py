"""What of a kind's rows differs from what is stored. A fleet of 10,000 nodes has 200,000 rows, of which few change in
a second: only these are written. Rows that merely grew older are refreshed at a bounded rate.

Of every stored row its key is kept and one number (``KeyTable``): 32 bits fingerprint, 20 bits the second it was
written, 2 bits the round it was last seen in.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter

from cloud_gateway.mesh.keytable import KeyTable
from cloud_gateway.model.fingerprint import fingerprint
from cloud_gateway.model.rows import KEYS, Key, Row

REFRESH_AFTER_S = 10
_PRINT = (1 << 32) - 1
_SECOND = (1 << 20) - 1
_BETWEEN = "\0"  # only the last part of a key is text that may hold anything


class Differences:
    """Of one kind. ``stored``: what the store has; it is taken over. ``patience``: in how many rounds a row may be
    missing before it has gone: lists in an order that changes between two pages may skip one. ``refreshes_a_second``:
    how many unchanged rows may be written again."""

    def __init__(self, kind: str, stored: dict[Key, int], *, patience: int = 0, refreshes_a_second: int = 500) -> None:
        self.kind, self._parts = kind, len(KEYS[kind])
        self._key: Callable[[Row], Key | str] = attrgetter(
            *KEYS[kind]
        )  # of a row; without a tuple where it is one part
        self._patience, self._rate = patience, refreshes_a_second
        self._round = 0
        self._left = 0
        self._began_s = 0
        self._held = KeyTable()
        while stored:  # moved, not copied: there may be 100,000
            key, value = stored.popitem()
            self._held.put(_packed(key), value & _PRINT)

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, now_s: int) -> None:
        """A new round. What is stored from before the first one counts as seen in the round before it."""
        self._round = (self._round + 1) & 3
        self._left = self._rate * (max(1, now_s - self._began_s) if self._began_s else 1)
        self._began_s = now_s

    def changed(self, rows: Sequence[Row]) -> list[Row]:
        """Those to be written; tell ``written`` once they are. The others have been seen."""
        found: list[Row] = []
        held, find, pack = self._held, self._held.find, self._packed
        for row in rows:
            place = find(pack(row))
            if place < 0 or (known := held.numbers[place]) & _PRINT != fingerprint(row):
                found.append(row)
                continue
            held.numbers[place] = (known & ~(3 << 52)) | self._round << 52
            if self._left > 0 and self._is_old(known):
                self._left -= 1
                found.append(row)
        return found

    def written(self, rows: Sequence[Row]) -> None:
        stamp = self._round << 52 | (self._began_s & _SECOND) << 32
        for row in rows:
            self._held.put(self._packed(row), stamp | fingerprint(row))

    def gone(self) -> list[Key]:
        """Keys that a whole round has not seen; tell ``forgotten`` once they are removed."""
        return [
            tuple(key.decode().split(_BETWEEN, self._parts - 1))
            for key, held in self._held.items()
            if (self._round - (held >> 52)) & 3 > self._patience
        ]

    def forgotten(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._held.remove(_packed(key))

    def _packed(self, row: Row) -> bytes:
        key = self._key(row)
        return key.encode() if isinstance(key, str) else _packed(key)

    def _is_old(self, held: int) -> bool:
        return (self._began_s - (held >> 32)) & _SECOND >= REFRESH_AFTER_S


def _packed(key: Key) -> bytes:
    return _BETWEEN.join(map(str, key)).encode()
