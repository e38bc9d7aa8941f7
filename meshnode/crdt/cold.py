"""One document of the store: in use (``Record``), or as bytes and what is asked of all documents (``Cold``)."""

import msgspec

from meshnode.crdt import envelope, gate, root
from meshnode.crdt.change import ACTOR_BYTES
from meshnode.crdt.envelope import UNROOTED, Pin
from meshnode.crdt.history import Clock, History
from meshnode.crdt.registers import Registers
from meshnode.crdt.root import Rooted

_SEQ_BYTES = 4


class Record(msgspec.Struct):
    names: tuple[str, str, str]
    history: History
    fields: Registers
    rooted: Rooted | None = None
    cold: "Cold | None" = None  # as it was before it was woken, if nothing has been written since
    used: int = 0  # in which rest
    weight: int = 0  # as it counts towards ``warm_bytes_max``


class Cold(msgspec.Struct, frozen=True, gc=False):
    """A document nobody has touched for a while: its bytes, and what is asked of all documents."""

    names: tuple[str, str, str]
    root: bytes
    envelopes: tuple[bytes, ...]
    heads: tuple[bytes, ...]
    pin: Pin
    changes: int
    envelope_bytes: int
    deleted: bool
    divided: bool
    clock: bytes  # by actor, packed: what repair asks of thousands at once


def cooled(record: Record) -> Cold:
    if record.cold is not None:
        return record.cold
    history, rooted = record.history, record.rooted
    return Cold(
        record.names, b"" if rooted is None else rooted.data, tuple(each.data for each in history.beyond({})),
        history.heads(), UNROOTED if rooted is None else rooted.pin, len(history), history.envelope_bytes,
        record.fields.is_deleted(), bool(record.fields.siblings()), packed(history.clock()),
    )  # fmt: skip


def packed(clock: Clock) -> bytes:
    return b"".join([actor + seq.to_bytes(_SEQ_BYTES) for actor, seq in clock.items()])


def unpacked(data: bytes) -> Clock:
    step = ACTOR_BYTES + _SEQ_BYTES
    return {
        data[at : at + ACTOR_BYTES]: int.from_bytes(data[at + ACTOR_BYTES : at + step])
        for at in range(0, len(data), step)
    }


def hydrated(cold: Cold) -> Record:
    rooted = root.read(cold.root) if cold.root else None
    record = Record(cold.names, History(rooted), Registers(rooted), rooted)
    for data in cold.envelopes:
        admitted = gate.opened(envelope.reread(data), data, None)
        record.fields.take(record.fields.fresh(admitted.changes, admitted.sealed))
        record.history.append(admitted.changes, admitted.sealed)
    record.cold = cold
    return record
