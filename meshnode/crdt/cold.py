"""One document of the store: in use (``Record``), or as bytes and what is asked of all documents (``Cold``)."""

from collections.abc import Mapping

import msgspec

from meshnode.crdt import envelope, gate, root
from meshnode.crdt.change import ACTOR_BYTES, HASH_BYTES
from meshnode.crdt.envelope import UNROOTED, Pin
from meshnode.crdt.history import Clock, History
from meshnode.crdt.registers import Registers
from meshnode.crdt.root import Rooted

_SEQ_BYTES = 4


class Record(msgspec.Struct):
    """A document in use. What is asked of all documents it answers as ``Cold`` does."""

    names: tuple[str, str, str]
    history: History
    fields: Registers
    rooted: Rooted | None = None
    pin: Pin = UNROOTED
    cold: "Cold | None" = None  # as it was before it was woken, if nothing has been written since
    used: int = 0  # in which rest
    weight: int = 0  # as it counts towards ``warm_bytes_max``

    @property
    def heads(self) -> tuple[bytes, ...]:
        return self.history.heads()

    @property
    def clock(self) -> Clock:
        return self.history.clock()

    @property
    def changes(self) -> int:
        return len(self.history)

    @property
    def envelope_bytes(self) -> int:
        return self.history.envelope_bytes

    @property
    def root_bytes(self) -> int:
        return 0 if self.rooted is None else len(self.rooted.data)

    @property
    def deleted(self) -> bool:
        return self.fields.is_deleted()

    @property
    def divided(self) -> bool:
        return bool(self.fields.siblings())

    def count(self, actor: bytes) -> int:
        """How many changes of an actor are here."""
        return self.history.count(actor)

    def is_behind(self, clock: Clock) -> bool:
        """Whether somebody of this clock has something that is not here."""
        return self.history.is_behind(clock)


class Cold(msgspec.Struct, frozen=True, gc=False):
    """A document nobody has touched for a while: its bytes, and what is asked of all documents.

    Ten thousand are kept, so what is small is packed: each object of its own would take fifty bytes more.
    """

    names: tuple[str, str, str]
    root: bytes
    data: bytes | tuple[bytes, ...]  # its envelopes; nearly all have one, which stands without a tuple around it
    standing: bytes  # heads, then the clock
    heads_count: int
    pin: Pin
    changes: int
    deleted: bool
    divided: bool

    @property
    def envelopes(self) -> tuple[bytes, ...]:
        return (self.data,) if isinstance(self.data, bytes) else self.data

    @property
    def envelope_bytes(self) -> int:
        return sum(map(len, self.envelopes))

    @property
    def root_bytes(self) -> int:
        return len(self.root)

    @property
    def heads(self) -> tuple[bytes, ...]:
        end = self.heads_count * HASH_BYTES
        return tuple(self.standing[at : at + HASH_BYTES] for at in range(0, end, HASH_BYTES))

    @property
    def clock(self) -> Clock:
        """What repair asks of thousands at once."""
        return _unpacked(self.standing, self.heads_count * HASH_BYTES)

    def count(self, actor: bytes) -> int:
        return self.clock.get(actor, 0)

    def is_behind(self, clock: Clock) -> bool:
        ours = self.clock
        return any(seq > ours.get(actor, 0) for actor, seq in clock.items())

    def is_beyond(self, clock: Mapping[bytes, int]) -> bool:
        """Whether something is here that somebody of this clock lacks."""
        return any(seq > clock.get(actor, 0) for actor, seq in self.clock.items())


def cooled(record: Record) -> Cold:
    if record.cold is not None:
        return record.cold
    history, rooted = record.history, record.rooted
    envelopes, heads = tuple([each.data for each in history.beyond({})]), history.heads()
    return Cold(
        record.names, b"" if rooted is None else rooted.data, envelopes[0] if len(envelopes) == 1 else envelopes,
        b"".join(heads) + _packed(history.clock()), len(heads), record.pin, len(history), record.deleted,
        record.divided,
    )  # fmt: skip


def _packed(clock: Clock) -> bytes:
    return b"".join([actor + seq.to_bytes(_SEQ_BYTES) for actor, seq in clock.items()])


def _unpacked(data: bytes, begin: int) -> Clock:
    step = ACTOR_BYTES + _SEQ_BYTES
    return {
        data[at : at + ACTOR_BYTES]: int.from_bytes(data[at + ACTOR_BYTES : at + step])
        for at in range(begin, len(data), step)
    }


def hydrated(cold: Cold) -> Record:
    rooted = root.read(cold.root) if cold.root else None
    record = Record(cold.names, History(rooted), Registers(rooted), rooted, cold.pin)
    for data in cold.envelopes:
        admitted = gate.opened(envelope.reread(data), data, None)
        record.fields.take(record.fields.fresh(admitted.changes, admitted.sealed))
        record.history.append(admitted.changes, admitted.sealed)
    record.cold = cold
    return record
