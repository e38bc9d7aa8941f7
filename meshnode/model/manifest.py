"""The envelope of every declared thing: apiVersion, kind, metadata, spec."""

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.fields import Field

API_VERSIONS = ("v1",)
KINDS = ("AgentCluster",)
NAMESPACE_DEFAULT = "default"


class Manifest(msgspec.Struct, frozen=True):
    """The envelope, checked; ``spec`` not yet."""

    api_version: str
    kind: str
    namespace: str
    name: str
    labels: dict[str, str]
    spec: Field


def parse_manifest(manifest: JsonObject) -> Manifest:
    """Raises ``FieldInvalid``."""
    top = Field((), manifest).fields(("apiVersion", "kind", "metadata", "spec"))
    metadata = top["metadata"].fields(("name",), ("namespace", "labels"))
    labels = metadata["labels"].entries(count_max=64) if "labels" in metadata else {}
    return Manifest(
        api_version=top["apiVersion"].choice(API_VERSIONS),
        kind=top["kind"].choice(KINDS),
        namespace=metadata["namespace"].label() if "namespace" in metadata else NAMESPACE_DEFAULT,
        name=metadata["name"].label(),
        labels={Field(value.path, key).tag(): value.text() for key, value in labels.items()},
        spec=top["spec"],
    )
