"""What this release knows of each kind of document, and counters that no two nodes write.

Kinds grow: a later release adds fields, none takes one away or gives it another meaning. So whoever writes a whole
document removes only fields it knows of; what a later release put there stays. A kind nobody described is all its
writer's.

A counter is one field for each node, which only that node may write, and reads as their sum: concurrent additions add
up, whatever was cut.
"""

import json
import re
from collections.abc import Mapping, Sequence

import msgspec

from meshnode.crdt.fields import COUNTED, JsonValue
from meshnode.model.commands import JsonObject
from meshnode.model.errors import Invalid
from meshnode.model.ids import NodeId, short
from meshnode.model.schemas import SCHEMAS

COUNTER_MAX = 1 << 53  # readers in other languages hold integers as doubles
_COUNTER = re.compile(rf"{COUNTED}(?P<name>[^@]+)@(?P<node>[0-9a-f]{{12}})\Z")


class Kind(msgspec.Struct, frozen=True):
    """``fields``: stored names this release knows ("spec.replicas"), or all of one root ("spec.").

    ``version``: of the description; a higher one knows all fields of a lower one. ``counters``: what their names look
    like, a regular expression; "": it has none.
    """

    name: str
    version: int
    fields: tuple[str, ...]
    counters: str = ""

    def knows(self, field: str) -> bool:
        root, dot, _ = field.partition(".")
        return field in self.fields or root + dot in self.fields


def kind_of(schema: JsonObject) -> Kind:
    """What a schema of ``model/schemas.py`` says may stand in a document of its kind, as it is stored."""
    shape = _shapes.decode(msgspec.json.encode(schema))
    fields = ("apiVersion", "labels.", *(f"spec.{key}" for key in shape.fields))
    return Kind(shape.title, shape.version, fields, shape.counters)


class _Object(msgspec.Struct, frozen=True):
    properties: dict[str, msgspec.Raw]


class _Properties(msgspec.Struct, frozen=True):
    spec: _Object


class _Shape(msgspec.Struct, frozen=True):
    title: str
    properties: _Properties
    version: int = 1
    counters: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.properties.spec.properties)


_shapes = msgspec.json.Decoder(_Shape)
# All there are. A release that gives one a new field raises its "version" in the schema.
OURS = tuple(kind_of(schema) for schema in SCHEMAS.values())


class Kinds:
    """By name."""

    def __init__(self, kinds: Sequence[Kind] = ()) -> None:
        self._kinds = {each.name: each for each in kinds}

    def may_remove(self, kind: str, field: str) -> bool:
        """Whether a writer of the whole document, who left ``field`` out, meant to remove it."""
        known = self._kinds.get(kind)
        return not is_counter(field) and (known is None or known.knows(field))

    def judge_counter(self, kind: str, counter: str) -> None:
        """Raises ``Invalid``: no document of this kind has such a counter."""
        known = self._kinds.get(kind)
        if known is None or (known.counters and re.fullmatch(known.counters, counter)):
            return
        why = f"may not be called {counter[:60]!r}" if known.counters else "are none"
        raise Invalid(f"counters of kind {kind} {why}. Nothing changed.", next_step=f"meshnode explain {kind.lower()}")


def is_counter(field: str) -> bool:
    return _COUNTER.fullmatch(field) is not None


def counter_field(name: str, node: NodeId) -> str:
    """Raises ``Invalid``."""
    field = f"{COUNTED}{name}@{short(node)}"
    if not is_counter(field):
        raise Invalid(f"{name[:60]!r} is no name of a counter: 1 character or more, no '@'", next_step="rename it")
    return field


def may_set(field: str, author: NodeId) -> bool:
    """A counter's part is set by its node alone."""
    found = _COUNTER.fullmatch(field)
    return found is None or found["node"] == short(author)


def added(text: str | None, amount: int) -> str:
    """The next value of a part. Raises ``Invalid``."""
    before: JsonValue = json.loads(text) if text is not None else 0
    total = (before if isinstance(before, int) else 0) + amount
    if not -COUNTER_MAX <= total <= COUNTER_MAX:
        raise Invalid(f"{total} is beyond what a counter holds ({COUNTER_MAX})", next_step="use another counter")
    return str(total)


def counters_of(fields: Mapping[str, JsonValue]) -> dict[str, int]:
    """Every counter of a document and its sum."""
    totals: dict[str, int] = {}
    for field, value in fields.items():
        found = _COUNTER.fullmatch(field)
        if found is not None and isinstance(value, int):
            totals[found["name"]] = totals.get(found["name"], 0) + value
    return totals
