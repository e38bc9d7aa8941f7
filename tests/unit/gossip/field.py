"""Two thousand overlays and nothing else: links that come and go at once, rounds of a second, killing."""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.letters import Greeting, Neighbours, decode
from meshnode.gossip.overlay import Overlay
from meshnode.kernel import rng
from meshnode.kernel.effects import Effect, Hangup, Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.model.ids import NodeId


class View:
    """One node's ``Mesh``: all know the same, and at once."""

    def __init__(self, field: "Field", me: NodeId) -> None:
        self._field, self._me = field, me

    def others(self) -> int:
        return len(self._field.where) - 1

    def regions(self) -> Sequence[str]:
        return self._field.regions

    def in_region(self, region: str) -> Sequence[NodeId]:
        return self._field.inside[region]

    def region_of(self, node: NodeId) -> str | None:
        return self._field.where.get(node)

    def deserted(self, region: str) -> bool:
        return False

    def dialable(self) -> bool:
        return True

    def open(self, node: NodeId) -> bool:
        return node != self._me and node in self._field.alive

    def rtt_us(self, peer: NodeId) -> int | None:
        return self._field.rtt_us(self._me, peer)


class Field:
    """All overlays. ``evictions`` and ``links_made`` are counted."""

    def __init__(self, count: int, regions: int, seed: int = 1, kind: type[Overlay] = Overlay) -> None:
        nodes = [NodeId(hashlib.sha256(f"{seed}/{n}".encode()).digest()) for n in range(count)]
        self.regions = [f"r{n:02}" for n in range(regions)]
        self.where = {node: self.regions[n % regions] for n, node in enumerate(nodes)}
        self.inside = {r: sorted(node for node, where in self.where.items() if where == r) for r in self.regions}
        self.alive: dict[NodeId, None] = dict.fromkeys(nodes)
        self.luck = rng.fork(f"{seed}".encode(), "field")
        self.second = 1
        self.width_us = 1000
        self.evictions = self.links_made = 0
        self.rooms: dict[NodeId, Overlay] = {}
        for node in nodes:
            config = GossipConfig(node=node, name="n", region=self.where[node], boot=1, member=b"")
            self.rooms[node] = kind(config, rng.fork(node, f"{seed}"), View(self, node))

    def rtt_us(self, one: NodeId, two: NodeId) -> int:
        """Some live far from others of their region: nodes lie on a line by the first byte of their id."""
        return 1000 + self.width_us * abs(one[0] - two[0]) // 256

    @property
    def now(self) -> Instant:
        return Instant(self.second * SECOND, 0)

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            for node in list(self.alive):
                for target in self.rooms[node].wanted([], self.now):
                    self.link(node, target)
            self.second += 1
            for node in list(self.alive):
                self._perform(node, self.rooms[node].wake(self.now))

    def kill(self, nodes: Iterable[NodeId]) -> None:
        for node in nodes:
            del self.alive[node]
            for peer in self.rooms.pop(node).peers():
                if peer in self.rooms:
                    self.rooms[peer].down(node, "", self.now)
        for room in self.rooms.values():
            room.elect()

    def components(self) -> list[int]:
        """Sizes, the largest first."""
        seen, sizes = dict[NodeId, None](), list[int]()
        for node in self.alive:
            if node in seen:
                continue
            before, queue = len(seen), deque([node])
            seen[node] = None
            while queue:
                for peer in self.rooms[queue.popleft()].peers():
                    if peer not in seen:
                        seen[peer] = None
                        queue.append(peer)
            sizes.append(len(seen) - before)
        return sorted(sizes, reverse=True)

    def link(self, one: NodeId, two: NodeId) -> None:
        if two not in self.alive or self.rooms[one].linked(two):
            return
        self.links_made += 1
        greetings = [(two, self.rooms[one].up(two, self.now)), (one, self.rooms[two].up(one, self.now))]
        for receiver, effects in greetings:
            self._perform(one if receiver is two else two, effects)

    def _perform(self, sender: NodeId, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peer, _, body):
                    self._deliver(sender, peer, body)
                case Hangup(peer, reason) if self.rooms[sender].linked(peer):
                    self.evictions += reason == Bye.EVICTED
                    self.rooms[sender].down(peer, "", self.now)
                    self.rooms[peer].down(sender, reason, self.now)
                case _:
                    pass

    def _deliver(self, sender: NodeId, peer: NodeId, body: bytes) -> None:
        if not self.rooms[sender].linked(peer):
            return
        letter = decode(body)
        if isinstance(letter, Greeting):
            self._perform(peer, self.rooms[peer].greeted(sender, letter, self.now))
        elif isinstance(letter, Neighbours):
            self.rooms[peer].neighbours_told(sender, letter.links)
