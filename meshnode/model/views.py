"""What a node shows. Every view says as of when: ages are seconds since this node last had proof."""

from typing import Any

import msgspec

from meshnode.model.view_parts import (
    Condition,
    ConflictView,
    FieldView,
    JournalEntry,
    LinkView,
    PlanRow,
    StickPart,
    WriteView,
)

JsonObject = dict[str, Any]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a command. Serialised as JSON by the API; fields are only ever added."""


class Done(View, frozen=True):
    """It is done; there is nothing to show."""

    message: str = ""


class Failure(View, frozen=True):
    """It was not done. ``code`` is stable; ``next_step`` is what a person can do; ``exit_code`` is the CLI's."""

    code: str
    message: str
    next_step: str = ""
    exit_code: int = 1
    details: JsonObject = {}


class NodeView(View, frozen=True):
    """One node as this node knows it.

    ``state``: "ready", "suspect", "unreachable", "down", "left". ``age_s``: since last proof of life here (0 for
    this node itself). ``path``: "-" (self), "direct", "relay NAME" (it carries the link), "mesh" (known
    through others). ``rtt_ms``: None without a link. ``endpoints``: HOST:PORT, or relay/NAME of who brings us to it.
    """

    name: str
    node_id: str
    state: str
    region: str
    roles: list[str]
    boot: int
    incarnation: int
    path: str
    age_s: float
    rtt_ms: float | None
    reason: str
    endpoints: list[str]
    hardware: JsonObject  # as probed by the node itself
    load: JsonObject  # live, with "age_s"
    agents: int
    self_node: bool = False
    labels: dict[str, str] = {}
    drained: bool = False  # takes no new units; those it has move away
    votes: dict[str, str] = {}  # what speaks against it now: observer -> words
    observers: int = 0  # known nodes whose word counts; only told of one that is not ready


class NodesView(View, frozen=True):
    items: list[NodeView]


class AgentView(View, frozen=True):
    """One instance. ``state``: "starting", "running", "backoff", "stopping", "stopped", "failed", "unreachable"."""

    name: str
    instance: str
    node: str
    state: str
    reason: str
    pid: int | None
    restarts: int
    skills: list[str]
    age_s: float
    slots: int = 1  # instances in this unit
    epoch: str = ""  # "COUNTER@NODE"
    version: int = 0  # of its state; 0 = none
    durability: str = ""  # as asked for
    copies: list[str] = []  # nodes that hold its state besides this one


class AgentsView(View, frozen=True):
    items: list[AgentView]


class SkillView(View, frozen=True):
    """One offer of a skill, ranked. ``excluded`` says why it would not be called now ("" if it would).

    ``path``: how this node knows of an offer in another region, "" for those it holds itself. Where a region should
    have the skill and nobody there could be asked, ``node`` is "" and ``excluded`` tells why.
    """

    rank: int
    skill: str
    agent: str
    instance: str
    node: str
    region: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject
    rtt_ms: float | None
    age_s: float
    excluded: str = ""
    path: str = ""


class SkillsView(View, frozen=True):
    items: list[SkillView]


class CallView(View, frozen=True):
    """The result of a call and what it took."""

    call_id: str
    result: Any
    instance: str
    node: str
    took_ms: float
    attempts: int
    durability: str = ""  # reached by what the call changed; "" = nothing changed
    version: int = 0
    replayed: bool = False  # the stored answer to an idempotency key


class StreamItem(View, frozen=True):
    """One item of a streamed result, numbered from 0."""

    number: int
    item: Any


class PlanView(View, frozen=True):
    items: list[PlanRow]
    notes: list[str] = []


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


class LogLine(View, frozen=True):
    """``stream``: "out", "err" or "gap" (``text`` says how much was dropped). ``hlc`` orders the lines of all nodes."""

    hlc: int
    at_ms: int
    node: str
    unit: str
    stream: str
    text: str


class LogsView(View, frozen=True):
    """``more``: there are later lines already. ``missing``: nodes that could not be asked, with the reason."""

    items: list[LogLine]
    more: bool = False
    missing: list[str] = []


class PublishedView(View, frozen=True):
    """An event is on its way: to ``listeners`` on this node, and to ``nodes`` others with somebody who listens."""

    topic: str
    listeners: int
    nodes: int


class PingView(View, frozen=True):
    """An answered ping. ``path`` is "self", "direct", "relay NAME". ``heartbeats``: how many the asked node has sent
    over its link to that one, of which ``unanswered`` had no answer in time.
    """

    node: str
    rtt_ms: float
    path: str
    clock_offset_ms: float
    heartbeats: int = 0
    unanswered: int = 0


class DocumentView(View, frozen=True):
    """One document. ``heads``: hex hashes; several mean concurrent changes. ``conflicts``: fields with siblings;
    ``counters``: by name, the sum of what all nodes have added."""

    kind: str
    namespace: str
    name: str
    doc_id: str
    api_version: str
    spec: JsonObject
    heads: list[str]
    changes: int
    updated_ms: int
    updated_by: str
    conflicts: list[str]
    conditions: list[Condition]
    status: JsonObject
    counters: dict[str, int] = {}


class DocumentsView(View, frozen=True):
    items: list[DocumentView]


class AppliedView(View, frozen=True):
    """What ``apply`` did: ``action`` is "created", "updated", "unchanged" or "deleted"; ``notes`` for the person."""

    kind: str
    namespace: str
    name: str
    action: str
    notes: list[str]
    durability: str = "local"


class ConflictsView(View, frozen=True):
    items: list[ConflictView]


class DocumentStateView(View, frozen=True):
    """One document, field by field. ``changes``: writes that are kept; ``note``: if it may be old."""

    kind: str
    namespace: str
    name: str
    doc_id: str
    changes: int
    heads: list[str]
    updated_ms: int
    updated_by: str
    fields: list[FieldView]
    deleted: bool = False
    note: str = ""


class DocumentHistoryView(View, frozen=True):
    """The newest first. ``left_out``: older writes that are not shown."""

    kind: str
    namespace: str
    name: str
    items: list[WriteView]
    left_out: int = 0


class DocumentDiffView(View, frozen=True):
    """``changed``: field -> [value after write ``first``, value after ``second``]; None: absent. ``second`` 0: now."""

    kind: str
    namespace: str
    name: str
    first: int
    second: int
    changed: dict[str, list[Any]]


class DocumentEvent(View, frozen=True):
    """What happened to documents. ``type``:

    "added", "changed", "deleted": one write, once. ``fields``: what it wrote; ``document``: as it reads when told.
    "resync": the cursor is not known here any more; all documents follow as "added", forget what you hold.
    "synced": that was all of them; from here on every change is told.

    ``cursor``: go on behind this event with it, also after a restart of the node.
    """

    type: str
    cursor: str
    kind: str = ""
    namespace: str = ""
    name: str = ""
    by: str = ""
    at_ms: int = 0
    fields: list[str] = []
    document: DocumentView | None = None


class WatchView(View, frozen=True):
    """``cursor``: ask on with it; ``more``: there is more already."""

    items: list[DocumentEvent]
    cursor: str
    more: bool = False


class SyncView(View, frozen=True):
    """``peers``: who was asked; ``waiting``: writes held for what they stand on; ``awaiting``: for a role."""

    peers: list[str]
    documents: int
    documents_root: str
    waiting: int = 0
    awaiting: int = 0


class StickView(View, frozen=True):
    """One page of a stick. ``next``: ask on with it; empty: that was the last one."""

    mesh: str
    node: str
    at_ms: int
    documents: int
    items: list[StickPart]
    next: str = ""


class ImportedView(View, frozen=True):
    """What became of the items. ``held``: were here already; ``waits``: wait for what they stand on; ``members``:
    records of members that are believed; ``refused``: by the name of the refusal; ``unknown``: of a later version."""

    applied: int
    held: int
    waits: int = 0
    members: int = 0
    unknown: int = 0
    refused: dict[str, int] = {}


class EventView(View, frozen=True):
    at_ms: int
    age_s: float
    subject: str
    text: str
    node: str = ""  # who tells it, where the stories of several nodes stand together


class JournalView(View, frozen=True):
    """Events behind a cursor, oldest first. ``boot``, ``run``: of the last item, or of the cursor when there is none.

    ``first``: the oldest number still kept; numbers between the cursor and it are gone for good. ``last``: the
    newest. ``anew``: the cursor is of another journal (a lost disk, a restored backup): the items begin at this one's
    beginning.
    """

    node: str
    node_id: str
    boot: int
    run: str
    items: list[JournalEntry]
    first: int
    last: int
    anew: bool = False
    more: bool = False


class JournalsView(View, frozen=True):
    """``items``: of the nodes that have news. ``missing``: node name -> why it cannot be asked. The rest has no
    news."""

    items: list[JournalView]
    missing: dict[str, str] = {}


class LinksView(View, frozen=True):
    node: str
    items: list[LinkView]


class WhyView(View, frozen=True):
    """The story of one subject: what is so now, and the events that led here, oldest first.

    Of a node, ``details``: how it is reached and who says what about it; ``state``: what it is, in a word.
    """

    subject: str
    now: str
    events: list[EventView]
    details: list[str] = []
    state: str = ""


class InviteView(View, frozen=True):
    name: str
    token: str
    expires_ms: int


class IdentityView(View, frozen=True):
    mesh: str
    name: str
    node_id: str
    record_key: str
    certificate_sha256: str
    certificate_expires_ms: int
    root_sha256: str
    roles: list[str]
    region: str
    enroller: bool


class StatusView(View, frozen=True):
    """One glance. ``problems``: lines a person should read first."""

    name: str
    mesh: str
    region: str
    version: str
    uptime_s: float
    boot: int
    listen: str
    peers_connected: int
    nodes_known: int
    nodes_reachable: int
    documents: int
    documents_root: str
    directory_root: str
    agents_running: int
    agents_total: int
    clock: str
    journal_bytes: int
    counters: dict[str, int]
    handle_max_ms: float
    problems: list[str]
    hardware: JsonObject
    load: JsonObject
    readers: dict[str, str] = {}  # reader of this node's journal -> how far it is, for people


AnyView = (
    Done | NodeView | NodesView | AgentView | AgentsView | SkillsView | CallView | PublishedView | PingView | PlanView
    | StatesView | StateView | HistoryView | StateDiffView | LogsView | JournalView | JournalsView | LinksView
    | DocumentsView | AppliedView | DocumentStateView | DocumentHistoryView | DocumentDiffView | WatchView | SyncView
    | StickView | ImportedView | ConflictsView | WhyView | InviteView | IdentityView | StatusView | Failure
)  # fmt: skip
