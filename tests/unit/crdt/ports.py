"""Small real implementations of the ports the documents room asks, and a mesh of replicas on perfect FIFO links."""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from random import Random

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meshnode.crdt.document import Change
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.crdt.replica import Documents, DocumentsConfig
from meshnode.crdt.store import AutomergeStore, StateStore
from meshnode.kernel.effects import Channel, Effect, Fact, Note, Persist, Reject, Send
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.kernel.ports import Action, Member, Verdict
from meshnode.kernel.reasons import Loss
from meshnode.kernel.records import Record
from meshnode.links.messages import ControlReceived, PeerDown, PeerUp
from meshnode.model.ids import NodeId

START_MS = 1_800_000_000_000


class KeySigner:
    """Ed25519 from a name: equal names give equal keys in every run."""

    def __init__(self, name: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.public_key = self._key.public_key().public_bytes_raw()
        self.node = NodeId(hashlib.sha256(self.public_key).digest())
        self.name = name

    def sign(self, context: str, body: bytes) -> bytes:
        return self._key.sign(context.encode() + b"\0" + body)


class KeyVerifier:
    """Ed25519."""

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, context.encode() + b"\0" + body)
        except (InvalidSignature, ValueError):
            return False
        return True


class Register:
    """``Trust`` over a fixed list; ``drop`` forgets one."""

    def __init__(self, *signers: KeySigner) -> None:
        self._members = {s.node: Member(s.node, s.name, s.public_key, ("member",), "r", {}, b"") for s in signers}

    def admit(self, record: bytes) -> Member | str:
        return "unknown"

    def add(self, signer: KeySigner) -> None:
        self._members[signer.node] = Member(signer.node, signer.name, signer.public_key, ("member",), "r", {}, b"")

    def drop(self, node: NodeId) -> None:
        del self._members[node]

    def member(self, node: NodeId) -> Member | None:
        return self._members.get(node)


class Table:
    """``Authority``: everything is allowed but what stands in ``denied`` as (node, resource)."""

    def __init__(self, *denied: tuple[NodeId, str]) -> None:
        self.denied = list(denied)

    def may(self, subject: NodeId, action: Action, resource: str) -> Verdict:
        if action is Action.WRITE and (subject, resource) not in self.denied:
            return Verdict(True, "allowed")
        return Verdict(False, "no-write")


def instant(seconds: float = 0.0, trust: ClockTrust = ClockTrust.SYNCED, wall_ms: int | None = None) -> Instant:
    ms = START_MS + round(seconds * 1000) if wall_ms is None else wall_ms
    return Instant(round(seconds * 1_000_000), ms, trust)


class Node:
    """One replica with its journal. ``disk_full`` makes commits fail in silence, as a core that gets StoreFailed."""

    def __init__(
        self,
        name: str,
        trust: Register,
        authority: Table,
        *,
        config: DocumentsConfig | None = None,
        store: Callable[[], StateStore] = AutomergeStore,
    ) -> None:
        self.signer, self.trust, self.authority, self.store = KeySigner(name), trust, authority, store
        self.id = self.signer.node
        self.config = config or DocumentsConfig()
        self.journal: dict[tuple[int, bytes], Record] = {}
        self.boot = 0
        self.disk_full = False
        self.rejects: list[Reject] = []
        self.facts: list[DocumentChanged] = []
        self.notes: list[Note] = []
        self.writes = 0
        self.start()

    def start(self) -> None:
        self.boot += 1
        self.documents = Documents(
            self.config,
            signer=self.signer,
            verifier=KeyVerifier(),
            authority=self.authority,
            trust=self.trust,
            boot=self.boot,
            restored=tuple(self.journal.values()),
            rng=Random(f"{self.signer.name}/{self.boot}"),
            store=self.store,
        )

    def commit(self, records: Sequence[Record]) -> bool:
        if self.disk_full:
            return False
        self.writes += len(records)
        for record in records:
            self.journal.pop((record.kind, record.key), None)
            self.journal[record.kind, record.key] = record
        return True

    def perform(self, effects: Sequence[Effect], now: Instant) -> list[Send]:
        """What the core does with effects of this room, until it has read all; the sends are left to the mesh."""
        sends = self._perform(effects, now)
        while self.documents.is_reading:
            sends += self._perform(self.documents.wake(now), now)
        return sends

    def _perform(self, effects: Sequence[Effect], now: Instant) -> list[Send]:
        sends: list[Send] = []
        todo = deque(effects)
        while todo:
            match todo.popleft():
                case Send() as send:
                    sends.append(send)
                case Persist(records, then):
                    if self.commit(records):
                        todo.extendleft(reversed(then))
                case EnvelopesKept() as fact:
                    todo.extendleft(self.documents.handle(fact, now))
                case DocumentChanged() as fact:
                    self.facts.append(fact)
                case Reject() as reject:
                    self.rejects.append(reject)
                case Note() as note:
                    self.notes.append(note)
                case other:
                    raise AssertionError(f"nobody performs {other}", isinstance(other, Fact))
        return sends


class Mesh:
    """Nodes on FIFO links without delay; a clock that only ``run`` moves. Every message is delivered exactly once."""

    def __init__(self, *names: str, **options: object) -> None:
        self.trust = Register(*(KeySigner(name) for name in names))
        self.authority = Table()
        self.nodes = {name: Node(name, self.trust, self.authority, **options) for name in names}  # pyright: ignore[reportArgumentType]
        self.seconds = 0.0
        self.skews: dict[str, int] = {}  # ms by which the clock of a node is wrong
        self.links: dict[tuple[str, str], None] = {}
        self.queue: deque[tuple[str, Send]] = deque()
        self.sent_bytes = 0
        self.longest = 0
        self.log: list[tuple[str, str, bytes]] = []

    @property
    def now(self) -> Instant:
        return instant(self.seconds)

    def time_of(self, name: str) -> Instant:
        """As this node's own clock tells it."""
        return Instant(self.now.mono_us, self.now.wall_ms + self.skews.get(name, 0), self.now.trust)

    def named(self, node: NodeId) -> str:
        return next(name for name, each in self.nodes.items() if each.id == node)

    def link(self, a: str, b: str) -> None:
        for one, other in ((a, b), (b, a)):
            self.links[one, other] = None
            up = PeerUp(self.nodes[other].id, other, "r", self.nodes[other].boot, one == b, 0, "", b"")
            self.give(one, self.nodes[one].documents.handle(up, self.time_of(one)))

    def cut(self, a: str, b: str) -> None:
        for one, other in ((a, b), (b, a)):
            if (one, other) in self.links:
                del self.links[one, other]
                self.give(
                    one, self.nodes[one].documents.handle(PeerDown(self.nodes[other].id, Loss.SILENT, ""), self.now)
                )
        self.queue = deque((n, s) for n, s in self.queue if {n, self.named(s.peer)} != {a, b})

    def give(self, name: str, effects: Sequence[Effect]) -> None:
        self.queue.extend((name, send) for send in self.nodes[name].perform(effects, self.time_of(name)))

    def put(self, name: str, doc: str, fields: Mapping[str, JsonValue]) -> Change:
        change = self.nodes[name].documents.put("Thing", "default", doc, fields, self.time_of(name))
        self.give(name, [Persist(change.records, change.effects)])
        return change

    def edit(self, name: str, doc: str, fields: Mapping[str, JsonValue]) -> Change:
        """Write these fields and no others."""
        change = self.nodes[name].documents.settle("Thing", "default", doc, fields, self.time_of(name))
        self.give(name, [Persist(change.records, change.effects)])
        return change

    def delete(self, name: str, doc: str) -> Change:
        change = self.nodes[name].documents.delete("Thing", "default", doc, self.time_of(name))
        self.give(name, [Persist(change.records, change.effects)])
        return change

    def settle(self, messages_max: int = 20_000) -> int:
        """Deliver until nobody has anything to say; how many messages that took."""
        for count in range(messages_max):
            if not self.queue:
                return count
            self.step()
        raise AssertionError("the nodes never fall silent")

    def step(self, at: int = 0) -> None:
        """Deliver one message: the first one of the link that message ``at`` of the queue belongs to."""
        sender, chosen = self.queue[at]
        first = next(i for i, (name, each) in enumerate(self.queue) if name == sender and each.peer == chosen.peer)
        sender, send = self.queue[first]
        del self.queue[first]
        to = self.named(send.peer)
        if (sender, to) not in self.links:
            return
        assert send.channel is Channel.STATE
        self.sent_bytes += len(send.body)
        self.longest = max(self.longest, len(send.body))
        self.log.append((sender, to, send.body))
        event = ControlReceived(self.nodes[sender].id, send.channel, send.body)
        self.give(to, self.nodes[to].documents.handle(event, self.time_of(to)))

    def run(self, seconds: float) -> None:
        """Let timers fire in order, everything said being delivered at once."""
        end = self.seconds + seconds
        while True:
            due = {name: node.documents.deadline() for name, node in self.nodes.items()}
            firing = min((at, name) for name, at in due.items() if at is not None) if any_of(due) else None
            if firing is None or firing[0] > end * 1_000_000:
                break
            self.seconds = max(self.seconds, firing[0] / 1_000_000)
            self.give(firing[1], self.nodes[firing[1]].documents.wake(self.time_of(firing[1])))
            self.settle()
        self.seconds = end

    def restart(self, name: str) -> None:
        for one, other in list(self.links):
            if one == name:
                self.cut(one, other)
        self.nodes[name].start()

    def roots(self) -> set[bytes]:
        return {node.documents.root() for node in self.nodes.values()}


def any_of(due: Mapping[str, int | None]) -> bool:
    return any(at is not None for at in due.values())
