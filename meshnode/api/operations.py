"""The table of the local API: which request is which command. Routes and OpenAPI are both made from it."""

import dataclasses

from meshnode.model import commands, views


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One request. Path and query parameters, or the JSON body, carry the fields of ``command``.

    ``one``: the answer is the only item of the list that the node gives, 404 when the list is empty.
    """

    method: str
    path: str
    command: type[commands.AnyCommand]
    answer: type[views.View]
    summary: str
    one: bool = False

    @property
    def has_body(self) -> bool:
        return self.method == "POST"


def _get(
    path: str, command: type[commands.AnyCommand], answer: type[views.View], summary: str, *, one: bool = False
) -> Operation:
    return Operation(method="GET", path=path, command=command, answer=answer, summary=summary, one=one)


def _post(path: str, command: type[commands.AnyCommand], answer: type[views.View], summary: str) -> Operation:
    return Operation(method="POST", path=path, command=command, answer=answer, summary=summary)


def _delete(path: str, command: type[commands.AnyCommand], answer: type[views.View], summary: str) -> Operation:
    return Operation(method="DELETE", path=path, command=command, answer=answer, summary=summary)


DOCUMENT = "/v1/documents/{kind}/{namespace}/{name}"
OPERATIONS = (
    _get("/v1/status", commands.GetStatus, views.StatusView, "This node at one glance"),
    _get("/v1/identity", commands.GetIdentity, views.IdentityView, "Who this node is, and by which keys"),
    _get("/v1/nodes", commands.ListNodes, views.NodesView, "All nodes known here, with the age of what is known"),
    _get("/v1/nodes/{name}", commands.DescribeNode, views.NodeView, "One node, its hardware and its load"),
    _get("/v1/agents", commands.ListAgents, views.AgentsView, "All instances of agents known here"),
    _post("/v1/agents", commands.RunAgent, views.AgentView, "Run an agent on this node, now and at every boot"),
    _delete("/v1/agents/{name}", commands.StopAgent, views.AgentView, "Stop an agent of this node and forget it"),
    _get("/v1/skills", commands.FindSkills, views.SkillsView, "Who offers a skill, best first"),
    _post("/v1/call", commands.CallSkill, views.CallView, "Call a skill; answers by the deadline"),
    _post("/v1/ping", commands.PingNode, views.PingView, "Measure the way to a node"),
    _post("/v1/apply", commands.Apply, views.AppliedView, "Store one manifest"),
    _get("/v1/documents", commands.ListDocuments, views.DocumentsView, "Documents, all or by kind, namespace, name"),
    _get(DOCUMENT, commands.ListDocuments, views.DocumentView, "One document", one=True),
    _delete(DOCUMENT, commands.DeleteDocument, views.AppliedView, "Delete one document"),
    _get("/v1/conflicts", commands.ListConflicts, views.ConflictsView, "Fields with concurrent values"),
    _get("/v1/why/{subject:path}", commands.Why, views.WhyView, "The story of a node, agent, cluster or call"),
    _post("/v1/invites", commands.MakeInvite, views.InviteView, "Make a token that lets one node join"),
    _post("/v1/down", commands.Shutdown, views.Done, "Say goodbye, stop the agents in order, and end"),
)
