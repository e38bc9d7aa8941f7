"""The switch: moves calls between doors, local agents and peers.

Invariants: every call ends exactly once, at its deadline at the latest; a call is tried again only while it surely has
not run; what is in flight is bounded by ``calls_max`` and ``held_bytes_max``.
"""

from collections.abc import Callable

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Reject
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Action, Authority, LinkStats
from meshnode.kernel.timers import Timers
from meshnode.links.messages import Post
from meshnode.messaging import letters, refusals
from meshnode.messaging.batches import gathered
from meshnode.messaging.calls import Call, Calls, Door, LocalAgent, Peer, Phase, Waiter
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.letters import RESULT_BYTES_MAX, TEXT_CHARS_MAX
from meshnode.messaging.messages import CallEnded, CallOverdue, Reach
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn, NodeId
from meshnode.registry.index import Candidate, Index
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import CallHeader, ResultHeader
from meshnode.wire.frame import Frame, Kind

__all__ = ["PING_SKILL", "Switch", "SwitchConfig"]

PING_SKILL = "mesh.ping"

_NO_ONE = NodeId(b"")
# Whoever answers so has not run the call: another may.
_NOT_RUN = ("unavailable", "not-found", "overloaded")
# Codes this switch gives; others are an agent's own words and are counted together.
_CODES = ("", "agent-died", "denied", "invalid", "result-too-long", "timeout", "unreachable", *_NOT_RUN)


_Timer = tuple[str, bytes]
_TIMERS = ("due", "reach", "orphan", "overdue")


class Switch:
    """All calls through this node. ``name_of`` tells a node's name for messages to people."""

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
        name_of: Callable[[NodeId], str],
    ) -> None:
        assert len(call_prefix) == letters.CALL_ID_BYTES // 2
        self._config = config
        self._me, self._name, self._name_of = me, name, name_of
        self._prefix, self._last_call = call_prefix, 0
        self._index, self._links, self._authority = index, links, authority
        self._calls = Calls()
        self._local: dict[str, AgentConn] = {}  # instance -> conn, of agents that take calls
        self._conns: dict[AgentConn, str] = {}  # and of those that only finish what they have
        self._boots: dict[NodeId, int] = {}  # of peers met, to notice that one started again
        self._timers: Timers[_Timer] = Timers()
        self.counters = Counters()

    # -- what others tell -------------------------------------------------------------------------------------------

    def agent_up(self, instance: str, conn: AgentConn) -> None:
        self._local[instance] = conn
        self._conns[conn] = instance

    def agent_closing(self, instance: str) -> None:
        """It takes no new calls, and may still answer those it works on."""
        self._local.pop(instance, None)

    def agent_down(self, instance: str, now: Instant) -> list[Effect]:
        """The agent process is gone: what it was working on ends here, what it waited for is dropped."""
        self._local.pop(instance, None)
        conn = next((conn for conn, known in self._conns.items() if known == instance), None)
        if conn is None:
            return []
        del self._conns[conn]
        effects: list[Effect] = []
        for call_id, call in self._calls.where(lambda c: isinstance(c.waiter, LocalAgent) and c.waiter.conn == conn):
            effects += self._drop(call_id, call)
        for call_id, _ in self._calls.where(lambda c: c.phase is Phase.RUNNING and c.conn == conn):
            message = f"{instance} ended while it worked on the call; it may have run"
            effects += self._end(call_id, "agent-died", message, b"", now)
        return gathered(effects)

    def ask(
        self, ticket: int, header: CallHeader, payload: bytes, now: Instant, *, node: NodeId | None = None
    ) -> list[Effect]:
        """A call from a door of this node. Ends in ``CallEnded(ticket)``."""
        return self._open(Door(ticket), header, payload, now, node)

    def dropped(self, ticket: int) -> list[Effect]:
        """Nobody waits at that door any more."""
        return self._cancelled(Door(ticket))

    def close(self, now: Instant) -> list[Effect]:
        """The node goes down: whoever waits at a door hears of it."""
        effects: list[Effect] = []
        for call_id, call in self._calls.where(lambda c: isinstance(c.waiter, Door)):
            run = "; it may have run" if call.phase is Phase.RUNNING else ""
            effects += self._cancel_callee(call_id, call)
            effects += self._end(call_id, "unavailable", f"{self._name} is going down{run}", b"", now)
        return gathered(effects)

    def from_agent(self, conn: AgentConn, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        if conn not in self._conns:
            self.counters.add("agent-unknown", len(frames))
            return []
        effects: list[Effect] = []
        for frame in frames:
            try:
                effects += self._from_agent(conn, frame, now)
            except RemoteError:
                self.counters.add("agent-junk")
        return gathered(effects)

    def from_peer(self, peer: NodeId, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for frame in frames:
            try:
                effects += self._from_peer(peer, frame, now)
            except RemoteError as error:
                self.counters.add(error.reason)
                effects.append(Reject(peer, error.reason, str(error)))
        return gathered(effects)

    def peer_up(self, peer: NodeId, boot: int, now: Instant) -> list[Effect]:
        effects = self._started_again(peer, now) if self._boots.get(peer, boot) != boot else []
        self._boots[peer] = boot
        for call_id, call in self._calls.where(lambda c: c.node == peer):
            self._timers.cancel(("orphan", call_id))
            if call.phase is Phase.REACHING:
                effects += self._send(call_id, call, now)
        return gathered(effects)

    def peer_down(self, peer: NodeId, now: Instant) -> list[Effect]:
        for call_id, _ in self._calls.where(lambda c: c.node == peer and c.phase is Phase.RUNNING):
            self._timers.set(("orphan", call_id), now.mono_us + self._config.orphan_us)
        return []

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for what, call_id in self._timers.pop_due(now.mono_us):
            call = self._calls.get(call_id)
            if call is not None:
                effects += self._due(what, call_id, call, now)
        return gathered(effects)

    def deadline(self) -> int | None:
        return self._timers.deadline()

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    # -- frames -----------------------------------------------------------------------------------------------------

    def _from_agent(self, conn: AgentConn, frame: Frame, now: Instant) -> list[Effect]:
        match frame.kind:
            case Kind.CALL:
                return self._asked_by_agent(conn, letters.read_call(frame), frame.payload, now)
            case Kind.RESULT:
                return self._result(_NO_ONE, conn, letters.read_result(frame), frame.payload, now)
            case Kind.CANCEL:
                return self._cancelled(LocalAgent(conn, letters.read_cancel(frame).call_id))
            case _:
                self.counters.add("agent-frame-kind")
                return []

    def _from_peer(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        match frame.kind:
            case Kind.CALL:
                return self._asked_by_peer(peer, letters.read_call(frame), frame.payload, now)
            case Kind.RESULT:
                return self._result(peer, AgentConn(0), letters.read_result(frame), frame.payload, now)
            case Kind.CANCEL:
                return self._cancelled(Peer(peer, letters.read_cancel(frame).call_id))
            case _:
                raise RemoteError("call-frame-kind", frame.kind.name)

    def _asked_by_agent(self, conn: AgentConn, asked: CallHeader, payload: bytes, now: Instant) -> list[Effect]:
        """Who calls is what this daemon knows of the connection, never what the agent says."""
        waiter = LocalAgent(conn, asked.call_id)
        if waiter in self._calls:
            self.counters.add("call-repeated")
            return []
        header = msgspec.structs.replace(asked, caller=f"agent/{self._conns[conn]}")
        return self._open(waiter, header, payload, now, None)

    def _asked_by_peer(self, peer: NodeId, asked: CallHeader, payload: bytes, now: Instant) -> list[Effect]:
        """The callee's side judges again: a caller's daemon cannot speak for us."""
        waiter = Peer(peer, asked.call_id)
        verdict = self._authority.may(peer, Action.CALL, f"skill/{asked.skill}")
        if not verdict.allowed:
            self.counters.add(f"denied-{verdict.reason}")
            return self._answer(waiter, "denied", f"{self._name} does not allow it: {verdict.reason}", b"", now)
        if asked.skill == PING_SKILL:
            return self._answer(waiter, "", "", _pong(now), now)
        if waiter in self._calls:
            self.counters.add("call-repeated")
            return []
        header = msgspec.structs.replace(asked, caller=self._caller(peer, asked.caller))
        return self._open(waiter, header, payload, now, self._me)

    def _caller(self, peer: NodeId, claimed: str) -> str:
        """A peer speaks for itself and its own agents only; any other name it gives becomes its own."""
        name = self._name_of(peer)
        kind, _, rest = claimed.partition("/")
        agent, _, node = rest.partition("/")
        own = kind == "agent" and agent and node == name and len(claimed) <= TEXT_CHARS_MAX
        return claimed if own else f"node/{name}"

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
            return self._answer(waiter, *self._nobody(header, node, candidates), b"", now)
        call_id, call = self._enter(waiter, header, payload, usable[1:], now)
        return self._try(call_id, call, usable[0].node, usable[0].offer.instance, now)

    def _ping(self, waiter: Waiter, header: CallHeader, now: Instant, node: NodeId | None) -> list[Effect]:
        if node is None or node == self._me:
            return self._answer(waiter, "", "", _pong(now), now)
        call_id, call = self._enter(waiter, header, b"{}", [], now)
        return self._try(call_id, call, node, "", now)

    def _enter(
        self, waiter: Waiter, header: CallHeader, payload: bytes, rest: list[Candidate], now: Instant
    ) -> tuple[bytes, Call]:
        self._last_call += 1
        call_id = self._prefix + self._last_call.to_bytes(8)
        due = now.mono_us + min(header.deadline_ms * MS, self._config.deadline_max_us)
        sent = msgspec.structs.replace(header, call_id=call_id)
        call = Call(sent, payload, waiter, now.mono_us, due, rest=rest)
        self._calls.add(call_id, call)
        self._timers.set(("due", call_id), due)
        return call_id, call

    def _refusal(self, waiter: Waiter, header: CallHeader, payload: bytes) -> tuple[str, str] | None:
        """Why this call is not even tried, as code and message."""
        objection = refusals.objection(header, payload, self._config)
        if objection is not None:
            return objection
        if not isinstance(waiter, Peer):
            verdict = self._authority.may(self._me, Action.CALL, f"skill/{header.skill}")
            if not verdict.allowed:
                self.counters.add(f"denied-{verdict.reason}")
                return "denied", f"this node may not call {header.skill}: {verdict.reason}"
        held = self._calls.payload_bytes + len(payload)
        if len(self._calls) >= self._config.calls_max or held > self._config.held_bytes_max:
            return "overloaded", f"{len(self._calls)} calls are in flight on {self._name}; try again in a second"
        return None

    def _nobody(self, header: CallHeader, node: NodeId | None, candidates: list[Candidate]) -> tuple[str, str]:
        skill = refusals.wanted(header)
        lost = sorted(self._name_of(c.node) for c in candidates if c.excluded)
        if lost:
            return "unreachable", f"{skill} is offered by {', '.join(lost)}, which cannot be reached now"
        if candidates:
            return "unavailable", f"{skill} is known on {self._name}, and its agent is not running now"
        if node is None:
            return "not-found", f"no node known to {self._name} offers {skill}"
        if self._index.excluded(node):
            return "unreachable", f"{self._name_of(node)}, which is to answer {skill}, cannot be reached now"
        return "not-found", f"{self._name_of(node)} does not offer {skill}"

    def _try(self, call_id: bytes, call: Call, node: NodeId, instance: str, now: Instant) -> list[Effect]:
        self._timers.cancel(("overdue", call_id))
        call.node, call.conn, call.instance, call.phase = node, AgentConn(0), instance, Phase.REACHING
        call.attempts += 1
        if node == self._me or self._links.last_heard_us(node) is not None:
            return self._send(call_id, call, now)
        self._timers.set(("reach", call_id), now.mono_us + self._config.reach_us)
        return [Reach(node)]

    def _send(self, call_id: bytes, call: Call, now: Instant) -> list[Effect]:
        self._timers.cancel(("reach", call_id))
        call.phase, call.sent_us = Phase.RUNNING, now.mono_us
        left_ms = max(1, (call.due_us - now.mono_us) // MS)
        frame = letters.call_frame(msgspec.structs.replace(call.header, deadline_ms=left_ms), call.payload)
        if call.node == self._me:
            call.conn = self._local[call.instance]
            return [ToAgent(call.conn, (frame,))]
        rtt = self._links.rtt_us(call.node) or 0
        self._timers.set(("overdue", call_id), now.mono_us + 3 * rtt + 100 * MS)
        return [Post(call.node, (frame,))]

    def _due(self, what: str, call_id: bytes, call: Call, now: Instant) -> list[Effect]:
        node = self._name_of(call.node)
        waited = f"after {(now.mono_us - call.started_us) / SECOND:.2f} s"
        match what:
            case "due":
                state = "no link to it came up" if call.phase is Phase.REACHING else "no answer"
                message = f"deadline passed {waited}: {state} from {node}"
                return [*self._cancel_callee(call_id, call), *self._end(call_id, "timeout", message, b"", now)]
            case "reach":
                return self._next(call_id, call, "unreachable", f"no link to {node} {waited}", now)
            case "orphan":
                # The cancel waits for the link with the call: if it comes back, nobody works for nobody.
                message = f"the link to {node} was lost during the call; it may have run"
                return [*self._cancel_callee(call_id, call), *self._end(call_id, "unreachable", message, b"", now)]
            case _:
                heard = self._links.last_heard_us(call.node)
                return [CallOverdue(call.node)] if heard is None or heard < call.sent_us else []

    def _started_again(self, peer: NodeId, now: Instant) -> list[Effect]:
        """What the former process worked on is gone with it, and so is what it waited for."""
        effects: list[Effect] = []
        for call_id, call in self._calls.where(lambda c: isinstance(c.waiter, Peer) and c.waiter.node == peer):
            effects += self._drop(call_id, call)
        for call_id, _ in self._calls.where(lambda c: c.node == peer and c.phase is Phase.RUNNING):
            message = f"{self._name_of(peer)} started again during the call; it may have run"
            effects += self._end(call_id, "unreachable", message, b"", now)
        return effects

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
        if header.code in _NOT_RUN:
            return self._next(header.call_id, call, header.code, header.message, now)
        if peer and header.instance:
            call.instance = header.instance
        if len(payload) > RESULT_BYTES_MAX:
            message = f"the result is {len(payload)} bytes, the limit is {RESULT_BYTES_MAX}"
            return self._end(header.call_id, "result-too-long", message, b"", now)
        return self._end(header.call_id, header.code, header.message, payload, now)

    def _cancelled(self, waiter: Waiter) -> list[Effect]:
        found = self._calls.of(waiter)
        return [] if found is None else self._drop(*found)

    def _drop(self, call_id: bytes, call: Call) -> list[Effect]:
        """End a call nobody waits for."""
        effects = self._cancel_callee(call_id, call)
        self._forget(call_id)
        self.counters.add("calls-dropped")
        return effects

    def _cancel_callee(self, call_id: bytes, call: Call) -> list[Effect]:
        if call.phase is not Phase.RUNNING:
            return []
        frame = letters.cancel_frame(call_id)
        return [ToAgent(call.conn, (frame,))] if call.node == self._me else [Post(call.node, (frame,))]

    def _forget(self, call_id: bytes) -> Call:
        for what in _TIMERS:
            self._timers.cancel((what, call_id))
        return self._calls.remove(call_id)

    def _end(self, call_id: bytes, code: str, message: str, payload: bytes, now: Instant) -> list[Effect]:
        call = self._forget(call_id)
        self.counters.add(f"calls-{code or 'ok'}" if code in _CODES else "calls-failed")
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
                header = ResultHeader(call_id, code, message, instance, took)
                return [ToAgent(conn, (letters.result_frame(header, payload),))]
            case Peer(node, call_id):
                header = ResultHeader(call_id, code, message, instance, took)
                return [Post(node, (letters.result_frame(header, payload),))]


def _pong(now: Instant) -> bytes:
    return msgspec.json.encode({"wall_ms": now.wall_ms})
