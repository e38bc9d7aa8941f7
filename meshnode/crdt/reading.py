"""Documents and conflicts as people see them, read from the store."""

import json
from collections.abc import Sequence

from meshnode.crdt.document import Conflict, Declared, Document, Sibling
from meshnode.crdt.fields import RESERVED, JsonValue, group
from meshnode.crdt.registers import Write
from meshnode.crdt.store import StateStore
from meshnode.kernel.hlc import wall_ms
from meshnode.model.ids import UNKNOWN_NODE, DocId

_SPEC = "spec."
_DIGITS_MAX = 18


def value_of(text: str) -> JsonValue:
    """What a canonical text says. Most are plain strings and whole numbers, which need no reader of JSON."""
    if text[0] == '"' and "\\" not in text:
        return text[1:-1]
    if len(text) <= _DIGITS_MAX and text.isascii() and text.isdigit():
        return int(text)
    return json.loads(text)


def document_of(store: StateStore, doc: DocId) -> Document:
    kind, namespace, name = store.names(doc)
    registers = store.fields(doc)
    stored = {key: text for key, text in registers.values().items() if text is not None and key not in RESERVED}
    fields = {key: value_of(stored[key]) for key in sorted(stored)}  # texts were judged when they were accepted
    stamp = registers.stamp()
    updated = int(stamp.value) if stamp and stamp.value else 0
    return Document(
        doc_id=doc,
        kind=kind,
        namespace=namespace,
        name=name,
        fields=fields,
        spec=group(fields, "spec"),
        heads=store.heads(doc),
        changes=store.changes(doc),
        updated_hlc=updated,
        updated_ms=wall_ms(updated),
        updated_by=stamp.author if stamp else UNKNOWN_NODE,
        deleted=registers.is_deleted(),
        siblings=siblings_of(store, doc),
    )


def declared_of(store: StateStore, doc: DocId) -> Declared:
    """Its spec alone: of thousands of documents little may be kept."""
    spec: dict[str, JsonValue] = {}
    for key, writes in store.glance(doc).items():
        text = writes[0].value
        if text is not None and key.startswith(_SPEC):
            spec[key[len(_SPEC) :]] = value_of(text)
    return Declared(*store.names(doc), spec)


def siblings_of(store: StateStore, doc: DocId) -> dict[str, Sibling]:
    return {field: _sibling(writes) for field, writes in store.fields(doc).siblings().items()}


def conflicts_of(store: StateStore, doc: DocId) -> list[Conflict]:
    names = store.names(doc)
    return [Conflict(doc, *names, field, s.values, s.writers) for field, s in siblings_of(store, doc).items()]


def versions_of(store: StateStore, doc: DocId, field: str) -> list[tuple[JsonValue, int]]:
    """Every current value of a field, the one in force first, with the hybrid time of what its writer signed."""
    return [(_value(write), write.hlc) for write in store.fields(doc).writes(field)]


def _sibling(writes: Sequence[Write]) -> Sibling:
    return Sibling(tuple(_value(write) for write in writes), tuple(write.author for write in writes))


def _value(write: Write) -> JsonValue:
    return None if write.value is None else value_of(write.value)
