"""Links as tier 3 knows them: up, black, or gone; letters arrive in order, later when one is lost on the way.

Latencies are those of real cities. A lost packet costs what a tail loss probe takes (RFC 8985): two round trips and a
bit. What is sent into a black hole waits, as in a socket's buffer, and arrives when the link is healed.
"""

from collections.abc import Mapping, Sequence

from meshnode.kernel.rng import Random
from meshnode.model.ids import NodeId
from meshnode.sim.fleet.pulse import Pulse
from meshnode.sim.places import CITIES, one_way_us

JITTER = 0.05  # of the way, at most
JITTER_US = 150
LOSS = 0.0005  # of pieces sent
PROBE_US = 20_000
WAYS = tuple(tuple(one_way_us(a, b) for b in CITIES) for a in CITIES)
LETTER_BYTES, PIECE_BYTES = 6, 74  # what a frame adds to a letter; what TLS, TCP and IP add to what one turn sends


class Wire:
    """One link; side 0 dialled. Who sends on a side is ``ends[side]``."""

    __slots__ = ("black_us", "ends", "heard_us", "last", "pulse", "up_us", "waiting", "way_us")

    def __init__(self, ends: tuple[NodeId, NodeId], way_us: int, up_us: int = 0) -> None:
        self.ends, self.way_us, self.up_us = ends, way_us, up_us
        self.black_us: int | None = None  # nothing arrives since
        self.heard_us = [up_us, up_us]  # by each side, if it is black
        self.last: list[Piece | None] = [None, None]  # the last one sent by each side
        self.waiting: list[Piece] = []  # sent into a black hole
        self.pulse: Pulse | None = None  # if its heartbeats are played

    def blacken(self, now_us: int, idle_us: int) -> None:
        """Nothing arrives any more. What each side heard last is the last letter, or the heartbeat that is not played:
        links do not fall silent all at once, and a node that is cut off must not seem to notice all at once."""
        if self.black_us is not None:
            return
        self.black_us, beat_us = now_us, now_us - (now_us - self.up_us) % idle_us
        for side, before in enumerate(reversed(self.last)):
            self.heard_us[side] = max(beat_us, before.at_us if before is not None and before.at_us <= now_us else 0)

    def piece(self, side: int, now_us: int, luck: Random) -> "Piece":
        """The next one of a side: it arrives after those before it."""
        draw = luck.random()
        at_us = now_us + self.way_us + int(draw * (self.way_us * JITTER + JITTER_US))
        if draw < LOSS:
            at_us += 4 * self.way_us + PROBE_US
        before = self.last[side]
        piece = self.last[side] = Piece(self, side, now_us, at_us if before is None else max(at_us, before.at_us))
        return piece


class Piece:
    """What one turn of a node sends over one link."""

    __slots__ = ("at_us", "letters", "sent_us", "side", "wire")

    def __init__(self, wire: Wire, side: int, sent_us: int, at_us: int) -> None:
        self.wire, self.side, self.sent_us, self.at_us = wire, side, sent_us, at_us
        self.letters: list[bytes] = []


def components(links: Mapping[NodeId, Sequence[NodeId]]) -> list[int]:
    """The sizes of what hangs together, biggest first."""
    sizes: list[int] = []
    seen: dict[NodeId, None] = {}
    for first in links:
        if first in seen:
            continue
        seen[first], todo, size = None, [first], 0
        while todo:
            size += 1
            for peer in links[todo.pop()]:
                if peer not in seen:
                    seen[peer] = None
                    todo.append(peer)
        sizes.append(size)
    return sorted(sizes, reverse=True)
