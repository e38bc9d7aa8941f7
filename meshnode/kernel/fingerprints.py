"""A set of (key, version) pairs summed up so that two nodes find their differences without listing everything.

256 buckets by one byte of the key's hash; a bucket's fingerprint is the XOR of 8-byte hashes of its pairs, the root
is a hash over the numbered buckets. Equal sets have equal roots whatever the order of insertion.

A set may lie over another one that nobody changes: it holds then only what differs, sums included, since XOR of a sum
and of what came and went is the new sum.
"""

import hashlib
import itertools
import struct
from functools import lru_cache

BUCKETS = 256


class Fingerprints:
    """Keys with versions; ``put`` replaces. All operations are O(1) but ``bucket`` (O(rows of it)) and a new root."""

    def __init__(self, base: "Fingerprints | None" = None) -> None:
        """``base``: the set to begin with. It must not change any more."""
        self._base = base
        self._versions: dict[bytes, bytes | None] = {}  # ``None``: the base has it, this set does not
        self._rows: dict[int, list[bytes]] = {}  # keys by bucket, those of the base left out
        self._sums: dict[int, int] = {}  # what differs from the base
        self._len = len(base) if base is not None else 0
        self._root: bytes | None = None

    def __len__(self) -> int:
        return self._len

    def __contains__(self, key: bytes) -> bool:
        return self.version(key) is not None

    def version(self, key: bytes) -> bytes | None:
        if self._base is None or key in self._versions:
            return self._versions.get(key)
        return self._base.version(key)

    def put(self, key: bytes, version: bytes) -> bytes | None:
        """The version that was held before; ``None``: it is new."""
        held = self.version(key)
        if held == version:
            return held
        number, stamp = bucket_of(key), stamp_of(key, version)
        if held is None:
            self._len += 1
        else:
            stamp ^= stamp_of(key, held)
        if self._versions.get(key) is None:
            self._rows.setdefault(number, []).append(key)
        self._versions[key] = version
        self._mix(number, stamp)
        return held

    def remove(self, key: bytes) -> None:
        held = self.version(key)
        if held is None:
            return
        self._len -= 1
        number = bucket_of(key)
        self._mix(number, stamp_of(key, held))
        if self._versions.pop(key, None) is not None:
            self._take_out(number, key)
        if self._base is not None and key in self._base:
            self._versions[key] = None

    def root(self) -> bytes:
        """8 bytes; equal if and (but for 2^-64) only if the sets are equal."""
        if self._root is None:
            self._root = root_of(self.sums()) if self._base is None or self._sums else self._base.root()
        return self._root

    def sums(self) -> dict[int, int]:
        """Fingerprint by bucket number, in their order, empty buckets left out."""
        if self._base is None:
            return dict(sorted(self._sums.items()))
        totals = self._base.sums()
        for number, total in self._sums.items():
            totals[number] = totals.get(number, 0) ^ total
        return {number: total for number, total in sorted(totals.items()) if total}

    def bucket(self, number: int) -> list[tuple[bytes, bytes]]:
        """(key, version) rows of one bucket, sorted by key."""
        rows = [(key, version) for key in self._rows.get(number, ()) if (version := self._versions[key]) is not None]
        if self._base is not None:
            rows += [row for row in self._base.bucket(number) if row[0] not in self._versions]
        return sorted(rows)

    def _mix(self, number: int, stamp: int) -> None:
        self._root = None
        total = self._sums.get(number, 0) ^ stamp
        if total:
            self._sums[number] = total
        else:
            self._sums.pop(number, None)

    def _take_out(self, number: int, key: bytes) -> None:
        rows = self._rows[number]
        rows.remove(key)
        if not rows:
            del self._rows[number]


def root_of(sums: dict[int, int]) -> bytes:
    """The root of a set whose sums these are, in the order of buckets."""
    packed = _packing(len(sums)).pack(*itertools.chain.from_iterable(sums.items()))
    return hashlib.blake2b(packed, digest_size=8).digest()


@lru_cache(maxsize=BUCKETS + 1)
def _packing(buckets: int) -> struct.Struct:
    """A byte for the number of each bucket and eight for its sum, without gaps."""
    return struct.Struct(">" + "BQ" * buckets)


def bucket_of(key: bytes) -> int:
    return hashlib.blake2b(key, digest_size=1).digest()[0]


def stamp_of(key: bytes, version: bytes) -> int:
    """What a row adds to the sum of its bucket, and takes from it."""
    return int.from_bytes(hashlib.blake2b(len(key).to_bytes(4) + key + version, digest_size=8).digest())
