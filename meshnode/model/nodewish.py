"""Node: what people want of one node, as a document of its name: that it is drained, and which documents it wants."""

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.fields import Field
from meshnode.model.interest import EVERYTHING, FIELD, Interest, parse_interest
from meshnode.model.manifest import API_VERSIONS, NAMESPACE_DEFAULT, parse_unscoped

KIND = "Node"


class NodeIntent(msgspec.Struct, frozen=True):
    """``drain``: it takes no new units, and those it has move to other nodes. ``reason``: for people, or "".
    ``interest``: which documents it wants."""

    drain: bool = False
    reason: str = ""
    interest: Interest = EVERYTHING


class NodeWish(msgspec.Struct, frozen=True):
    """A checked manifest. ``spec``: as written; ``intent``: what it means."""

    api_version: str
    name: str
    labels: dict[str, str]
    spec: JsonObject
    intent: NodeIntent
    namespace: str = NAMESPACE_DEFAULT
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return KIND


def parse_node(manifest: JsonObject) -> NodeWish:
    """Raises ``FieldInvalid``."""
    envelope = parse_unscoped(manifest, KIND, "a node's")
    return NodeWish(envelope.api_version, envelope.name, envelope.labels, manifest["spec"], _intent(envelope.spec))


def parse_node_spec(spec: JsonObject) -> NodeIntent:
    """The meaning of a stored spec. Raises ``FieldInvalid``: peers can store one that has none."""
    return _intent(Field(("spec",), spec))


def node_manifest(name: str, *, drain: bool, reason: str = "", interest: object = None) -> JsonObject:
    """The document that ``meshnode drain`` and ``resume`` write, to be checked by ``parse_node``. ``interest``: as it
    is written already."""
    spec: JsonObject = {"drain": drain, **({"reason": reason} if reason else {})}
    spec |= {} if interest is None else {FIELD: interest}
    return {"apiVersion": API_VERSIONS[0], "kind": KIND, "metadata": {"name": name}, "spec": spec}


def _intent(spec: Field) -> NodeIntent:
    entry = spec.fields(("drain",), ("reason", FIELD))
    reason = entry["reason"].text() if "reason" in entry else ""
    interest = parse_interest(entry[FIELD]) if FIELD in entry else EVERYTHING
    return NodeIntent(entry["drain"].flag(), reason, interest)
