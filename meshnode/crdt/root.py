"""The root of a generation: what a document's history comes to, the same bytes on every node, and its own proof.

A root holds, by field, every write nothing has replaced, the newest first. The first writes of all fields are one
change without dependencies (layer 0), the second ones another (layer 1), and so on: for the engine siblings stay
siblings. Operation numbers fall and actors shrink from layer to layer, so the engine shows layer 0.

Each write names the signed envelope that brought it, carried in the root: whoever passes a root on cannot invent one.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from meshnode.crdt import change, envelope
from meshnode.crdt.change import ACTOR_BYTES, HASH_BYTES, OpId
from meshnode.crdt.encoding import Setting, written
from meshnode.crdt.envelope import GENERATIONS_MAX, Pin, are_names, doc_id_of, resource_of
from meshnode.crdt.fields import is_canonical, is_field_name, stamp_of
from meshnode.crdt.kinds import may_set
from meshnode.crdt.seen import ROWS_MAX, Seen
from meshnode.kernel.decoding import decoded
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

VERSION = 1
ROOT_BYTES_MAX = 1024 * 1024  # a larger document than one letter carries goes in parts (``parts.py``)
PROOF_BYTES_MAX = 16 * 1024 * 1024  # inflated, of all envelopes of a root together, and for each of their rows so much:
_ROW_BYTES = 64  # a field, or a write it replaces; of the latter a hundred bytes name thousands
LAYERS_MAX = 64
PROOFS_MAX = 1024
WRITES_MAX = 4096
SURE_BYTES = 2 * 1024  # of so little nothing large comes


class RootWrite(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One write. ``origin``: hash of the change that made it first; ``proof``: number of its envelope in the root.

    ``author``, ``boot``, ``at``: who signed that envelope and when; ``hlc``: when the value was written first.
    """

    value: str | None
    author: bytes
    boot: int
    at: int
    hlc: int
    origin: bytes
    proof: int


class Root(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``before``: hash of the root before this one; ``heads``: of that generation, what this root sums up.

    ``grave_ms``: not 0: deleted then, and empty since the horizon.
    """

    version: int
    doc: bytes
    kind: str
    namespace: str
    name: str
    generation: int
    before: bytes
    heads: list[bytes]
    fields: list[tuple[str, list[RootWrite]]]
    seen: list[tuple[bytes, int, int]]
    proofs: list[bytes]
    grave_ms: int = 0

    @property
    def names(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    @property
    def resource(self) -> str:
        return resource_of(*self.names)

    def times(self) -> list[int]:
        """All hybrid times it names."""
        return [*(hlc for _, _, hlc in self.seen), *(write.at for _, writes in self.fields for write in writes)]

    def newest(self) -> int:
        """The latest hybrid time it names."""
        return max(self.times(), default=0)

    def context(self) -> Seen:
        return Seen({(NodeId(author), boot): hlc for author, boot, hlc in self.seen})


class Layer(msgspec.Struct, frozen=True):
    """One change of the root as the engine is given it. ``ops``: operation number of each field."""

    hash: bytes
    actor: bytes
    ops: dict[str, int]
    plain: bytes

    @property
    def max_op(self) -> int:
        return len(self.ops)


class Rooted(msgspec.Struct, frozen=True):
    """A root with what follows from it."""

    root: Root
    data: bytes
    hash: bytes
    layers: tuple[Layer, ...]

    @property
    def pin(self) -> Pin:
        return self.root.generation, self.hash

    def op(self, key: str, number: int) -> OpId:
        """Operation of the ``number``-th write of a field."""
        return self.layers[number].ops[key], self.layers[number].actor


_decoder = msgspec.msgpack.Decoder(Root)


def rooted(root: Root) -> Rooted:
    return _with_layers(root, msgspec.msgpack.encode(root))


def read(data: bytes) -> Rooted:
    """A peer's or a stored root, judged as far as that needs no key. Raises ``RemoteError``."""
    if len(data) > ROOT_BYTES_MAX:
        raise RemoteError("root-size", f"{len(data)} bytes, the limit is {ROOT_BYTES_MAX}")
    root = decoded(_decoder.decode, data, "root-frame")
    if msgspec.msgpack.encode(root) != data:
        raise RemoteError("root-frame", "not the one encoding of its content")
    _judge(root)
    return _with_layers(root, data)


def _judge(root: Root) -> None:
    if root.version != VERSION:
        raise RemoteError("root-version", str(root.version))
    if not are_names(*root.names) or root.doc != doc_id_of(*root.names):
        raise RemoteError("root-binding", "the document id is not that of its names")
    if (
        not 0 < root.generation < GENERATIONS_MAX
        or len(root.before) not in (0, HASH_BYTES)
        or not 0 <= root.grave_ms < 1 << 48
    ):
        raise RemoteError("root-frame", "a number is out of range")
    if len(root.seen) > ROWS_MAX or bool(root.grave_ms) == bool(root.fields):
        raise RemoteError("root-frame", "too much, or a grave with fields")
    judge_count(root)
    keys = [key for key, _ in root.fields]
    if keys != sorted(dict.fromkeys(keys)) or not all(is_field_name(key) for key in keys):
        raise RemoteError("root-frame", "its fields")
    for _, writes in root.fields:
        if not 1 <= len(writes) <= LAYERS_MAX or [_rank(w) for w in writes] != sorted(map(_rank, writes), reverse=True):
            raise RemoteError("root-frame", "the writes of a field")


def judge_count(root: Root) -> None:
    """Raises ``RemoteError``: nobody would read it, its own node after a restart neither."""
    writes = sum([len(each) for _, each in root.fields])
    if len(root.proofs) > PROOFS_MAX or writes > WRITES_MAX:
        raise RemoteError("root-size", f"{writes} writes, of {len(root.proofs)} envelopes")


def judge_proofs(root: Root) -> list[envelope.Unsealed]:
    """The envelopes of a root, each write found in its own. Signatures are the gate's. Raises ``RemoteError``."""
    by_proof: dict[int, list[tuple[str, RootWrite]]] = {}
    for key, writes in root.fields:
        for write in writes:
            by_proof.setdefault(write.proof, []).append((key, write))
    unsealed: list[envelope.Unsealed] = []
    room = PROOF_BYTES_MAX
    for number, data in enumerate(root.proofs):  # one after the other: what they inflate to is not kept
        unsealed.append(envelope.unseal(data))
        made = _made(root, unsealed[-1], room)
        room -= made.bulk
        for key, write in by_proof.pop(number, ()):
            # What the gate asks of a change that comes by itself: nobody's signature makes it readable or his to set.
            if not may_set(key, NodeId(write.author)) or not (write.value is None or is_canonical(write.value)):
                raise RemoteError("root-content", f"field {key[:60]!r}")
            if (key, write) not in made:
                raise RemoteError("root-unproven", f"field {key[:60]!r}")
    if by_proof:
        raise RemoteError("root-unproven", "a write names an envelope that is not there")
    return unsealed


def _made(root: Root, unsealed: envelope.Unsealed, room: int) -> "_Made":
    if unsealed.envelope.doc != root.doc:
        raise RemoteError("root-unproven", "an envelope of another document")
    return _Made(unsealed.envelope, room)


def judge_bulk(proofs: Sequence[bytes]) -> None:
    """What every peer would refuse is not made here. Raises ``RemoteError``."""
    room = PROOF_BYTES_MAX
    for data in proofs if sum(map(len, proofs)) > SURE_BYTES else ():
        room -= bulk_of(parsed_within(envelope.unseal(data).envelope.changes, room))


def parsed_within(chunks: Sequence[bytes], room: int) -> list[change.ParsedChange]:
    """Changes, as long as they inflate to no more than this. Raises ``RemoteError``."""
    found: list[change.ParsedChange] = []
    for chunk in chunks:
        found.append(change.parse(chunk))
        room -= bulk_of(found[-1:])
        if room < 0:
            raise RemoteError("root-bulk", f"its envelopes inflate to more than {PROOF_BYTES_MAX} bytes")
    return found


def bulk_of(changes: Sequence[change.ParsedChange]) -> int:
    """What they count for, in bytes."""
    return sum([len(each.plain) + _ROW_BYTES * each.rows for each in changes])


class _Made:
    """The writes one envelope proves."""

    def __init__(self, proof: envelope.Envelope, room: int) -> None:
        self._proof = proof
        parsed = parsed_within(proof.changes, room)
        self.bulk = bulk_of(parsed)
        self._values = {(each.hash, op.key): op.value for each in parsed for op in each.ops}
        self._times = {each.hash: stamp_of(each) for each in parsed}
        last = {(carry.change, carry.key): carry for carry in proof.carried}  # the others are named as replaced
        self._carried = {(carry.origin, carry.key): carry for carry in last.values()}

    def __contains__(self, item: tuple[str, RootWrite]) -> bool:
        key, write = item
        if (write.author, write.boot) != (self._proof.author, self._proof.boot):
            return False
        carry = self._carried.get((write.origin, key))
        made_by = write.origin if carry is None else carry.change
        at = self._times.get(made_by)
        if (made_by, key) not in self._values or (at, at if carry is None else carry.hlc) != (write.at, write.hlc):
            return False
        return self._values[made_by, key] == write.value


def hash_of(data: bytes) -> bytes:
    return hashlib.sha256(b"meshnode/root/v1\0" + data).digest()


def _with_layers(root: Root, data: bytes) -> Rooted:
    digest = hash_of(data)
    if root.grave_ms:
        # The engine needs something to stand on; nobody can mistake it for a field: a user's has a value.
        return Rooted(root, data, digest, (_layer(digest, 0, [("updated_hlc", None)]),))
    depth = max(len(writes) for _, writes in root.fields)
    return Rooted(
        root,
        data,
        digest,
        tuple(
            _layer(digest, number, [(key, writes[number].value) for key, writes in root.fields if len(writes) > number])
            for number in range(depth)
        ),
    )


def _layer(digest: bytes, number: int, values: Sequence[tuple[str, str | None]]) -> Layer:
    actor = bytes((0xFF - number,)) * 8 + digest[: ACTOR_BYTES - 8]
    made = written(actor, 1, 1, (), [Setting(key, value) for key, value in values])
    return Layer(made.hash, actor, {op.key: op.counter for op in made.ops}, made.plain)


def _rank(write: RootWrite) -> tuple[int, bytes]:
    return write.hlc, write.origin


def doc_of(root: Root) -> DocId:
    return DocId(root.doc)
