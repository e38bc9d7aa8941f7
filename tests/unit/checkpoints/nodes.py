"""Checkpoints machines joined by pipes in virtual time. Disks, chunks and agents do what a test says."""

import heapq
from collections.abc import Callable, Sequence

import msgspec

from meshnode.checkpoints.checkpoints import Checkpoints, CheckpointsInput
from meshnode.checkpoints.desk import CheckpointsConfig
from meshnode.checkpoints.messages import HandedOver, StateKept, StateReady, StateRefused, after_failure
from meshnode.checkpoints.rules import Rules
from meshnode.kernel.blobs import BlobRead, BlobsKept, DropBlobs, KeepBlobs, ReadBlob, digest_of
from meshnode.kernel.effects import Channel, Effect, Fact, Note, Persist, Reject, Send
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ledger import live
from meshnode.kernel.reasons import Loss
from meshnode.kernel.records import Record
from meshnode.links.messages import ControlReceived, PeerDown, PeerUp
from meshnode.messaging.messages import MergeDone, StateWritten
from meshnode.model.durability import AUTO, Durability
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.wire.bus import ToAgent
from meshnode.wire.frame import FRAME_BYTES_MAX, Frame, Kind, size
from meshnode.wire.state import (
    Change,
    KeptHeader,
    MergedCell,
    MergeHeader,
    Op,
    RestoredCell,
    RestoreHeader,
)

UNIT = InstanceId("words/0")


class Agent:
    """A process: what it was told of its state, and what it wrote."""

    def __init__(self, box: "Node", conn: AgentConn, hooks: Sequence[str] = ()) -> None:
        self.box, self.conn, self.hooks = box, conn, tuple(hooks)
        self.seq = self.merge_no = self.kept = 0
        self.values: dict[str, bytes] | None = None
        self.restores: list[RestoreHeader] = []
        self.asked: list[MergedCell] = []
        self.merged_upto: list[int] = []  # by MERGE, how far it had read this process
        self.siblings: dict[str, tuple[bytes, ...]] = {}
        self.decide: Callable[[MergedCell], bytes] | None = None
        self.answers_merges = True

    def write(self, *changes: Change, call: bytes = b"", key: str = "", answer: bytes = b"1") -> bytes:
        self.seq += 1
        call_id = call or b"%d/%d" % (self.conn, self.seq)
        self.again(self.seq, *changes, call=call_id, key=key, answer=answer)
        return call_id

    def again(self, seq: int, *changes: Change, call: bytes = b"", key: str = "", answer: bytes = b"1") -> None:
        self.box.do(
            lambda: self.box.machine.wrote(
                StateWritten(UNIT, self.conn, call, changes, seq, self.merge_no, key, answer if key else b""),
                self.box.now,
            )
        )

    def told(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.RESTORE:
                header = msgspec.msgpack.decode(frame.header, type=RestoreHeader)
                self.restores.append(header)
                cells = msgspec.msgpack.decode(frame.payload, type=list[RestoredCell])
                self.values = self.values or {}
                self.values.update({cell.key: cell.value for cell in cells})
                self.siblings.update({cell.key: cell.siblings for cell in cells if cell.siblings})
            case Kind.MERGE:
                self._merge(msgspec.msgpack.decode(frame.header, type=MergeHeader), frame.payload)
            case Kind.KEPT:
                self.kept = max(self.kept, msgspec.msgpack.decode(frame.header, type=KeptHeader).seq)
            case _:
                raise AssertionError(frame.kind)

    def _merge(self, header: MergeHeader, payload: bytes) -> None:
        if not self.answers_merges:
            return
        assert self.values is not None
        self.merged_upto.append(header.seq)
        decided: list[Change] = []
        for cell in msgspec.msgpack.decode(payload, type=list[MergedCell]):
            if cell.deleted:
                self.values.pop(cell.key, None)
            else:
                self.values[cell.key] = cell.value
            if cell.ask:
                self.asked.append(cell)
                if self.decide is not None:
                    decided.append(Change(cell.key, Op.SET, self.decide(cell)))
        self.merge_no = header.merge_no
        self.seq += 1
        seq = self.seq
        done = MergeDone(UNIT, self.conn, header.merge_no, seq, tuple(decided))
        self.box.nodes.later(1 * MS, lambda: self.box.do(lambda: self.box.machine.merge_done(done, self.box.now)))


class Node:
    """One node: its machine, its disk, its chunks. ``disk``: "ok", "slow" (commits wait), "full" (commits fail)."""

    def __init__(
        self, nodes: "Nodes", name: str, records: Sequence[Record] = (), blobs: dict[str, bytes] | None = None
    ) -> None:
        self.nodes, self.name = nodes, name
        self.node = NodeId(name.encode().ljust(32, b"."))
        self.disk = "ok"
        self.journal: list[Record] = list(records)
        nodes.boots[name] = nodes.boots.get(name, 0) + 1
        self.blobs: dict[str, bytes] = dict(blobs or {})
        self.spoilt: dict[str, None] = {}
        self.facts: list[Fact] = []
        self.rejects: list[Reject] = []
        self.notes: list[str] = []
        self.sent: list[Send] = []
        self.persists = 0
        self.waiting: list[Persist] = []
        self.agents: dict[AgentConn, Agent] = {}
        self.dead = False
        self.up: dict[NodeId, None] = {}
        self.suspected: dict[NodeId, None] = {}
        self.machine = Checkpoints(
            nodes.config, me=self.node, boot=nodes.boots[name], liveness=self, links=self,
            name_of=lambda node: node.decode().rstrip("."), rules=nodes.rules, restored=live(self.journal),
        )  # fmt: skip
        nodes.by_name[name] = self
        self.do(lambda: self.machine.start(self.now))

    # ports

    def peers(self) -> list[NodeId]:
        return list(self.up)

    def members(self) -> list[NodeId]:
        return sorted(node.node for node in self.nodes.by_name.values())

    def last_heard_us(self, peer: NodeId) -> int | None:
        return self.nodes.now_us if peer in self.up else None

    def rtt_us(self, peer: NodeId) -> int | None:
        return 2 * self.nodes.latency_us if peer in self.up else None

    def reachable(self, node: NodeId) -> bool:
        return node in self.up and node not in self.suspected

    # life

    @property
    def now(self) -> Instant:
        return Instant(self.nodes.now_us, 1_800_000_000_000 + self.nodes.now_us // 1000)

    def tell(self, event: CheckpointsInput) -> None:
        self.do(lambda: self.machine.handle(event, self.now))

    def do(self, step: Callable[[], list[Effect]]) -> None:
        if not self.dead:
            self.take(step())

    def open(self, counter: int, durability: Durability = AUTO, *, run: bool = True) -> None:
        self.do(lambda: self.machine.open(UNIT, Epoch(counter, self.node), durability, self.now))
        if run:
            self.nodes.run(300 * MS)

    def attach(self, hooks: Sequence[str] = (), *, resumed: Agent | None = None) -> Agent:
        self.nodes.conns += 1
        conn = AgentConn(self.nodes.conns)
        agent = resumed or Agent(self, conn, hooks)
        agent.box, agent.conn = self, conn
        self.agents = {conn: agent}
        self.do(
            lambda: self.machine.attached(
                UNIT, conn, agent.hooks, self.now, resumed=resumed is not None, merge_no=agent.merge_no
            )
        )
        return agent

    def start(self, counter: int, durability: Durability = AUTO, hooks: Sequence[str] = ()) -> Agent:
        """Open the unit and run its agent."""
        self.open(counter, durability)
        agent = self.attach(hooks)
        self.nodes.run(20 * MS)
        return agent

    def values(self) -> dict[str, object]:
        return {key: msgspec.json.decode(value) for key, value in self.machine.values(UNIT).items()}

    def of(self, kind: type[Fact]) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def kept(self, call_id: bytes) -> StateKept | None:
        found = [each for each in self.facts if isinstance(each, StateKept) and each.call_id == call_id]
        assert len(found) <= 1, "answered twice"
        return found[0] if found else None

    def refused(self, call_id: bytes) -> StateRefused | None:
        return next((each for each in self.facts if isinstance(each, StateRefused) and each.call_id == call_id), None)

    def ready(self) -> StateReady:
        return [each for each in self.facts if isinstance(each, StateReady)][-1]

    def handed(self) -> bool:
        return any(isinstance(each, HandedOver) for each in self.facts)

    # hands

    def take(self, effects: Sequence[Effect]) -> None:  # noqa: C901  # one line a kind of effect
        for effect in effects:
            match effect:
                case Persist():
                    self.persists += 1
                    self.nodes.later(2 * MS, lambda effect=effect: self._commit(effect))
                case Send(peer, _, body):
                    assert len(body) < FRAME_BYTES_MAX
                    self.sent.append(effect)
                    self.nodes.carry(self, peer, body)
                case ToAgent(conn, frames):
                    assert all(size(frame) <= FRAME_BYTES_MAX for frame in frames)
                    for frame in frames:
                        if conn in self.agents:
                            self.agents[conn].told(frame)
                case KeepBlobs(batch_no, blobs):
                    self.nodes.later(3 * MS, lambda n=batch_no, b=blobs: self._keep(n, b))
                case ReadBlob(read_no, digest):
                    self.nodes.later(1 * MS, lambda n=read_no, d=digest: self._read(n, d))
                case DropBlobs(digests):
                    for digest in digests:
                        self.blobs.pop(digest, None)
                case Reject():
                    self.rejects.append(effect)
                case Note(_, text):
                    self.notes.append(text)
                case Fact():
                    self.facts.append(effect)
                case _:
                    raise AssertionError(effect)

    def _commit(self, persist: Persist) -> None:
        if self.dead:
            return
        if self.disk == "slow":
            self.waiting.append(persist)
            return
        failed = self.disk == "full"
        if not failed:
            self.journal += persist.records
        for then in persist.then:
            event = after_failure(then, "no space left") if failed else then
            if isinstance(event, CheckpointsInput):
                self.tell(event)
            elif event is not None:
                self.take([event])

    def go_on(self, disk: str = "ok") -> None:
        """The slow disk commits what it was given, in order, or fails it."""
        self.disk = disk
        waiting, self.waiting = self.waiting, []
        for persist in waiting:
            self._commit(persist)

    def _keep(self, batch_no: int, blobs: Sequence[bytes]) -> None:
        if self.dead:
            return
        if self.disk == "full":
            self.tell(BlobsKept(batch_no, "no space left"))
            return
        self.blobs.update({digest_of(blob): blob for blob in blobs})
        self.tell(BlobsKept(batch_no))

    def _read(self, read_no: int, digest: str) -> None:
        if digest in self.spoilt or digest not in self.blobs:
            self.tell(BlobRead(read_no, digest, error="corrupt" if digest in self.spoilt else "missing"))
        else:
            self.tell(BlobRead(read_no, digest, self.blobs[digest]))


class Nodes:
    """All of them, and the time."""

    def __init__(self, *names: str, rules: Rules | None = None, **limits: int) -> None:
        self.now_us = 1_000 * SECOND
        self.latency_us = 1 * MS
        self.config = CheckpointsConfig(**limits)
        self.rules = rules or Rules()
        self.by_name: dict[str, Node] = {}
        self.conns = 0
        self.boots: dict[str, int] = {}
        self.dropped: Callable[[Node, NodeId, bytes], bool] = lambda _node, _peer, _body: False
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0
        for name in names:
            Node(self, name)
        for name in names:
            for other in names:
                if name < other:
                    self.link(self.by_name[name], self.by_name[other])
        self.run(5 * MS)

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    def later(self, wait_us: int, act: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_us + wait_us, self._count, act))

    def run(self, for_us: int) -> None:
        until = self.now_us + for_us
        while True:
            wakes = [
                (at, n.name) for n in self.by_name.values() if not n.dead and (at := n.machine.deadline()) is not None
            ]
            wake_at, who = min(wakes, default=(until + 1, ""))
            act_at = self._queue[0][0] if self._queue else until + 1
            if min(wake_at, act_at) > until:
                break
            if act_at <= wake_at:
                self.now_us, _, act = heapq.heappop(self._queue)
                act()
                continue
            self.now_us = max(self.now_us, wake_at)
            box = self.by_name[who]
            box.take(box.machine.wake(box.now))
            after = box.machine.deadline()
            assert after is None or after > self.now_us, "a deadline that stays due would spin"
        self.now_us = until

    def carry(self, sender: Node, peer: NodeId, body: bytes) -> None:
        other = self.of(peer)
        if other is None or peer not in sender.up or self.dropped(sender, peer, body):
            return

        def arrive() -> None:
            if sender.node in other.up and peer in sender.up:
                other.tell(ControlReceived(sender.node, Channel.CHECKPOINT, body))

        self.later(self.latency_us, arrive)

    def of(self, node: NodeId) -> Node | None:
        return next((each for each in self.by_name.values() if each.node == node and not each.dead), None)

    def link(self, one: Node, other: Node) -> None:
        for node, peer in ((one, other), (other, one)):
            node.up[peer.node] = None
        for node, peer in ((one, other), (other, one)):
            node.tell(PeerUp(peer.node, peer.name, "", 1, True, 0, peer.name, b""))

    def unlink(self, one: Node, other: Node) -> None:
        for node, peer in ((one, other), (other, one)):
            if node.up.pop(peer.node, False) is None:
                node.tell(PeerDown(peer.node, Loss.RESET, ""))

    def cut(self, name: str) -> None:
        for other in list(self.by_name.values()):
            if other.name != name:
                self.unlink(self[name], other)

    def heal(self) -> None:
        names = sorted(self.by_name)
        for name in names:
            for other in names:
                one, two = self[name], self[other]
                if name < other and two.node not in one.up and not one.dead and not two.dead:
                    self.link(one, two)

    def kill(self, name: str) -> Node:
        """The process is gone; its journal and chunks stay as far as they were committed."""
        node = self[name]
        self.cut(name)
        node.dead = True
        return node

    def boot(self, name: str, *, linked: bool = True, empty: bool = False) -> Node:
        old = self.by_name[name]
        new = Node(self, name, () if empty else old.journal, {} if empty else old.blobs)
        new.spoilt = dict(old.spoilt)
        if linked:
            self.heal()
        self.run(20 * MS)
        return new


def put(key: str, value: object) -> Change:
    return Change(key, Op.SET, msgspec.json.encode(value))


def add(key: str, amount: int = 1) -> Change:
    return Change(key, Op.ADD, amount=amount)


def drop(key: str) -> Change:
    return Change(key, Op.DELETE)
