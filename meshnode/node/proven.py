"""The newest time there is proof of, kept over a boot without a clock.

A clock nobody vouches for proves nothing: written down, a wrong one would stay in force for ever. What is known then is
how long this node has run since the last proof.
"""

from collections.abc import Sequence

from meshnode.kernel.effects import Effect, Persist
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.security.clock import MeshClock

EVERY_US = 900 * SECOND


class ProvenTime:
    """Raises the floor of the node's clock now and then, and writes it down."""

    def __init__(self, clock: MeshClock, restored: Sequence[Record], now: Instant) -> None:
        self._clock = clock
        clock.prove(max((int.from_bytes(r.body) for r in restored if r.kind is RecordKind.CLOCK), default=0))
        self._proven_ms, self._proven_us = clock.floor_ms, now.mono_us
        self._due_us: int | None = None

    def start(self, now: Instant) -> None:
        self._due_us = now.mono_us + EVERY_US

    def wake(self, now: Instant) -> list[Effect]:
        if self._due_us is None or self._due_us > now.mono_us:
            return []
        self._due_us = now.mono_us + EVERY_US
        elapsed_ms = (now.mono_us - self._proven_us) // MS
        wall_ms = now.wall_ms if self._clock.trusted(now) else 0
        proven_ms = max(self._clock.floor_ms, self._proven_ms + elapsed_ms, wall_ms)
        self._proven_ms, self._proven_us = proven_ms, now.mono_us
        self._clock.prove(proven_ms)
        return [Persist((Record(RecordKind.CLOCK, b"", proven_ms.to_bytes(8)),))]

    def deadline(self) -> int | None:
        return self._due_us
