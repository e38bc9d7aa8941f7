"""The table of the local API: which request is which command. Routes and OpenAPI are both made from it."""

import dataclasses

from meshnode.model import commands, views
from meshnode.model.document_views import (
    AppliedView,
    ConflictsView,
    DocumentDiffView,
    DocumentHistoryView,
    DocumentStateView,
    DocumentsView,
    DocumentView,
    ImportedView,
    StickView,
    SyncView,
    WatchView,
)
from meshnode.model.unit_views import HistoryView, StateDiffView, StatesView, StateView
from meshnode.model.view_parts import View


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One request. The path, and query parameters or the JSON body, carry the fields of ``command``.

    ``one``: the answer is the only item of the list that the node gives, 404 when the list is empty.
    """

    method: str
    path: str
    command: type[commands.AnyCommand]
    answer: type[View]
    summary: str
    one: bool = False

    @property
    def has_body(self) -> bool:
        return self.method == "POST"

    @property
    def path_shown(self) -> str:
        """The path as OpenAPI writes it."""
        return self.path.replace(":path}", "}")

    @property
    def in_path(self) -> tuple[str, ...]:
        """The fields that the path carries."""
        return tuple(piece.partition("}")[0] for piece in self.path_shown.split("{")[1:])


def _get(
    path: str, command: type[commands.AnyCommand], answer: type[View], summary: str, *, one: bool = False
) -> Operation:
    return Operation(method="GET", path=path, command=command, answer=answer, summary=summary, one=one)


def _post(path: str, command: type[commands.AnyCommand], answer: type[View], summary: str) -> Operation:
    return Operation(method="POST", path=path, command=command, answer=answer, summary=summary)


def _delete(path: str, command: type[commands.AnyCommand], answer: type[View], summary: str) -> Operation:
    return Operation(method="DELETE", path=path, command=command, answer=answer, summary=summary)


DOCUMENT = "/v1/documents/{kind}/{namespace}/{name}"
# A unit is NAME or NAME/SLOT, and a slot is a number: no word behind it can be mistaken for one.
STATE = "/v1/states/{unit:path}"
OPERATIONS = (
    _get("/v1/status", commands.GetStatus, views.StatusView, "This node at one glance"),
    _get("/v1/identity", commands.GetIdentity, views.IdentityView, "Who this node is, and by which keys"),
    _get("/v1/nodes", commands.ListNodes, views.NodesView, "All nodes known here, with the age of what is known"),
    _get("/v1/nodes/{name}", commands.DescribeNode, views.NodeView, "One node, its hardware and its load"),
    _post("/v1/nodes/{node}/drain", commands.Drain, AppliedView, "Move all units of a node to other nodes"),
    _post("/v1/nodes/{node}/resume", commands.Resume, AppliedView, "Let a drained node take units again"),
    _get("/v1/agents", commands.ListAgents, views.AgentsView, "All instances of agents known here"),
    _post("/v1/agents", commands.RunAgent, views.AgentView, "Want an agent, now and at every boot"),
    _delete("/v1/agents/{name}", commands.StopAgent, views.AgentView, "Want an agent no more; its state stays"),
    _post("/v1/agents/{name}/restart", commands.RestartAgent, views.Done, "Restart all units of an agent in turn"),
    _post("/v1/agents/{agent}/checkpoint", commands.FoldState, StatesView, "Write a checkpoint of every unit now"),
    _post("/v1/scale", commands.Scale, AppliedView, "Set how many replicas of an agent are wanted"),
    _post("/v1/plan", commands.PlanManifest, views.PlanView, "What a manifest would change, and why; changes nothing"),
    _get("/v1/states", commands.ListStates, StatesView, "The states held or known here, own and copies"),
    _get(f"{STATE}/history", commands.StateHistory, HistoryView, "Checkpoints and entries, newest first"),
    _get(f"{STATE}/diff", commands.StateDiff, StateDiffView, "What differs between two checkpoints"),
    _post(f"{STATE}/restore", commands.RestoreState, StateView, "Set the state to what a checkpoint holds"),
    _get(STATE, commands.ShowState, StateView, "The state of one unit"),
    _delete(STATE, commands.ForgetState, views.Done, "Drop the state of a unit that nobody wants any more"),
    _get("/v1/logs", commands.ReadLogs, views.LogsView, "What agents of one node wrote"),
    _post("/v1/journal", commands.ReadJournal, views.JournalView, "Events of one node behind a reader's cursor"),
    _post("/v1/journals", commands.GatherJournals, views.JournalsView, "The same of many nodes; waits for news"),
    _get("/v1/links", commands.ListLinks, views.LinksView, "The links of a node to its neighbours and other peers"),
    _get("/v1/skills", commands.FindSkills, views.SkillsView, "Who offers a skill, best first"),
    _post("/v1/call", commands.CallSkill, views.CallView, "Call a skill; answers by the deadline"),
    _post("/v1/publish", commands.PublishEvent, views.PublishedView, "Publish an event to whoever listens now"),
    _post("/v1/ping", commands.PingNode, views.PingView, "Measure the way to a node"),
    _post("/v1/bundles", commands.KeepBundle, views.Done, "Store the content of an agent's file"),
    _post("/v1/apply", commands.Apply, AppliedView, "Store one manifest"),
    _get("/v1/documents", commands.ListDocuments, DocumentsView, "Documents, all or by kind, namespace, name"),
    _get(DOCUMENT, commands.ListDocuments, DocumentView, "One document", one=True),
    _delete(DOCUMENT, commands.DeleteDocument, AppliedView, "Delete one document"),
    _get(f"{DOCUMENT}/fields", commands.ShowDocument, DocumentStateView, "Who wrote which field, and when"),
    _get(f"{DOCUMENT}/history", commands.DocumentHistory, DocumentHistoryView, "Its writes, newest first"),
    _get(f"{DOCUMENT}/diff", commands.DocumentDiff, DocumentDiffView, "What differs between two writes"),
    _post(f"{DOCUMENT}/resolve", commands.ResolveConflict, AppliedView, "Give a field in conflict one value"),
    _post(f"{DOCUMENT}/count", commands.AddToCounter, AppliedView, "Add to a counter of a document"),
    _post("/v1/changes", commands.WatchDocuments, WatchView, "Changes of documents behind a cursor"),
    _post("/v1/sync", commands.SyncNow, SyncView, "Compare documents with all linked peers now"),
    _get("/v1/sync/stick", commands.ExportStick, StickView, "Signed writes to carry by hand, one page"),
    _post("/v1/sync/stick", commands.ImportStick, ImportedView, "Signed writes that were carried by hand"),
    _get("/v1/conflicts", commands.ListConflicts, ConflictsView, "Fields and state keys with concurrent values"),
    _get("/v1/why/{subject:path}", commands.Why, views.WhyView, "The story of a node, agent, cluster or call"),
    _post("/v1/invites", commands.MakeInvite, views.InviteView, "Make a token that lets one node join"),
    _post("/v1/down", commands.Shutdown, views.Done, "Say goodbye, stop the agents in order, and end"),
)
