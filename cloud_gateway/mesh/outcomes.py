"""A request to the mesh: how it is put to a node, and how to tell that the mesh has become as asked.

Giving a request twice is harmless: a gateway that is killed between the node's answer and its own note gives it again.
"""

from typing import Any

import msgspec

from cloud_gateway.mesh.ports import Node
from cloud_gateway.model.rows import CommandRow
from meshnode.model.document_views import AppliedView, DocumentView
from meshnode.model.errors import Invalid, NotFound

JsonObject = dict[str, Any]
_DEFAULT = "default"


class Apply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of "apply"."""

    manifest: JsonObject


class Delete(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of "delete"."""

    kind: str
    name: str
    namespace: str = _DEFAULT


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of "scale"."""

    name: str
    replicas: int
    agent: str = ""


class Drain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of "drain"."""

    node: str
    reason: str = ""


class Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of "resume"."""

    node: str


Body = Apply | Delete | Scale | Drain | Resume
BODIES: dict[str, type[Body]] = {"apply": Apply, "delete": Delete, "scale": Scale, "drain": Drain, "resume": Resume}


class Outcome(msgspec.Struct, frozen=True):
    """``state``: "accepted" (not yet), "applied" or "failed"; ``answer`` says how far it is, for people."""

    state: str
    answer: str


def body_of(command: CommandRow) -> Body:
    """Raises ``Invalid``."""
    form = BODIES.get(command.verb)
    if form is None:
        raise Invalid(f"verb: {command.verb} is none of {', '.join(BODIES)}")
    try:
        return msgspec.convert(command.body, form)
    except msgspec.ValidationError as error:
        raise Invalid(f"body: {error}") from error


def give(node: Node, command: CommandRow) -> str:
    """Put it to the node; its answer for people. Raises ``LocalError``."""
    match body_of(command):
        case Apply(manifest):
            return _words(node.apply(manifest))
        case Delete(kind, name, namespace):
            try:
                return _words(node.delete(kind, namespace, name))
            except NotFound:
                if command.attempts > 1:  # it was given before, and nobody noted the answer
                    return f"{kind.lower()}/{namespace}/{name} is deleted"
                raise
        case Scale(name, replicas, agent):
            return _words(node.scale(name, replicas, agent))
        case Drain(name, reason):
            return _words(node.drain(name, reason))
        case Resume(name):
            return _words(node.resume(name))


def look(node: Node, command: CommandRow) -> Outcome:
    """How far the mesh is from what was asked. Raises ``LocalError``."""
    match body_of(command):
        case Apply(manifest):
            kind, namespace, name = _named(manifest)
            return _ready(node, kind, namespace, name)
        case Delete(kind, name, namespace):
            return _deleted(node, kind, namespace, name)
        case Scale(name, replicas, agent):
            return _scaled(node, name, replicas, agent)
        case Drain(name, _):
            return _ready(node, "Node", _DEFAULT, name)
        case Resume(name):
            if node.node(name).drained:
                return Outcome("accepted", f"{name} does not know of it yet")
            return Outcome("applied", f"{name} takes work again")


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    namespace: str | None = None


class _Manifest(msgspec.Struct, frozen=True):
    kind: str
    metadata: _Metadata


def _named(manifest: JsonObject) -> tuple[str, str, str]:
    """(kind, namespace, name). Raises ``Invalid``; the node has accepted it, so it is of this shape."""
    try:
        read = msgspec.convert(manifest, _Manifest)
    except msgspec.ValidationError as error:
        raise Invalid(f"manifest: {error}") from error
    return read.kind, read.metadata.namespace or _DEFAULT, read.metadata.name


def _ready(node: Node, kind: str, namespace: str, name: str) -> Outcome:
    found = node.documents(kind, namespace, name)
    if not found:
        return Outcome("failed", f"{kind.lower()}/{namespace}/{name} was deleted meanwhile")
    return _of_document(found[0])


def _of_document(document: DocumentView) -> Outcome:
    """Kinds without conditions are as asked once they are stored."""
    held = {condition.type: condition for condition in document.conditions}
    ready, accepted = held.get("Drained" if _drains(document) else "Ready"), held.get("Accepted")
    if ready is None and (accepted is None or accepted.status == "True"):
        return Outcome("applied", "stored")
    if ready is not None and ready.status == "True":
        return Outcome("applied", ready.message)
    waiting = held.get("Pending") or ready or accepted
    return Outcome("accepted", waiting.message if waiting is not None else "")


def _drains(document: DocumentView) -> bool:
    return document.kind == "Node" and document.spec.get("drain") is True


def _deleted(node: Node, kind: str, namespace: str, name: str) -> Outcome:
    if node.documents(kind, namespace, name):
        return Outcome("failed", f"{kind.lower()}/{namespace}/{name} was applied again meanwhile")
    return Outcome("applied", f"{kind.lower()}/{namespace}/{name} is deleted")


def _scaled(node: Node, name: str, replicas: int, agent: str) -> Outcome:
    document = _document_of(node, name)
    if document is None:
        return Outcome("failed", f"{name} was deleted meanwhile")
    which = agent or (document.name if document.kind == "Agent" else "")
    rows: list[JsonObject] = [
        row for row in document.status.get("agents", []) if not which or row.get("agent") == which
    ]
    wanted = sum(int(row.get("wanted", 0)) for row in rows)
    running = sum(int(row.get("running", 0)) for row in rows)
    if wanted != replicas:
        return Outcome("failed", f"{wanted} are wanted by now: {document.updated_by} changed it meanwhile")
    if running != wanted:
        return Outcome("accepted", f"{running} of {wanted} run: {_of_document(document).answer}")
    return Outcome("applied", f"{running} of {wanted} run")


def _document_of(node: Node, name: str) -> DocumentView | None:
    """What ``scale`` means by a name: an agent, bare or as "agent/NAME", or "cluster/NAMESPACE/NAME"."""
    kind, slash, rest = name.partition("/")
    if slash and kind in ("cluster", "clusters", "agentcluster"):
        namespace, inner, cluster = rest.rpartition("/")
        return _first(node, ("AgentCluster",), namespace if inner else _DEFAULT, cluster)
    bare = rest if slash and kind in ("agent", "agents") else name
    return _first(node, ("Agent", "AgentCluster"), _DEFAULT, bare)


def _first(node: Node, kinds: tuple[str, ...], namespace: str, name: str) -> DocumentView | None:
    return next((found for kind in kinds for found in node.documents(kind, namespace, name)), None)


def _words(view: AppliedView) -> str:
    name = "/".join(part for part in (view.kind.lower(), view.namespace, view.name) if part)
    return "; ".join([f"{name} {view.action} ({view.durability})", *view.notes])
