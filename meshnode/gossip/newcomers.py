"""Nodes never heard of before, met by this one: the first few are told to all at once, a crowd when no more come.

Who joins is told to everybody, and is told of everybody. Where a hundred join one seed at once, the seed would write to
each of them for each other one, and bring again by comparisons what it has written meanwhile: ten thousand letters in a
second, and each of the hundred has a turn for each of them, on processors of which the seed has the smallest share. So
the seed waits until no more come, and each is told of all others in one piece.
"""

from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.ids import NodeId

FEW = 4  # they are told at once, and each time after a second without another one
CALM_US = 100 * MS  # no more came for so long
WAIT_MAX_US = 1 * SECOND

Arrived = tuple[bytes, NodeId]  # the rumour of it, and who it is


class Newcomers:
    """Who waits to be told to others, and who waits to be told of them."""

    def __init__(self) -> None:
        self._arrived: list[Arrived] = []
        self._alone: dict[NodeId, None] = {}
        self._due_us: int | None = None
        self._since_us = self._last_us = 0
        self._crowd = 0

    def add(self, rumour: bytes, node: NodeId, now: Instant) -> None:
        """Its own row, brought by itself, is news."""
        self._arrived.append((rumour, node))
        if now.mono_us >= self._last_us + WAIT_MAX_US:
            self._crowd = 0
        self._last_us = now.mono_us
        self._crowd += 1
        self._wait(now)

    def owe(self, peer: NodeId, now: Instant) -> None:
        """It knows nobody else: it is to be given all rows."""
        self._alone[peer] = None
        self._wait(now)

    def owed(self, peer: NodeId) -> bool:
        return peer in self._alone

    def due(self, now: Instant) -> tuple[list[Arrived], list[NodeId]]:
        """Who is to be told to all, and who is to be given all the others, taken out."""
        if self._due_us is None or now.mono_us < self._due_us:
            return [], []
        arrived, alone = self._arrived, list(self._alone)
        self._arrived, self._alone, self._due_us = [], {}, None
        return arrived, alone

    def deadline(self) -> int | None:
        return self._due_us

    def _wait(self, now: Instant) -> None:
        if self._due_us is None:
            self._since_us = now.mono_us
        calm_us = now.mono_us + (0 if self._crowd <= FEW else CALM_US)
        self._due_us = min(calm_us, self._since_us + WAIT_MAX_US)
