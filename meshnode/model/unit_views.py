"""What a node shows of the state of units: who holds which version, what it is, how it became so."""

from typing import Any

from meshnode.model.view_parts import JsonObject, View


class UnitStateView(View, frozen=True):
    """The state of one unit as held by one node. ``role``: "owner", "copy", "resting". ``hash``: hex, of the chain."""

    unit: str
    node: str
    role: str
    epoch: str
    version: int
    keys: int
    size_bytes: int
    hash: str
    durability: str
    checkpoint: int  # version of the newest checkpoint, 0 = none
    entries: int  # since that checkpoint
    copies: list[str]
    conflicts: int
    age_s: float


class StatesView(View, frozen=True):
    items: list[UnitStateView]


class StateView(View, frozen=True):
    """``keys``: values as people see them; sessions and slots are part of the key. ``answers``: how many are kept."""

    unit: str
    node: str
    role: str
    epoch: str
    version: int
    hash: str
    age_s: float
    keys: JsonObject
    answers: int
    conflicts: list[str] = []
    note: str = ""


class HistoryRow(View, frozen=True):
    """``kind``: "checkpoint" or "entry". ``keys``: changed by it. ``call``: idempotency key of its cause, or ""."""

    kind: str
    version: int
    epoch: str
    hash: str
    at_ms: int
    keys: list[str]
    size_bytes: int
    call: str = ""


class HistoryView(View, frozen=True):
    unit: str
    node: str
    items: list[HistoryRow]


class StateDiffView(View, frozen=True):
    """Values of keys that differ: [before, after]; null = not there."""

    unit: str
    first: int
    second: int
    changed: dict[str, list[Any]]
