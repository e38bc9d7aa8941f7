"""Fingerprints of facts by part, and of all together: since sums are XORs, a union of parts costs nothing to keep."""

from collections.abc import Sequence

from meshnode.kernel.fingerprints import Fingerprints, root_of


class Parted:
    """A key belongs to one part. Read as a whole it is an index like any other (``kernel.repair.Index``)."""

    def __init__(self) -> None:
        self._parts: dict[str, Fingerprints] = {}

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts.values())

    def part(self, name: str) -> Fingerprints:
        """The index of one part; an empty one if nothing of it is held."""
        return self._parts.get(name) or Fingerprints()

    def names(self) -> Sequence[str]:
        """Sorted; those with at least one key."""
        return sorted(self._parts)

    def put(self, part: str, key: bytes, version: bytes) -> None:
        self._parts.setdefault(part, Fingerprints()).put(key, version)

    def remove(self, part: str, key: bytes) -> None:
        index = self._parts.get(part)
        if index is not None:
            index.remove(key)
            if not len(index):
                del self._parts[part]

    # -- as one index -------------------------------------------------------------------------------------------------

    def root(self) -> bytes:
        """As of one ``Fingerprints`` with all the keys."""
        return root_of(dict(sorted(self.sums().items())))

    def sums(self) -> dict[int, int]:
        totals: dict[int, int] = {}
        for part in self._parts.values():
            for number, total in part.sums().items():
                totals[number] = totals.get(number, 0) ^ total
        return {number: total for number, total in totals.items() if total}

    def bucket(self, number: int) -> list[tuple[bytes, bytes]]:
        return sorted(row for part in self._parts.values() for row in part.bucket(number))

    def version(self, key: bytes) -> bytes | None:
        return next((v for part in self._parts.values() if (v := part.version(key)) is not None), None)
