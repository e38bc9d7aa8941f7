"""The other side of the door in these tests: a node of canned answers that remembers what it was asked."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from pathlib import Path

import msgspec

from meshnode.api.app import Api
from meshnode.api.ports import LISTENING, Streamed, Told, TopicTold
from meshnode.api.server import serve
from meshnode.model import commands, document_views, unit_views, view_parts, views
from meshnode.model.commands import AnyCommand
from meshnode.model.errors import LocalError
from meshnode.model.view_parts import TopicEventView
from meshnode.model.views import AnyView, EventView, Failure

PI = {"model": "Pi 5", "cpu": {"usable": 4}, "memory": {"limit_bytes": 8 << 30}}
ALPHA = views.NodeView(
    name="alpha", node_id="a1" * 32, state="ready", region="home", roles=["member", "enroller"], boot=3, incarnation=0,
    path="-", age_s=0.0, rtt_ms=None, reason="", endpoints=["10.0.0.1:7070"], hardware=PI,
    load={"cpu_percent": 38}, agents=1, self_node=True,
)  # fmt: skip
BETA = views.NodeView(
    name="beta", node_id="b2" * 32, state="unreachable", region="dock", roles=["member"], boot=1, incarnation=2,
    path="mesh", age_s=130.0, rtt_ms=None, reason="silent", endpoints=["10.0.0.2:7070"], hardware={}, load={}, agents=0,
)  # fmt: skip
WORDS = views.AgentView(
    name="words", instance="words/0", node="alpha", state="running", reason="", pid=42, restarts=1,
    skills=["words.count"], age_s=0.0, epoch="3@alpha", version=7, durability="auto", copies=["beta"],
)  # fmt: skip
COUNT = views.SkillView(
    rank=1, skill="words.count", agent="words", instance="words/0", node="alpha", region="home",
    description="Count words.\nMore.", input_schema={"type": "object"}, output_schema={}, rtt_ms=None, age_s=0.0,
)  # fmt: skip
STALE = views.SkillView(
    rank=2, skill="words.count", agent="words", instance="words/1", node="beta", region="dock", description="",
    input_schema={}, output_schema={}, rtt_ms=None, age_s=130.0, excluded="unreachable",
)  # fmt: skip
LINE3 = document_views.DocumentView(
    kind="AgentCluster", namespace="default", name="line3", doc_id="d0" * 16, api_version="v1", spec={"replicas": 2},
    heads=["ab" * 32], changes=4, updated_ms=1_000, updated_by="alpha", conflicts=["replicas"],
    conditions=[view_parts.Condition(type="Ready", status="False", reason="Pending", message="no placement yet")],
    status={"placed": 0},
)  # fmt: skip
WORDS_DOCUMENT = document_views.DocumentView(
    kind="Agent", namespace="default", name="words", doc_id="d1" * 16, api_version="v1",
    spec={"run": {"file": "/w/words.py", "cwd": "/w"}, "replicas": 1, "near": "alpha"}, heads=["cd" * 32], changes=1,
    updated_ms=1_000, updated_by="alpha", conflicts=[],
    conditions=[view_parts.Condition(type="Ready", status="True", reason="AllRun", message="1 of 1 runs")], status={},
)  # fmt: skip
STATUS = views.StatusView(
    name="alpha", mesh="plant-7", region="home", version="0.1.0", uptime_s=15_120.0, boot=3, listen="0.0.0.0:7070",
    peers_connected=1, nodes_known=2, nodes_reachable=1, documents=1, documents_root="ab12cd34ef", directory_root="00",
    agents_running=1, agents_total=1, clock="synced", journal_bytes=1_500_000, counters={"rejects": 0},
    handle_max_ms=1.5, problems=["beta unreachable for 2m10s -> meshnode why beta"], hardware=PI,
    load={"cpu_percent": 38},
)  # fmt: skip
IDENTITY = views.IdentityView(
    mesh="plant-7", name="alpha", node_id="a1" * 32, record_key="00", certificate_sha256="11",
    certificate_expires_ms=2_000_000_000_000, root_sha256="22", roles=["member"], region="home", enroller=True,
)  # fmt: skip
STATE = unit_views.UnitStateView(
    unit="words/0", node="alpha", role="owner", epoch="3@alpha", version=7, keys=2, size_bytes=1_536, hash="ab" * 32,
    durability="auto", checkpoint=5, entries=2, copies=["beta"], conflicts=1, age_s=0.0,
)  # fmt: skip
COPY = unit_views.UnitStateView(
    unit="words/0", node="beta", role="copy", epoch="3@alpha", version=6, keys=2, size_bytes=1_400, hash="cd" * 32,
    durability="auto", checkpoint=5, entries=1, copies=[], conflicts=0, age_s=130.0,
)  # fmt: skip
JOURNAL = views.JournalView(
    node="alpha", node_id="a1" * 32, boot=3, run="ab" * 8, first=1, last=8,
    items=[view_parts.JournalEntry(number=8, boot=3, at_ms=1_000, subject="node/beta", text="unreachable: silent")],
)  # fmt: skip
LINK = view_parts.LinkView(peer="beta", region="dock", kind="neighbour", rtt_ms=0.9, age_s=0.2)
SHOWN = unit_views.StateView(
    unit="words/0", node="alpha", role="owner", epoch="3@alpha", version=7, hash="ab" * 32, age_s=0.0,
    keys={"count": 12, "session s1, last": {"text": "hi"}}, answers=3, conflicts=["title"],
)  # fmt: skip
HISTORY = unit_views.HistoryView(
    unit="words/0", node="alpha",
    items=[
        unit_views.HistoryRow(
            kind="entry", version=6, epoch="3@alpha", hash="cd" * 32, at_ms=2_000, keys=["count"], size_bytes=40,
            call="order-1",
        ),
        unit_views.HistoryRow(
            kind="checkpoint", version=5, epoch="2@beta", hash="ef" * 32, at_ms=1_000, keys=[], size_bytes=900
        ),
    ],
)  # fmt: skip
DIFF = unit_views.StateDiffView(unit="words/0", first=3, second=5, changed={"count": [1, 12], "new": [None, "x"]})
PLAN = views.PlanView(
    items=[
        view_parts.PlanRow(unit="words/0", action="keep", node="alpha", reason="runs there", now_on="alpha"),
        view_parts.PlanRow(unit="words/1", action="pending", node="", reason="memory: 8Gi wanted, alpha has 2Gi free"),
    ],
    notes=["1 of 2 can run now"],
)
LINES = [
    views.LogLine(hlc=(1_000 + n) << 16, at_ms=1_000 + n, node="alpha", unit="words/0", stream=stream, text=text)
    for n, (stream, text) in enumerate([("out", "up"), ("err", "careful"), ("gap", "3 lines dropped")])
]
LATER = [
    views.LogLine(hlc=1_001 << 16 | 5, at_ms=1_001, node="beta", unit="words/1", stream="out", text="also up"),
]
SEEN = document_views.DocumentEvent(
    type="added", cursor="s.0.d0", kind="AgentCluster", namespace="default", name="line3", by="alpha", at_ms=1_000,
    fields=["spec.replicas"], document=LINE3,
)  # fmt: skip
SYNCED = document_views.DocumentEvent(type="synced", cursor="e.0")
CHANGED = msgspec.structs.replace(SEEN, type="changed", cursor="e.8", by="beta")
DOCUMENT_STATE = document_views.DocumentStateView(
    kind="AgentCluster", namespace="default", name="line3", doc_id="d0" * 16, changes=2, heads=["ab" * 32],
    updated_ms=2_000, updated_by="beta",
    fields=[
        view_parts.FieldView(field="apiVersion", value="v1", writer="alpha", at_ms=1_000),
        view_parts.FieldView(
            field="spec.replicas", value=2, writer="alpha", at_ms=2_000, others=[3], other_writers=["beta"]
        ),
    ],
)  # fmt: skip
DOCUMENT_HISTORY = document_views.DocumentHistoryView(
    kind="AgentCluster", namespace="default", name="line3", left_out=3,
    items=[
        view_parts.WriteView(number=5, change="ab" * 32, at_ms=2_000, writer="beta", fields={"spec.replicas": 2}),
        view_parts.WriteView(number=4, change="cd" * 32, at_ms=1_000, writer="alpha", fields={}, deletes=True),
    ],
)  # fmt: skip
STICK = document_views.StickView(
    mesh="plant-7", node="alpha", at_ms=1_000, documents=1, items=[view_parts.StickPart(77, b"of a later version")]
)
EVENT_1, EVENT_5 = (
    msgspec.json.encode(TopicEventView(topic="topic/line/3", publisher="agent/words/beta", data={"n": n}))
    for n in (1, 5)
)
STORY = [Told(n, EventView(at_ms=1_000 * n, age_s=1.0, subject="node/beta", text=f"fact {n}")) for n in (1, 2, 3)]


class CannedNode:
    """Answers what a test wants to see. ``refusal``: instead of any answer. ``asked``: everything, in order."""

    def __init__(self) -> None:
        self.asked: list[AnyCommand] = []
        self.refusal: Failure | LocalError | None = None
        self.sheds: list[Failure] = []  # for as many calls, before any answer
        self.fault: Exception | None = None
        self.never = False
        self.items: list[Streamed] = [views.StreamItem(number=n, item={"n": n}) for n in range(3)]
        self.breaks = False
        self.taken = 0
        self.subscribed: tuple[str, ...] = ()
        self.dropped = 0
        self.watching = 0
        self.down = asyncio.Event()
        self.asked_something = asyncio.Event()
        self.dropped_something = asyncio.Event()
        self.stream_dropped = threading.Event()  # for tests in another thread

    async def ask(self, command: AnyCommand) -> AnyView:
        self.asked.append(command)
        self.asked_something.set()
        if self.fault is not None:
            raise self.fault
        quiet = isinstance(command, commands.WatchDocuments) and command.after == CHANGED.cursor and command.wait_ms
        if self.never or quiet:
            await self._never()
        if isinstance(self.refusal, LocalError):
            raise self.refusal
        if self.sheds:
            return self.sheds.pop(0)
        return self.refusal or self._answer(command)

    async def _never(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.dropped += 1
            self.dropped_something.set()

    def _answer(self, command: AnyCommand) -> AnyView:  # noqa: PLR0911, PLR0912, C901  # one line per command
        match command:
            case commands.GetStatus():
                return STATUS
            case commands.GetIdentity():
                return IDENTITY
            case commands.ListNodes():
                return views.NodesView(items=[ALPHA, BETA])
            case commands.DescribeNode(name=name):
                known = {"alpha": ALPHA, "beta": BETA}
                return known.get(name) or Failure(
                    code="not-found", message=f"no node {name}", exit_code=3, next_step="meshnode ls"
                )
            case commands.ListAgents():
                return views.AgentsView(items=[WORDS])
            case commands.RestartAgent(name=name):
                return views.Done(message=f"agent {name}: 1 unit restarts")
            case commands.Scale(name=name):
                return document_views.AppliedView(
                    kind="Agent", namespace="default", name=name, action="updated", notes=[]
                )
            case commands.Drain(node=node) | commands.Resume(node=node):
                return document_views.AppliedView(
                    kind="Node", namespace="default", name=node, action="created", notes=[]
                )
            case commands.PlanManifest():
                return PLAN
            case commands.FindSkills(skill=skill):
                return views.SkillsView(items=[COUNT, STALE] if skill in ("", "words.count") else [])
            case commands.KeepBundle():
                return views.Done(message="0" * 64)
            case commands.RunAgent() | commands.StopAgent():
                return WORDS
            case commands.CallSkill(arguments=arguments):
                return views.CallView(
                    call_id="c1", result=arguments, instance="words/0", node="alpha", took_ms=4.2, attempts=1
                )
            case commands.PublishEvent(topic=topic):
                return views.PublishedView(topic=topic, listeners=2, nodes=1)
            case commands.PingNode(name=name):
                return views.PingView(node=name, rtt_ms=0.9, path="direct", clock_offset_ms=-1.0)
            case commands.Apply(manifest=manifest):
                name = manifest["metadata"]["name"]
                return document_views.AppliedView(
                    kind=manifest.get("kind", "AgentCluster"),
                    namespace="default",
                    name=name,
                    action="created",
                    notes=[],
                )
            case commands.Why(subject=subject):
                return views.WhyView(subject=subject, now="unreachable", events=[told.event for told in STORY])
            case commands.MakeInvite(name=name):
                return views.InviteView(name=name or "calm-otter", token="mnj1-TOKEN", expires_ms=2_000_000_000_000)
            case commands.Shutdown():
                self.down.set()
                return views.Done(message="goodbye")
            case _:
                return self._answer_about_what_is_kept(command)

    def _answer_about_what_is_kept(self, command: AnyCommand) -> AnyView:  # one line per command
        match command:
            case commands.ListStates(agent=agent) | commands.FoldState(agent=agent):
                return unit_views.StatesView(items=[STATE, COPY] if agent in ("", "words") else [])
            case commands.ShowState() | commands.RestoreState():
                return SHOWN
            case commands.StateHistory():
                return HISTORY
            case commands.StateDiff():
                return DIFF
            case commands.ForgetState(unit=unit):
                return views.Done(message=f"the state of {unit} is gone from here")
            case commands.ReadLogs(node=name, after=after):
                known = LATER if name == "beta" else LINES
                return views.LogsView(items=[line for line in known if line.hlc > after])
            case commands.ListDocuments(kind="Agent", name=name):
                return document_views.DocumentsView(items=[WORDS_DOCUMENT] if name in ("", "words") else [])
            case commands.ListDocuments(name=name):
                return document_views.DocumentsView(items=[LINE3] if name in ("", "line3") else [])
            case commands.DeleteDocument(kind=kind, namespace=namespace, name=name):
                return document_views.AppliedView(kind=kind, namespace=namespace, name=name, action="deleted", notes=[])
            case commands.ListConflicts():
                conflict = view_parts.ConflictView(
                    kind="AgentCluster", namespace="default", name="line3", field="replicas", values=[2, 3],
                    writers=["alpha", "beta"],
                )  # fmt: skip
                return document_views.ConflictsView(items=[conflict])
            case _:
                return self._answer_about_documents(command)

    def _answer_about_documents(self, command: AnyCommand) -> AnyView:
        named = ("AgentCluster", "default", "line3")
        match command:
            case commands.ShowDocument():
                return DOCUMENT_STATE
            case commands.DocumentHistory():
                return DOCUMENT_HISTORY
            case commands.DocumentDiff(first=first, second=second):
                changed = {"spec.replicas": [1, 2]}
                return document_views.DocumentDiffView(
                    kind=named[0], namespace=named[1], name=named[2], first=first, second=second, changed=changed
                )
            case (
                commands.ResolveConflict(kind=kind, namespace=namespace, name=name)
                | commands.AddToCounter(kind=kind, namespace=namespace, name=name)
            ):
                return document_views.AppliedView(kind=kind, namespace=namespace, name=name, action="updated", notes=[])
            case commands.WatchDocuments(after=""):
                return document_views.WatchView(items=[SEEN, SYNCED], cursor="e.1")
            case commands.WatchDocuments():
                return document_views.WatchView(items=[CHANGED], cursor=CHANGED.cursor)
            case commands.SyncNow():
                return document_views.SyncView(peers=["beta"], documents=1, documents_root="ab12cd34ef")
            case commands.ExportStick(after=""):
                return msgspec.structs.replace(STICK, next="d0")
            case commands.ExportStick():
                return STICK
            case commands.ImportStick(items=items):
                return document_views.ImportedView(applied=len(items), held=0)
            case _:
                return self._answer_a_reader(command)

    def _answer_a_reader(self, command: AnyCommand) -> AnyView:
        match command:
            case commands.ReadJournal(node=name):
                return msgspec.structs.replace(JOURNAL, node=name or "alpha")
            case commands.GatherJournals(cursors=cursors):
                return views.JournalsView(items=[JOURNAL], missing=dict.fromkeys(cursors.keys() - {"alpha"}, "silent"))
            case commands.ListLinks(node=name):
                return views.LinksView(node=name or "alpha", items=[LINK])
            case _:
                raise AssertionError(command)

    async def stream(self, command: commands.CallSkill) -> AsyncGenerator[Streamed]:
        self.asked.append(command)
        self.taken = 0
        ended = False
        try:
            if isinstance(self.refusal, LocalError):
                raise self.refusal
            for item in self.items:
                yield item
                self.taken += 1
            if self.never:
                await asyncio.Event().wait()
            ended = True
            if not self.breaks:
                end = self.refusal or self._answer(msgspec.structs.replace(command, arguments={}))
                assert isinstance(end, views.CallView | Failure)
                yield end
        finally:
            if not ended:
                self.dropped += 1
                self.dropped_something.set()
                self.stream_dropped.set()

    async def subscribe(self, filters: tuple[str, ...]) -> AsyncGenerator[TopicTold]:
        self.subscribed = filters
        yield LISTENING
        yield TopicTold(1, EVENT_1)
        yield TopicTold(5, EVENT_5, dropped=3)

    async def watch(self, after: int, *, follow: bool) -> AsyncIterator[Sequence[Told]]:
        self.watching += 1
        try:
            story = [told for told in STORY if told.number > after]
            for piece in filter(None, (story[:1], story[1:])):
                yield piece
            if follow:
                await asyncio.Event().wait()
        finally:
            self.watching -= 1


@contextlib.contextmanager
def daemon(directory: Path, node: CannedNode) -> Generator[None]:
    """Serves ``node`` for ``directory`` the way a daemon does, in a thread of its own; ``Shutdown`` ends it."""
    run = directory / "r"
    run.mkdir(parents=True)
    (directory / "run").symlink_to(run)
    up = threading.Event()
    stop: list[asyncio.AbstractEventLoop] = []

    async def live() -> None:
        async with serve(Api(node, heartbeat_s=0.05), str(run / "api.sock")):
            stop.append(asyncio.get_running_loop())
            up.set()
            await node.down.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),), name="canned-daemon")
    thread.start()
    try:
        assert up.wait(10)
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # it has gone already
            stop[0].call_soon_threadsafe(node.down.set)
        thread.join(10)
        assert not thread.is_alive()
