"""Envelopes in the journal: one record each, which can tell whether it is still whole.

Key: document id + hash of the envelope's last change. Body: 8 bytes of hash over the envelope, then the envelope. The
author may be unknown at start, so a signature cannot be what detects a flipped bit.
"""

import hashlib

from meshnode.crdt import envelope, gate
from meshnode.crdt.gate import Admitted
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError

_DIGEST_BYTES = 8


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


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
