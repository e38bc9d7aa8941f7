"""Which links to keep: every other node in a small mesh, a few well-spread neighbours in a large one.

After Leitao, Pereira, Rodrigues, "HyParView", 2007, with the directory in the place of random walks: since every node
knows every other one, a candidate is drawn, not discovered. Four slots for the own region, links between regions by
bridges elected by rendezvous hash (no messages), one long link to anywhere, so no region hangs on its bridges alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from meshnode.gossip.config import SLACK, GossipConfig
from meshnode.gossip.letters import LINKS_MAX, Greeting, Neighbours, post
from meshnode.kernel.effects import Effect, Hangup
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

BRIDGES = 3  # per pair of regions
LONG_LINKS = 1
RESERVE = 36  # candidates kept at hand
STRAYS = 4  # nodes others lost that this node looks for as well
AVOID_US = 20 * SECOND  # no re-join after an eviction: it would only evict the next one
RETHINK_US = 5 * SECOND  # with slots still free
NEIGHBOURS_US = SECOND  # changes of neighbours are told at most this often


class Candidate(msgspec.Struct, frozen=True):
    """A node one could link with. ``lost``: looked for anyway, slot or not; ``ours``: by evidence of our own."""

    node: NodeId
    region: str
    lost: bool = False
    ours: bool = False


@dataclass(slots=True)
class _Link:
    demanded: bool
    links: dict[NodeId, None]  # the peer's own neighbours
    greeted: bool = False


class Overlay:
    """Links that stand, and those wanted."""

    def __init__(self, config: GossipConfig, rng: Random) -> None:
        self._config, self._rng = config, rng
        self._links: dict[NodeId, _Link] = {}
        self._demands: dict[NodeId, None] = {}  # dialled for a call, not yet up
        self._idle: Timers[NodeId] = Timers()
        self._avoid: dict[NodeId, int] = {}
        self._reserve: list[NodeId] = []
        self._tell_us: int | None = None
        self.rethink_us: int | None = None  # ask ``wanted`` again then

    # -- questions ----------------------------------------------------------------------------------------------------

    def linked(self, node: NodeId) -> bool:
        return node in self._links

    def is_neighbour(self, node: NodeId) -> bool:
        link = self._links.get(node)
        return link is not None and not link.demanded

    def peers(self) -> list[NodeId]:
        """In the order in which they came up."""
        return list(self._links)

    @property
    def lonely(self) -> bool:
        return not self._links

    def told_by(self, owner: NodeId, peer: NodeId) -> bool:
        """``peer`` says it has a link to ``owner``."""
        link = self._links.get(peer)
        return link is not None and owner in link.links

    # -- links --------------------------------------------------------------------------------------------------------

    def up(self, peer: NodeId, now: Instant) -> list[Effect]:
        """Greet; a demanded link idles out, any other one is a neighbour."""
        demanded = self._demands.pop(peer, "") is None
        greeting = Greeting(demanded, self._others(peer))
        self._links[peer] = _Link(demanded, {})
        if demanded:
            self._idle.set(peer, now.mono_us + self._config.demand_idle_us)
        self._avoid.pop(peer, None)
        self._changed(now)
        return [post(peer, greeting)]

    def down(self, peer: NodeId, bye: str, now: Instant) -> None:
        self._links.pop(peer, None)
        self._idle.cancel(peer)
        if bye == Bye.EVICTED:
            self._avoid[peer] = now.mono_us + AVOID_US
        self._changed(now)

    def greeted(self, peer: NodeId, letter: Greeting, now: Instant, *, small: bool) -> list[Effect]:
        """Make room, or not: only a newcomer without any link may push somebody else out."""
        link = self._links.get(peer)
        if link is None:
            return []
        link.links, link.greeted = dict.fromkeys(letter.links), True
        if letter.demanded:
            link.demanded = True
        if small or link.demanded or len(self._neighbours()) <= self._config.slots + SLACK:
            return []
        victim = peer if letter.links else self._victim(peer)
        self._avoid[victim] = now.mono_us + AVOID_US
        return [Hangup(victim, Bye.EVICTED)]

    def neighbours_told(self, peer: NodeId, links: Sequence[NodeId]) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.links = dict.fromkeys(links)

    def reach(self, node: NodeId, now: Instant) -> bool:
        """Somebody needs this link: keep it. False: there is none, and the next one that comes up is on demand."""
        link = self._links.get(node)
        if link is None:
            if len(self._demands) < LINKS_MAX:
                self._demands[node] = None
            return False
        if link.demanded:
            self._idle.set(node, now.mono_us + self._config.demand_idle_us)
        return True

    def demanded(self) -> list[NodeId]:
        return list(self._demands)

    def give_up(self, node: NodeId) -> None:
        self._demands.pop(node, None)

    # -- wanted links -------------------------------------------------------------------------------------------------

    def wanted(self, candidates: Sequence[Candidate], now: Instant) -> list[NodeId]:
        """Unlinked nodes to dial until they are linked: the lost ones, and candidates for free slots."""
        open_ = [c for c in candidates if c.node not in self._links]
        self.rethink_us = None
        if len(candidates) < self._config.full_mesh_max:
            return [c.node for c in open_]
        lost = self._searched(open_)
        free = self._config.slots - len(self._neighbours())
        if free <= 0:
            self._reserve.clear()
            return lost
        poor = len(self._neighbours()) < self._config.slots // 2  # then who once had no room is asked again
        self._avoid = {node: until_us for node, until_us in self._avoid.items() if until_us > now.mono_us}
        usable = {c.node: c for c in open_ if not c.lost and (poor or c.node not in self._avoid)}
        kept = [node for node in self._reserve if node in usable]
        chosen = kept[:free] + self._choose(free - len(kept), usable, kept, candidates)
        self._reserve = chosen[:RESERVE]
        self.rethink_us = now.mono_us + RETHINK_US
        return lost + chosen

    def _searched(self, candidates: Sequence[Candidate]) -> list[NodeId]:
        """Own lost neighbours, and a few of the others': each node draws other ones, so somebody looks for each."""
        strays = [c.node for c in candidates if c.lost and not c.ours]
        mine = self._config.node
        strays.sort(key=lambda node: hashlib.blake2b(mine + node, digest_size=8).digest())
        return [c.node for c in candidates if c.lost and c.ours] + strays[:STRAYS]

    def _choose(
        self, count: int, usable: dict[NodeId, Candidate], kept: list[NodeId], everybody: Sequence[Candidate]
    ) -> list[NodeId]:
        pool = {node: c for node, c in usable.items() if node not in kept}
        regions = {c.node: c.region for c in everybody}
        near = sum(regions.get(peer) == self._config.region for peer in (*self._neighbours(), *kept))
        chosen: list[NodeId] = []
        for _ in range(max(0, count)):
            node = self._draw(pool, regions, near)
            if node is None:
                break
            near += pool.pop(node).region == self._config.region
            chosen.append(node)
        return chosen

    def _draw(self, pool: dict[NodeId, Candidate], regions: dict[NodeId, str], near: int) -> NodeId | None:
        bridge = self._bridge_wanted(pool, regions)
        if bridge:
            return self._rng.choice(bridge)
        if near < self._config.slots - LONG_LINKS - 1:
            inside = [node for node, c in pool.items() if c.region == self._config.region]
            if inside:
                return self._rng.choice(inside)
        return self._rng.choice(list(pool)) if pool else None

    def _bridge_wanted(self, pool: dict[NodeId, Candidate], regions: dict[NodeId, str]) -> list[NodeId]:
        """The other side's bridges, if this node is one towards a region it has no link to."""
        mine, here = self._config.region, {**regions, self._config.node: self._config.region}
        linked = {regions.get(peer) for peer in self._links}
        for region in sorted({region for region in regions.values() if region != mine}):
            if region not in linked and self._config.node in elected(mine, region, mine, here):
                found = [node for node in elected(mine, region, region, here) if node in pool]
                if found:
                    return found
        return []

    def _victim(self, newcomer: NodeId) -> NodeId:
        """One of those with the most other links; never the only link of a node if it can be helped."""
        others = [peer for peer in self._neighbours() if peer != newcomer]
        most = max(len(self._links[peer].links) for peer in others)
        return self._rng.choice([peer for peer in others if len(self._links[peer].links) == most])

    def _neighbours(self) -> list[NodeId]:
        return [peer for peer, link in self._links.items() if not link.demanded]

    def _others(self, peer: NodeId) -> list[NodeId]:
        return [other for other in self._neighbours() if other != peer][:LINKS_MAX]

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = [Hangup(peer, Bye.IDLE) for peer in self._idle.pop_due(now.mono_us)]
        if self._tell_us is not None and self._tell_us <= now.mono_us:
            self._tell_us = None
            effects += [post(peer, Neighbours(self._others(peer))) for peer in self._links]
        return effects

    def deadlines(self) -> tuple[int | None, int | None, int | None]:
        return self._idle.deadline(), self._tell_us, self.rethink_us

    def _changed(self, now: Instant) -> None:
        if self._tell_us is None:
            self._tell_us = now.mono_us + NEIGHBOURS_US


def elected(one: str, two: str, region: str, regions: dict[NodeId, str]) -> list[NodeId]:
    """The bridges of ``region`` between two regions: highest rendezvous hash of (pair, node); all nodes agree."""
    pair = "\0".join(sorted((one, two))).encode()
    inside: Iterable[NodeId] = (node for node, where in regions.items() if where == region)
    return sorted(inside, key=lambda node: hashlib.blake2b(pair + node, digest_size=8).digest(), reverse=True)[:BRIDGES]
