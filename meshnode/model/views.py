"""What a node shows. Every view says as of when: ages are seconds since this node last had proof."""

from typing import Any

from meshnode.model.document_views import (
    AppliedView,
    ConflictsView,
    DocumentDiffView,
    DocumentHistoryView,
    DocumentStateView,
    DocumentsView,
    ImportedView,
    StickView,
    SyncView,
    WatchView,
)
from meshnode.model.unit_views import HistoryView, StateDiffView, StatesView, StateView
from meshnode.model.view_parts import JournalEntry, JsonObject, LinkView, PlanRow, View


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
