"""Fuzz target: bytes of a peer on the CHECKPOINT channel, and records of a journal that a disk spoilt.

The first byte chooses where the bytes enter:

    0 a letter to a holder   1 a letter to an owner   2 an entry in an append   3 a copy, as the answer to an ask
    4 a STATE record   5 a CHECKPOINT record

Properties beside "no exception but RemoteError": a node that refused something still takes an honest entry or writes
one, and what it then holds is told by its records alone. One holder and one owner hear many letters.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from meshnode.checkpoints import letters, merge
from meshnode.checkpoints.checkpoints import Checkpoints
from meshnode.checkpoints.desk import CheckpointsConfig
from meshnode.checkpoints.entry import Entry, hash_of, seal
from meshnode.checkpoints.letters import PIECE_BYTES, Append, Ask, Copy, Give, Lead
from meshnode.checkpoints.messages import CommitFact
from meshnode.checkpoints.reading import read_state
from meshnode.checkpoints.rules import Rules
from meshnode.checkpoints.state import State
from meshnode.kernel.blobs import BlobRead, BlobsKept, KeepBlobs, ReadBlob, digest_of
from meshnode.kernel.effects import Channel, Effect, Persist, Reject, Send
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ledger import live
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import ControlReceived, PeerUp
from meshnode.messaging.messages import StateWritten
from meshnode.model.durability import AUTO
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.wire.state import Change, Op

CORPUS = Path(__file__).parent / "corpus" / "checkpoint"
ME, PEER = NodeId(b"M" * 32), NodeId(b"P" * 32)
UNIT = InstanceId("words/0")
NOW = Instant(1_000_000, 1_800_000_000_000)
EPOCH = Epoch(3, PEER)


class Host:
    """A machine, its journal and its chunks; one neighbour, who is reachable."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.records, self.blobs = list(records), dict[str, bytes]()
        self.sent: list[bytes] = []
        self.now = NOW
        self.refused = ""
        self.machine = Checkpoints(
            CheckpointsConfig(), me=ME, boot=1, liveness=self, links=self, name_of=lambda node: node.hex(),
            rules=Rules(), restored=live(self.records),
        )  # fmt: skip
        self.take(self.machine.start(self.now))
        self.take(self.machine.handle(PeerUp(PEER, "p", "", 1, True, 0, "p", b""), self.now))

    def peers(self) -> list[NodeId]:
        return [PEER]

    def members(self) -> list[NodeId]:
        return [ME, PEER]

    def reachable(self, node: NodeId) -> bool:
        return node == PEER

    def last_heard_us(self, peer: NodeId) -> int | None:
        return self.now.mono_us if peer == PEER else None

    def rtt_us(self, peer: NodeId) -> int | None:
        return 1 if peer == PEER else None

    def wait(self, seconds: int) -> None:
        self.now = Instant(self.now.mono_us + seconds * SECOND, self.now.wall_ms + 1000 * seconds)
        self.take(self.machine.wake(self.now))

    def told(self, body: bytes) -> None:
        self.take(self.machine.handle(ControlReceived(PEER, Channel.CHECKPOINT, body), self.now))

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(records, then):
                    self.records += records
                    for each in then:
                        if isinstance(each, CommitFact):
                            self.take(self.machine.handle(each, self.now))
                case Send(_, _, body):
                    self.sent.append(body)
                case Reject(_, reason):
                    self.refused = reason
                case KeepBlobs(batch_no, blobs):
                    self.blobs.update({digest_of(blob): blob for blob in blobs})
                    self.take(self.machine.handle(BlobsKept(batch_no), self.now))
                case ReadBlob(read_no, digest):
                    error = "" if digest in self.blobs else "missing"
                    read = BlobRead(read_no, digest, self.blobs.get(digest, b""), error)
                    self.take(self.machine.handle(read, self.now))
                case _:
                    pass


def one_input(data: bytes) -> None:
    body = data[1:]
    match data[0] % 6 if data else 0:
        case 0:
            host = _holder()
            host.told(body)
            _still_holds(host)
        case 1:
            host = _owner()
            host.told(body)
            _still_writes(host)
        case 2:
            host = _holder()
            host.told(_encoded(Append(UNIT, body)))
            _still_holds(host)
        case 3:
            host = _owner(ready=False)
            ask = next(each for each in map(letters.decode, host.sent) if isinstance(each, Ask))
            host.told(_encoded(Give(UNIT, ask.ask_no, 0, 1, body[:PIECE_BYTES])))
            _still_writes(host)
        case 4:
            host = _owner((Record(RecordKind.STATE, UNIT.encode() + b"\0" + bytes(56), body),))
            _still_writes(host)
        case _:
            host = _owner((Record(RecordKind.CHECKPOINT, UNIT.encode() + b"\0" + bytes(8), body),))
            _still_writes(host)
    if host.refused:
        raise RemoteError(host.refused)


class Pair:
    """One holder and one owner for many letters; what goes another way goes alone."""

    def __init__(self) -> None:
        self._hosts = (_holder(), _owner())

    def tell(self, data: bytes) -> None:
        where = data[0] % 6 if data else 0
        if where > 2:
            one_input(data)
            return
        host = self._hosts[where % 2]
        host.refused = ""
        host.told(_encoded(Append(UNIT, data[1:])) if where == 2 else data[1:])
        if host.refused:
            raise RemoteError(host.refused)

    def end(self) -> None:
        """A minute later, when nobody waits any more for an answer that never came."""
        holder, owner = self._hosts
        for host in self._hosts:
            host.wait(60)
        _still_holds(holder)
        _still_writes(owner)


def _holder() -> Host:
    """Follows an owner that has written nothing yet."""
    host = Host()
    host.told(_encoded(Lead(UNIT, EPOCH, 0, bytes(32))))
    host.told(_given(host, Copy(UNIT, merge.delta(State()), EPOCH, 0, bytes(32), own=True)))
    return host


def _given(host: Host, copy: Copy) -> bytes:
    ask = next(each for each in map(letters.decode, reversed(host.sent)) if isinstance(each, Ask))
    return _encoded(Give(UNIT, ask.ask_no, 0, 1, letters.encode_copy(copy)))


def _owner(records: Sequence[Record] = (), *, ready: bool = True) -> Host:
    host = Host(records)
    host.take(host.machine.open(UNIT, Epoch(2, ME), AUTO, host.now))
    if ready:
        for ask in [each for each in map(letters.decode, host.sent) if isinstance(each, Ask)]:
            host.told(_encoded(Give(UNIT, ask.ask_no)))
    return host


def _still_holds(host: Host) -> None:
    """An owner that leads anew is followed, and its entry acknowledged."""
    epoch = Epoch(1 << 40, PEER)
    host.told(_encoded(Lead(UNIT, epoch, 0, bytes(32))))
    host.told(_given(host, Copy(UNIT, merge.delta(State()), epoch, 0, bytes(32), own=True)))
    planned = State().plan([Change("honest", Op.SET, b"1")], epoch, {})
    sealed = seal(Entry(epoch, 1, planned.changes), bytes(32))
    host.told(_encoded(Append(UNIT, sealed)))
    assert host.machine.values(UNIT)["honest"] == b"1", hash_of(sealed)
    _told_by_its_records(host)


def _still_writes(host: Host) -> None:
    host.wait(20)
    host.take(host.machine.attached(UNIT, AgentConn(1), (), host.now, resumed=False, merge_no=0))
    written = StateWritten(UNIT, AgentConn(1), b"", (Change("honest", Op.SET, b"1"),), 1, 0)
    host.take(host.machine.wrote(written, host.now))
    assert host.machine.values(UNIT)["honest"] == b"1"
    _told_by_its_records(host)


def _told_by_its_records(host: Host) -> None:
    states = read_state(live(host.records), lambda digest: host.blobs[digest])
    assert states[UNIT].values() == host.machine.values(UNIT)


def _encoded(letter: letters.Letter) -> bytes:
    return msgspec.msgpack.encode(letter)


OPENS = Pair

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("checkpoint", one_input, CORPUS, OPENS))
