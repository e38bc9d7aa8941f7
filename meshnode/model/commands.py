"""What doors may ask of a node. The API maps paths to these; the simulator gives the same ones."""

from typing import Any

import msgspec

# A JSON object as it came from a person; the core checks it against the kind's schema before anything is stored.
JsonObject = dict[str, Any]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="ask"):
    """One request to the node. Answered exactly once, by a view or by a ``Failure``."""


class StickItem(msgspec.Struct, frozen=True):
    """One signed thing of a stick; ``kind`` as ``crdt/stick.py`` numbers them."""

    kind: int
    data: bytes


class GetStatus(Command, frozen=True, tag="status"):
    """-> StatusView"""


class GetIdentity(Command, frozen=True, tag="identity"):
    """-> IdentityView"""


class ListNodes(Command, frozen=True, tag="nodes"):
    """-> NodesView. ``limit`` 0: all at once; else a page in the order of their ids, from behind the id ``after``."""

    after: str = ""
    limit: int = 0


class DescribeNode(Command, frozen=True, tag="node"):
    """-> NodeView with facts and load."""

    name: str


class ListAgents(Command, frozen=True, tag="agents"):
    """-> AgentsView: instances on all nodes, as far as known here. ``limit`` 0: all at once; else a page in the order
    of "INSTANCE@NODE", from behind ``after``."""

    after: str = ""
    limit: int = 0


class FindSkills(Command, frozen=True, tag="find"):
    """-> SkillsView. ``skill`` empty lists all; else a skill, an agent or a capability, or a glob of one.

    ``where``: constraints on the nodes, all of which must hold, e.g. ``gpu_mem>=2Gi,site=plant-7``; who does not fit
    is shown with the reason.
    """

    skill: str = ""
    where: str = ""
    after: int = 0  # rank to go on behind
    limit: int = 0  # 0: all at once


class RunAgent(Command, frozen=True, tag="run"):
    """-> AgentView. Write the ``Agent`` document of that name: it is wanted from now on, at every boot, near this
    node or where ``on`` says. The same again is harmless; another recipe under a wanted name is refused.

    ``file``: a Python file that uses the SDK, absolute, and ``source`` its content (base64 in JSON), so that other
    nodes can run it too; ``argv``: its arguments. Without ``file`` ``argv`` is the whole command line. ``cwd``:
    absolute; ``environment``: added to a clean environment. ``on``: the only node it may run on ("" = any, this one
    first).
    ``durability``: auto, lazy, local or replicated(K).
    """

    name: str
    argv: list[str] = []
    cwd: str = "/"
    environment: dict[str, str] = {}
    file: str = ""
    source: bytes = b""
    tier: str = "process"
    replicas: int = 1
    on: str = ""
    region: str = ""
    labels: dict[str, str] = {}
    durability: str = ""


class KeepBundle(Command, frozen=True, tag="bundle"):
    """-> Done, whose message is the SHA-256. Store the content of a Python file, for an agent that a manifest names;
    nodes that want the agent fetch it."""

    source: bytes


class StopAgent(Command, frozen=True, tag="stop"):
    """-> AgentView. Delete its ``Agent`` document: all its units stop. Its state stays until ``ForgetState``."""

    name: str


class RestartAgent(Command, frozen=True, tag="restart"):
    """-> Done. All its units on all nodes stop in order and start again, one after the other."""

    name: str


class Scale(Command, frozen=True, tag="scale"):
    """-> AppliedView. ``name``: an agent ("agent/NAME" or bare) or a cluster ("cluster/NS/NAME"; with several agents
    ``agent`` says which)."""

    name: str
    replicas: int
    agent: str = ""


class PlanManifest(Command, frozen=True, tag="plan"):
    """-> PlanView: what applying this manifest would start, stop and leave pending, and why. Nothing is changed.
    Without a manifest: how what is wanted now stands."""

    manifest: JsonObject = {}


class ListStates(Command, frozen=True, tag="states"):
    """-> StatesView: the states this node holds or knows of, own and copies. ``agent`` empty: all."""

    agent: str = ""


class ShowState(Command, frozen=True, tag="state"):
    """-> StateView. ``unit``: "NAME" (its first unit) or "NAME/SLOT". Answered by who runs it; cut off, from the copy
    here with its age. ``key`` and ``session`` narrow."""

    unit: str
    key: str = ""
    session: str = ""


class StateHistory(Command, frozen=True, tag="state-history"):
    """-> HistoryView: checkpoints and the entries since, newest first, with dots and hashes."""

    unit: str


class StateDiff(Command, frozen=True, tag="state-diff"):
    """-> StateDiffView between two checkpoint versions; ``second`` 0 = now."""

    unit: str
    first: int
    second: int = 0


class RestoreState(Command, frozen=True, tag="state-restore"):
    """-> StateView. Set the state to what it was at a checkpoint: a new change like any other, so that nothing is
    lost by it."""

    unit: str
    version: int


class ForgetState(Command, frozen=True, tag="state-forget"):
    """-> Done. Drop what this node keeps of a unit that nobody wants any more. Refused while it is wanted."""

    unit: str


class FoldState(Command, frozen=True, tag="checkpoint"):
    """-> StatesView. Write a checkpoint of every unit of the agent now."""

    agent: str


class ReadLogs(Command, frozen=True, tag="logs"):
    """-> LogsView. Lines of one agent ("" = all) on one node ("" = this one) after the HLC stamp ``after``; at most
    ``limit``, the newest when ``after`` is 0."""

    agent: str = ""
    node: str = ""
    after: int = 0
    limit: int = 500


class JournalCursor(msgspec.Struct, frozen=True):
    """How far a reader has one node's journal: the event ``number``, written in ``boot`` by the daemon's start
    ``run`` (hex). All empty: nothing yet."""

    boot: int = 0
    number: int = 0
    run: str = ""


class ReadJournal(Command, frozen=True, tag="journal"):
    """-> JournalView: events of one node ("" = this one) behind the cursor, oldest first, at most ``limit``.

    ``reader`` has committed all up to the cursor: that is its acknowledgement, shown in the node's status. Without
    news the answer comes when there is some, or after ``wait_ms`` (<= 8000).
    """

    reader: str
    cursor: JournalCursor = JournalCursor()
    limit: int = 500
    wait_ms: int = 0
    node: str = ""


class GatherJournals(Command, frozen=True, tag="journals"):
    """-> JournalsView: ``ReadJournal`` of many nodes at once, by node name (<= 1024), through this node. The answer
    comes as soon as one of them has news, or after ``wait_ms``; what is still being asked goes on, and is found by
    the next."""

    reader: str
    cursors: dict[str, JournalCursor]
    limit: int = 500
    wait_ms: int = 0


class ListLinks(Command, frozen=True, tag="links"):
    """-> LinksView: the links of one node ("" = this one) to its gossip neighbours and other peers."""

    node: str = ""


class Drain(Command, frozen=True, tag="drain"):
    """-> AppliedView of the node's ``Node`` document. Units of that node move elsewhere, each after its successor has
    its state, and nothing new is placed there, until ``Resume``."""

    node: str
    reason: str = ""


class Resume(Command, frozen=True, tag="resume"):
    """-> AppliedView. The node takes work again."""

    node: str


class CallSkill(Command, frozen=True, tag="call", omit_defaults=True):
    """-> CallView. ``skill``: its name, or ``cap/TAG`` for any skill with that capability. ``arguments`` by name.

    ``to`` narrows: NODE, AGENT/NODE, "agent/AGENT" or "agent/AGENT/SLOT". ``session``: calls of one go to one slot.
    ``stream``: items as they come (over the API as JSON lines), then the CallView. ``batch``: it may wait, and is
    refused first where there is too much to do. Ends by ``deadline_s``.
    """

    skill: str
    arguments: JsonObject = {}
    deadline_s: float = 10.0
    to: str = ""
    idempotency_key: str = ""
    session: str = ""
    stream: bool = False
    batch: bool = False


class PublishEvent(Command, frozen=True, tag="publish"):
    """-> PublishedView. ``topic``: "topic/a/b"; ``data``: any JSON of at most 64 KiB. Whoever listens now gets it, at
    most once; nothing is kept."""

    topic: str
    data: Any = None


class PingNode(Command, frozen=True, tag="ping"):
    """-> PingView"""

    name: str
    deadline_s: float = 3.0


class Apply(Command, frozen=True, tag="apply"):
    """-> AppliedView. One manifest: ``apiVersion``, ``kind``, ``metadata`` {name, namespace}, ``spec``.

    ``durability``: local ("" means it: on the disk before the answer) or lazy (told to peers within 5 ms, on the disk
    within 10 s).
    """

    manifest: JsonObject
    durability: str = ""


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


class ShowDocument(Command, frozen=True, tag="document-state"):
    """-> DocumentStateView: field by field who wrote what when, and what else was written at the same time."""

    kind: str
    namespace: str
    name: str


class DocumentHistory(Command, frozen=True, tag="document-history"):
    """-> DocumentHistoryView: every write that is kept, the newest first, also of a deleted document."""

    kind: str
    namespace: str
    name: str
    limit: int = 500


class DocumentDiff(Command, frozen=True, tag="document-diff"):
    """-> DocumentDiffView: the fields that read otherwise after write ``first`` and after ``second`` (0 = now)."""

    kind: str
    namespace: str
    name: str
    first: int
    second: int = 0


class ResolveConflict(Command, frozen=True, tag="resolve"):
    """-> AppliedView. One field with concurrent values gets one value, by a new write that all nodes take over.

    ``pick``: the number of one of its values as ``ListConflicts`` gives them, from 1; 0: ``value`` instead.
    """

    kind: str
    namespace: str
    name: str
    field: str
    pick: int = 0
    value: Any = None


class AddToCounter(Command, frozen=True, tag="count"):
    """-> AppliedView. Add ``amount``, which may be negative, to a counter of a document. What others add at the same
    time, wherever, is added too: no two nodes write the same part of it."""

    kind: str
    namespace: str
    name: str
    counter: str
    amount: int = 1


class WatchDocuments(Command, frozen=True, tag="watch"):
    """-> WatchView. Changes of documents behind a cursor, in causal order, each once; empty fields mean all.

    ``after`` "": all documents as they are, then what changes. ``wait_ms``: how long to wait for the next change.
    """

    kind: str = ""
    namespace: str = ""
    name: str = ""
    after: str = ""
    limit: int = 200
    wait_ms: int = 0


class SyncNow(Command, frozen=True, tag="sync"):
    """-> SyncView. Compare documents with every linked peer now, without waiting for the next round."""


class ExportStick(Command, frozen=True, tag="export"):
    """-> StickView: signed writes of documents, one page; ``after``: the ``next`` of the page before."""

    kind: str = ""
    after: str = ""


class ImportStick(Command, frozen=True, tag="import"):
    """-> ImportedView. Items of a stick, as they were exported; each passes the same gate as one that a peer brings."""

    items: list[StickItem]


class ListConflicts(Command, frozen=True, tag="conflicts"):
    """-> ConflictsView: fields of documents and keys of agents' states with concurrent values, all of them kept."""


class Why(Command, frozen=True, tag="why"):
    """-> WhyView. ``subject``: a node, agent, cluster or call, bare or as "node/NAME". ``node``: whose story of it,
    "" = this one's: each node tells what it saw and decided itself."""

    subject: str
    node: str = ""


class MakeInvite(Command, frozen=True, tag="invite"):
    """-> InviteView. Empty ``name``: a generated one is reserved. ``role``: "member" or "gateway"."""

    name: str = ""
    ttl_s: int = 3600
    region: str = ""
    role: str = "member"


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
    | KeepBundle
    | StopAgent
    | RestartAgent
    | Scale
    | PlanManifest
    | ListStates
    | ShowState
    | StateHistory
    | StateDiff
    | RestoreState
    | ForgetState
    | FoldState
    | ReadLogs
    | ReadJournal
    | GatherJournals
    | ListLinks
    | Drain
    | Resume
    | CallSkill
    | PublishEvent
    | PingNode
    | Apply
    | ListDocuments
    | DeleteDocument
    | ShowDocument
    | DocumentHistory
    | DocumentDiff
    | ResolveConflict
    | AddToCounter
    | WatchDocuments
    | SyncNow
    | ExportStick
    | ImportStick
    | ListConflicts
    | Why
    | MakeInvite
    | Shutdown
)
