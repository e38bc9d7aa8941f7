"""The fields of one document: every write that nothing has replaced yet, the one in force first.

The engine shows only winners, and a later change of another field hides a losing value from its per-head reads. Here
each write is kept until a write that has seen it replaces it, so an acknowledged write is in force, overwritten by
somebody who knew it, or listed as a sibling; there is no fourth way.
"""

from collections.abc import Mapping, Sequence

import msgspec

from meshnode.crdt.change import OpId, ParsedChange
from meshnode.crdt.fields import DELETED, RESERVED, STAMP
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

FIELDS_EVER_MAX = 4096


class Write(msgspec.Struct, frozen=True):
    """One value of one field. ``value`` is a JSON text; ``None``: the writer removed the field."""

    op: OpId
    value: str | None
    author: NodeId
    change: bytes


Fresh = dict[str, tuple[Write, ...]]


class Registers:
    """Current writes by field; the first of each tuple is in force (highest operation number, then actor)."""

    def __init__(self) -> None:
        self._writes: Fresh = {}

    def fresh(self, changes: Sequence[ParsedChange], author: NodeId) -> Fresh:
        """What the touched fields would be after ``changes``. Nothing is altered yet."""
        fresh: Fresh = {}
        for change in changes:
            for op in change.ops:
                before = fresh.get(op.key, self._writes.get(op.key, ()))
                kept = [write for write in before if write.op not in op.preds]
                kept.append(Write((op.counter, change.actor), op.value, author, change.hash))
                fresh[op.key] = tuple(sorted(kept, key=_rank, reverse=True))
        if len(self._writes) + sum(key not in self._writes for key in fresh) > FIELDS_EVER_MAX:
            raise RemoteError("change-fields-max", f"more than {FIELDS_EVER_MAX} fields")
        return fresh

    def take(self, fresh: Fresh) -> None:
        self._writes.update(fresh)

    def write(self, key: str, op: OpId) -> Write | None:
        """The current write of this number, if nothing replaced it yet."""
        return next((write for write in self._writes.get(key, ()) if write.op == op), None)

    def values(self) -> dict[str, str | None]:
        """Values in force, reserved fields included; ``None``: removed."""
        return {key: writes[0].value for key, writes in self._writes.items()}

    def stamp(self) -> Write | None:
        writes = self._writes.get(STAMP)
        return writes[0] if writes else None

    def is_deleted(self) -> bool:
        """Deleted, unless somebody who did not know of the deletion wrote at the same time: then the edit wins."""
        deletions = {write.change: True for write in self._writes.get(DELETED, ()) if write.value is not None}
        return bool(deletions) and all(write.change in deletions for write in self._writes.get(STAMP, ()))

    def siblings(self) -> Mapping[str, tuple[Write, ...]]:
        """Fields with concurrent, unequal values: one write for each value, the one in force first, fields sorted."""
        found: dict[str, tuple[Write, ...]] = {}
        for key in sorted(self._writes):
            distinct = _distinct(self._writes[key])
            if key not in RESERVED and len(distinct) > 1:
                found[key] = distinct
        found.update(self._outvoted_deletion())
        return found

    def is_settled(self, key: str) -> bool:
        """Whether at most one write of this field is current."""
        return len(self._writes.get(key, ())) <= 1

    def _outvoted_deletion(self) -> dict[str, tuple[Write, ...]]:
        """A deletion that met a concurrent edit: the edit is in force, the deletion is its sibling."""
        deletions = [write for write in self._writes.get(DELETED, ()) if write.value is not None]
        if not deletions or self.is_deleted():
            return {}
        known = {write.change: True for write in deletions}
        edits = [write for write in self._writes.get(STAMP, ()) if write.change not in known]
        kept = tuple(Write(write.op, None, write.author, write.change) for write in edits[:1])
        return {DELETED: (*kept, *deletions[:1])}


def _rank(write: Write) -> OpId:
    return write.op


def _distinct(writes: Sequence[Write]) -> tuple[Write, ...]:
    first: dict[str | None, Write] = {}
    for write in writes:
        first.setdefault(write.value, write)
    return tuple(first.values())
