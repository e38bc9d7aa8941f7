"""The best few of thousands, without looking at all: who is near or known is measured, the others are equal.

Most nodes that offer a skill have no link to this one and no record here: their expected time is the same, and the
order among them is that of their ids, which is the order of the bits. So the best k are among the k nearest of those
with a link, all with a record, and the first k others.
"""

from collections.abc import Callable, Sequence
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
        self._linked: Sequence[NodeId] = ()
        self._linked_bits, self._edition = 0, 0

    def of(self, parts: list[Part], k: int, now: Instant) -> list[Place]:
        """``parts``: who may be called if it can be reached. Best first."""
        union = _union(parts)
        known: list[Place] = []
        if union & self._ranks.bit(self._me):
            parts = self._here(parts, known, now)
        parts = self._recorded(parts, known, now)
        union = _union(parts)
        near = self._measured(union & self._peers())
        for _, _, bit in near:
            union ^= bit
        found = known + self._nearest(near, parts, k)
        if sum(place[1] < FAR_US for place in found) < k:  # else nobody further away is among the best
            found += self._others(union, parts, k)
        found.sort(key=_order)
        return found[:k]

    def _here(self, parts: list[Part], found: list[Place], now: Instant) -> list[Part]:
        """Adds what this node offers: it has no way to go. Returns what is left."""
        me, bit = self._me, self._ranks.bit(self._me)
        for lane, bits in parts:
            if bits & bit:
                short = self._short(me, lane.skill, lane.agent, now)
                found.append((not short, self._expected(lane, me, 0, now), me, lane.skill, lane.agent, lane))
        return [(lane, left) for lane, bits in parts if (left := bits & ~bit)]

    def _recorded(self, parts: list[Part], found: list[Place], now: Instant) -> list[Part]:
        """Adds whom calls have measured. Returns what is left."""
        rest: list[Part] = []
        for part in parts:
            lane, bits = part
            held = self._records.held(lane.agent, lane.skill)
            both = bits & held.bits(self._ranks) if held is not None else 0
            if not both:
                rest.append(part)
                continue
            for node, bit in self._ranks.nodes(both):
                if self._records.fresh((node, lane.agent, lane.skill), now.mono_us):
                    bits ^= bit
                    if self._liveness.reachable(node):
                        rtt = self._links.rtt_us(node)
                        expected = self._expected(lane, node, FAR_US if rtt is None else rtt, now)
                        found.append((True, expected, node, lane.skill, lane.agent, lane))
            if bits:
                rest.append((lane, bits))
        return rest

    def _measured(self, linked: int) -> list[tuple[int, NodeId, int]]:
        """The nearest first."""
        near: list[tuple[int, NodeId, int]] = []
        for node, bit in self._ranks.nodes(linked):
            rtt = self._links.rtt_us(node)
            if rtt is not None:
                near.append((rtt, node, bit))
        near.sort()
        return near

    def _nearest(self, near: list[tuple[int, NodeId, int]], parts: list[Part], k: int) -> list[Place]:
        """The first k offers of nodes with a measured way."""
        found: list[Place] = []
        for rtt, node, bit in near:
            if len(found) >= k:
                break
            if self._liveness.reachable(node):
                found += [(True, rtt, node, lane.skill, lane.agent, lane) for lane, bits in parts if bits & bit]
        return found

    def _others(self, union: int, parts: list[Part], k: int) -> list[Place]:
        """The first k offers of all the others."""
        found: list[Place] = []
        for node, bit in self._ranks.nodes(union):
            if len(found) >= k:
                break
            if self._liveness.reachable(node):
                found += [(True, FAR_US, node, lane.skill, lane.agent, lane) for lane, bits in parts if bits & bit]
        return found

    def _expected(self, lane: Lane, node: NodeId, rtt_us: int, now: Instant) -> int:
        running = self._running(node, lane.agent)
        return self._records.expected_us((node, lane.agent, lane.skill), rtt_us, running, now.mono_us)

    def _peers(self) -> int:
        """The nodes with a link."""
        peers = self._links.peers()
        if self._edition != self._ranks.edition or self._linked != peers:
            self._linked, self._edition = peers, self._ranks.edition
            self._linked_bits = 0
            for peer in peers:
                self._linked_bits |= self._ranks.bit(peer)
        return self._linked_bits


def _union(parts: list[Part]) -> int:
    union = 0
    for _, bits in parts:
        union |= bits
    return union
