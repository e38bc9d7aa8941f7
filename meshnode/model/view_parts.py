"""What all views are, and rows inside them: each of those is shown as part of an answer, never alone."""

from typing import Any

import msgspec

JsonObject = dict[str, Any]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a command. Serialised as JSON by the API; fields are only ever added."""


class ConflictView(msgspec.Struct, frozen=True, kw_only=True):
    """All concurrent values of one field; the first is the one in force."""

    kind: str
    namespace: str
    name: str
    field: str
    values: list[Any]
    writers: list[str]


class FieldView(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a document. ``others``: values written at the same time, with their writers; None: removed there."""

    field: str
    value: Any
    writer: str
    at_ms: int
    others: list[Any] = []
    other_writers: list[str] = []


class WriteView(msgspec.Struct, frozen=True, kw_only=True):
    """One signed write. ``number``: as this node counts them; ``change``: its hash, the same on all nodes; ``fields``:
    as stored, None: removed; ``deletes``: it deleted the document."""

    number: int
    change: str
    at_ms: int
    writer: str
    fields: JsonObject
    deletes: bool = False
    size_bytes: int = 0


class StickPart(msgspec.Struct, frozen=True):
    """One signed thing of a stick; ``kind`` as ``crdt/stick.py`` numbers them."""

    kind: int
    data: bytes


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a node's journal. ``number`` grows by one with every event, over all boots of one journal."""

    number: int
    boot: int
    at_ms: int
    subject: str
    text: str


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """One link. ``kind``: "neighbour" (gossip's overlay) or "peer" (up for another reason)."""

    peer: str
    region: str
    kind: str
    rtt_ms: float | None = None
    age_s: float = 0.0


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Kubernetes style: ``status`` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str
    message: str


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """``action``: "keep", "start", "stop", "move", "pending". ``reason`` tells why there, or what is missing."""

    unit: str
    action: str
    node: str
    reason: str
    now_on: str = ""


class TopicEventView(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it came. ``publisher``: "node/NAME" or "agent/NAME/NODE", as the daemon there knows it."""

    topic: str
    publisher: str
    data: Any = None
