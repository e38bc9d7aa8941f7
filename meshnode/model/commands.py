"""What doors may ask of a node. The API maps paths to these; the simulator gives the same ones."""

from typing import Any

import msgspec

# A JSON object as it came from a person; the core checks it against the kind's schema before anything is stored.
JsonObject = dict[str, Any]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="ask"):
    """One request to the node. Answered exactly once, by a view or by a ``Failure``."""


class GetStatus(Command, frozen=True, tag="status"):
    """-> StatusView"""


class GetIdentity(Command, frozen=True, tag="identity"):
    """-> IdentityView"""


class ListNodes(Command, frozen=True, tag="nodes"):
    """-> NodesView"""


class DescribeNode(Command, frozen=True, tag="node"):
    """-> NodeView with facts and load."""

    name: str


class ListAgents(Command, frozen=True, tag="agents"):
    """-> AgentsView: instances on all nodes, as far as known here."""


class FindSkills(Command, frozen=True, tag="find"):
    """-> SkillsView. ``skill`` empty lists all; else a skill, an agent or a capability, or a glob of one."""

    skill: str = ""


class RunAgent(Command, frozen=True, tag="run"):
    """-> AgentView. Start a supervised process on this node, now and at every boot. The same name and recipe again is
    harmless; another recipe under a running name is refused.

    ``argv``: the whole command line; ``cwd``: absolute; ``environment``: added to a clean environment.
    """

    name: str
    argv: list[str]
    cwd: str
    environment: dict[str, str] = {}


class StopAgent(Command, frozen=True, tag="stop"):
    """-> AgentView. Stop it and forget it."""

    name: str


class CallSkill(Command, frozen=True, tag="call"):
    """-> CallView. ``arguments`` by name; ``to`` narrows to one node or "agent/NODE"; ends by ``deadline_s``."""

    skill: str
    arguments: JsonObject = {}
    deadline_s: float = 10.0
    to: str = ""
    idempotency_key: str = ""


class PingNode(Command, frozen=True, tag="ping"):
    """-> PingView"""

    name: str
    deadline_s: float = 3.0


class Apply(Command, frozen=True, tag="apply"):
    """-> AppliedView. One manifest: ``apiVersion``, ``kind``, ``metadata`` {name, namespace}, ``spec``."""

    manifest: JsonObject


class ListDocuments(Command, frozen=True, tag="documents"):
    """-> DocumentsView. Empty fields mean all."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class DeleteDocument(Command, frozen=True, tag="delete"):
    """-> AppliedView. A tombstone: the name may be applied again."""

    kind: str
    namespace: str
    name: str


class ListConflicts(Command, frozen=True, tag="conflicts"):
    """-> ConflictsView: fields with concurrent values, all of them kept."""


class Why(Command, frozen=True, tag="why"):
    """-> WhyView. ``subject``: a node, agent, cluster or call, bare or as "node/NAME"."""

    subject: str


class MakeInvite(Command, frozen=True, tag="invite"):
    """-> InviteView. Empty ``name``: a generated one is reserved."""

    name: str = ""
    ttl_s: int = 3600
    region: str = ""


class Shutdown(Command, frozen=True, tag="down"):
    """-> Done; the daemon says goodbye to its peers, stops its agents in order and exits 0."""


AnyCommand = (
    GetStatus
    | GetIdentity
    | ListNodes
    | DescribeNode
    | ListAgents
    | FindSkills
    | RunAgent
    | StopAgent
    | CallSkill
    | PingNode
    | Apply
    | ListDocuments
    | DeleteDocument
    | ListConflicts
    | Why
    | MakeInvite
    | Shutdown
)
