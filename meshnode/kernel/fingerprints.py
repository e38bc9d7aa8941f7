"""A set of (key, version) pairs summed up so that two nodes find their differences without listing everything.

256 buckets by one byte of the key's hash; a bucket's fingerprint is the XOR of 8-byte hashes of its pairs, the root
is a hash over the numbered buckets. Equal sets have equal roots whatever the order of insertion.
"""

import hashlib

BUCKETS = 256


class Fingerprints:
    """Keys with versions; ``put`` replaces. All operations are O(1) but ``bucket`` (O(rows of it))."""

    def __init__(self) -> None:
        self._versions: dict[bytes, bytes] = {}
        self._rows: list[dict[bytes, None]] = [{} for _ in range(BUCKETS)]
        self._sums: list[int] = [0] * BUCKETS

    def __len__(self) -> int:
        return len(self._versions)

    def __contains__(self, key: bytes) -> bool:
        return key in self._versions

    def version(self, key: bytes) -> bytes | None:
        return self._versions.get(key)

    def put(self, key: bytes, version: bytes) -> None:
        self.remove(key)
        number = bucket_of(key)
        self._versions[key] = version
        self._rows[number][key] = None
        self._sums[number] ^= _stamp(key, version)

    def remove(self, key: bytes) -> None:
        version = self._versions.pop(key, None)
        if version is not None:
            number = bucket_of(key)
            del self._rows[number][key]
            self._sums[number] ^= _stamp(key, version)

    def root(self) -> bytes:
        """8 bytes; equal if and (but for 2^-64) only if the sets are equal."""
        digest = hashlib.blake2b(digest_size=8)
        for number, total in enumerate(self._sums):
            if total:
                digest.update(bytes((number,)) + total.to_bytes(8))
        return digest.digest()

    def sums(self) -> dict[int, int]:
        """Fingerprint by bucket number, empty buckets left out."""
        return {number: total for number, total in enumerate(self._sums) if total}

    def bucket(self, number: int) -> list[tuple[bytes, bytes]]:
        """(key, version) rows of one bucket, sorted by key."""
        return sorted((key, self._versions[key]) for key in self._rows[number])


def bucket_of(key: bytes) -> int:
    return hashlib.blake2b(key, digest_size=1).digest()[0]


def _stamp(key: bytes, version: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(len(key).to_bytes(4) + key + version, digest_size=8).digest())
