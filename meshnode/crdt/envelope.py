"""The signed envelope in which changes of one document travel and are kept.

    [body, signature]     body = [version, doc, kind, namespace, name, author, boot, seq, hlc, changes]

Ed25519 over the body as carried (nobody re-encodes), one signature for up to 100 changes. The names are inside, so that
a receiver can create a document it does not know; the document id is their hash, so a change cannot be replayed into
another document. The engine's actor id is derived from (record key, document, boot), so nobody can write in another's
name, and a node whose journal lost its tail never uses an (actor, sequence) twice: its next start is another boot,
hence another actor.
"""

import hashlib

import msgspec

from meshnode.crdt.change import ACTOR_BYTES
from meshnode.kernel.ports import Signer
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

CONTEXT = "change/v1"
VERSION = 1
ENVELOPE_BYTES_MAX = 60 * 1024
CHANGES_MAX = 100
NAME_BYTES_MAX = 253


class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``seq``: number of the first change among those of its actor, from 1; ``hlc``: stamp of the last one."""

    version: int
    doc: bytes
    kind: str
    namespace: str
    name: str
    author: bytes
    boot: int
    seq: int
    hlc: int
    changes: list[bytes]

    @property
    def resource(self) -> str:
        return resource_of(self.kind, self.namespace, self.name)


class Unsealed(msgspec.Struct, frozen=True):
    """An envelope with the bytes its signature covers. Nothing is verified yet."""

    envelope: Envelope
    body: bytes
    signature: bytes


class _Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    body: bytes
    signature: bytes


_frames = msgspec.msgpack.Decoder(_Frame)
_envelopes = msgspec.msgpack.Decoder(Envelope)


def seal(envelope: Envelope, signer: Signer) -> bytes:
    body = msgspec.msgpack.encode(envelope)
    return msgspec.msgpack.encode(_Frame(body, signer.sign(CONTEXT, body)))


def unseal(data: bytes) -> Unsealed:
    """Read the frame and check what needs no key. Raises ``RemoteError``."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise RemoteError("envelope-size", f"{len(data)} bytes, the limit is {ENVELOPE_BYTES_MAX}")
    try:
        frame = _frames.decode(data)
        envelope = _envelopes.decode(frame.body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteError("envelope-frame", str(error)) from error
    if envelope.version != VERSION:
        raise RemoteError("envelope-version", str(envelope.version))
    numbers = (envelope.boot, envelope.seq, envelope.hlc)
    if any(not 0 <= number < 1 << 63 for number in numbers) or not 1 <= len(envelope.changes) <= CHANGES_MAX:
        raise RemoteError("envelope-frame", "a number or the count of changes is out of range")
    if not are_names(envelope.kind, envelope.namespace, envelope.name):
        raise RemoteError("envelope-names")
    if envelope.doc != doc_id_of(envelope.kind, envelope.namespace, envelope.name):
        raise RemoteError("envelope-binding", "the document id is not that of its names")
    return Unsealed(envelope, frame.body, frame.signature)


def doc_id_of(kind: str, namespace: str, name: str) -> DocId:
    return DocId(hashlib.sha256(resource_of(kind, namespace, name).encode()).digest()[:16])


def resource_of(kind: str, namespace: str, name: str) -> str:
    return f"{kind}/{namespace}/{name}"


def are_names(*names: str) -> bool:
    """Printable, 1 to 253 bytes, no slash: so that no two documents share an id by their spelling."""
    try:
        return all(
            0 < len(each.encode()) <= NAME_BYTES_MAX and each.isprintable() and "/" not in each for each in names
        )
    except UnicodeEncodeError:
        return False


def actor_of(public_key: bytes, doc: DocId, boot: int) -> bytes:
    """The engine's name for one node writing one document during one boot."""
    digest = hashlib.sha256(b"meshnode/actor/v1\0" + public_key + doc + boot.to_bytes(8))
    return digest.digest()[:ACTOR_BYTES]


def author_of(envelope: Envelope) -> NodeId:
    return NodeId(envelope.author)
