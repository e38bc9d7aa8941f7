"""States in the journal: entries since the last checkpoint, and manifests.

STATE: key unit, 0, counter, node, version and number of piece; body: one byte of what it is, then the entry as sealed,
or what was taken from an owner to follow it. CHECKPOINT: key unit, 0 and the number of the manifest.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshnode.checkpoints import fold, merge
from meshnode.checkpoints.entry import HASH_BYTES, Entry, hash_of, unseal
from meshnode.checkpoints.fold import Manifest
from meshnode.checkpoints.held import Held, Taken
from meshnode.checkpoints.rows import Delta, check_delta
from meshnode.checkpoints.state import State
from meshnode.kernel.decoding import decoded
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import InstanceId

_ENTRY, _TAKEN = b"E", b"T"
_DOT = struct.Struct(">QQQ")


class Logged(msgspec.Struct, frozen=True):
    """One record since the last checkpoint. ``sealed`` b"" for a ``Taken``."""

    key: bytes
    body: bytes
    item: Entry | Taken

    @property
    def sealed(self) -> bytes:
        return self.body[1:] if isinstance(self.item, Entry) else b""

    @property
    def hash(self) -> bytes:
        """Of the chain, after this."""
        return hash_of(self.sealed) if isinstance(self.item, Entry) else self.item.head


_encode = msgspec.msgpack.Encoder().encode
_taken = msgspec.msgpack.Decoder(Taken)


def entry_key(unit: str, epoch: Epoch, version: int) -> bytes:
    return _key(unit, epoch, version, 0)


def entry_record(unit: str, entry: Entry, sealed: bytes) -> Record:
    return Record(RecordKind.STATE, entry_key(unit, entry.epoch, entry.version), _ENTRY + sealed)


def taken_record(unit: str, taken: Taken, piece_no: int) -> Record:
    return Record(RecordKind.STATE, _key(unit, taken.epoch, taken.version, piece_no), _TAKEN + _encode(taken))


def manifest_record(manifest: Manifest) -> Record:
    return Record(RecordKind.CHECKPOINT, manifest_key(manifest), fold.encode_manifest(manifest))


def manifest_key(manifest: Manifest) -> bytes:
    return manifest.unit.encode() + b"\0" + manifest.number.to_bytes(8)


def forgotten(kind: RecordKind, key: bytes) -> Record:
    return Record(kind, key, b"")


def piece_of(unit: str, key: bytes) -> int:
    """The number of the piece in the key of a STATE record."""
    return _DOT.unpack_from(key.ljust(len(unit.encode()) + 1 + _DOT.size, b"\0"), len(unit.encode()) + 1)[2]


def _key(unit: str, epoch: Epoch, version: int, piece: int) -> bytes:
    return unit.encode() + b"\0" + _DOT.pack(epoch.counter, version, piece) + epoch.node


class Shelf(msgspec.Struct):
    """The records of all units, sorted. ``unreadable``: keys of records that are no such thing."""

    logs: dict[InstanceId, list[Logged]] = {}
    manifests: dict[InstanceId, list[Manifest]] = {}
    unreadable: list[str] = []

    def units(self) -> list[InstanceId]:
        return sorted({**dict.fromkeys(self.logs), **dict.fromkeys(self.manifests)})


def read_records(records: Iterable[Record]) -> Shelf:
    """In the order of writing. What cannot be read is named and passed over."""
    shelf = Shelf({}, {}, [])
    for record in records:
        if record.kind not in (RecordKind.STATE, RecordKind.CHECKPOINT) or not record.body:
            continue
        try:
            unit = InstanceId(record.key.partition(b"\0")[0].decode())
            if record.kind is RecordKind.STATE:
                shelf.logs.setdefault(unit, []).append(Logged(record.key, record.body, _item(record.body)))
            else:
                shelf.manifests.setdefault(unit, []).append(fold.read_manifest(record.body))
        except (RemoteError, UnicodeDecodeError) as error:
            shelf.unreadable.append(f"{record.key[:80]!r}: {error}")
    for manifests in shelf.manifests.values():
        manifests.sort(key=lambda each: each.number)
    return shelf


def _item(body: bytes) -> Entry | Taken:
    if body[:1] == _ENTRY:
        return unseal(body[1:])
    if body[:1] != _TAKEN:
        raise RemoteError("checkpoint-record", f"neither an entry nor taken over: {body[:1]!r}")
    taken = decoded(_taken.decode, body[1:], "checkpoint-record")
    check_delta(taken.piece)
    if len(taken.head) != HASH_BYTES:  # the entry written after it would begin with it, and could not be read again
        raise RemoteError("checkpoint-record", f"the hash of an entry has {HASH_BYTES} bytes, not {len(taken.head)}")
    if taken.piece.whole:
        raise RemoteError("checkpoint-record", "a whole, which names no key as gone")
    return taken


def rebuilt(unit: InstanceId, manifests: Sequence[Manifest], log: Sequence[Logged], blobs: Mapping[str, bytes]) -> Held:
    """The state of a unit from its newest manifest and the entries since.

    A chunk that is missing or damaged: the state is that of the newest checkpoint that is whole, with the intact cells
    of later ones merged into it. Entries are applied as far as their chains go; those behind a hole one by one.
    """
    held = Held(unit, State(), follows={}, damaged=[])
    for n, manifest in enumerate(reversed(manifests)):
        state, bad = fold.unfold(manifest, blobs)
        held.known = max(held.known, manifest.version)
        if n == 0:
            held.epoch, held.head = manifest.epochs[manifest.epoch], manifest.head
            held.follows = fold.follows_of(manifest)
        if bad:
            held.damaged.append(f"checkpoint {manifest.version}: {len(bad)} of {len(manifest.digests())} chunks")
        held.state = state if n == 0 else _over(held.state, state)
        if not bad:
            break
    _replay(held, log)
    held.known = max(held.known, held.state.version)
    if held.damaged:
        held.follows = {}  # an owner that asks is told what is really here
    return held


def _over(pieces: State, older: State) -> State:
    """An older state that is whole, with the intact cells of a newer one."""
    theirs = merge.delta(pieces)
    merge.join(older, msgspec.structs.replace(theirs, final=False))
    older.merge_no = max(older.merge_no, pieces.merge_no)
    older.runs.update(pieces.runs)
    return older


def _replay(held: Held, log: Sequence[Logged]) -> None:
    whole = not held.damaged
    for logged in log:
        item = logged.item
        if isinstance(item, Taken):
            held.take(item if whole else msgspec.structs.replace(item, piece=_unfinished(item.piece)))
            continue
        fits = held.fits(item, logged.sealed)
        if held.state.seen.has(item.epoch, item.version):
            known = held.follows.get(item.epoch)
            if known is None or item.version <= known.version:
                continue  # folded already; its record was to be forgotten
            if not fits:
                del held.follows[item.epoch]  # what is in it came by another way; the owner is asked where it stands
                continue
        if not fits and whole:
            held.damaged.append(f"version {item.version} of epoch {item.epoch.counter} does not follow what was kept")
        whole = whole and fits  # what came later may stand on what is missing
        held.enter(item, logged.sealed, whole=whole)


def _unfinished(piece: Delta) -> Delta:
    return msgspec.structs.replace(piece, final=False)
