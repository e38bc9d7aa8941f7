"""What doors may ask, and which room answers: one line a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from meshnode.agents.messages import Shutdown as StopAgents
from meshnode.checkpoints.messages import VersionRead, VersionRestored
from meshnode.gossip.messages import Leave, MemberState
from meshnode.kernel.decoding import JUNK
from meshnode.kernel.effects import Effect, Note, Persist
from meshnode.kernel.instant import MS
from meshnode.messaging.switch import PING_SKILL
from meshnode.model.commands import (
    AddToCounter,
    AnyCommand,
    Apply,
    CallSkill,
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
    StopAgent,
    SyncNow,
    WatchDocuments,
    Why,
)
from meshnode.model.document_views import AppliedView
from meshnode.model.durability import reached
from meshnode.model.errors import Invalid, LocalError, Offline
from meshnode.model.ids import NodeId
from meshnode.model.units import slot_of
from meshnode.model.views import AnyView, CallView, Done, Failure, PingView
from meshnode.node import agent_views, asking, drains, explain, snapshot, topic_desk
from meshnode.node.agent_desk import AgentDesk
from meshnode.node.beyond import TICKETS_BELOW
from meshnode.node.document_desk import DocumentDesk
from meshnode.node.effects import Reply, StreamItemTold
from meshnode.node.finding import Finding
from meshnode.node.invite_desk import InviteDesk
from meshnode.node.journal_desk import JournalDesk
from meshnode.node.snapshot import failure_of
from meshnode.node.state_desk import StateDesk
from meshnode.wire.calls import CallHeader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.blobs import BlobsKept
    from meshnode.kernel.instant import Instant
    from meshnode.messaging.messages import CallEnded, CallItem
    from meshnode.node.core import Core
    from meshnode.node.inputs import EntropyDrawn, LogsFetched

DEADLINE_MAX_S = 3600

# How a failed call ends at the command line; every other code is 1.
EXIT_CODES = {"invalid": 2, "not-found": 3, "denied": 4, "unreachable": 6, "unavailable": 6, "timeout": 124}
NEXT_STEPS = {
    "invalid": "meshnode describe skill SKILL shows what it takes and gives",
    "not-found": "meshnode skills shows what the mesh offers",
    "unreachable": "meshnode ls shows which nodes can be reached, meshnode why NODE tells since when not",
    "unavailable": "meshnode ps shows the agent's state",
    "timeout": "raise --deadline, or ask meshnode why NODE",
    "denied": "meshnode id shows this node's roles",
    "overloaded": "try again in a second; --batch marks calls that may wait, so that others pass",
    "skill-failed": "the agent's log on its node tells more; meshnode why AGENT shows how often",
    "result-too-long": "let the skill return less, or a path to what it made",
    "result-raw": "the agent's program is at fault: it gives bytes to who takes JSON",
    "answer-not-kept": "it ran once: meshnode state show tells what it did; a new key runs it again",
    "bad-answer": "meshnode ls -o wide shows whether that node runs another version",
    "stream-order": "the agent's stream is broken: its log on its node tells more",
    "stream-overrun": "the agent's stream is broken: its log on its node tells more",
    "stream-overdrawn": "the agent's stream is broken: its log on its node tells more",
    "stream-raw": "the agent's stream is broken: its log on its node tells more",
    "agent-died": "meshnode ps shows why it ended; the call may be repeated if it is harmless",
}
_NOT_HEARD = ("unreachable", "timeout")  # whoever was asked has not said anything


Called = CallSkill | PingNode | asking.Askable


def _what(command: Called) -> str:
    match command:
        case PingNode(name=name):
            return f"ping {name}"
        case CallSkill(skill=skill):
            return f"call {skill}"
        case _:
            return f"asking for {type(command).__name__}"


class _Pong(msgspec.Struct, frozen=True):
    wall_ms: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class Desk:
    """Commands in, exactly one reply each."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._calls: dict[int, Called] = {}  # command number -> what waits for its call
        self._invites = InviteDesk(core)
        self._agents = AgentDesk(core)
        self._states = StateDesk(core, self._ask_node)
        self._journals = JournalDesk(core, self._ask_node)
        self._documents = DocumentDesk(core)
        self.finding = Finding(core)

    def ask(self, command_no: int, command: AnyCommand, now: Instant) -> Sequence[Effect]:
        try:
            return self._ask(command_no, command, now)
        except LocalError as error:
            return [Reply(command_no, failure_of(error))]

    def ask_for_peer(self, command_no: int, command: asking.Askable, peer: NodeId, now: Instant) -> Sequence[Effect]:
        """A question of another node; ``command_no`` is negative."""
        try:
            if isinstance(command, ReadJournal | ListLinks):
                return self._journals.ask_for_peer(command_no, command, peer, now)
            return self._states.ask(command_no, command, now, asks_on=False)
        except LocalError as error:
            return [Reply(command_no, failure_of(error))]

    def bundle_kept(self, event: BlobsKept, now: Instant) -> list[Effect]:
        return self._agents.bundle_kept(event, now)

    def version_told(self, fact: VersionRead | VersionRestored, now: Instant) -> list[Effect]:
        return self._states.version_told(fact, now)

    def folded(self, now: Instant) -> list[Effect]:
        return self._states.folded(now)

    def fetched(self, event: LogsFetched) -> list[Effect]:
        return self._states.fetched(event)

    def call_item(self, item: CallItem) -> list[Effect]:
        return [StreamItemTold(item.ticket, item.number, item.payload)] if item.ticket in self._calls else []

    def dropped(self, command_no: int, now: Instant) -> Sequence[Effect]:
        """Whoever asked is gone: nobody works for nobody."""
        self._invites.dropped(command_no)
        self._states.dropped(command_no)
        self.finding.dropped(command_no)
        self._core.journals.dropped(command_no, now)
        self._core.watching.dropped(command_no)
        if self._calls.pop(command_no, None) is None:
            return ()
        return self._core.switch.dropped(command_no, now)

    def entropy(self, event: EntropyDrawn, now: Instant) -> Sequence[Effect]:
        return self._invites.entropy(event, now)

    def call_ended(self, ended: CallEnded, now: Instant) -> Sequence[Effect]:
        if ended.ticket < TICKETS_BELOW:
            return self._core.beyond.ended(ended, now)
        if ended.ticket < 0:  # nobody at a door has asked
            return self._core.journals.ended(ended, now)
        command = self._calls.pop(ended.ticket, None)
        if command is None:
            return ()
        if ended.code:
            instead = self._states.instead(ended.ticket, command, now) if ended.code in _NOT_HEARD else ()
            return instead or self._call_failed(command, ended)
        try:
            return [Reply(ended.ticket, self._answer(command, ended, now))]
        except JUNK as error:
            junk = msgspec.structs.replace(ended, code="bad-answer", message=f"the answer cannot be read: {error}")
            return self._call_failed(command, junk)

    def _answer(self, command: Called, ended: CallEnded, now: Instant) -> AnyView:
        """The payload is another node's: whatever is wrong with it must not stop this one."""
        node = self._core.names.of(ended.node)
        took_ms = round(ended.took_us / MS, 3)
        if isinstance(command, PingNode):
            theirs = msgspec.json.decode(ended.payload, type=_Pong)
            offset = theirs.wall_ms - now.wall_ms + took_ms / 2
            path = "self" if ended.node == self._core.config.node else snapshot.way_to(self._core, ended.node)
            link = self._core.hub.stats(ended.node)
            heartbeats, unanswered = (link.pings, link.unanswered) if link is not None else (0, 0)
            return PingView(
                node=node, rtt_ms=took_ms, path=path, clock_offset_ms=round(offset, 1), heartbeats=heartbeats,
                unanswered=unanswered,
            )  # fmt: skip
        if not isinstance(command, CallSkill):
            return asking.answer_of(command, ended)
        return CallView(
            call_id=ended.call_id.hex(), result=msgspec.json.decode(ended.payload or b"null"),
            instance=ended.instance, node=node, took_ms=took_ms, attempts=ended.attempts,
            durability=ended.durability, version=ended.version, replayed=ended.replayed,
        )  # fmt: skip

    def _call_failed(self, command: Called, ended: CallEnded) -> list[Effect]:
        what, next_step = _what(command), NEXT_STEPS.get(ended.code, "")
        details: dict[str, object] = {"call_id": ended.call_id.hex(), "took_ms": round(ended.took_us / MS, 3)}
        if ended.retry_after_ms:
            details["retry_after_ms"] = ended.retry_after_ms
            next_step = next_step.replace("in a second", f"in {ended.retry_after_ms / 1000:g} s", 1)
        failure = Failure(
            code=ended.code, message=f"{what}: {ended.message}", next_step=next_step,
            exit_code=EXIT_CODES.get(ended.code, 1), details=details,
        )  # fmt: skip
        effects: list[Effect] = [Reply(ended.ticket, failure)]
        if ended.call_id:
            effects.append(Note(f"call/{ended.call_id.hex()}", f"{what} failed: {ended.code}: {ended.message}"))
        return effects

    # -- commands ---------------------------------------------------------------------------------------------------

    def _ask(self, command_no: int, command: AnyCommand, now: Instant) -> Sequence[Effect]:
        match command:
            case FindSkills():
                return self.finding.ask(command_no, command, now)
            case GetStatus() | GetIdentity() | ListNodes() | DescribeNode() | ListAgents():
                return [Reply(command_no, self._look(command, now))]
            case Why(node=node) if node and snapshot.find_node(self._core, node) != self._core.config.node:
                return self._ask_state(command_no, command, now)
            case ListDocuments() | ListConflicts() | Why():
                return [Reply(command_no, self._look(command, now))]
            case RunAgent():
                return self._agents.run(command_no, command, now)
            case KeepBundle():
                return self._agents.keep(command_no, command)
            case StopAgent():
                return self._agents.stop(command_no, command, now)
            case RestartAgent():
                return self._agents.restart(command_no, command, now)
            case Scale():
                return self._agents.scale(command_no, command, now)
            case PlanManifest():
                return self._agents.plan(command_no, command, now)
            case Drain():
                return drains.drain(self._core, command_no, command, now)
            case Resume():
                return drains.resume(self._core, command_no, command, now)
            case ShowState() | StateHistory() | StateDiff() | RestoreState() | ReadLogs():
                return self._ask_state(command_no, command, now)
            case ReadJournal() | GatherJournals() | ListLinks():
                return self._journals.ask(command_no, command, now)
            case ListStates() | ForgetState() | FoldState():
                return self._ask_state(command_no, command, now)
            case CallSkill():
                return self._call(command_no, command, now)
            case PublishEvent():
                return topic_desk.publish(self._core, command_no, command, now)
            case PingNode():
                return self._ping(command_no, command, now)
            case Apply():
                return self._core.puts.add(command_no, command)
            case DeleteDocument():
                return self._delete(command_no, command, now)
            case ShowDocument() | DocumentHistory() | DocumentDiff() | ResolveConflict() | AddToCounter():
                return self._documents.ask(command_no, command, now)
            case WatchDocuments():
                return self._core.watching.ask(command_no, command, now)
            case SyncNow() | ExportStick() | ImportStick():
                return self._documents.sync(command_no, command, now)
            case MakeInvite():
                return self._invites.ask(command_no, command)
            case Shutdown():
                return self._shut_down(command_no, now)

    def _look(self, command: AnyCommand, now: Instant) -> AnyView:
        core = self._core
        match command:
            case GetStatus():
                return snapshot.status(core, now)
            case GetIdentity():
                return snapshot.identity(core)
            case ListNodes(after=after, limit=limit):
                return snapshot.nodes(core, now, after, limit)
            case DescribeNode(name=name):
                return snapshot.node(core, name, now)
            case ListAgents(after=after, limit=limit):
                return agent_views.paged(core, now, after, limit)
            case ListDocuments(kind=kind, namespace=namespace, name=name):
                return snapshot.documents(core, kind, namespace, name, now)
            case ListConflicts():
                return snapshot.conflicts(core)
            case Why(subject=subject):
                return explain.why(core, subject, now)
            case _:
                raise AssertionError(command)

    def _ask_state(self, command_no: int, command: AnyCommand, now: Instant) -> Sequence[Effect]:
        return self._states.ask(command_no, command, now, asks_on=True)

    def _ask_node(self, command_no: int, command: asking.Askable, node: NodeId, now: Instant) -> Sequence[Effect]:
        """What another node is asked comes back as the end of a call."""
        self._calls[command_no] = command
        return asking.ask(self._core, command_no, command, node, now)

    def _call(self, command_no: int, command: CallSkill, now: Instant) -> Sequence[Effect]:
        deadline_ms = _deadline_ms(command.deadline_s)
        agent, slot, node = self._target(command.to)
        header = CallHeader(
            call_id=b"", skill=command.skill, deadline_ms=deadline_ms, agent=agent, slot=slot,
            caller=f"node/{self._core.config.name}", idempotency_key=command.idempotency_key,
            session=command.session, stream=command.stream, batch=command.batch,
        )  # fmt: skip
        self._calls[command_no] = command
        return self._core.switch.ask(command_no, header, msgspec.json.encode(command.arguments), now, node=node)

    def _target(self, to: str) -> tuple[str, int, NodeId | None]:
        """Agent ("" = any), slot (-1 = any) and node of what ``to`` narrows a call to. Raises ``NotFound``."""
        kind, slash, rest = to.partition("/")
        if slash and kind == "agent":
            return rest.partition("/")[0], slot_of(rest), None
        if slash and rest.isdecimal():
            return kind, int(rest), None
        agent, _, node_name = to.rpartition("/")
        return agent, -1, snapshot.find_node(self._core, node_name) if node_name else None

    def _ping(self, command_no: int, command: PingNode, now: Instant) -> Sequence[Effect]:
        node = snapshot.find_node(self._core, command.name)
        if self._core.gossip.state(node) is MemberState.LEFT:
            raise Offline(
                f"ping {command.name}: it was taken down in order and has not come back",
                next_step=f"meshnode why {command.name} tells when",
            )
        header = CallHeader(call_id=b"", skill=PING_SKILL, deadline_ms=_deadline_ms(command.deadline_s))
        self._calls[command_no] = command
        return self._core.switch.ask(command_no, header, b"{}", now, node=node)

    def _delete(self, command_no: int, command: DeleteDocument, now: Instant) -> Sequence[Effect]:
        change = self._core.documents.delete(command.kind, command.namespace, command.name, now)
        view = AppliedView(
            kind=command.kind, namespace=command.namespace, name=command.name, action="deleted", notes=[],
            durability=reached(lazy=False, copies=0),
        )  # fmt: skip
        return [Persist(change.records, then=(*change.effects, Reply(command_no, view)))]

    def _shut_down(self, command_no: int, now: Instant) -> Sequence[Effect]:
        """Say goodbye, then stop the agents; ``AgentsStopped`` climbs the stairs and ends the process."""
        core = self._core
        return [
            Note(f"node/{core.config.name}", "going down as asked"),
            Reply(command_no, Done(message=f"{core.config.name} is going down")),
            *core.gossip.handle(Leave(), now),
            *core.agents.handle(StopAgents(), now),
        ]


def _deadline_ms(deadline_s: float) -> int:
    """Raises ``Invalid``, also for what is no number."""
    if not 0 < deadline_s <= DEADLINE_MAX_S:
        raise Invalid(
            f"deadline_s is {deadline_s}; it must be above 0 and at most {DEADLINE_MAX_S}",
            next_step="give seconds: --deadline 30",
        )
    return max(1, round(deadline_s * 1000))
