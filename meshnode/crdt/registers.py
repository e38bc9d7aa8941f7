"""The fields of one document: every write that nothing has replaced yet, the one in force first.

The engine shows only winners, and a later change of another field hides a losing value from its per-head reads. Here
each write is kept until a write that has seen it replaces it, so an acknowledged write is in force, overwritten by
somebody who knew it, or listed as a sibling; there is no fourth way.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from meshnode.crdt.change import OpId, ParsedChange
from meshnode.crdt.fields import DELETED, RESERVED, STAMP, stamp_of
from meshnode.crdt.history import Sealed
from meshnode.crdt.root import Rooted, RootWrite
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

FIELDS_EVER_MAX = 4096


class Made(msgspec.Struct, frozen=True, gc=False):
    """How writes came about: one object for all fields of a change.

    ``author``, ``boot``, ``at``: who signed them and when; ``change``: in this generation, of ``actor``; ``origin``:
    the change that made the value first, at ``hlc``: other than the signed one only for a stray that was carried here.
    """

    actor: bytes
    author: NodeId
    change: bytes
    boot: int
    at: int
    hlc: int
    origin: bytes


class Write(msgspec.Struct, frozen=True, gc=False):
    """One value of one field. ``value`` is a JSON text; ``None``: the writer removed the field."""

    counter: int
    value: str | None
    made: Made

    @property
    def op(self) -> OpId:
        return self.counter, self.made.actor

    @property
    def author(self) -> NodeId:
        return self.made.author

    @property
    def change(self) -> bytes:
        return self.made.change

    @property
    def boot(self) -> int:
        return self.made.boot

    @property
    def at(self) -> int:
        return self.made.at

    @property
    def hlc(self) -> int:
        return self.made.hlc

    @property
    def origin(self) -> bytes:
        return self.made.origin


class Beside(msgspec.Struct, frozen=True, gc=False):
    """What is here, held against fields that are wanted.

    ``unlike``: those that read otherwise here; ``others``: not wanted, and here with a value; ``plain``: no field has
    concurrent writes.
    """

    unlike: dict[str, str | None]
    others: list[str]
    plain: bool


Rank = tuple[int, bytes, OpId]
Fresh = dict[str, tuple[Write, ...]]


class Registers:
    """Current writes by field; the first of each tuple is in force.

    In generation 0 that is the engine's choice (highest operation number, then actor). A carried stray gets a high
    number for an old value, so from generation 1 on it is the newest by hybrid time.
    """

    __slots__ = ("_is_grave", "_rank", "_writes")

    def __init__(self, rooted: Rooted | None = None) -> None:
        self._rank = _by_op if rooted is None else by_time
        self._is_grave = rooted is not None and rooted.root.grave_ms > 0
        self._writes: Fresh = {}
        if rooted is not None:
            for key, writes in rooted.root.fields:
                self._writes[key] = tuple(_of_root(rooted, key, number, each) for number, each in enumerate(writes))

    def __len__(self) -> int:
        """Fields that were ever written in this generation."""
        return len(self._writes)

    def copy(self) -> "Registers":
        """To go on with by itself."""
        other = Registers()
        other._rank, other._is_grave, other._writes = self._rank, self._is_grave, dict(self._writes)
        return other

    def fresh(self, changes: Sequence[ParsedChange], sealed: Sealed, fields_max: int = FIELDS_EVER_MAX) -> Fresh:
        """What the touched fields would be after ``changes``. Nothing is altered yet."""
        fresh: Fresh = {}
        current, author, boot = self._writes, sealed.author, sealed.boot
        carried = {(each.change, each.key): each for each in sealed.carried} if sealed.carried else None
        for change in changes:
            # Of the last one the envelope says the same.
            at = sealed.hlc if change.hash == sealed.id else stamp_of(change)
            made = Made(change.actor, author, change.hash, boot, at, at, change.hash)
            rows = zip(change.keys, change.values, change.preds, strict=True)
            for number, (key, value, preds) in enumerate(rows, change.start_op):
                before = fresh.get(key) or current.get(key, ())
                carry = carried.get((change.hash, key)) if carried else None
                by = made if carry is None else replace(made, hlc=carry.hlc, origin=carry.origin)
                write = Write(number, value, by)
                if not before or (len(before) == 1 and before[0].op in preds):
                    fresh[key] = (write,)
                    continue
                gone = preds if len(preds) < 2 else dict.fromkeys(preds)
                kept = [each for each in before if each.op not in gone]
                fresh[key] = tuple(sorted((*kept, write), key=self._rank, reverse=True))
        if len(current) + len(fresh) > fields_max and len({**current, **fresh}) > fields_max:
            raise RemoteError("change-fields-max", f"more than {fields_max} fields")
        return fresh

    def take(self, fresh: Fresh) -> None:
        self._writes.update(fresh)

    def in_force(self, key: str) -> Write | None:
        writes = self._writes.get(key)
        return writes[0] if writes else None

    def items(self) -> Iterable[tuple[str, tuple[Write, ...]]]:
        """Every field that was ever written in this generation, with its current writes."""
        return self._writes.items()

    def writes(self, key: str) -> tuple[Write, ...]:
        return self._writes.get(key, ())

    def value(self, key: str) -> str | None:
        """In force; ``None``: removed, or never there."""
        writes = self._writes.get(key)
        return writes[0].value if writes else None

    def beside(self, wanted: Mapping[str, str]) -> "Beside":
        unlike: dict[str, str | None] = {}
        others: list[str] = []
        found, plain = 0, True
        for key, writes in self._writes.items():
            text, value = wanted.get(key), writes[0].value
            if len(writes) > 1:
                plain = False
            if text is None:
                if (value is not None or len(writes) > 1) and key not in RESERVED:
                    others.append(key)
                continue
            found += 1
            if value != text:
                unlike[key] = text
        if found < len(wanted):
            unlike.update({key: text for key, text in wanted.items() if key not in self._writes})
        return Beside(unlike, others, plain)

    def numbers(self, key: str) -> tuple[OpId, ...]:
        """Of all current writes, sorted: what a new one replaces."""
        writes = self._writes.get(key, ())
        return (writes[0].op,) if len(writes) == 1 else tuple(sorted([write.op for write in writes]))

    def values(self) -> dict[str, str | None]:
        """Values in force, reserved fields included; ``None``: removed."""
        return {key: writes[0].value for key, writes in self._writes.items()}

    def stamp(self) -> Write | None:
        writes = self._writes.get(STAMP)
        return writes[0] if writes else None

    def is_deleted(self) -> bool:
        """Deleted, unless somebody who did not know of the deletion wrote at the same time: then the edit wins."""
        if self._is_grave and not self._writes:
            return True
        deletions = {write.origin: True for write in self._writes.get(DELETED, ()) if write.value is not None}
        return bool(deletions) and all(write.origin in deletions for write in self._writes.get(STAMP, ()))

    def siblings(self) -> Mapping[str, tuple[Write, ...]]:
        """Fields with concurrent, unequal values: one write for each value, the one in force first, fields sorted."""
        found: dict[str, tuple[Write, ...]] = {}
        several = [key for key, writes in self._writes.items() if len(writes) > 1]
        if not several and DELETED not in self._writes:
            return found
        for key in sorted(several):
            distinct = _distinct(self._writes[key])
            if key not in RESERVED and len(distinct) > 1:
                found[key] = distinct
        found.update(self._outvoted_deletion())
        return found

    def _outvoted_deletion(self) -> dict[str, tuple[Write, ...]]:
        """A deletion that met a concurrent edit: the edit is in force, the deletion is its sibling."""
        deletions = [write for write in self._writes.get(DELETED, ()) if write.value is not None]
        if not deletions or self.is_deleted():
            return {}
        known = {write.origin: True for write in deletions}
        edits = [write for write in self._writes.get(STAMP, ()) if write.origin not in known]
        kept = tuple(replace(write, value=None) for write in edits[:1])
        return {DELETED: (*kept, *deletions[:1])}


def _of_root(rooted: Rooted, key: str, number: int, write: RootWrite) -> Write:
    counter, actor = rooted.op(key, number)
    author, layer = NodeId(write.author), rooted.layers[number].hash
    return Write(counter, write.value, Made(actor, author, layer, write.boot, write.at, write.hlc, write.origin))


def _by_op(write: Write) -> Rank:
    op = write.op
    return *op, op


def by_time(write: Write) -> Rank:
    """Newest first; one write that two nodes carried over is there twice, and has an order too."""
    return write.hlc, write.origin, write.op


def engine_choice(writes: Sequence[Write]) -> Write:
    """The write the engine shows."""
    return max(writes, key=_by_op)


def _distinct(writes: Sequence[Write]) -> tuple[Write, ...]:
    first: dict[str | None, Write] = {}
    for write in writes:
        first.setdefault(write.value, write)
    return tuple(first.values())
