"""Envelopes in the journal: one record each, which can tell whether it is still whole.

A document that was re-rooted has one record more, under its id alone: the root, who attests it, and the strays that are
still to be written again. It is written before the envelopes of the generation before are forgotten. A root larger than
``PIECE_BYTES`` has records of its own, one a piece, under document + root hash + number, and its root record is the
last of those numbers: of a commit that a power cut tears the record may be there and a piece not, so nothing of the
root before is overwritten. Of several roots the highest one that is whole is read.

Key: document id + hash of the envelope's last change. Body: 8 bytes of hash over the envelope, then the envelope. The
author may be unknown at start, so a signature cannot be what detects a flipped bit.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshnode.crdt import envelope, gate, root
from meshnode.crdt.change import HASH_BYTES
from meshnode.crdt.gate import Admitted
from meshnode.crdt.root import Rooted
from meshnode.crdt.strays import Stray
from meshnode.kernel.decoding import decoded
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId

_DIGEST_BYTES = 8
DOC_BYTES = 16
PIECE_BYTES = 48 * 1024
_NUMBER_BYTES = 2
_LAST = (1 << 8 * _NUMBER_BYTES) - 1
_PIECE_KEY_BYTES = DOC_BYTES + HASH_BYTES + _NUMBER_BYTES


class Filed(msgspec.Struct, frozen=True):
    """The records of a journal that are of documents, by what they are; ``pieces`` of roots by key."""

    roots: list[Record]
    pieces: dict[bytes, bytes]
    envelopes: list[Record]


def filed(records: Iterable[Record]) -> Filed:
    """``records``: the newest one of each key. A root is to be read before the envelopes that stand on it."""
    found = Filed([], {}, [])
    for record in records:
        if record.kind != RecordKind.ENVELOPE or not record.body:
            continue
        if is_piece(record):
            found.pieces[record.key] = record.body
        elif is_root(record):
            found.roots.append(record)
        else:
            found.envelopes.append(record)
    return found


def record_of(admitted: Admitted) -> Record:
    data = admitted.sealed.data
    return Record(RecordKind.ENVELOPE, admitted.doc + admitted.sealed.id, _digest(data) + data)


def restored(record: Record) -> Admitted:
    """The envelope of one record. Raises ``RemoteError`` when it is not what was written."""
    digest, data = record.body[:_DIGEST_BYTES], record.body[_DIGEST_BYTES:]
    if digest != _digest(data):
        raise RemoteError("record-corrupt")
    admitted = gate.opened(envelope.unseal(data), data, None)
    if record.key != admitted.doc + admitted.sealed.id:
        raise RemoteError("record-corrupt", "filed under another key")
    return admitted


class Shelved(msgspec.Struct, frozen=True, array_like=True):
    """The root record of one document. ``pieces``: how many records hold the root, if others do; this has its hash."""

    root: bytes
    attests: list[tuple[bytes, bytes]]
    strays: list[Stray]
    pieces: int = 0


_shelved = msgspec.msgpack.Decoder(Shelved)


def root_records(
    doc: DocId, rooted: Rooted, attests: Sequence[tuple[bytes, bytes]], strays: Sequence[Stray]
) -> list[Record]:
    """Pieces first, if there are any; the last one says that they are all there."""
    pieces = piece_records(doc, rooted)
    data = rooted.hash if pieces else rooted.data
    body = msgspec.msgpack.encode(Shelved(data, list(attests), list(strays), len(pieces)))
    key = _piece_key(doc, rooted.hash, _LAST) if pieces else doc
    return [*pieces, Record(RecordKind.ENVELOPE, key, _digest(body) + body)]


def piece_records(doc: DocId, rooted: Rooted) -> list[Record]:
    """Of a root that is too large for one record."""
    if len(rooted.data) <= PIECE_BYTES:
        return []
    pieces = [rooted.data[at : at + PIECE_BYTES] for at in range(0, len(rooted.data), PIECE_BYTES)]
    return [
        Record(RecordKind.ENVELOPE, _piece_key(doc, rooted.hash, number), _digest(piece) + piece)
        for number, piece in enumerate(pieces)
    ]


def _piece_key(doc: DocId, digest: bytes, number: int) -> bytes:
    return doc + digest + number.to_bytes(_NUMBER_BYTES)


def is_root(record: Record) -> bool:
    return len(record.key) == DOC_BYTES or (len(record.key) == _PIECE_KEY_BYTES and _is_last(record.key))


def is_piece(record: Record) -> bool:
    return len(record.key) == _PIECE_KEY_BYTES and not _is_last(record.key)


def _is_last(key: bytes) -> bool:
    return key[-_NUMBER_BYTES:] == _LAST.to_bytes(_NUMBER_BYTES)


def restored_root(record: Record, pieces: Mapping[bytes, bytes]) -> tuple[Rooted, Shelved]:
    """``pieces``: bodies of all piece records, by key. Raises ``RemoteError`` when it is not what was written."""
    data = _whole(record.body)
    shelved = decoded(_shelved.decode, data, "record-corrupt")
    if not 0 <= shelved.pieces <= root.ROOT_BYTES_MAX // PIECE_BYTES + 1:
        raise RemoteError("record-corrupt", f"{shelved.pieces} pieces")
    doc = DocId(record.key[:DOC_BYTES])
    keys = [_piece_key(doc, shelved.root, number) for number in range(shelved.pieces)]
    if any(key not in pieces for key in keys):
        raise RemoteError("record-corrupt", "a piece of its root is missing")
    rooted = root.read(b"".join(_whole(pieces[key]) for key in keys) if keys else shelved.root)
    if rooted.root.doc != doc or (keys and rooted.hash != shelved.root):
        raise RemoteError("record-corrupt", "filed under another key")
    return rooted, shelved


def _whole(body: bytes) -> bytes:
    digest, data = body[:_DIGEST_BYTES], body[_DIGEST_BYTES:]
    if digest != _digest(data):
        raise RemoteError("record-corrupt")
    return data


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
