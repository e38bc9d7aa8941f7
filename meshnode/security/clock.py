"""What time it is for judging certificates and expiry, on machines whose clock may be wrong.

A board without a battery wakes up in 1970 and would refuse everybody. So time never runs below a *floor*: the
newest moment this node has proof of. Proof is its own journal (the last time it wrote down), the release date of
this build, its own certificate's start and what an admin signed; never the mere word of a peer.
"""

from meshnode.kernel.instant import ClockTrust, Instant

# No build of meshnode is older than this (2026-11-01): a first floor for a node that has nothing written down yet.
RELEASED_MS = 1_793_491_200_000


class MeshClock:
    """``max(wall, floor)``. The floor only rises; the host keeps it in the journal (``RecordKind.CLOCK``)."""

    def __init__(self, floor_ms: int) -> None:
        self._floor_ms = floor_ms

    @property
    def floor_ms(self) -> int:
        return self._floor_ms

    def now_ms(self, now: Instant) -> int:
        return max(now.wall_ms, self._floor_ms)

    def prove(self, at_ms: int) -> None:
        """It is not earlier than ``at_ms``: something this node can trust says so."""
        self._floor_ms = max(self._floor_ms, at_ms)

    def trusted(self, now: Instant) -> bool:
        """Whether ``now_ms`` is the time, and not just a bound from below.

        Untrusted time proves that something has expired, and never that something is not valid yet.
        """
        return now.trust is not ClockTrust.FLOOR and now.wall_ms >= self._floor_ms
