"""One node of a fleet: its gossip room, its links, and what the links know about the peers."""

from collections.abc import Sequence
from typing import Protocol

from meshnode.gossip.membership import Gossip
from meshnode.kernel.ports import LinkStats
from meshnode.model.ids import NodeId
from meshnode.sim.fleet.seals import Seal
from meshnode.sim.fleet.wires import Wire

PORT = 7000


class Clock(Protocol):
    """The time of the fleet."""

    now_us: int


class Ship:
    """A node. Running or not, it keeps its number, its key and its address."""

    __slots__ = (
        "boot", "city", "dark", "due_us", "gossip", "id", "links", "member", "name", "number", "region", "running",
        "seal", "started_us", "stats",
    )  # fmt: skip

    def __init__(self, clock: Clock, number: int, seal: Seal, city: int, region: str, member: bytes) -> None:
        self.number, self.seal, self.city, self.region, self.member = number, seal, city, region, member
        self.id, self.name = seal.node, name_of(number)
        self.boot, self.running, self.started_us = 1, False, 0
        self.dark = False  # nothing reaches it and nothing leaves it
        self.gossip: Gossip | None = None
        self.links: dict[NodeId, Wire] = {}
        self.due_us: int | None = None  # the wake in the heap that counts
        self.stats: LinkStats = Known(clock, self.id, self.links)

    @property
    def address(self) -> tuple[str, int]:
        return (self.name, PORT)

    @property
    def room(self) -> Gossip:
        assert self.gossip is not None, "this node was never started"
        return self.gossip


class Known:
    """The ``LinkStats`` port: a link that carries was heard just now, unless its heartbeats are played."""

    __slots__ = ("_clock", "_links", "_me")

    def __init__(self, clock: Clock, me: NodeId, links: dict[NodeId, Wire]) -> None:
        self._clock, self._me, self._links = clock, me, links

    def peers(self) -> Sequence[NodeId]:
        return tuple(self._links)

    def last_heard_us(self, peer: NodeId) -> int | None:
        wire = self._links.get(peer)
        if wire is None:
            return None
        if wire.pulse is None and wire.black_us is None:
            return self._clock.now_us
        heard_us = wire.heard_us if wire.pulse is None else wire.pulse.heard_us
        return heard_us[0 if wire.ends[0] == self._me else 1]

    def rtt_us(self, peer: NodeId) -> int | None:
        wire = self._links.get(peer)
        return 2 * wire.way_us if wire is not None else None


def name_of(number: int) -> str:
    return f"n{number}"


def number_of(name: str) -> int:
    return int(name[1:])
