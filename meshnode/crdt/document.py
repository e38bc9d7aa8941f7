"""What the documents room answers: documents as people see them, and the outcome of a local write."""

import msgspec

from meshnode.crdt.fields import JsonValue
from meshnode.kernel.effects import Effect
from meshnode.kernel.records import Record
from meshnode.model.errors import LocalError
from meshnode.model.ids import DocId, NodeId


class Sibling(msgspec.Struct, frozen=True):
    """Concurrent, unequal values of one field with their writers; the first is in force. ``None``: removed there."""

    values: tuple[JsonValue, ...]
    writers: tuple[NodeId, ...]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document as this node holds it.

    ``fields``: as stored ("spec.replicas": 3), without the room's own stamps; ``spec``: its fields, put together.
    """

    doc_id: DocId
    kind: str
    namespace: str
    name: str
    fields: dict[str, JsonValue]
    spec: dict[str, JsonValue]
    heads: tuple[bytes, ...]  # several: concurrent changes nobody has written on top of yet
    changes: int
    updated_hlc: int
    updated_ms: int
    updated_by: NodeId  # who signed the newest write
    deleted: bool
    siblings: dict[str, Sibling]  # by field; "deleted_at" for a deletion that lost against a concurrent edit


class Declared(msgspec.Struct, frozen=True):
    """What a document wants, and nothing of how it came to that."""

    kind: str
    namespace: str
    name: str
    spec: dict[str, JsonValue]


class Conflict(msgspec.Struct, frozen=True):
    """One field of one document with concurrent values."""

    doc_id: DocId
    kind: str
    namespace: str
    name: str
    field: str
    values: tuple[JsonValue, ...]  # the first is in force; None: removed by that writer
    writers: tuple[NodeId, ...]


class Change(msgspec.Struct, frozen=True):
    """What a local write asks for: keep ``records`` first, perform ``effects`` after the commit that holds them.

    ``created``: the document did not exist or was deleted; ``unchanged``: there was nothing to write (``records`` then
    hold what an earlier, failed commit left to keep, if anything).
    """

    doc_id: DocId
    records: tuple[Record, ...] = ()
    effects: tuple[Effect, ...] = ()
    created: bool = False
    unchanged: bool = False


class Changes(msgspec.Struct, frozen=True):
    """What several local writes ask for together: as of a ``Change``, whose records and effects are those of all.

    ``outcomes``: of each write, in their order; an error means that this one changed nothing. ``at_once``: what need
    not wait for the commit, as the writer asked for all of them lazily.
    """

    outcomes: tuple[Change | LocalError, ...]
    records: tuple[Record, ...] = ()
    effects: tuple[Effect, ...] = ()
    at_once: tuple[Effect, ...] = ()
