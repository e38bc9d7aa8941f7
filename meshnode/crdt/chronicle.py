"""What became of one document, write by write: who wrote what when, what it read then, what differs between two.

Numbers count the writes this node keeps, in its own causal order: two nodes may number concurrent writes differently.
What was before the root of the present generation has been summed up in it: that is what write 0 reads.
"""

import json
from collections.abc import Sequence

import msgspec

from meshnode.crdt.change import ParsedChange
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.fields import DELETED, RESERVED, STAMP, JsonValue, sheet_of
from meshnode.crdt.gate import Admitted
from meshnode.crdt.registers import Registers
from meshnode.crdt.store import StateStore, parsed_changes
from meshnode.kernel.hlc import wall_ms
from meshnode.model.ids import DocId, NodeId

Difference = dict[str, tuple[JsonValue, JsonValue]]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """One signed write. ``fields``: as stored, ``None``: removed; ``deletes``: it deleted the document."""

    number: int
    change: bytes
    author: NodeId
    hlc: int
    at_ms: int
    fields: dict[str, JsonValue]
    deletes: bool
    size_bytes: int


class Touch(msgspec.Struct, frozen=True):
    """What an envelope does, for whoever watches. ``begins``: the first write of a document, or of a deleted one."""

    fields: tuple[str, ...]
    deletes: bool
    begins: bool


class Chronicle:
    """The story of any document of a store, by its names."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def writes(self, kind: str, namespace: str, name: str) -> list[Written]:
        """Every write that is kept, oldest first, also of a deleted document; empty for an unknown one."""
        return writes_of(self._store, doc_id_of(kind, namespace, name))

    def read_at(self, kind: str, namespace: str, name: str, number: int) -> dict[str, JsonValue]:
        """The fields in force after the first ``number`` writes of its history."""
        return fields_at(self._store, doc_id_of(kind, namespace, name), number)

    def writers(self, kind: str, namespace: str, name: str) -> dict[str, tuple[NodeId, int]]:
        """By field: who wrote the value in force, and when (wall ms)."""
        return writers_of(self._store, doc_id_of(kind, namespace, name))


def touch_of(admitted: Admitted) -> Touch:
    given: tuple[str, ...] = ()
    deletes = revives = False
    for change in admitted.changes:
        sheet = sheet_of(change.keys)
        if sheet.deleted >= 0:
            deletes = change.values[sheet.deleted] is not None
            revives = not deletes
        given = sheet.given if given in ((), sheet.given) else tuple(sorted({*given, *sheet.given}))
    return Touch(given, deletes, revives or not admitted.changes[0].deps)


def writes_of(store: StateStore, doc: DocId) -> list[Written]:
    """Oldest first."""
    found: list[Written] = []
    for sealed in store.beyond(doc, {}):
        for change in parsed_changes(sealed):
            found.append(_written(len(found) + 1, change, sealed.author, len(sealed.data)))
    return found


def fields_at(store: StateStore, doc: DocId, number: int) -> dict[str, JsonValue]:
    """What the document read once the first ``number`` writes were in it; all fields in force, as stored."""
    registers = Registers(store.rooted(doc))
    left = number
    for sealed in store.beyond(doc, {}):
        changes = parsed_changes(sealed)[:left]
        if changes:
            registers.take(registers.fresh(changes, sealed))
        left -= len(changes)
    return {
        key: json.loads(text)
        for key, text in sorted(registers.values().items())
        if text is not None and key not in RESERVED
    }


def difference(before: dict[str, JsonValue], after: dict[str, JsonValue]) -> Difference:
    """Fields that read otherwise; ``None``: absent there."""
    keys = sorted({**before, **after})
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def writers_of(store: StateStore, doc: DocId) -> dict[str, tuple[NodeId, int]]:
    """Who wrote the value in force of each field, and when (wall ms)."""
    found: dict[str, tuple[NodeId, int]] = {}
    fields = store.fields(doc)
    for key, text in sorted(fields.values().items()):
        write = fields.in_force(key)
        if text is not None and key not in RESERVED and write is not None:
            found[key] = (write.author, wall_ms(write.hlc))
    return found


def _written(number: int, change: ParsedChange, author: NodeId, size: int) -> Written:
    values = dict(zip(change.keys, change.values, strict=True))
    hlc = int(values.get(STAMP) or 0)
    return Written(
        number=number, change=change.hash, author=author, hlc=hlc, at_ms=wall_ms(hlc),
        fields={key: _value(text) for key, text in sorted(values.items()) if key not in RESERVED},
        deletes=values.get(DELETED) is not None, size_bytes=size,
    )  # fmt: skip


def _value(text: str | None) -> JsonValue:
    return None if text is None else json.loads(text)


def shown(writes: Sequence[Written], limit: int) -> list[Written]:
    """The newest ones, newest first."""
    return list(reversed(writes[-limit:]))
