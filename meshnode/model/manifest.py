"""The envelope of every declared thing: apiVersion, kind, metadata, spec."""

import re

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.fields import Field, FieldInvalid, quoted

API_VERSIONS = ("v1",)
KINDS = ("AgentCluster", "Agent", "Node", "Policy")
NAMESPACE_DEFAULT = "default"
# Also the name of a log file and the first half of a unit's name.
AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)


class Manifest(msgspec.Struct, frozen=True):
    """The envelope, checked; ``spec`` not yet."""

    api_version: str
    kind: str
    namespace: str
    name: str
    labels: dict[str, str]
    spec: Field


def parse_manifest(manifest: JsonObject) -> Manifest:
    """Raises ``FieldInvalid``. An agent's name also has capitals and underscores, a node's dots; all else is a DNS-1123
    label."""
    top = Field((), manifest).fields(("apiVersion", "kind", "metadata", "spec"))
    metadata = top["metadata"].fields(("name",), ("namespace", "labels"))
    labels = metadata["labels"].entries(count_max=64) if "labels" in metadata else {}
    api_version = top["apiVersion"].choice(API_VERSIONS)
    kind = top["kind"].choice(KINDS)
    return Manifest(
        api_version=api_version,
        kind=kind,
        namespace=metadata["namespace"].label() if "namespace" in metadata else NAMESPACE_DEFAULT,
        name=_NAMES.get(kind, Field.label)(metadata["name"]),
        labels={Field(value.path, key).tag(): value.text() for key, value in labels.items()},
        spec=top["spec"],
    )


def agent_name(field: Field) -> str:
    """Raises ``FieldInvalid``."""
    text = field.text()
    if not AGENT_NAME.fullmatch(text):
        raise field.invalid(
            f"{quoted(text)} is no name for an agent",
            next_step="use 1 to 63 letters, digits, - and _, beginning with a letter or digit",
        )
    return text


def _node_name(field: Field) -> str:
    text = field.text()
    if not _NODE_NAME.fullmatch(text):
        raise field.invalid(
            f"{quoted(text)} is no name for a node",
            next_step="use 1 to 63 of a-z, 0-9, - and ., the first and the last a letter or a digit",
        )
    return text


_NAMES = {"Agent": agent_name, "Node": _node_name, "Policy": _node_name}


def parse_unscoped(manifest: JsonObject, kind: str, whose: str) -> Manifest:
    """Of a kind whose names are unique in the mesh. ``whose``: "an agent's". Raises ``FieldInvalid``."""
    envelope = parse_manifest(manifest)
    if envelope.kind != kind:
        raise FieldInvalid(("kind",), f"is {envelope.kind}, not {kind}", next_step=f"write kind: {kind}")
    if envelope.namespace != NAMESPACE_DEFAULT:
        raise FieldInvalid(
            ("metadata", "namespace"),
            f"is {envelope.namespace}, but {whose} name is unique in its mesh",
            next_step="leave the namespace out",
        )
    return envelope
