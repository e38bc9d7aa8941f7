"""Neighbours of whom something is missing: asked whether they are there, and given a while to say so."""

from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

FLOOR_US = 300 * MS


class Doubts:
    """Who was asked, since when, and until when its answer is waited for."""

    def __init__(self) -> None:
        self._asked_us: dict[NodeId, int] = {}
        self._due: Timers[NodeId] = Timers()

    def ask(self, peer: NodeId, trip_us: int, now: Instant) -> bool:
        """Whether it is to be asked: not one that was, and has time to answer. ``trip_us``: to it and back."""
        if peer in self._asked_us:
            return False
        self._asked_us[peer] = now.mono_us
        self._due.set(peer, now.mono_us + max(FLOOR_US, 3 * trip_us + 100 * MS))
        return True

    def due(self, now: Instant) -> list[tuple[NodeId, int]]:
        """Those whose time is over, and when they were asked."""
        return [(peer, self._asked_us.pop(peer)) for peer in self._due.pop_due(now.mono_us)]

    def cancel(self, peer: NodeId) -> None:
        self._asked_us.pop(peer, None)
        self._due.cancel(peer)

    def deadline(self) -> int | None:
        return self._due.deadline()
