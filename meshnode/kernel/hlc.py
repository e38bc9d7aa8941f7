"""Hybrid logical clock: order that follows causality and stays near wall time.

Source: Kulkarni et al., "Logical Physical Clocks", 2014. A stamp is one integer: 48 bits of
milliseconds, 16 of counter.
"""

from meshnode.kernel.instant import Instant

COUNTER_BITS = 16
COUNTER_MAX = (1 << COUNTER_BITS) - 1
# A peer's stamp further ahead than this does not move our clock: one bad clock must not drag the mesh along.
AHEAD_MAX_MS = 10 * 60 * 1000


class Hlc:
    """Strictly increasing stamps."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def stamp(self, now: Instant) -> int:
        self.last = max(self.last + 1, now.wall_ms << COUNTER_BITS)
        return self.last

    def witness(self, stamp: int, now: Instant) -> None:
        """A peer's stamp was seen: ours come after it from now on."""
        if stamp >> COUNTER_BITS <= now.wall_ms + AHEAD_MAX_MS:
            self.last = max(self.last, stamp)


def wall_ms(stamp: int) -> int:
    """The milliseconds since 1970 a stamp was made at, as its writer knew them."""
    return stamp >> COUNTER_BITS
