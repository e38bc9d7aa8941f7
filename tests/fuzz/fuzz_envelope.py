"""Fuzz target: bytes of a peer on the STATE channel: letters, envelopes, changes, and the columns inside them.

The first byte chooses where the bytes enter, so that the fuzzer need not forge checksums and signatures to get deep:

    0 a letter   1 an envelope   2 a change chunk   3 a change body, wrapped into a right chunk   4 the same, deflated
    5 a change body in an envelope signed by a member, given to a whole replica with its engine

Property beside "no exception but RemoteError": what is accepted reads the same when read again, and a replica that
refused something still writes, reads and restarts from its journal. One replica takes many bodies, each in a document
of its own.
"""

import hashlib
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

from meshnode.crdt import change, envelope, letters
from meshnode.crdt.columns import uleb
from meshnode.crdt.envelope import Envelope, actor_of, doc_id_of
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.messages import EnvelopesKept
from meshnode.crdt.replica import Documents, DocumentsConfig
from meshnode.kernel.effects import Channel, Effect, Persist, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import Action, Member, Verdict
from meshnode.kernel.records import Record
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CORPUS = Path(__file__).parent / "corpus" / "envelope"
KEY = b"K" * 32
NODE = NodeId(hashlib.sha256(KEY).digest())
NAMES = ("Thing", "default", "x")
DOC = doc_id_of(*NAMES)
ACTOR = actor_of(KEY, DOC, 1)
HLC = 7
NOW = Instant(0, 1_800_000_000_000)
WRITES_EVERY = 8


class Key:
    """Signs, verifies, admits and allows everything: the fuzzer looks behind the door."""

    node = NodeId(b"M" * 32)
    public_key = b"m" * 32

    def sign(self, context: str, body: bytes) -> bytes:
        return hashlib.sha256(context.encode() + body).digest() * 2

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        return bool(public_key) and signature == self.sign(context, body)

    def may(self, subject: NodeId, action: Action, resource: str) -> Verdict:
        return Verdict(bool(subject and action and resource), "fuzz")

    def admit(self, record: bytes) -> Member | str:
        return f"no members in {len(record)} bytes"

    def member(self, node: NodeId) -> Member | None:
        return Member(node, "fuzz", KEY, (), "", {}, b"") if node == NODE else None


def one_input(data: bytes) -> None:
    where, rest = (data[0] % 6, data[1:]) if data else (0, b"")
    match where:
        case 0:
            letter = letters.decode(rest)
            assert letters.decode(letters.encode(letter)) == letter
        case 1:
            unsealed = envelope.unseal(rest)
            assert len(unsealed.envelope.doc) == 16
        case 2:
            _same_again(rest)
        case 3 | 4:
            _same_again(chunk(rest, deflated=where == 4))
        case _:
            _through_a_replica(rest)


def _same_again(data: bytes) -> None:
    parsed = change.parse(data)
    assert change.parse(parsed.plain) == parsed
    assert parsed.max_op >= parsed.start_op


def _through_a_replica(body: bytes) -> None:
    key = Key()
    replica = _replica(key, ())
    sealed = envelope.seal(Envelope(1, DOC, *NAMES, NODE, 1, 1, HLC, [chunk(body, deflated=False)]), key)
    letter = letters.encode(Envelopes([sealed], eager=True))
    effects = replica.handle(ControlReceived(NODE, Channel.STATE, letter), NOW)
    written = replica.put(*NAMES, {"v": 2}, NOW)
    document = replica.get(*NAMES)
    assert document is not None
    assert document.fields == {"v": 2}
    records = [record for each in effects if isinstance(each, Persist) for record in each.records]
    again = _replica(key, (*records, *written.records))
    assert (again.root(), again.get(*NAMES)) == (replica.root(), document)
    for effect in effects:
        if isinstance(effect, Reject):
            raise RemoteError(effect.reason)


class Shelf:
    """One replica for many inputs: a body comes in a document of its own, a second after the one before."""

    def __init__(self) -> None:
        self._key, self._records, self._count = Key(), list[Record](), 0
        self._replica = _replica(self._key, ())
        self._now = NOW

    def tell(self, data: bytes) -> None:
        if not data or data[0] % 6 != 5:
            one_input(data)
            return
        names = (*NAMES[:2], f"x{self._count}")
        self._count += 1
        self._now = Instant(self._now.mono_us + SECOND, self._now.wall_ms + 1000)
        doc = doc_id_of(*names)
        body = data[1:].replace(ACTOR, actor_of(KEY, doc, 1))
        sealed = envelope.seal(Envelope(1, doc, *names, NODE, 1, 1, HLC, [chunk(body, deflated=False)]), self._key)
        letter = letters.encode(Envelopes([sealed], eager=True))
        refused = self.take(self._replica.handle(ControlReceived(NODE, Channel.STATE, letter), self._now))
        if self._count % WRITES_EVERY == 0 or not refused:
            self._write(names)
        if refused:
            raise RemoteError(refused)

    def take(self, effects: Sequence[Effect]) -> str:
        """The name of a refusal, if there is one."""
        refused = ""
        for effect in effects:
            match effect:
                case Persist(records, then):
                    self._records += records
                    self.take([kept for each in then if isinstance(each, EnvelopesKept) for kept in self._kept(each)])
                case Reject(_, reason):
                    refused = reason
                case _:
                    pass
        return refused

    def _kept(self, fact: EnvelopesKept) -> Sequence[Effect]:
        return self._replica.handle(fact, self._now)

    def _write(self, names: tuple[str, str, str]) -> None:
        written = self._replica.put(*names, {"v": self._count}, self._now)
        self.take([Persist(written.records, tuple(written.effects))])
        document = self._replica.get(*names)
        assert document is not None and document.fields == {"v": self._count}

    def end(self) -> None:
        self._write(NAMES)
        again = _replica(self._key, tuple(self._records))
        assert (again.root(), again.list()) == (self._replica.root(), self._replica.list())


def _replica(key: Key, restored: tuple) -> Documents:  # pyright: ignore[reportMissingTypeArgument]
    return Documents(
        DocumentsConfig(), signer=key, verifier=key, authority=key, trust=key, boot=1, restored=restored, rng=Random(1)
    )


def chunk(body: bytes, *, deflated: bool) -> bytes:
    """A chunk whose checksum is right."""
    digest = hashlib.sha256(b"\x01" + uleb(len(body)) + body).digest()
    if deflated:
        deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
        body = deflater.compress(body) + deflater.flush()
    return b"\x85\x6f\x4a\x83" + digest[:4] + (b"\x02" if deflated else b"\x01") + uleb(len(body)) + body


OPENS = Shelf

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("envelope", one_input, CORPUS, OPENS))
