"""What a node shows of documents: what they say, who wrote what and when, and how they travel."""

from typing import Any

from meshnode.model.view_parts import (
    Condition,
    ConflictView,
    FieldView,
    JsonObject,
    StickPart,
    View,
    WriteView,
)


class DocumentView(View, frozen=True):
    """One document. ``heads``: hex hashes; several mean concurrent changes. ``conflicts``: fields with siblings;
    ``counters``: by name, the sum of what all nodes have added."""

    kind: str
    namespace: str
    name: str
    doc_id: str
    api_version: str
    spec: JsonObject
    heads: list[str]
    changes: int
    updated_ms: int
    updated_by: str
    conflicts: list[str]
    conditions: list[Condition]
    status: JsonObject
    counters: dict[str, int] = {}


class DocumentsView(View, frozen=True):
    items: list[DocumentView]


class AppliedView(View, frozen=True):
    """What ``apply`` did: ``action`` is "created", "updated", "unchanged" or "deleted"; ``notes`` for the person."""

    kind: str
    namespace: str
    name: str
    action: str
    notes: list[str]
    durability: str = "local"


class ConflictsView(View, frozen=True):
    items: list[ConflictView]


class DocumentStateView(View, frozen=True):
    """One document, field by field. ``changes``: writes that are kept; ``note``: if it may be old."""

    kind: str
    namespace: str
    name: str
    doc_id: str
    changes: int
    heads: list[str]
    updated_ms: int
    updated_by: str
    fields: list[FieldView]
    deleted: bool = False
    note: str = ""


class DocumentHistoryView(View, frozen=True):
    """The newest first. ``left_out``: older writes that are not shown."""

    kind: str
    namespace: str
    name: str
    items: list[WriteView]
    left_out: int = 0


class DocumentDiffView(View, frozen=True):
    """``changed``: field -> [value after write ``first``, value after ``second``]; None: absent. ``second`` 0: now."""

    kind: str
    namespace: str
    name: str
    first: int
    second: int
    changed: dict[str, list[Any]]


class DocumentEvent(View, frozen=True):
    """What happened to documents. ``type``:

    "added", "changed", "deleted": one write, once. ``fields``: what it wrote; ``document``: as it reads when told.
    "resync": the cursor is not known here any more; all documents follow as "added", forget what you hold.
    "synced": that was all of them; from here on every change is told.

    ``cursor``: go on behind this event with it, also after a restart of the node.
    """

    type: str
    cursor: str
    kind: str = ""
    namespace: str = ""
    name: str = ""
    by: str = ""
    at_ms: int = 0
    fields: list[str] = []
    document: DocumentView | None = None


class WatchView(View, frozen=True):
    """``cursor``: ask on with it; ``more``: there is more already."""

    items: list[DocumentEvent]
    cursor: str
    more: bool = False


class SyncView(View, frozen=True):
    """``peers``: who was asked; ``waiting``: writes held for what they stand on; ``awaiting``: for a role."""

    peers: list[str]
    documents: int
    documents_root: str
    waiting: int = 0
    awaiting: int = 0


class StickView(View, frozen=True):
    """One page of a stick. ``next``: ask on with it; empty: that was the last one."""

    mesh: str
    node: str
    at_ms: int
    documents: int
    items: list[StickPart]
    next: str = ""


class ImportedView(View, frozen=True):
    """What became of the items. ``held``: were here already; ``waits``: wait for what they stand on; ``members``:
    records of members that are believed; ``refused``: by the name of the refusal; ``unknown``: of a later version."""

    applied: int
    held: int
    waits: int = 0
    members: int = 0
    unknown: int = 0
    refused: dict[str, int] = {}
