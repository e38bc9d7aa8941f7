"""What one call changed, chained by SHA-256 to what came before it in the same epoch."""

import hashlib

import msgspec

from meshnode.checkpoints.answers import Added
from meshnode.checkpoints.cell import CellChange
from meshnode.checkpoints.rows import NUMBER_MAX, Delta, check_delta
from meshnode.kernel.decoding import decoded
from meshnode.kernel.epochs import Epoch
from meshnode.model.errors import RemoteError

HASH_BYTES = 32
NO_HASH = bytes(HASH_BYTES)
IDEMPOTENCY_CHARS_MAX = 512


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Applied whole or not at all.

    ``seq``: of the process' STATE, 0 = the node wrote it; ``merge_no``: the number its process knows the state under
    once it has applied it; ``merged``: what came from another copy; ``added``: counters and amounts, summed up.
    """

    epoch: Epoch
    version: int
    changes: tuple[CellChange, ...] = ()
    idempotency_key: str = ""
    answer: bytes | None = None
    added: Added = ()
    at_ms: int = 0
    seq: int = 0
    merge_no: int = 0
    merged: Delta | None = None
    new_run: bool = False  # another process begins to count its STATE frames


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def seal(entry: Entry, prev: bytes) -> bytes:
    """The entry as it is stored and sent: the hash of its predecessor, then itself."""
    return prev + _encoder.encode(entry)


def hash_of(sealed: bytes) -> bytes:
    return hashlib.sha256(sealed).digest()


def prev_of(sealed: bytes) -> bytes:
    return sealed[:HASH_BYTES]


def unseal(sealed: bytes) -> Entry:
    """Raises ``RemoteError``."""
    entry = decoded(_decoder.decode, sealed[HASH_BYTES:], "checkpoint-entry")
    if not 1 <= entry.version < NUMBER_MAX or not 0 <= entry.epoch.counter < NUMBER_MAX or len(sealed) < HASH_BYTES:
        raise RemoteError("checkpoint-entry", f"version {entry.version}")
    if entry.merged is not None:
        check_delta(entry.merged)
        if entry.merged.whole:
            raise RemoteError("checkpoint-entry", "merged a whole, which names no key as gone")
    return entry
