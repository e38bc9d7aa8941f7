"""When the documents room is woken: for rounds of repair, for peers that are asked again, for generations that end."""

from meshnode.crdt.config import DocumentsConfig
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

FREEZE = b"freeze"  # timer of generations that end
COOL = b"cool"  # timer of documents nobody uses any more
REMIND = b"remind"  # timer of what others were to bring to our peers
ROUND = b""  # timer of the regular repair; those of single peers carry their NodeId
FREEZE_ON_US = 5 * MS


class Rhythm:
    """The room's timers. Each is left alone while it is set."""

    def __init__(self, config: DocumentsConfig, rng: Random, me: NodeId) -> None:
        self._config = config
        # By ids, so that of two neighbours one is first by more than its words travel; what it says the other need not.
        self._remind_us = config.remind_after_us * (256 + 2 * int.from_bytes(me[:1])) // 256
        self._rng = rng
        self._timers: Timers[bytes] = Timers()

    def freeze(self, now: Instant) -> None:
        """Something is to be frozen: tell neighbours soon."""
        if FREEZE not in self._timers:
            self._timers.set(FREEZE, now.mono_us + self._config.freeze_every_us)

    def freeze_on(self, now: Instant) -> None:
        """More is ripe than one turn bears: the rest has the next one, behind whoever waits by then."""
        self._timers.set(FREEZE, now.mono_us + FREEZE_ON_US)

    def remind(self, now: Instant) -> None:
        """Something was left to others: a moment later it is announced."""
        if REMIND not in self._timers:
            self._timers.set(REMIND, now.mono_us + self._remind_us)

    def cool(self, now: Instant) -> None:
        """There are documents that may give up their memory some time after their last use."""
        if COOL not in self._timers:
            self._timers.set(COOL, now.mono_us + self._config.rest_every_us)

    @property
    def is_cooling(self) -> bool:
        return COOL in self._timers

    def begin(self, now: Instant) -> None:
        """There is somebody to compare with."""
        if ROUND not in self._timers:
            self.rest(now)

    def rest(self, now: Instant) -> None:
        """Until the next round of repair."""
        spread = 1.0 + self._config.repair_jitter * (2.0 * self._rng.random() - 1.0)
        self._timers.set(ROUND, now.mono_us + round(self._config.repair_every_us * spread))

    def again(self, peer: NodeId, now: Instant) -> None:
        """Ask ``peer`` again: what it brought was refused for a reason that time may turn."""
        if peer not in self._timers:
            self._timers.set(peer, now.mono_us + self._config.retry_after_us)

    def forget(self, peer: NodeId) -> None:
        self._timers.cancel(peer)

    def due(self, now: Instant) -> list[bytes]:
        return list(self._timers.pop_due(now.mono_us))

    def deadline(self) -> int | None:
        return self._timers.deadline()
