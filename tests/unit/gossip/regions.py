"""Many nodes of several regions, soft state and repair only: links stand, letters take time, get lost, come twice.

Keys are hashes: what is tested here is who is told what, not cryptography.
"""

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshnode.gossip.catalogue import Catalogue
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import CONTEXT, Directory, Row, Status, encode_row
from meshnode.gossip.letters import Pull, Repair, Roots, Rows, SignedRow, SoftBatch, SoftRefresh, decode
from meshnode.gossip.messages import SoftChanged
from meshnode.gossip.repair import Repairs
from meshnode.gossip.scope import Scope
from meshnode.gossip.soft import SoftState
from meshnode.kernel import rng
from meshnode.kernel.effects import Effect, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import Member
from meshnode.model.ids import NodeId


class CheapKey:
    """A ``Signer`` whose signature everybody can make."""

    def __init__(self, label: str) -> None:
        self.public_key = hashlib.sha256(label.encode()).digest()
        self.node = NodeId(hashlib.sha256(self.public_key).digest())

    def sign(self, context: str, body: bytes) -> bytes:
        return hashlib.blake2b(self.public_key + context.encode() + body).digest()


class CheapJudge:
    """The ``Verifier`` of such signatures."""

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        return hashlib.blake2b(public_key + context.encode() + body).digest() == signature


@dataclass(eq=False)
class Place:
    """One node."""

    name: str
    region: str
    key: CheapKey
    soft: SoftState
    repairs: Repairs
    directory: Directory
    links: dict[NodeId, None] = field(default_factory=dict[NodeId, None])
    due_us: int | None = None
    sent: Counter[str] = field(default_factory=Counter[str])
    letters: Counter[str] = field(default_factory=Counter[str])
    changes: list[SoftChanged] = field(default_factory=list[SoftChanged])
    learned_us: dict[tuple[NodeId, str, int], int] = field(default_factory=dict[tuple[NodeId, str, int], int])

    rows_got: list[int] = field(default_factory=list[int])

    def learn(self, row: SignedRow) -> None:
        merge = self.directory.offer(row)
        if merge is not None and merge.news:
            self.directory.hold(merge)

    @property
    def id(self) -> NodeId:
        return self.key.node


class Roll:
    """Members by region: the ``Trust`` port, and what a catalogue's ``Map`` asks about them."""

    members: dict[NodeId, Member]

    def admit(self, record: bytes) -> Member | str:
        return "unknown"

    def member(self, node: NodeId) -> Member | None:
        return self.members.get(node)

    def regions(self) -> Sequence[str]:
        return sorted({member.region for member in self.members.values()})

    def in_region(self, region: str) -> Sequence[NodeId]:
        return sorted(node for node, member in self.members.items() if member.region == region)


class Lands(Roll):
    """All of them, and the wires between. ``loss``: of a letter; ``twice``: it comes again later."""

    def __init__(
        self, seed: int = 1, *, whole_mesh_max: int = 64, latency_us: int = 2 * MS, scopes: type[Scope] = Scope,
    ) -> None:  # fmt: skip
        """``scopes``: who holds what; a planted fault takes its place."""
        self._scopes = scopes
        self.luck = random.Random(seed)
        self.seed, self.whole_mesh_max, self.latency_us = seed, whole_mesh_max, latency_us
        self.now_us = 10 * SECOND
        self.places: dict[NodeId, Place] = {}
        self.members: dict[NodeId, Member] = {}
        self.away: dict[NodeId, None] = {}
        self.loss = self.twice = 0.0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    # -- the rest of the catalogue's Map, and the LinkStats port ------------------------------------------------------

    def reachable(self, node: NodeId) -> bool:
        return node in self.members and node not in self.away

    def gone(self, node: NodeId) -> bool:
        return node in self.away

    def peers(self) -> Sequence[NodeId]:
        return ()

    def last_heard_us(self, peer: NodeId) -> int | None:
        return None

    def rtt_us(self, peer: NodeId) -> int | None:
        return None

    # -- nodes and links ----------------------------------------------------------------------------------------------

    def place(self, name: str, region: str, roles: tuple[str, ...] = ("member",)) -> Place:
        key = CheapKey(name)
        self.members[key.node] = Member(key.node, name, key.public_key, roles, region, {}, b"")
        config = GossipConfig(node=key.node, name=name, region=region, boot=1, member=b"")
        luck = rng.fork(f"{self.seed}/{name}".encode(), "soft")
        scope = self._scopes(key.node, region_of=self._region_of, small=self._small, whole="gateway" in roles)
        soft = SoftState(
            config, signer=key, verifier=CheapJudge(), trust=self, rng=luck, told_by=self._told_by, scope=scope,
            gone=self.gone,
        )  # fmt: skip
        catalogue = Catalogue(
            config, self, self, key, CheapJudge(), self, holds=scope.holds, small=self._small,
        )  # fmt: skip
        directory = Directory(CheapJudge(), self)
        repairs = Repairs(config, directory, soft, catalogue, luck)
        place = self.places[key.node] = Place(name, region, key, soft, repairs, directory)
        repairs.start(self.now())
        self._settle(place, [])
        return place

    def row(self, name: str, region: str, boot: int = 1) -> SignedRow:
        """The row of a node that is known and runs elsewhere."""
        key = CheapKey(name)
        self.members[key.node] = Member(key.node, name, key.public_key, ("member",), region, {}, b"")
        body = encode_row(Row(key.node, boot, 0, Status.ALIVE, (), b"{}", 0))
        return SignedRow(body, key.sign(CONTEXT, body), b"")

    def link(self, a: Place, b: Place) -> None:
        for one, two in ((a, b), (b, a)):
            one.links[two.id] = None
            effects = [*one.soft.up(two.id, self.now())]
            one.soft.greeted(two.id, whole=two.soft.scope.whole, now=self.now())
            self._settle(one, [*effects, *(one.repairs.open(two.id) if one.id < two.id else [])])

    def unlink(self, a: Place, b: Place) -> None:
        for one, two in ((a, b), (b, a)):
            one.links.pop(two.id, None)
            self._settle(one, one.soft.down(two.id))

    def weave(self, degree: int) -> None:
        """A ring inside each region, and random links until each node has about so many; one ring of regions."""
        regions: dict[str, list[Place]] = {}
        for place in self.places.values():
            regions.setdefault(place.region, []).append(place)
        for inside in regions.values():
            for at, place in enumerate(inside):
                self._join(place, inside[(at + 1) % len(inside)])
            for place in inside:
                while len(place.links) < min(degree, len(inside) - 1):
                    self._join(place, self.luck.choice(inside))
        rings = list(regions.values())
        for at, inside in enumerate(rings if len(rings) > 1 else []):
            for one, two in zip(inside[:2], rings[(at + 1) % len(rings)][:2], strict=False):
                self._join(one, two)

    def publish(self, place: Place, key: str, value: bytes) -> None:
        self._settle(place, place.soft.publish(key, value, self.now()))

    def near(self, place: Place) -> list[Place]:
        return [other for other in self.places.values() if other.region == place.region]

    # -- time ---------------------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        return Instant(self.now_us, 1)

    def later(self, after_us: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now_us + after_us, self._count, action))

    def run_for(self, seconds: float) -> None:
        end_us = self.now_us + round(seconds * SECOND)
        while self._events and self._events[0][0] <= end_us:
            self.now_us, _, action = heapq.heappop(self._events)
            action()
        self.now_us = end_us

    def run_until(self, holds: Callable[[], bool], within_s: float) -> float:
        begin_us = self.now_us
        while not holds():
            took_s = (self.now_us - begin_us) / SECOND
            assert took_s < within_s, f"not within {within_s} s, seed {self.seed}"
            self.run_for(0.05)
        return (self.now_us - begin_us) / SECOND

    # -- inside -------------------------------------------------------------------------------------------------------

    def _region_of(self, node: NodeId) -> str:
        member = self.members.get(node)
        return member.region if member is not None else ""

    def _small(self) -> bool:
        return len(self.members) <= self.whole_mesh_max

    def _told_by(self, owner: NodeId, peer: NodeId) -> bool:
        return owner in self.places[peer].links

    def _join(self, a: Place, b: Place) -> None:
        if a is not b and b.id not in a.links:
            self.link(a, b)

    def _settle(self, place: Place, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(place, effect)
            elif isinstance(effect, SoftChanged):
                place.changes.append(effect)
                place.learned_us[effect.node, effect.key, effect.version] = self.now_us
        due = earliest(place.soft.deadline(), place.repairs.deadline())
        if due is not None and (place.due_us is None or due < place.due_us or place.due_us <= self.now_us):
            place.due_us = due
            self.later(max(0, due - self.now_us), lambda: self._wake(place, due))

    def _wake(self, place: Place, due_us: int) -> None:
        if place.due_us == due_us:
            place.due_us = None
            effects = place.soft.wake(self.now())
            self._settle(place, [*effects, *place.repairs.wake(list(place.links), self.now())])

    def _send(self, place: Place, send: Send) -> None:
        other = self.places[send.peer]
        kind = type(decode(send.body)).__name__
        place.sent[kind] += len(send.body)
        place.letters[kind] += 1
        if self.luck.random() >= self.loss:
            self.later(self.latency_us, lambda: self._arrive(place, other, send.body))
        if self.twice and self.luck.random() < self.twice:
            again_us = self.luck.randrange(2 * SECOND)
            self.later(again_us, lambda: self._arrive(place, other, send.body))

    def _arrive(self, place: Place, other: Place, body: bytes) -> None:
        if other.id in place.links and place.id in other.links:
            self._settle(other, self._read(other, place.id, body))

    def _read(self, place: Place, peer: NodeId, body: bytes) -> list[Effect]:
        now = self.now()
        match decode(body):
            case SoftBatch(facts, wish):
                effects = [effect for fact in facts for effect in place.soft.receive(peer, fact, now)]
                return [*effects, *place.soft.ended(peer, wish, now)]
            case SoftRefresh() as letter:
                return place.soft.refreshed(peer, letter, now)[1]
            case Rows(rows):
                place.rows_got.append(len(rows))
                for row in rows:
                    place.learn(row)
                return []
            case Roots() as letter:
                return place.repairs.roots(peer, letter, now)
            case Repair() as letter:
                return place.repairs.step(peer, letter, now)
            case Pull() as letter:
                return place.repairs.pulled(peer, letter, now)
            case _:
                return []


def lands(
    regions: dict[str, int], seed: int = 1, degree: int = 4, *, whole_mesh_max: int = 64, scopes: type[Scope] = Scope
) -> Lands:
    """So many nodes a region, woven together."""
    world = Lands(seed, whole_mesh_max=whole_mesh_max, scopes=scopes)
    for region, count in regions.items():
        for number in range(count):
            world.place(f"{region}{number}", region)
    world.weave(degree)
    return world
