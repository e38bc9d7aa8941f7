"""The switch: moves calls between doors, local agents and peers.

Invariants: every call ends exactly once, at its deadline at the latest; a call is tried again only while it surely has
not run; what is in flight is bounded by ``calls_max``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Reject
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Action, Authority, LinkStats
from meshnode.kernel.timers import Timers
from meshnode.links.messages import Post
from meshnode.messaging.calls import Call, Door, LocalAgent, Peer, Phase, Waiter
from meshnode.messaging.messages import CallEnded, CallOverdue, Reach
from meshnode.model.ids import AgentConn, NodeId
from meshnode.registry.index import Candidate, Index
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import CallHeader, CancelHeader, ResultHeader
from meshnode.wire.frame import Frame, Kind

PING_SKILL = "mesh.ping"

_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(CallHeader)
_results = msgspec.msgpack.Decoder(ResultHeader)
_cancels = msgspec.msgpack.Decoder(CancelHeader)


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchConfig:
    """Bounds and waits of the switch."""

    calls_max: int = 10_000
    deadline_max_us: int = 3600 * SECOND
    payload_bytes_max: int = 512 * 1024
    reach_us: int = 3 * SECOND  # how long a call waits for a link
    orphan_us: int = 1 * SECOND  # how long a call in flight waits for its lost link to come back

    def __post_init__(self) -> None:
        if min(self.calls_max, self.deadline_max_us, self.payload_bytes_max, self.reach_us, self.orphan_us) <= 0:
            raise ValueError(f"switch limits must be positive: {self}")


_Timer = tuple[str, bytes]


class Switch:
    """All calls through this node. ``names`` tells a node's name for messages to people."""

    def __init__(
        self,
        config: SwitchConfig,
        *,
        me: NodeId,
        name: str,
        call_prefix: bytes,
        index: Index,
        links: LinkStats,
        authority: Authority,
        names: Mapping[NodeId, str],
    ) -> None:
        assert len(call_prefix) == 8
        self._config = config
        self._me, self._name, self._names = me, name, names
        self._prefix, self._last_call = call_prefix, 0
        self._index, self._links, self._authority = index, links, authority
        self._calls: dict[bytes, Call] = {}
        self._by_waiter: dict[Waiter, bytes] = {}
        self._local: dict[str, AgentConn] = {}  # instance -> conn, for calls to agents of this node
        self._timers: Timers[_Timer] = Timers()
        self.counters = Counters()

    # -- what others tell -------------------------------------------------------------------------------------------

    def agent_up(self, instance: str, conn: AgentConn) -> None:
        self._local[instance] = conn

    def agent_down(self, instance: str, now: Instant) -> list[Effect]:
        """The agent process is gone: what it was working on ends here, what it waited for is dropped."""
        conn = self._local.pop(instance, None)
        effects: list[Effect] = []
        for call_id, call in list(self._calls.items()):
            if isinstance(call.waiter, LocalAgent) and call.waiter.conn == conn:
                effects += self._cancel_callee(call_id, call)
                self._forget(call_id)
            elif call.phase is Phase.RUNNING and call.node == self._me and call.conn == conn:
                message = f"{instance} ended while it worked on the call; it may have run"
                effects += self._end(call_id, "agent-died", message, b"", now)
        return effects

    def ask(
        self, ticket: int, header: CallHeader, payload: bytes, now: Instant, *, node: NodeId | None = None
    ) -> list[Effect]:
        """A call from a door of this node. Ends in ``CallEnded(ticket)``."""
        return self._open(Door(ticket), header, payload, now, node)

    def from_agent(self, conn: AgentConn, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for frame in frames:
            try:
                effects += self._from_agent(conn, frame, now)
            except msgspec.MsgspecError:
                self.counters.add("agent-junk")
        return effects

    def from_peer(self, peer: NodeId, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for frame in frames:
            try:
                effects += self._from_peer(peer, frame, now)
            except msgspec.MsgspecError as error:
                self.counters.add("call-junk")
                effects.append(Reject(peer, "call-junk", str(error)))
        return effects

    def peer_up(self, peer: NodeId, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for call_id, call in list(self._calls.items()):
            if call.node == peer:
                self._timers.cancel(("orphan", call_id))
                if call.phase is Phase.REACHING:
                    effects += self._send(call_id, call, now)
        return effects

    def peer_down(self, peer: NodeId, now: Instant) -> list[Effect]:
        for call_id, call in self._calls.items():
            if call.node == peer and call.phase is Phase.RUNNING:
                self._timers.set(("orphan", call_id), now.mono_us + self._config.orphan_us)
        return []

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for what, call_id in self._timers.pop_due(now.mono_us):
            if call_id in self._calls:
                effects += self._due(what, call_id, self._calls[call_id], now)
        return effects

    def deadline(self) -> int | None:
        return self._timers.deadline()

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    # -- frames -----------------------------------------------------------------------------------------------------

    def _from_agent(self, conn: AgentConn, frame: Frame, now: Instant) -> list[Effect]:
        match frame.kind:
            case Kind.CALL:
                asked = _calls.decode(frame.header)
                # Who calls is what this daemon knows of the connection, never what the agent says.
                header = msgspec.structs.replace(asked, caller=self._agent_name(conn))
                return self._open(LocalAgent(conn, header.call_id), header, frame.payload, now, None)
            case Kind.RESULT:
                return self._result(NodeId(b""), conn, _results.decode(frame.header), frame.payload, now)
            case Kind.CANCEL:
                return self._cancelled(LocalAgent(conn, _cancels.decode(frame.header).call_id))
            case _:
                self.counters.add("agent-frame-kind")
                return []

    def _from_peer(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        match frame.kind:
            case Kind.CALL:
                return self._asked_by_peer(peer, _calls.decode(frame.header), frame.payload, now)
            case Kind.RESULT:
                return self._result(peer, AgentConn(0), _results.decode(frame.header), frame.payload, now)
            case Kind.CANCEL:
                return self._cancelled(Peer(peer, _cancels.decode(frame.header).call_id))
            case _:
                self.counters.add("call-frame-kind")
                return [Reject(peer, "call-frame-kind", frame.kind.name)]

    def _agent_name(self, conn: AgentConn) -> str:
        instance = next((instance for instance, known in self._local.items() if known == conn), "")
        return f"agent/{instance}"

    def _asked_by_peer(self, peer: NodeId, header: CallHeader, payload: bytes, now: Instant) -> list[Effect]:
        """The callee's side judges again: a caller's daemon cannot speak for us."""
        waiter = Peer(peer, header.call_id)
        verdict = self._authority.may(peer, Action.CALL, f"skill/{header.skill}")
        if not verdict.allowed:
            self.counters.add(f"denied-{verdict.reason}")
            return self._answer(waiter, "denied", f"{self._name} does not allow it: {verdict.reason}", b"", now)
        if header.skill == PING_SKILL:
            return self._answer(waiter, "", "", msgspec.json.encode({"wall_ms": now.wall_ms}), now)
        if waiter in self._by_waiter:
            self.counters.add("call-repeated")
            return []
        return self._open(waiter, header, payload, now, self._me)

    # -- life of a call ---------------------------------------------------------------------------------------------

    def _open(
        self, waiter: Waiter, header: CallHeader, payload: bytes, now: Instant, node: NodeId | None
    ) -> list[Effect]:
        refusal = self._refusal(waiter, header, payload)
        if refusal is not None:
            return self._answer(waiter, *refusal, b"", now)
        if header.skill == PING_SKILL:
            return self._ping(waiter, header, now, node)
        candidates = self._index.candidates(header.skill, node=node, agent=header.agent)
        usable = [c for c in candidates if not c.excluded and (not c.local or c.offer.instance in self._local)]
        if not usable:
            return self._answer(waiter, *self._nobody(header, candidates), b"", now)
        call_id = self._enter(waiter, header, payload, usable[1:], now)
        return self._try(call_id, self._calls[call_id], usable[0].node, usable[0].offer.instance, now)

    def _ping(self, waiter: Waiter, header: CallHeader, now: Instant, node: NodeId | None) -> list[Effect]:
        if node is None or node == self._me:
            return self._answer(waiter, "", "", msgspec.json.encode({"wall_ms": now.wall_ms}), now)
        call_id = self._enter(waiter, header, b"{}", [], now)
        return self._try(call_id, self._calls[call_id], node, "", now)

    def _enter(self, waiter: Waiter, header: CallHeader, payload: bytes, rest: list[Candidate], now: Instant) -> bytes:
        self._last_call += 1
        call_id = self._prefix + self._last_call.to_bytes(8)
        due = now.mono_us + min(header.deadline_ms * MS, self._config.deadline_max_us)
        sent = msgspec.structs.replace(header, call_id=call_id)
        self._calls[call_id] = Call(sent, payload, waiter, now.mono_us, due, rest=rest)
        self._by_waiter[waiter] = call_id
        self._timers.set(("due", call_id), due)
        return call_id

    def _refusal(self, waiter: Waiter, header: CallHeader, payload: bytes) -> tuple[str, str] | None:
        if not isinstance(waiter, Peer):
            verdict = self._authority.may(self._me, Action.CALL, f"skill/{header.skill}")
            if not verdict.allowed:
                return "denied", f"this node may not call {header.skill}: {verdict.reason}"
        if header.deadline_ms <= 0:
            return "timeout", "the deadline had passed when the call arrived"
        if len(payload) > self._config.payload_bytes_max:
            return "invalid", f"the arguments are {len(payload)} bytes, the limit is {self._config.payload_bytes_max}"
        if len(self._calls) >= self._config.calls_max:
            return "overloaded", f"{len(self._calls)} calls are in flight on {self._name}; try again in a second"
        return None

    def _nobody(self, header: CallHeader, candidates: list[Candidate]) -> tuple[str, str]:
        if not candidates:
            where = f" of agent {header.agent}" if header.agent else ""
            return "not-found", f"no node known to {self._name} offers the skill {header.skill}{where}"
        who = ", ".join(sorted({self._names.get(c.node, c.node.hex()[:12]) for c in candidates}))
        if all(c.local for c in candidates):
            return "unavailable", f"{header.skill} is known on {who}, and its agent is not running now"
        return "unreachable", f"{header.skill} is offered by {who}, which cannot be reached now"

    def _try(self, call_id: bytes, call: Call, node: NodeId, instance: str, now: Instant) -> list[Effect]:
        call.node, call.instance, call.phase = node, instance, Phase.REACHING
        call.attempts += 1
        if node == self._me or self._links.last_heard_us(node) is not None:
            return self._send(call_id, call, now)
        self._timers.set(("reach", call_id), now.mono_us + self._config.reach_us)
        return [Reach(node)]

    def _send(self, call_id: bytes, call: Call, now: Instant) -> list[Effect]:
        self._timers.cancel(("reach", call_id))
        call.phase, call.sent_us = Phase.RUNNING, now.mono_us
        left_ms = max(1, (call.due_us - now.mono_us) // MS)
        frame = Frame(
            Kind.CALL, header=_encoder.encode(msgspec.structs.replace(call.header, deadline_ms=left_ms)),
            payload=call.payload,
        )  # fmt: skip
        if call.node == self._me:
            call.conn = self._local[call.instance]
            return [ToAgent(call.conn, (frame,))]
        rtt = self._links.rtt_us(call.node) or 0
        self._timers.set(("overdue", call_id), now.mono_us + 3 * rtt + 100 * MS)
        return [Post(call.node, (frame,))]

    def _due(self, what: str, call_id: bytes, call: Call, now: Instant) -> list[Effect]:
        node = self._names.get(call.node, call.node.hex()[:12])
        waited = f"after {(now.mono_us - call.started_us) / SECOND:.2f} s"
        match what:
            case "due":
                cancel = self._cancel_callee(call_id, call)
                state = "no link to it came up" if call.phase is Phase.REACHING else "no answer"
                return cancel + self._end(
                    call_id, "timeout", f"deadline passed {waited}: {state} from {node}", b"", now
                )
            case "reach":
                return self._next(call_id, call, "unreachable", f"no link to {node} {waited}", now)
            case "orphan":
                message = f"the link to {node} was lost during the call; it may have run"
                return self._end(call_id, "unreachable", message, b"", now)
            case _:
                heard = self._links.last_heard_us(call.node)
                return [CallOverdue(call.node)] if heard is None or heard < call.sent_us else []

    def _next(self, call_id: bytes, call: Call, code: str, message: str, now: Instant) -> list[Effect]:
        """The call surely has not run at this target: try the next one, or end with the last reason."""
        while call.rest:
            candidate = call.rest.pop(0)
            if candidate.local and candidate.offer.instance not in self._local:
                continue
            return self._try(call_id, call, candidate.node, candidate.offer.instance, now)
        return self._end(call_id, code, message, b"", now)

    def _result(
        self, peer: NodeId, conn: AgentConn, header: ResultHeader, payload: bytes, now: Instant
    ) -> list[Effect]:
        call = self._calls.get(header.call_id)
        if call is None:
            self.counters.add("result-late")
            return []
        expected = call.conn == conn if call.node == self._me else call.node == peer
        if call.phase is not Phase.RUNNING or not expected:
            # Somebody who was not asked answers: guessing call ids must gain nothing.
            self.counters.add("result-foreign")
            return [Reject(peer, "result-foreign")] if peer else []
        if header.code in ("unavailable", "not-found") and peer:
            return self._next(header.call_id, call, header.code, header.message, now)
        if header.instance:
            call.instance = header.instance
        return self._end(header.call_id, header.code, header.message, payload, now)

    def _cancelled(self, waiter: Waiter) -> list[Effect]:
        call_id = self._by_waiter.get(waiter)
        if call_id is None:
            return []
        effects = self._cancel_callee(call_id, self._calls[call_id])
        self._forget(call_id)
        return effects

    def _cancel_callee(self, call_id: bytes, call: Call) -> list[Effect]:
        if call.phase is not Phase.RUNNING:
            return []
        frame = Frame(Kind.CANCEL, header=_encoder.encode(CancelHeader(call_id, "caller gave up")))
        return [ToAgent(call.conn, (frame,))] if call.node == self._me else [Post(call.node, (frame,))]

    def _forget(self, call_id: bytes) -> Call:
        call = self._calls.pop(call_id)
        self._by_waiter.pop(call.waiter, None)
        for what in ("due", "reach", "orphan", "overdue"):
            self._timers.cancel((what, call_id))
        return call

    def _end(self, call_id: bytes, code: str, message: str, payload: bytes, now: Instant) -> list[Effect]:
        call = self._forget(call_id)
        self.counters.add(f"calls-{code or 'ok'}")
        return self._answer(call.waiter, code, message, payload, now, call)

    def _answer(
        self, waiter: Waiter, code: str, message: str, payload: bytes, now: Instant, call: Call | None = None
    ) -> list[Effect]:
        instance = call.instance if call is not None else ""
        took = now.mono_us - call.started_us if call is not None else 0
        match waiter:
            case Door(ticket):
                node = call.node if call is not None else self._me
                call_id = call.header.call_id if call is not None else b""
                attempts = call.attempts if call is not None else 0
                return [CallEnded(ticket, call_id, code, message, payload, node, instance, took, attempts)]
            case LocalAgent(conn, call_id):
                return [ToAgent(conn, (_result_frame(call_id, code, message, instance, took, payload),))]
            case Peer(node, call_id):
                return [Post(node, (_result_frame(call_id, code, message, instance, took, payload),))]


def _result_frame(call_id: bytes, code: str, message: str, instance: str, ran_us: int, payload: bytes) -> Frame:
    header = ResultHeader(call_id, code, message[:1000], instance, ran_us)
    return Frame(Kind.RESULT, header=_encoder.encode(header), payload=payload)
