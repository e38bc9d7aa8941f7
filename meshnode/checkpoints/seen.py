"""Which changes a copy has taken in: for every epoch the highest version, and single dots beyond it.

Versions of an epoch are taken in order, so a number per epoch says it all. Single dots (the *cloud*) appear only where
whole entries survived a damaged one before them. Source: dotted version vectors (Preguica et al., 2010).
"""

import hashlib
from collections.abc import Mapping

from meshnode.kernel.epochs import Dot, Epoch


class Seen:
    """A causal past. Grows only."""

    __slots__ = ("cloud", "upto")

    def __init__(self, upto: Mapping[Epoch, int] | None = None, cloud: Mapping[Dot, None] | None = None) -> None:
        self.upto: dict[Epoch, int] = dict(upto or {})
        self.cloud: dict[Dot, None] = dict(cloud or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and self.upto == other.upto and sorted(self.cloud) == sorted(other.cloud)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # it changes

    def copy(self) -> "Seen":
        return Seen(self.upto, self.cloud)

    def has(self, epoch: Epoch, version: int) -> bool:
        if self.upto.get(epoch, 0) >= version:
            return True
        return bool(self.cloud) and Dot(epoch, version) in self.cloud

    def covers(self, other: "Seen") -> bool:
        """Everything in ``other`` is in here."""
        upto = self.upto
        if any(upto.get(epoch, 0) < version for epoch, version in other.upto.items()):
            return False
        return all(self.has(dot.epoch, dot.version) for dot in other.cloud)

    def reach(self, epoch: Epoch, version: int) -> None:
        """Everything of the epoch up to ``version`` is in."""
        if self.upto.get(epoch, 0) < version:
            self.upto[epoch] = version

    def note(self, epoch: Epoch, version: int) -> None:
        """This one dot is in, whatever is missing before it."""
        if self.upto.get(epoch, 0) < version:
            self.cloud[Dot(epoch, version)] = None

    def join(self, other: "Seen") -> None:
        for epoch, version in other.upto.items():
            self.reach(epoch, version)
        self.cloud.update(other.cloud)
        if self.cloud:
            self.cloud = {dot: None for dot in self.cloud if self.upto.get(dot.epoch, 0) < dot.version}

    def total(self) -> int:
        """How many changes were seen: the version of a state, as people see it."""
        return sum(self.upto.values())

    def digest(self) -> bytes:
        """Equal for equal pasts, 8 bytes."""
        rows = [(epoch.counter, epoch.node, version) for epoch, version in sorted(self.upto.items()) if version]
        rows += [(dot.epoch.counter, dot.epoch.node, -dot.version) for dot in sorted(self.cloud)]
        return hashlib.blake2b(repr(rows).encode(), digest_size=8).digest()
