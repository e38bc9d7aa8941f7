"""A tiny world for gossip rooms: virtual time, addresses, links that carry letters, silent cuts, kills and restarts.

It stands in for the floors below (links, host) by their published facts only. A healthy link counts as always heard;
a link over a cut is heard until the cut.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.membership import Gossip
from meshnode.gossip.messages import DialFailed, MemberChanged, MemberState
from meshnode.kernel import rng
from meshnode.kernel.effects import Channel, Dial, Effect, Hangup, Persist, Reject, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Member
from meshnode.kernel.reasons import Bye, DialFailure, Loss
from meshnode.kernel.records import Record
from meshnode.links.messages import ControlReceived, LinkRejected, PeerDown, PeerUp
from meshnode.model.ids import NodeId

LATENCY_US = 1 * MS
DIAL_TIMEOUT_US = 3 * SECOND


class Key:
    """An Ed25519 record key; the ``Signer`` port."""

    def __init__(self, label: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(label.encode()).digest())
        self.public_key = self._key.public_key().public_bytes_raw()
        self.node = NodeId(hashlib.sha256(self.public_key).digest())

    def sign(self, context: str, body: bytes) -> bytes:
        return self._key.sign(context.encode() + b"\0" + body)


class Judge:
    """The ``Verifier`` port."""

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, context.encode() + b"\0" + body)
        except (InvalidSignature, ValueError):
            return False
        return True


ADMIN = Key("admin")


def member_record(key: Key, name: str, region: str, admin: Key = ADMIN) -> bytes:
    body = msgspec.msgpack.encode((key.public_key, name, region))
    return body + admin.sign("member", body)


class Members:
    """The ``Trust`` port: records signed by the admin of this world."""

    def __init__(self) -> None:
        self._members: dict[NodeId, Member] = {}

    def admit(self, record: bytes) -> Member | str:
        body, signature = record[:-64], record[-64:]
        if not Judge().verify(ADMIN.public_key, "member", body, signature):
            return "forged"
        public_key, name, region = msgspec.msgpack.decode(body, type=tuple[bytes, str, str])
        node = NodeId(hashlib.sha256(public_key).digest())
        self._members[node] = Member(node, name, public_key, ("member",), region, {}, record)
        return self._members[node]

    def member(self, node: NodeId) -> Member | None:
        return self._members.get(node)


@dataclass(eq=False)
class Box:
    """One machine with one daemon."""

    name: str
    region: str
    key: Key
    address: tuple[str, int]
    boot: int = 0
    running: bool = False
    frozen: bool = False
    gossip: Gossip = field(init=False)
    journal: dict[tuple[int, bytes], Record] = field(default_factory=dict[tuple[int, bytes], Record])
    facts: list[tuple[int, Effect]] = field(default_factory=list[tuple[int, Effect]])
    rejects: list[Reject] = field(default_factory=list[Reject])
    links: dict[NodeId, "Link"] = field(default_factory=dict[NodeId, "Link"])
    due_us: int | None = None
    sent_bytes: int = 0
    writes: int = 0
    dials: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])  # when, and which host
    evictions: int = 0
    waiting: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    @property
    def id(self) -> NodeId:
        return self.key.node


@dataclass(eq=False)
class Link:
    ends: tuple[Box, Box]
    cut_us: int | None = None  # no byte arrives since

    def other(self, box: Box) -> Box:
        return self.ends[1] if self.ends[0] is box else self.ends[0]


class Stats:
    """The ``LinkStats`` port of one box."""

    def __init__(self, world: "World", box: Box) -> None:
        self._world, self._box = world, box

    def peers(self) -> Sequence[NodeId]:
        return tuple(self._box.links)

    def last_heard_us(self, peer: NodeId) -> int | None:
        link = self._box.links.get(peer)
        if link is None:
            return None
        return self._world.now_us if link.cut_us is None else link.cut_us

    def rtt_us(self, peer: NodeId) -> int | None:
        return 2 * LATENCY_US if peer in self._box.links else None


class World:
    """All boxes, and the wires between them."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.now_us = 10 * SECOND
        self.boxes: dict[str, Box] = {}
        self.log: list[str] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._cuts: dict[tuple[str, str], None] = {}

    # -- boxes --------------------------------------------------------------------------------------------------------

    def box(self, name: str, region: str = "here", seeds: Sequence[str] = (), **settings: object) -> Box:
        """A new machine, started."""
        key = Key(name)
        box = Box(name, region, key, (f"host-{name}", 7000))
        self.boxes[name] = box
        self.boot(box, seeds, **settings)
        return box

    def boot(self, box: Box, seeds: Sequence[str] = (), **settings: object) -> None:
        box.boot, box.running, box.frozen = box.boot + 1, True, False
        config = GossipConfig(
            node=box.id, name=box.name, region=box.region, boot=box.boot,
            member=member_record(box.key, box.name, box.region), endpoints=(box.address,),
            seeds=tuple((f"host-{seed}", 7000) for seed in seeds), **settings,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        trust = Members()
        trust.admit(config.member)
        box.gossip = Gossip(
            config, signer=box.key, verifier=Judge(), trust=trust, links=Stats(self, box),
            rng=rng.fork(f"{self.seed}/{box.name}/{box.boot}".encode(), "gossip"), restored=tuple(box.journal.values()),
        )  # fmt: skip
        self._perform(box, box.gossip.start(self.now()))

    def kill(self, box: Box) -> None:
        """SIGKILL: the kernel resets its links and refuses its port."""
        box.running = False
        for link in list(box.links.values()):
            self._break(link, box)

    def freeze(self, box: Box) -> None:
        """SIGSTOP: nothing is read, nothing is said, the port still takes connections."""
        box.frozen = True
        self._mark_cuts()

    def thaw(self, box: Box) -> None:
        box.frozen = False
        self._mark_cuts()
        waiting, box.waiting = box.waiting, []
        for action in waiting:
            self.later(0, action)

    def cut(self, one: Sequence[Box], two: Sequence[Box]) -> None:
        """A silent cut: no reset, no refusal."""
        for a in one:
            for b in two:
                self._cuts[a.name, b.name] = self._cuts[b.name, a.name] = None
        self._mark_cuts()

    def heal(self) -> None:
        self._cuts.clear()
        self._mark_cuts()

    # -- time ---------------------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        return Instant(self.now_us, 1_700_000_000_000 + self.now_us // 1000)

    def later(self, after_us: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now_us + after_us, self._count, action))

    def run_for(self, seconds: float) -> None:
        end_us = self.now_us + round(seconds * SECOND)
        while (at_us := self._next_us()) is not None and at_us <= end_us:
            self.now_us = max(self.now_us, at_us)
            if self._events and self._events[0][0] <= self.now_us:
                heapq.heappop(self._events)[2]()
            else:
                self._wake()
        self.now_us = end_us

    def leap(self, seconds: float) -> None:
        """Clocks go on, and nobody acts meanwhile: back-offs and deadlines are as old as after that time."""
        self.now_us += round(seconds * SECOND)

    def run_until(self, holds: Callable[[], bool], within_s: float) -> float:
        """Seconds until something holds; fails if it does not within the time."""
        begin_us = self.now_us
        while not holds():
            took_s = (self.now_us - begin_us) / SECOND
            assert took_s < within_s, f"not within {within_s} s, seed {self.seed}"
            self.run_for(0.02)
        return (self.now_us - begin_us) / SECOND

    def tell(self, box: Box, event: object) -> None:
        """An input from the floors around."""
        if box.frozen:
            box.waiting.append(lambda: self.tell(box, event))
        elif box.running:
            self._perform(box, box.gossip.handle(event, self.now()))  # pyright: ignore[reportArgumentType]

    # -- questions ----------------------------------------------------------------------------------------------------

    def state(self, box: Box, of: Box) -> MemberState:
        return box.gossip.state(of.id)

    def all_ready(self) -> bool:
        alive = [box for box in self.boxes.values() if box.running]
        return all(len(a.gossip.members()) >= len(alive) and a.gossip.reachable(b.id) for a in alive for b in alive)

    def states(self, box: Box, of: Box, since_us: int = 0) -> list[MemberState]:
        """The verdicts told about a node, in order."""
        changes = [fact for at, fact in box.facts if isinstance(fact, MemberChanged) and at >= since_us]
        return [fact.state for fact in changes if fact.node == of.id]

    # -- the wires ----------------------------------------------------------------------------------------------------

    def _next_us(self) -> int | None:
        due = [box.due_us for box in self.boxes.values() if box.running and not box.frozen]
        first = [at for at in due if at is not None] + ([self._events[0][0]] if self._events else [])
        return min(first, default=None)

    def _wake(self) -> None:
        for box in self.boxes.values():
            due = box.due_us if box.running and not box.frozen else None
            if due is not None and due <= self.now_us:
                self._perform(box, box.gossip.wake(self.now()))

    def _perform(self, box: Box, effects: Sequence[Effect]) -> None:
        for effect in effects:
            digest = hashlib.sha256(msgspec.json.encode((self.now_us, box.name, type(effect).__name__, effect)))
            self.log.append(digest.hexdigest())
            match effect:
                case Send(peer, _, body):
                    self._send(box, peer, body)
                case Dial():
                    self._dial(box, effect)
                case Hangup(peer, reason):
                    self._hang_up(box, peer, reason)
                case Persist(records):
                    box.writes += len(records)
                    for record in records:
                        box.journal[record.kind, record.key] = record
                case Reject():
                    box.rejects.append(effect)
                case _:
                    box.facts.append((self.now_us, effect))
        box.due_us = box.gossip.deadline()

    def _send(self, box: Box, peer: NodeId, body: bytes) -> None:
        link = box.links.get(peer)
        if link is None:
            return
        box.sent_bytes += len(body)
        other = link.other(box)

        def arrive() -> None:
            if other.links.get(box.id) is link and link.cut_us is None:
                self.tell(other, ControlReceived(box.id, Channel.GOSSIP, body))

        self.later(LATENCY_US, arrive)

    def _dial(self, box: Box, dial: Dial) -> None:
        box.dials.append((self.now_us, dial.host))
        found = [b for b in self.boxes.values() if b.address == (dial.host, dial.port)]
        other = found[0] if found else None
        boot = box.boot

        def reply(after_us: int, make: Callable[[], object]) -> None:
            self.later(after_us, lambda: self.tell(box, make()) if box.boot == boot else None)

        if other is None or (not other.running and not self._is_cut(box, other)):
            reply(LATENCY_US, lambda: DialFailed(dial.dial_no, DialFailure.REFUSED))
        elif self._is_cut(box, other):
            reply(DIAL_TIMEOUT_US, lambda: DialFailed(dial.dial_no, DialFailure.TIMEOUT))
        elif other is box:
            reply(LATENCY_US, lambda: LinkRejected(dial.dial_no, box.id, Loss.CLOSED, "self"))
        else:
            self.later(3 * LATENCY_US, lambda: self._link(box, other, dial, boot))

    def _link(self, box: Box, other: Box, dial: Dial, boot: int) -> None:
        if not box.running or box.boot != boot:
            return
        if not other.running or self._is_cut(box, other):
            self.tell(box, DialFailed(dial.dial_no, DialFailure.TIMEOUT))
            return
        if other.id in box.links:
            self.tell(box, LinkRejected(dial.dial_no, other.id, Loss.REPLACED, "duplicate-link"))
            return
        link = Link((box, other))
        box.links[other.id] = other.links[box.id] = link
        self.tell(box, self._peer_up(other, dial.dial_no, f"{dial.host}:{dial.port}"))
        self.tell(other, self._peer_up(box, 0, ""))

    def _peer_up(self, peer: Box, dial_no: int, address: str) -> PeerUp:
        record = member_record(peer.key, peer.name, peer.region)
        return PeerUp(peer.id, peer.name, peer.region, peer.boot, dial_no == 0, dial_no, address, record)

    def _hang_up(self, box: Box, peer: NodeId, reason: str) -> None:
        link = box.links.pop(peer, None)
        if link is None:
            return
        box.evictions += reason == Bye.EVICTED
        other = link.other(box)
        self.later(0, lambda: self.tell(box, PeerDown(peer, Loss.CLOSED, "")))
        arrives = link.cut_us is None

        def end() -> None:
            if other.links.get(box.id) is link:
                del other.links[box.id]
                self.tell(other, PeerDown(box.id, Loss.EOF if arrives else Loss.SILENT, reason if arrives else ""))

        self.later(LATENCY_US if arrives else 10 * SECOND, end)

    def _break(self, link: Link, dead: Box) -> None:
        other = link.other(dead)
        dead.links.pop(other.id, None)
        cut = link.cut_us is not None

        def reset() -> None:
            if other.links.get(dead.id) is link:
                del other.links[dead.id]
                self.tell(other, PeerDown(dead.id, Loss.SILENT if cut else Loss.RESET, ""))

        self.later(10 * SECOND if cut else LATENCY_US, reset)

    def _is_cut(self, a: Box, b: Box) -> bool:
        return (a.name, b.name) in self._cuts or b.frozen or a.frozen

    def _mark_cuts(self) -> None:
        for box in self.boxes.values():
            for link in box.links.values():
                if not self._is_cut(*link.ends):
                    link.cut_us = None
                elif link.cut_us is None:
                    link.cut_us = self.now_us


def mesh(count: int, seed: int = 1, regions: Sequence[str] = ("here",)) -> tuple[World, list[Box]]:
    """A mesh of ``count`` nodes that joined through the first one."""
    world = World(seed)
    boxes: list[Box] = []
    for number in range(count):
        name = f"n{number}"
        boxes.append(world.box(name, regions[number % len(regions)], seeds=["n0"] if number else []))
    if count > 1:
        world.run_until(world.all_ready, 20.0)
    world.run_for(3.0)
    return world, boxes


def luck(seed: int) -> random.Random:
    return random.Random(seed)
