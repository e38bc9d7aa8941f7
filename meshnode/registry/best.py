"""The best few of thousands, without looking at all: who is near or known is measured, the others are equal.

Most nodes that offer a skill have no link to this one and no record here: their expected time is the same, and the
order among them is that of their ids, which is the order of the bits. So the best k are among the k nearest of those
with a link, all with a record, and the first k others.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import nsmallest
from operator import itemgetter

from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import LinkStats, Liveness
from meshnode.model.ids import NodeId
from meshnode.registry.lanes import Lane, Part
from meshnode.registry.ranks import Ranks
from meshnode.registry.records import Records

FAR_US = 10 * SECOND  # ranks a node without a measured round trip after every measured one

# As candidates are ordered: no short queue here, expected time, node, skill, agent; then what it is about.
Place = tuple[bool, int, NodeId, str, str, Lane]
_order = itemgetter(0, 1, 2, 3, 4)


class Best:
    """``short`` says whether the queue of this node is short for a skill of an agent; ``running`` how many units of an
    agent run on a node."""

    def __init__(
        self,
        me: NodeId,
        ranks: Ranks,
        liveness: Liveness,
        links: LinkStats,
        records: Records,
        *,
        short: Callable[[NodeId, str, str, Instant], bool],
        running: Callable[[NodeId, str], int],
    ) -> None:
        self._me, self._ranks = me, ranks
        self._liveness, self._links, self._records = liveness, links, records
        self._short, self._running = short, running
        self._linked: tuple[Sequence[NodeId], int] = ((), -1)
        self._linked_bits: list[tuple[NodeId, int]] = []

    def of(self, parts: list[Part], k: int, now: Instant) -> list[Place]:
        """``parts``: who may be called if it can be reached. Best first."""
        here, parts = self._here(parts, now)
        known, parts = self._recorded(parts, now)
        union = 0
        for _, bits in parts:
            union |= bits
        near: list[tuple[int, NodeId, int]] = []
        for peer, bit in self._peers():
            if union & bit:
                rtt = self._links.rtt_us(peer)
                if rtt is not None:
                    near.append((rtt, peer, bit))
                    union ^= bit
        found = [*here, *known, *self._first(self._nearest(near, k), parts, k)]
        far = ((FAR_US, self._ranks.node(bit), bit) for bit in _bits(union))
        found += self._first(far, parts, k)
        found.sort(key=_order)
        return found[:k]

    def _here(self, parts: list[Part], now: Instant) -> tuple[list[Place], list[Part]]:
        """Of this node, and what is left: it has no way to go."""
        me, bit = self._me, self._ranks.bit(self._me)
        if not bit:
            return [], parts
        found: list[Place] = []
        rest: list[Part] = []
        for lane, bits in parts:
            if bits & bit:
                short = self._short(me, lane.skill, lane.agent, now)
                found.append((not short, self._expected(lane, me, 0, now), me, *lane.name, lane))
            if left := bits & ~bit:
                rest.append((lane, left))
        return found, rest

    def _recorded(self, parts: list[Part], now: Instant) -> tuple[list[Place], list[Part]]:
        """Whom calls have measured, and what is left."""
        found: list[Place] = []
        rest: list[Part] = []
        for lane, bits in parts:
            left = bits
            for node in self._records.fresh(lane.agent, lane.skill, now.mono_us):
                bit = self._ranks.bit(node)
                if left & bit:
                    left ^= bit
                    if self._liveness.reachable(node):
                        rtt = self._links.rtt_us(node)
                        expected = self._expected(lane, node, FAR_US if rtt is None else rtt, now)
                        found.append((True, expected, node, *lane.name, lane))
            if left:
                rest.append((lane, left))
        return found, rest

    def _nearest(self, near: list[tuple[int, NodeId, int]], k: int) -> Iterator[tuple[int, NodeId, int]]:
        """The first ones are cheap to find; more are needed only if some of them cannot be reached."""
        if len(near) <= k:
            yield from sorted(near)
            return
        first = nsmallest(k, near)
        yield from first
        yield from sorted(near)[k:]

    def _first(self, nodes: Iterator[tuple[int, NodeId, int]], parts: list[Part], k: int) -> list[Place]:
        """The first k offers of nodes that come in order."""
        found: list[Place] = []
        for expected, node, bit in nodes:
            if len(found) >= k:
                break
            if self._liveness.reachable(node):
                found += [(True, expected, node, *lane.name, lane) for lane, bits in parts if bits & bit]
        return found

    def _expected(self, lane: Lane, node: NodeId, rtt_us: int, now: Instant) -> int:
        running = self._running(node, lane.agent)
        return self._records.expected_us((node, lane.agent, lane.skill), rtt_us, running, now.mono_us)

    def _peers(self) -> list[tuple[NodeId, int]]:
        peers = self._links.peers()
        known, edition = self._linked
        if edition != self._ranks.edition or known != peers:
            self._linked = peers, self._ranks.edition
            bits = ((peer, self._ranks.bit(peer)) for peer in peers)
            self._linked_bits = [(peer, bit) for peer, bit in bits if bit]
        return self._linked_bits


def _bits(union: int) -> Iterator[int]:
    while union:
        low = union & -union
        yield low
        union ^= low
