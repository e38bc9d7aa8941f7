"""The signed envelope in which changes of one document travel and are kept.

    [body, signature]     body = [version, doc, kind, namespace, name, author, boot, seq, hlc, changes]
                          version 2 (from the first re-root on) adds [generation, root, carried]
    [body, signature, place, way]     one of several that were signed together (``batch.py``)

Ed25519 over the body as carried (nobody re-encodes), one signature for up to 100 changes, or over the root of a tree of
such bodies. A frame has one spelling: otherwise whoever passes it on could make a second one of it, which would look as
if its author had signed twice. The names are inside, so that
a receiver can create a document it does not know; the document id is their hash, so a change cannot be replayed into
another document. The engine's actor id is derived from (record key, document, boot), so nobody can write in another's
name, and a node whose journal lost its tail never uses an (actor, sequence) twice: its next start is another boot,
hence another actor. From generation 1 on it is derived from the root too: no change fits into another generation.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from meshnode.crdt import batch
from meshnode.crdt.change import ACTOR_BYTES, HASH_BYTES
from meshnode.kernel.decoding import JUNK, refusal
from meshnode.kernel.ports import Signer, Verifier
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

CONTEXT = "change/v1"
BATCH_CONTEXT = "changes/v1"  # of the root over several
VERSION = 1  # of generation 0
ROOTED_VERSION = 2
ENVELOPE_BYTES_MAX = 60 * 1024
CHANGES_MAX = 100
NAME_BYTES_MAX = 253
CARRIED_MAX = 4096
GENERATIONS_MAX = 1 << 32

Pin = tuple[int, bytes]  # generation and root hash: the higher one wins
UNROOTED: Pin = (0, b"")  # a document that was never re-rooted


class Carry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A value of a change here that was written before, in a generation that is over: where (``origin``: the change)
    and when (``hlc``). Its author is who signs this envelope; that somebody else may have written it first is his word.
    """

    change: bytes
    key: str
    origin: bytes
    hlc: int


class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """``seq``: number of the first change among those of its actor, from 1; ``hlc``: stamp of the last one.

    ``generation``, ``root``: which root its changes stand on; none in generation 0.
    """

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
    generation: int = 0
    root: bytes = b""
    carried: list[Carry] = []

    @property
    def pin(self) -> Pin:
        return (self.generation, self.root) if self.generation else UNROOTED

    @property
    def names(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    @property
    def resource(self) -> str:
        return resource_of(self.kind, self.namespace, self.name)


class Unsealed(msgspec.Struct, frozen=True, gc=False):
    """An envelope with the bytes its signature covers. Nothing is verified yet."""

    envelope: Envelope
    body: bytes
    signature: bytes
    place: int = 0
    way: bytes = b""

    def is_signed(self, key: bytes, verifier: Verifier) -> bool:
        if not self.way:
            return verifier.verify(key, CONTEXT, self.body, self.signature)
        return verifier.verify(key, BATCH_CONTEXT, batch.root_of(self.body, self.place, self.way), self.signature)


class _Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    body: bytes
    signature: bytes
    place: int = 0
    way: bytes = b""


_NUMBER_MAX = (1 << 63) - 1
_AUTHORS_MAX = 1024  # that are known as one object each
_WORDS_MAX, _WORD_MAX = 1024, 64  # kinds and namespaces whose verdict is remembered, up to so many characters
_PLAIN_HEAD, _ROOTED_HEAD = b"\x9a", b"\x9d"  # of ten fields, and of thirteen
_frames = msgspec.msgpack.Decoder(_Frame)
_envelopes = msgspec.msgpack.Decoder(Envelope)


def seal(envelope: Envelope, signer: Signer) -> bytes:
    body = _body(envelope)
    return _frame(body, signer.sign(CONTEXT, body))


def seal_all(envelopes: Sequence[Envelope], signer: Signer) -> list[bytes]:
    """The same for many at once, at a few signatures. One alone is sealed as ever: older releases read it."""
    sealed: list[bytes] = []
    bodies = [_body(each) for each in envelopes]
    for at in range(0, len(bodies), batch.BATCH_MAX):
        some = bodies[at : at + batch.BATCH_MAX]
        if len(some) == 1:
            sealed.append(_frame(some[0], signer.sign(CONTEXT, some[0])))
            continue
        root, ways = batch.ways(some)
        signature = signer.sign(BATCH_CONTEXT, root)
        sealed += [_frame(body, signature, place, ways[place]) for place, body in enumerate(some)]
    return sealed


def _body(envelope: Envelope) -> bytes:
    # One of generation 0 as releases before generations write and read it: without the fields that came with them.
    if envelope.version != VERSION:
        return msgspec.msgpack.encode(envelope)
    return msgspec.msgpack.encode((
        VERSION, envelope.doc, envelope.kind, envelope.namespace, envelope.name, envelope.author, envelope.boot,
        envelope.seq, envelope.hlc, envelope.changes,
    ))  # fmt: skip


def _frame(body: bytes, signature: bytes, place: int = 0, way: bytes = b"") -> bytes:
    return msgspec.msgpack.encode((body, signature, place, way) if way else (body, signature))


def judge_size(data: bytes, written: Envelope | None = None) -> None:
    """Raises ``RemoteError``."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise RemoteError("envelope-size", f"{len(data)} bytes, the limit is {ENVELOPE_BYTES_MAX}")
    if written is not None and (len(written.changes) > CHANGES_MAX or len(written.carried) > CARRIED_MAX):
        raise RemoteError("envelope-frame", f"{len(written.changes)} changes, {len(written.carried)} carried")


def unseal(data: bytes) -> Unsealed:
    """Read the frame and check what needs no key. Raises ``RemoteError``."""
    unsealed = unframed(data)
    judge_names(unsealed.envelope)
    return unsealed


def unframed(data: bytes) -> Unsealed:
    """The same, but for the names, which those of a document that is here need not be asked. Raises ``RemoteError``."""
    judge_size(data)
    try:
        frame = _frames.decode(data)
        envelope = _envelopes.decode(frame.body)
    except JUNK as error:
        raise refusal("envelope-frame", error) from error
    if envelope.version not in (VERSION, ROOTED_VERSION):
        raise RemoteError("envelope-version", str(envelope.version))
    if _frame(frame.body, frame.signature, frame.place, frame.way) != data:
        raise RemoteError("envelope-frame", "another spelling than its author's")
    if frame.way and not batch.is_way(frame.place, frame.way):
        raise RemoteError("envelope-frame", "its way to a signature")
    _judge_rooting(envelope, frame.body[:1])
    numbers = (envelope.boot, envelope.seq, envelope.hlc)
    if min(numbers) < 0 or max(numbers) > _NUMBER_MAX or not 1 <= len(envelope.changes) <= CHANGES_MAX:
        raise RemoteError("envelope-frame", "a number or the count of changes is out of range")
    return Unsealed(envelope, frame.body, frame.signature, frame.place, frame.way)


def judge_names(envelope: Envelope) -> None:
    """That they are names, and the document id is theirs. Raises ``RemoteError``."""
    if not are_names(*envelope.names):
        raise RemoteError("envelope-names")
    if envelope.doc != doc_id_of(*envelope.names):
        raise RemoteError("envelope-binding", "the document id is not that of its names")


def reread(data: bytes) -> Unsealed:
    """An envelope that was judged when it came, from memory: what ``unseal`` looks at is not looked at again."""
    frame = _frames.decode(data)
    return Unsealed(_envelopes.decode(frame.body), frame.body, frame.signature, frame.place, frame.way)


def _judge_rooting(envelope: Envelope, head: bytes) -> None:
    """Generation 0 is written in the first version only, and one content in one encoding only."""
    rooted = envelope.version == ROOTED_VERSION
    if head != (_ROOTED_HEAD if rooted else _PLAIN_HEAD) or rooted != bool(envelope.generation):
        raise RemoteError("envelope-frame", "another number of fields than its version has")
    if not 0 <= envelope.generation < GENERATIONS_MAX or len(envelope.root) != HASH_BYTES * rooted:
        raise RemoteError("envelope-frame", "its generation")
    if not envelope.carried:
        return
    if len(envelope.carried) > CARRIED_MAX or any(
        len(each.change) != HASH_BYTES or len(each.origin) != HASH_BYTES or not 0 < each.hlc <= envelope.hlc
        for each in envelope.carried
    ):
        raise RemoteError("envelope-carried")


def doc_id_of(kind: str, namespace: str, name: str) -> DocId:
    return DocId(hashlib.sha256(resource_of(kind, namespace, name).encode()).digest()[:16])


def resource_of(kind: str, namespace: str, name: str) -> str:
    return f"{kind}/{namespace}/{name}"


def are_names(*names: str) -> bool:
    """Printable, 1 to 253 bytes, no slash: so that no two documents share an id by their spelling."""
    *words, name = names
    for each in words:
        if not (_is_word(each) if len(each) <= _WORD_MAX else _is_name(each)):
            return False
    return _is_name(name)


def _is_name(name: str) -> bool:
    try:
        size = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= NAME_BYTES_MAX and name.isprintable() and "/" not in name


_is_word = lru_cache(_WORDS_MAX)(_is_name)


def actor_of(public_key: bytes, doc: DocId, boot: int, root: bytes = b"") -> bytes:
    """The engine's name for one node writing one generation of one document during one boot."""
    digest = hashlib.sha256(b"meshnode/actor/v1\0" + public_key + doc + boot.to_bytes(8) + root)
    return digest.digest()[:ACTOR_BYTES]


def author_of(envelope: Envelope) -> NodeId:
    return _author(envelope.author) if len(envelope.author) <= HASH_BYTES else NodeId(envelope.author)


@lru_cache(_AUTHORS_MAX)
def _author(node: bytes) -> NodeId:
    """Equal to what was given, and of equal ones the same: thousands of writes name a few authors."""
    return NodeId(node)
