"""The switch: moves calls between doors, local agents and peers.

Invariants: every call ends exactly once, at its deadline at the latest; a call is tried again only while it surely has
not run, or where running twice is running once; an answer leaves only when what the call changed is kept; what is in
flight is bounded by ``calls_max`` and ``held_bytes_max`` (``sheds`` says for whom how).
"""

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Reject
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import Action
from meshnode.messaging import letters, replies, retry, sheds, states, streams
from meshnode.messaging.admission import Admission
from meshnode.messaging.around import Around
from meshnode.messaging.batches import gathered
from meshnode.messaging.calls import NEVER_US, Call, Door, Ending, Lean, LocalAgent, Peer, Phase, Waiter
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.express import Express
from meshnode.messaging.letters import TEXT_CHARS_MAX
from meshnode.messaging.life import Life
from meshnode.messaging.local import Unit
from meshnode.messaging.messages import MeshAsked
from meshnode.messaging.refusals import ASK_SKILL, MESH_PREFIX, PING_SKILL
from meshnode.messaging.topics import Topics
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.wire.calls import CallHeader, ChunkHeader, GrantHeader, ResultHeader
from meshnode.wire.frame import Frame, Kind

__all__ = ["ASK_SKILL", "PING_SKILL", "Around", "Switch", "SwitchConfig"]

_NO_ONE = NodeId(b"")


class Switch:
    """All calls through this node."""

    def __init__(self, config: SwitchConfig, around: Around) -> None:
        self._config, self._around = config, around
        self._me, self._name = around.me, around.name
        self.counters = Counters()
        self._life = Life(config, around, self.counters)
        self._calls, self._units = self._life.calls, self._life.units
        self._admission = Admission(config, around, self._calls, self.counters)
        self._express = Express(config, around, self._life, self._admission, self.counters)
        self.topics = Topics(around, self.counters)
        self._boots: dict[NodeId, int] = {}  # of peers met, to notice that one started again

    # -- what others tell ---------------------------------------------------------------------------------------------

    def agent_up(self, unit: InstanceId, conn: AgentConn, first_slot: int, slots: int) -> None:
        """It takes calls, for the slots it holds."""
        self._units.up(unit, conn, first_slot, slots)

    def agent_closing(self, unit: InstanceId) -> None:
        """It takes no new calls, and may still answer those it works on."""
        self._units.closing(unit)

    def busy(self, unit: InstanceId) -> bool:
        """It works on a call of somebody."""
        return self._units.busy(unit)

    def agent_down(self, unit: InstanceId, now: Instant) -> list[Effect]:
        """The agent process is gone: what it was working on is lost, what it waited for is dropped.

        What it had answered already waits on for what it changed to be kept.
        """
        effects: list[Effect] = []
        for conn in [gone.conn for gone in self._units.down(unit)]:
            effects += self.topics.gone(conn, now)
            for call in self._calls.where(lambda c, conn=conn: _waits(c, conn)):
                effects += self._life.drop(call, now)
            for call in self._calls.where(lambda c, conn=conn: c.phase is Phase.RUNNING and c.conn == conn):
                message = f"{unit} ended while it worked on the call; it may have run"
                effects += self._life.lost(call, Ending("agent-died", message), now)
        return gathered([*effects, *self._life.unit_gone(unit, now)])

    def ask(
        self, ticket: int, header: CallHeader, payload: bytes, now: Instant, *, node: NodeId | None = None
    ) -> list[Effect]:
        """A call from a door of this node. Ends in ``CallEnded(ticket)``."""
        self._express.plans.begin()
        goes = self._express.ask(ticket, header, payload, node, now)
        if goes is not None:
            return [goes]
        effects = self._open(Door(ticket), header, payload, now, node, header.caller)
        self._express.plans.learn_of_door(ticket, header, node)
        return effects

    def grant(self, ticket: int, total: int) -> list[Effect]:
        """That door takes items of its stream numbered below ``total``; 16 it takes without being asked."""
        return self._granted(Door(ticket), GrantHeader(b"", total))

    def listen(self, door: int, filters: tuple[str, ...], now: Instant) -> list[Effect]:
        """A door of this node listens to these topics from now on, and to no others."""
        try:
            return self.topics.listen(door, filters, now)
        except RemoteError as error:
            self.counters.add(error.reason)
            return []

    def dropped(self, ticket: int, now: Instant) -> list[Effect]:
        """Nobody waits at that door any more."""
        return self._cancelled(Door(ticket), now)

    def answer(self, ticket: int, code: str, message: str, payload: bytes, now: Instant) -> list[Effect]:
        """The end of a ``MeshAsked``; one that is over already is none."""
        call = self._calls.get(self._life.id_of(ticket))
        if call is None or call.node != self._me or not call.skill.startswith(MESH_PREFIX):
            return []
        return self._life.end(call, Ending(code, message, payload), now)

    def kept(self, call_id: bytes, durability: str, version: int, now: Instant) -> list[Effect]:
        """What a call changed is as durable as its agent asked for: its answer may leave."""
        call = self._calls.get(call_id)
        if call is None or not call.unkept:
            return []
        call.unkept -= 1
        call.durability, call.version = durability, version
        if call.unkept or call.held is None:
            return []
        return self._life.end(call, call.held, now)

    def refused(self, call_id: bytes, code: str, message: str, now: Instant) -> list[Effect]:
        """What a call changed is not kept, and will not be."""
        call = self._calls.get(call_id)
        if call is None or not call.unkept:
            return []
        cancels = self._life.cancel_callee(call)
        return [*cancels, *self._life.end(call, Ending(code, message), now)]

    def offers_changed(self, now: Instant) -> list[Effect]:
        """The index learned something, or a node came or went: calls that wait for somebody look again."""
        effects: list[Effect] = []
        for call in self._calls.unsettled():
            effects += self._life.reconsider(call, now)
        return gathered(effects)

    def close(self, now: Instant) -> list[Effect]:
        """The node goes down: whoever waits at a door hears of it."""
        effects: list[Effect] = []
        for call in self._calls.where(lambda c: isinstance(c.waiter, Door)):
            run = "; it may have run" if call.phase in (Phase.RUNNING, Phase.KEEPING) else ""
            effects += self._life.cancel_callee(call)
            ending = Ending("unavailable", f"{self._name} is going down{run}")
            effects += self._life.end(call, ending, now, given_up=True)
        return gathered(effects)

    def from_agent(self, conn: AgentConn, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        unit = self._units.of_conn(conn)
        if unit is None:
            self.counters.add("agent-unknown", len(frames))
            return []
        return self._express.turn(conn, frames, now, lambda at, _: self._said(unit, frames, at, now))

    def from_peer(self, peer: NodeId, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        return self._express.turn(peer, frames, now, lambda _, frame: self._told(peer, frame, now))

    def lone(self, source: NodeId | AgentConn, frame: Frame, now: Instant) -> Effect | None:
        """What a frame comes to that is all that is said in a turn. ``None``: nothing was done, and it is for
        ``from_agent`` or ``from_peer``."""
        if isinstance(source, int) and self._units.of_conn(source) is None:
            return None
        return self._express.lone(source, frame, now)

    @property
    def look_us(self) -> int:
        """After ``lone`` the switch may be due as soon as that, and no sooner than it was."""
        due_us = self._calls.deadline()
        return NEVER_US if due_us is None else due_us

    def peer_up(self, peer: NodeId, boot: int, now: Instant) -> list[Effect]:
        effects = self._started_again(peer, now) if self._boots.get(peer, boot) != boot else []
        self._boots[peer] = boot
        effects += self.topics.peer_up(peer)
        for call in self._calls.unsettled():
            call.passed.pop(peer, None)
            if call.phase is Phase.WAITING:
                effects += self._life.reconsider(call, now)
            elif call.node == peer:
                effects += self._life.linked(call, now)
        return gathered(effects)

    def peer_down(self, peer: NodeId, now: Instant) -> list[Effect]:
        for call in self._calls.where(lambda c: c.node == peer and c.phase is Phase.RUNNING):
            self._life.orphaned(call, now)
        return []

    def peer_doubted(self, peer: NodeId) -> None:
        """It is silent, and its link may stand for a while yet: what may run twice goes to whoever takes over."""
        for call in self._calls.where(lambda c: c.node == peer and c.phase is Phase.RUNNING and c.repeatable):
            self._calls.unsettle(call)

    def wake(self, now: Instant) -> list[Effect]:
        return gathered([*self._life.wake(now), *self.topics.wake(now)])

    def deadline(self) -> int | None:
        return earliest(self._life.deadline(), self.topics.deadline())

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _said(self, unit: Unit, frames: tuple[Frame, ...], at: int, now: Instant) -> list[Effect]:
        """One of the frames of an agent."""
        frame = frames[at]
        try:
            if frame.kind is Kind.STATE:
                return self._state(unit, frame, frames[at + 1] if at + 1 < len(frames) else None, now)
            return self._from_agent(unit, frame, now)
        except RemoteError as error:
            self.counters.add("agent-junk")
            self.counters.add(f"agent-{error.reason}")
            return []

    def _told(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        try:
            return self._from_peer(peer, frame, now)
        except RemoteError as error:
            self.counters.add(error.reason)
            return [Reject(peer, error.reason, str(error))]

    def _from_agent(self, unit: Unit, frame: Frame, now: Instant) -> list[Effect]:
        match frame.kind:
            case Kind.CALL:
                return self._asked_by_agent(unit, frame, now)
            case Kind.RESULT:
                return self._result(_NO_ONE, unit, letters.read_result(frame), frame.payload, now)
            case Kind.CHUNK:
                return self._chunk(_NO_ONE, unit, letters.read_chunk(frame), frame.payload, now)
            case Kind.GRANT:
                header = letters.read_grant(frame)
                return self._granted(LocalAgent(unit.conn, header.call_id), header)
            case Kind.CANCEL:
                return self._cancelled(LocalAgent(unit.conn, letters.read_cancel(frame).call_id), now)
            case Kind.MERGED:
                return states.merged(unit, frame)
            case Kind.EMIT:
                return states.emitted(unit, frame, now)
            case Kind.EVENT | Kind.SUBSCRIBE:
                return self.topics.from_agent(unit, frame, now)
            case _:
                self.counters.add("agent-frame-kind")
                return []

    def _from_peer(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        match frame.kind:
            case Kind.CALL:
                return self._asked_by_peer(peer, frame, now)
            case Kind.RESULT:
                return self._result(peer, None, letters.read_result(frame), frame.payload, now)
            case Kind.CHUNK:
                return self._chunk(peer, None, letters.read_chunk(frame), frame.payload, now)
            case Kind.GRANT:
                header = letters.read_grant(frame)
                return self._granted(Peer(peer, header.call_id), header)
            case Kind.CANCEL:
                return self._cancelled(Peer(peer, letters.read_cancel(frame).call_id), now)
            case Kind.EVENT:
                return self.topics.from_peer(peer, frame)
            case _:
                raise RemoteError("call-frame-kind", frame.kind.name)

    def _asked_by_agent(self, unit: Unit, frame: Frame, now: Instant) -> list[Effect]:
        """Who calls is what this daemon knows of the connection, never what the agent says."""
        asked = letters.read_call(frame)
        waiter = LocalAgent(unit.conn, asked.call_id)
        if waiter in self._calls:
            self.counters.add("call-repeated")
            return []
        effects = self._open(waiter, asked, frame.payload, now, None, unit.caller)
        self._express.plans.learn(unit.conn, frame, asked)
        return effects

    def _asked_by_peer(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        """The callee's side judges again: a caller's daemon cannot speak for us."""
        asked = letters.read_call(frame)
        waiter = Peer(peer, asked.call_id)
        of_mesh = asked.skill.startswith(MESH_PREFIX) and asked.skill != PING_SKILL
        verdict = self._around.authority.may(peer, Action.CALL, f"skill/{ASK_SKILL if of_mesh else asked.skill}")
        if not verdict.allowed:
            self.counters.add(f"denied-{verdict.reason}")
            return self._refuse(waiter, "denied", f"{self._name} does not allow it: {verdict.reason}")
        if waiter in self._calls:
            self.counters.add("call-repeated")
            return []
        effects = self._open(waiter, asked, frame.payload, now, self._me, self._caller(peer, asked.caller))
        self._express.plans.learn(peer, frame, asked)
        return effects

    def _caller(self, peer: NodeId, claimed: str) -> str:
        """A peer speaks for itself and its own agents only; any other name it gives becomes its own."""
        name = self._around.name_of(peer)
        kind, _, rest = claimed.partition("/")
        agent, _, node = rest.partition("/")
        own = kind == "agent" and agent and node == name and len(claimed) <= TEXT_CHARS_MAX
        return claimed if own else f"node/{name}"

    # -- begin --------------------------------------------------------------------------------------------------------

    def _open(
        self, waiter: Waiter, header: CallHeader, payload: bytes, now: Instant, node: NodeId | None, caller: str
    ) -> list[Effect]:
        """``caller``: who calls, as this node knows it; what the header says of that counts for nothing."""
        refusal = self._admission.refusal(waiter, header, payload)
        if refusal is not None:
            return [replies.refusal(waiter, self._me, refusal)]
        call = self._life.new(waiter, header, payload, node, now, caller)
        if header.skill.startswith(MESH_PREFIX):
            return self._mesh(call, now)
        return self._life.begin(call, now)

    def _mesh(self, call: Call, now: Instant) -> list[Effect]:
        """What one daemon asks another: without candidates, straight to it."""
        node, skill = call.where, call.header.skill
        if node is not None and node != self._me:
            return self._life.straight(call, node, now)
        if skill == PING_SKILL:
            pong = msgspec.json.encode({"wall_ms": now.wall_ms})
            return [replies.refusal(call.waiter, self._me, Ending(payload=pong))]
        if isinstance(call.waiter, LocalAgent):
            return self._refuse(call.waiter, "denied", f"{skill} is between nodes; no agent may call it")
        ticket = self._life.hold(call)
        asker = call.waiter.node if isinstance(call.waiter, Peer) else self._me
        return [MeshAsked(ticket, asker, skill, call.payload)]

    def _refuse(self, waiter: Waiter, code: str, message: str) -> list[Effect]:
        return [replies.refusal(waiter, self._me, Ending(code, message))]

    # -- answers ------------------------------------------------------------------------------------------------------

    def _at_work(self, peer: NodeId, unit: Unit | None, call_id: bytes, what: str) -> Call | list[Effect]:
        """The row of a call that this agent or peer works on, or what becomes of its frame."""
        call = self._calls.get(call_id)
        if call is None or (peer in call.former and call.node != peer):
            self.counters.add(f"{what}-late")
            return []
        expected = call.node == peer if unit is None else call.node == self._me and call.conn == unit.conn
        if call.phase is not Phase.RUNNING or not expected:
            # Somebody who was not asked answers: guessing call ids must gain nothing.
            self.counters.add(f"{what}-foreign")
            return [Reject(peer, f"{what}-foreign")] if peer else []
        return call

    def _result(
        self, peer: NodeId, unit: Unit | None, header: ResultHeader, payload: bytes, now: Instant
    ) -> list[Effect]:
        call = self._at_work(peer, unit, header.call_id, "result")
        if isinstance(call, list):
            return [*call, *(self._life.laid(header.call_id, unit.name, now) if unit is not None else [])]
        if header.code in retry.NOT_RUN and not call.unkept:
            wait_ms = sheds.heard_ms(header, self._config)
            return self._life.next(call, Ending(header.code, header.message, retry_after_ms=wait_ms), now)
        if unit is None:
            # What a peer's daemon says of its agent; an agent itself cannot say how its changes are kept.
            call.instance = header.instance or call.instance
            call.durability, call.version, call.replayed = header.durability, header.version, header.replayed
        if header.code in retry.INTERRUPTED and unit is None:
            return self._life.lost(call, Ending(header.code, header.message), now)
        ending = replies.fault(call, header, payload) or Ending(header.code, header.message, payload, raw=header.raw)
        return self._life.answered(call, ending, now)

    def _state(self, unit: Unit, frame: Frame, follows: Frame | None, now: Instant) -> list[Effect]:
        """A change that cannot be read cannot be kept: the call that made it must not succeed."""
        try:
            header, changes = states.read(frame)
        except RemoteError as error:
            self.counters.add("agent-junk")
            call = self._at_work(_NO_ONE, unit, states.answered_id(follows), "state")
            if isinstance(call, list):
                return []
            return self._life.end(call, Ending(error.reason, f"{unit.name} said of its state {error}"), now)
        call = self._calls.get(header.call_id) if header.call_id else None
        if call is not None and (call.phase is not Phase.RUNNING or call.conn != unit.conn):
            call = None
        if call is not None:
            call.unkept += 1
        return [states.written(unit, header, changes, call, follows)]

    def _chunk(
        self, peer: NodeId, unit: Unit | None, header: ChunkHeader, payload: bytes, now: Instant
    ) -> list[Effect]:
        call = self._at_work(peer, unit, header.call_id, "chunk")
        if isinstance(call, list):
            return call
        if not call.header.stream:
            self.counters.add("chunk-unasked")
            return []
        fault = streams.fault(call, header, payload)
        if fault is not None:
            refusal = [Reject(peer, fault.code, fault.message)] if peer else []
            return [*refusal, *self._life.cancel_callee(call), *self._life.end(call, fault, now, given_up=True)]
        streams.passed(call, header, payload)
        return replies.items(call, header, payload)

    # -- giving up ----------------------------------------------------------------------------------------------------

    def _cancelled(self, waiter: Waiter, now: Instant) -> list[Effect]:
        call = self._calls.of(waiter)
        if call is None:
            self.counters.add("cancel-late")
            return []
        return self._life.drop(call, now)

    def _granted(self, waiter: Waiter, header: GrantHeader) -> list[Effect]:
        call = self._calls.of(waiter)
        if call is None:
            self.counters.add("grant-late")
            return []
        return streams.grant(call, header, self._me)

    def _started_again(self, peer: NodeId, now: Instant) -> list[Effect]:
        """What the former process worked on is gone with it, and so is what it waited for."""
        effects: list[Effect] = []
        for call in self._calls.where(lambda c: isinstance(c.waiter, Peer) and c.waiter.node == peer):
            effects += self._life.drop(call, now)
        for call in self._calls.where(lambda c: c.node == peer and c.phase is Phase.RUNNING):
            message = f"{self._around.name_of(peer)} started again during the call; it may have run"
            effects += self._life.lost(call, Ending("unreachable", message), now)
        return effects


def _waits(call: Call | Lean, conn: AgentConn) -> bool:
    return isinstance(call.waiter, LocalAgent) and call.waiter.conn == conn
