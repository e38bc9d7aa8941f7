"""Envelopes in the journal: one record each, which can tell whether it is still whole.

A document that was re-rooted has one record more, under its id alone: the root, who attests it, and the strays that are
still to be written again. It is written before the envelopes of the generation before are forgotten.

Key: document id + hash of the envelope's last change. Body: 8 bytes of hash over the envelope, then the envelope. The
author may be unknown at start, so a signature cannot be what detects a flipped bit.
"""

import hashlib

import msgspec

from meshnode.crdt import envelope, gate, root
from meshnode.crdt.gate import Admitted
from meshnode.crdt.root import Rooted
from meshnode.crdt.strays import Stray
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId

_DIGEST_BYTES = 8
DOC_BYTES = 16


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
    """The root record of one document."""

    root: bytes
    attests: list[tuple[bytes, bytes]]
    strays: list[Stray]


_shelved = msgspec.msgpack.Decoder(Shelved)


def root_record(doc: DocId, shelved: Shelved) -> Record:
    data = msgspec.msgpack.encode(shelved)
    return Record(RecordKind.ENVELOPE, doc, _digest(data) + data)


def is_root(record: Record) -> bool:
    return len(record.key) == DOC_BYTES


def restored_root(record: Record) -> tuple[Rooted, Shelved]:
    """Raises ``RemoteError`` when it is not what was written."""
    digest, data = record.body[:_DIGEST_BYTES], record.body[_DIGEST_BYTES:]
    if digest != _digest(data):
        raise RemoteError("record-corrupt")
    try:
        shelved = _shelved.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteError("record-corrupt", str(error)) from error
    rooted = root.read(shelved.root)
    if rooted.root.doc != record.key:
        raise RemoteError("record-corrupt", "filed under another key")
    return rooted, shelved


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
