"""Every command is answered exactly once; what fails has a code, a next step and an exit code."""

import math
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.records import RecordKind
from meshnode.links.hub import Input as HubInput
from meshnode.links.messages import Post
from meshnode.messaging import life
from meshnode.messaging.switch import PING_SKILL, SwitchConfig
from meshnode.model.commands import (
    AddToCounter,
    AnyCommand,
    Apply,
    CallSkill,
    Command,
    DeleteDocument,
    DescribeNode,
    DocumentDiff,
    DocumentHistory,
    Drain,
    ExportStick,
    FindSkills,
    FoldState,
    ForgetState,
    GatherJournals,
    GetIdentity,
    GetStatus,
    ImportStick,
    JournalCursor,
    KeepBundle,
    ListAgents,
    ListConflicts,
    ListDocuments,
    ListLinks,
    ListNodes,
    ListStates,
    MakeInvite,
    PingNode,
    PlanManifest,
    PublishEvent,
    ReadJournal,
    ReadLogs,
    ResolveConflict,
    RestartAgent,
    RestoreState,
    Resume,
    RunAgent,
    Scale,
    ShowDocument,
    ShowState,
    Shutdown,
    StateDiff,
    StateHistory,
    StickItem,
    StopAgent,
    SyncNow,
    WatchDocuments,
    Why,
)
from meshnode.model.document_views import (
    AppliedView,
    DocumentDiffView,
    DocumentHistoryView,
    DocumentStateView,
    ImportedView,
    StickView,
    SyncView,
    WatchView,
)
from meshnode.model.unit_views import HistoryView, StateDiffView, StatesView, StateView
from meshnode.model.views import (
    AgentsView,
    AgentView,
    CallView,
    Done,
    Failure,
    IdentityView,
    InviteView,
    JournalsView,
    JournalView,
    LinksView,
    LogsView,
    NodesView,
    NodeView,
    PingView,
    PlanView,
    PublishedView,
    SkillsView,
    StatusView,
    WhyView,
)
from meshnode.node.commands import EXIT_CODES, NEXT_STEPS
from meshnode.node.inputs import CommandDropped, CommandGiven
from meshnode.security.identity import RecordSigner
from meshnode.wire.frame import Frame, Kind
from tests.unit.node.mesh import ADMIN, Box, Mesh, member_record, signer_of, simulated

RUN = RunAgent(name="words", argv=simulated("words.count", answer_ms=0))
NEVER_MS = 3_600_000  # what takes so long to answer does not answer


def manifest(name: str = "web", replicas: int = 1, agent: str = "words") -> dict[str, Any]:
    agents = [{"name": agent, "replicas": replicas, "resources": {"cpu": "1", "memory": "1Gi"}}]
    return {
        "apiVersion": "v1",
        "kind": "AgentCluster",
        "metadata": {"name": name},
        "spec": {"agents": agents},
    }


def alone(*, admin: RecordSigner | None = None) -> tuple[Mesh, Box]:
    mesh = Mesh()
    box = Box(mesh, "alpha", admin=admin).start()
    mesh.run(100 * MS)
    return mesh, box


# -- one of each -------------------------------------------------------------------------------------------------------

ONE_OF_EACH: dict[type[Command], tuple[AnyCommand, type]] = {
    GetStatus: (GetStatus(), StatusView),
    GetIdentity: (GetIdentity(), IdentityView),
    ListNodes: (ListNodes(), NodesView),
    DescribeNode: (DescribeNode(name="alpha"), NodeView),
    RunAgent: (RunAgent(name="words", argv=simulated("words.count", answer_ms=0, stateful=1)), AgentView),
    ListAgents: (ListAgents(), AgentsView),
    FindSkills: (FindSkills(skill="words"), SkillsView),
    CallSkill: (CallSkill(skill="words.set", arguments={"key": "a", "value": 1}), CallView),
    ListStates: (ListStates(), StatesView),
    ShowState: (ShowState(unit="words"), StateView),
    StateHistory: (StateHistory(unit="words/0"), HistoryView),
    FoldState: (FoldState(agent="words"), StatesView),
    StateDiff: (StateDiff(unit="words", first=1), StateDiffView),
    RestoreState: (RestoreState(unit="words", version=1), StateView),
    ReadLogs: (ReadLogs(agent="words"), LogsView),
    ReadJournal: (ReadJournal(reader="gateway-1"), JournalView),
    GatherJournals: (GatherJournals(reader="gateway-1", cursors={"alpha": JournalCursor()}), JournalsView),
    ListLinks: (ListLinks(), LinksView),
    KeepBundle: (KeepBundle(source=b"print()"), Done),
    RestartAgent: (RestartAgent(name="words"), Done),
    Scale: (Scale(name="words", replicas=2), AppliedView),
    PlanManifest: (PlanManifest(), PlanView),
    Drain: (Drain(node="alpha", reason="new disk"), AppliedView),
    Resume: (Resume(node="alpha"), AppliedView),
    PublishEvent: (PublishEvent(topic="topic/a", data={"n": 1}), PublishedView),
    PingNode: (PingNode(name="alpha"), PingView),
    Apply: (Apply(manifest=manifest(agent="eyes")), AppliedView),
    ListDocuments: (ListDocuments(), object),
    ShowDocument: (ShowDocument(kind="AgentCluster", namespace="default", name="web"), DocumentStateView),
    DocumentHistory: (DocumentHistory(kind="AgentCluster", namespace="default", name="web"), DocumentHistoryView),
    DocumentDiff: (DocumentDiff(kind="AgentCluster", namespace="default", name="web", first=0), DocumentDiffView),
    WatchDocuments: (WatchDocuments(), WatchView),
    SyncNow: (SyncNow(), SyncView),
    ExportStick: (ExportStick(), StickView),
    ImportStick: (ImportStick(items=[StickItem(1, b"junk")]), ImportedView),
    ListConflicts: (ListConflicts(), object),
    Why: (Why(subject="words"), WhyView),
    AddToCounter: (AddToCounter(kind="AgentCluster", namespace="default", name="web", counter="orders"), AppliedView),
    DeleteDocument: (DeleteDocument(kind="AgentCluster", namespace="default", name="web"), AppliedView),
    MakeInvite: (MakeInvite(name="beta"), InviteView),
    StopAgent: (StopAgent(name="words"), AgentView),
    ForgetState: (ForgetState(unit="words/0"), Done),
    Shutdown: (Shutdown(), Done),
}


def test_every_command_is_answered_exactly_once_by_its_view() -> None:
    wanted = set(get_args(AnyCommand)) - {ResolveConflict}  # needs two nodes that disagree: test_document_desk.py
    assert set(ONE_OF_EACH) == wanted, "a new command wants a line here"
    mesh, box = alone(admin=ADMIN)
    for command, view in ONE_OF_EACH.values():
        answer = box.answer(command)
        assert isinstance(answer, view) and not isinstance(answer, Failure), (command, answer)
        msgspec.json.encode(answer)
        mesh.run(SECOND)
    mesh.run(60 * SECOND)
    assert all(len(views) == 1 for views in box.replies.values())
    assert len(box.replies) == len(ONE_OF_EACH)


def test_commands_asked_at_once_are_each_answered_once_also_when_the_node_goes_down_meanwhile() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "slow", "slow.one", answer_ms=NEVER_MS)
    mesh.run_agent(a, "eyes", "see")  # its end takes a moment
    asked = [a.ask(CallSkill(skill="slow.one", deadline_s=30)) for _ in range(3)]
    asked += [a.ask(command) for command in (GetStatus(), RUN, MakeInvite(), Apply(manifest=manifest()), Shutdown())]
    mesh.run(2 * SECOND)
    assert a.exit is not None and a.exit.code == 0
    assert sorted(a.replies)[-len(asked) :] == asked
    calls = [a.replies[number][0] for number in asked[:3]]
    assert all(isinstance(view, Failure) and view.code == "unavailable" for view in calls), calls
    assert all(isinstance(view, Failure) and "going down" in view.message for view in calls)


# -- agents ------------------------------------------------------------------------------------------------------------


def test_run_is_repeatable_and_another_recipe_under_the_name_is_refused() -> None:
    mesh, box = alone()
    first = box.answer(RUN)
    assert isinstance(first, AgentView) and (first.instance, first.state) == ("words/0", "pending")
    mesh.run(SECOND)
    again = box.answer(RUN)
    assert isinstance(again, AgentView) and (again.state, again.skills) == ("running", ["words.count"])
    other = RunAgent(name="words", argv=["ruby"], cwd="/")
    box.has(other, "invalid", 2)
    assert box.running() == ["words/0"]


def test_a_bad_name_is_invalid_before_the_policy_sees_it() -> None:
    _, box = alone()
    view = box.has(RunAgent(name="a b", argv=["x"], cwd="/"), "invalid", 2)
    assert "metadata.name" in view.message


def test_a_node_without_a_role_may_not_run_or_call() -> None:
    mesh = Mesh()
    guest = member_record("alpha", signer_of("alpha").public_key, roles=("guest",))
    box = Box(mesh, "alpha", member=guest).start()
    mesh.run(100 * MS)
    box.has(RUN, "denied", 4)
    view = box.has(CallSkill(skill="words.count"), "denied", 4)
    assert "no-role" in view.message
    box.has(Apply(manifest=manifest()), "denied", 4)


def test_stopping_what_does_not_run_is_not_found() -> None:
    _, box = alone()
    box.has(StopAgent(name="words"), "not-found", 3)


def test_a_wish_is_stored_before_run_is_answered_and_runs_again_at_the_next_boot() -> None:
    mesh, box = alone()
    number = box.ask(RUN)
    assert number not in box.replies and len(box.records(RecordKind.ENVELOPE)) == 1
    mesh.run(10 * MS)
    assert number in box.replies
    mesh.kill(box)
    again = mesh.boot(box)
    mesh.run(SECOND)
    assert again.core.boot == 2
    assert again.running() == ["words/0"]


# -- calls and pings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, 3600.5, math.inf, math.nan])
def test_a_deadline_that_is_none_is_invalid(deadline_s: float) -> None:
    _, box = alone()
    box.has(CallSkill(skill="words.count", deadline_s=deadline_s), "invalid", 2)
    box.has(PingNode(name="alpha", deadline_s=deadline_s), "invalid", 2)


def test_texts_that_would_break_a_frame_are_invalid() -> None:
    _, box = alone()
    for command in (
        CallSkill(skill="x" * 100_000),
        CallSkill(skill="words.count", idempotency_key="k" * 100_000),
        CallSkill(skill="words count"),
        CallSkill(skill=""),
    ):
        assert box.failure(command).code == "invalid"


def test_who_cannot_be_found_is_said_with_who_is_known() -> None:
    _, box = alone()
    for command in (DescribeNode(name="omega"), PingNode(name="omega"), CallSkill(skill="x", to="omega")):
        view = box.has(command, "not-found", 3)
        assert "known: alpha" in view.message
    box.has(CallSkill(skill="see.cats"), "not-found", 3)
    box.has(Why(subject="omega"), "not-found", 3)


def test_a_ping_tells_the_way_and_the_clocks() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    own, other = a.answer(PingNode(name="alpha")), a.answer(PingNode(name="beta"))
    assert isinstance(own, PingView) and isinstance(other, PingView)
    assert (own.path, other.path, other.node) == ("self", "direct", "beta")
    assert 4.0 <= other.rtt_ms < 20.0 and abs(other.clock_offset_ms) < 10
    assert (own.heartbeats, own.unanswered, other.unanswered) == (0, 0, 0)
    mesh.cut("alpha", "beta")
    view = a.failure(PingNode(name="beta", deadline_s=1.0))
    assert (view.code, view.exit_code) == ("timeout", 124)
    assert b.replies == {}


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b'{"wall_ms":"soon"}', b'{"wall_ms":1' + b"0" * 400 + b"}", b'{"wall_ms":\xff}', b"[" * 50_000],
)
def test_a_strange_pong_is_a_bad_answer_and_not_the_end(payload: bytes) -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    speaks_nonsense(b, payload)
    view = a.failure(PingNode(name="beta"))
    assert (view.code, view.exit_code) == ("bad-answer", 1)


def speaks_nonsense(box: Box, payload: bytes) -> None:
    """A peer that speaks the protocol and answers every call so."""
    handle = box.core.hub.take

    def spoilt(frame: Frame) -> Frame:
        return msgspec.structs.replace(frame, payload=payload) if frame.kind is Kind.RESULT else frame

    def handled(event: HubInput, now: Instant) -> Sequence[Effect]:
        return handle(Post(event.peer, tuple(map(spoilt, event.frames))) if isinstance(event, Post) else event, now)

    box.core.hub.take = handled  # type: ignore[method-assign]
    box.core.hub.straight.write = lambda *_: None  # type: ignore[method-assign]  # nothing goes past it


@pytest.mark.parametrize("payload", [b"{", b'"\xff"', b"[" * 50_000])
def test_a_strange_result_is_a_bad_answer_and_not_the_end(payload: bytes) -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "words", "words.count")
    speaks_nonsense(b, payload)
    view = mesh.call(a, "words.count")
    assert isinstance(view, Failure) and view.code == "bad-answer"
    assert isinstance(a.answer(GetStatus()), StatusView)


def test_a_failed_call_is_told_by_why() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "slow", "slow.one", answer_ms=NEVER_MS)
    view = mesh.call(a, "slow.one", deadline_s=0.5)
    assert isinstance(view, Failure) and view.exit_code == 124
    call_id = view.details["call_id"]
    story = a.answer(Why(subject=f"call/{call_id}"))
    assert isinstance(story, WhyView)
    assert "call slow.one failed: timeout" in story.events[-1].text


def test_a_call_that_is_shed_says_when_to_come_back_and_a_usual_one_passes() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "slow", "slow.one", answer_ms=NEVER_MS)
    a.core.switch._admission.bound(SwitchConfig(calls_max=2))
    waiting = a.ask(CallSkill(skill="slow.one", deadline_s=60, batch=True))
    view = mesh.call(a, "slow.one", batch=True)
    assert isinstance(view, Failure)
    assert (view.code, view.exit_code, view.details["retry_after_ms"]) == ("overloaded", 1, 200)
    assert view.next_step == "try again in 0.2 s; --batch marks calls that may wait, so that others pass"
    usual = a.ask(CallSkill(skill="slow.one", deadline_s=60))
    mesh.run(100 * MS)
    assert a.core.switch.in_flight == 2 and not {waiting, usual} & a.replies.keys()


def test_a_call_whose_asker_is_gone_is_cancelled_at_the_agent() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "slow", "slow.one", answer_ms=NEVER_MS)
    number = a.ask(CallSkill(skill="slow.one", deadline_s=60))
    mesh.run(100 * MS)
    assert b.core.switch.in_flight == 1
    a.tell(CommandDropped(number))
    mesh.run(100 * MS)
    assert a.core.switch.in_flight == b.core.switch.in_flight == 0
    assert number not in a.replies
    a.tell(CommandDropped(12_345))


def test_every_way_a_call_fails_says_what_to_do_next() -> None:
    for code in (*life._CODES, "bad-answer", "skill-failed"):
        assert code in ("", "cancelled") or NEXT_STEPS.get(code), code
    assert set(EXIT_CODES) <= set(NEXT_STEPS)


def test_the_ping_skill_needs_no_agent() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    view = mesh.call(a, PING_SKILL, to="beta")
    assert isinstance(view, CallView) and view.node == "beta"


# -- documents ---------------------------------------------------------------------------------------------------------


def test_apply_says_what_it_did() -> None:
    _, box = alone()
    actions = [box.answer(Apply(manifest=manifest(replicas=n))) for n in (1, 1, 2)]
    assert [view.action for view in actions if isinstance(view, AppliedView)] == ["created", "unchanged", "updated"]


def test_a_wrong_field_is_named_with_its_path() -> None:
    _, box = alone()
    wrong = manifest()
    wrong["spec"]["agents"][0]["resources"]["cpu"] = "many"
    view = box.failure(Apply(manifest=wrong))
    assert (view.code, view.exit_code) == ("invalid", 2)
    assert view.details == {"path": ["spec", "agents", 0, "resources", "cpu"]}
    assert box.core.documents.count() == 0


def test_deleting_what_is_not_there_is_not_found() -> None:
    _, box = alone()
    box.has(DeleteDocument(kind="AgentCluster", namespace="default", name="web"), "not-found", 3)


# -- the disk refuses --------------------------------------------------------------------------------------------------


def test_a_document_on_a_full_disk_is_answered_by_what_is_so() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.disk = "/x/journal: No space left on device. Nothing was stored"
    view = a.has(Apply(manifest=manifest()), "journal-failed", 1)
    assert "No space left on device" in view.message
    assert "in memory only" in view.message and "goes on trying" in view.message
    assert a.core.documents.count() == 1, "as the message says"
    mesh.run(30 * SECOND)
    assert b.core.documents.count() == 0, "as the message says"
    a.disk = "ok"
    mesh.run(30 * SECOND)
    assert len(a.records(RecordKind.ENVELOPE)) == 1, "as the message says"
    assert b.core.documents.root() == a.core.documents.root()


def test_applying_again_once_the_disk_is_well_is_answered_as_stored() -> None:
    _, box = alone()
    box.disk = "No space left on device"
    box.failure(Apply(manifest=manifest()))
    box.failure(Apply(manifest=manifest()))
    box.disk = "ok"
    view = box.answer(Apply(manifest=manifest()))
    assert isinstance(view, AppliedView)
    assert len(box.records(RecordKind.ENVELOPE)) == 1


def test_an_agent_on_a_full_disk_runs_and_its_document_and_its_claim_are_stored_later() -> None:
    mesh, box = alone()
    box.disk = "No space left on device"
    view = box.has(RUN, "journal-failed", 1)
    assert "words is pending" in view.message and "forgets it" in view.message
    mesh.run(30 * SECOND)
    assert box.running() == ["words/0"] and not box.records(RecordKind.ENVELOPE) and not box.records(RecordKind.CLAIM)
    box.disk = "ok"
    mesh.run(11 * SECOND)
    assert len(box.records(RecordKind.ENVELOPE)) == 1
    assert [record.key for record in box.records(RecordKind.CLAIM)] == [b"words/0"]


def test_running_again_once_the_disk_is_well_stores_the_document_before_the_answer() -> None:
    _, box = alone()
    box.disk = "No space left on device"
    box.failure(RUN)
    box.disk = "ok"
    assert isinstance(box.answer(RUN), AgentView)
    assert len(box.records(RecordKind.ENVELOPE)) == 1


def test_an_agent_stopped_on_a_full_disk_does_not_come_back_once_the_disk_is_well() -> None:
    mesh, box = alone()
    box.answer(RUN)
    mesh.run(SECOND)
    box.disk = "No space left on device"
    view = box.has(StopAgent(name="words"), "journal-failed", 1)
    assert "wants it again" in view.message
    mesh.run(SECOND)
    assert not box.running()
    box.disk = "ok"
    mesh.run(11 * SECOND)
    mesh.kill(box)
    again = mesh.boot(box)
    mesh.run(5 * SECOND)
    assert not again.running() and not again.units()


def test_looking_needs_no_disk() -> None:
    _, box = alone()
    box.disk = "No space left on device"
    for command in (GetStatus(), ListNodes(), ListAgents(), FindSkills(), ListDocuments(), PingNode(name="alpha")):
        assert not isinstance(box.answer(command), Failure)


def test_a_command_before_the_boot_is_durable_waits_for_it() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha")
    box.start()
    box.tell(CommandGiven(1, ListNodes()))
    assert box.replies == {}
    mesh.run(10 * MS)
    (view,) = box.replies[1]
    assert isinstance(view, NodesView) and [node.name for node in view.items] == ["alpha"]
