"""The express lane: plain calls, and their plain answers, go the way that the slow path chose for the call before.

How a call is decided is told by its plan (``plans``); how many are in flight and which unit is next is looked up for
each call, as the slow path does. Whatever is not plain is not touched here, and takes the slow path with all its
promises: a lean row (``calls``) becomes a whole one as soon as anybody looks for it.
``tests/unit/messaging/test_express.py`` feeds both ways the same inputs and compares what comes out.
"""

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.instant import MS, Instant
from meshnode.messaging.admission import Admission
from meshnode.messaging.around import Around
from meshnode.messaging.batches import Batch
from meshnode.messaging.calls import NO_CONN, Door, Lean, LocalAgent, Peer, Plan, Waiter
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.letters import RESULT_BYTES_MAX, TEXT_CHARS_MAX
from meshnode.messaging.life import Life
from meshnode.messaging.local import Unit
from meshnode.messaging.messages import CallEnded
from meshnode.messaging.plans import Plans, Source
from meshnode.model.ids import InstanceId, NodeId
from meshnode.wire import plain
from meshnode.wire.calls import CallHeader
from meshnode.wire.frame import Frame, Kind

_NOBODY = InstanceId("")
_PONG_BY = plain.text("")  # a ping is answered by nobody's agent
_INSTANCES_MAX = 1024


class Express:
    """One switch's. Each method says whether it took what it was given; what it did not take is as it was."""

    def __init__(
        self, config: SwitchConfig, around: Around, life: Life, admission: Admission, counters: Counters
    ) -> None:
        self._life, self._admission, self._counters = life, admission, counters
        self._deadline_max_ms = config.deadline_max_us // MS
        self._me, self._calls, self._units, self._index = around.me, life.calls, life.units, around.index
        self.plans = Plans(config.plans_max, around, life)
        # Who answers, as it stands in headers and as it is read: each seen to be written as we would.
        self._instances: dict[bytes, InstanceId] = {}
        self._written: dict[InstanceId, bytes] = {}

    def take(self, source: Source, frame: Frame, batch: Batch, now: Instant) -> bool:
        """A frame of a peer, or of an agent of this node."""
        if frame.kind is Kind.CALL:
            return self.call(source, frame, batch, now)
        return frame.kind is Kind.RESULT and self.answer(source, frame, batch, now)

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, source: Source, frame: Frame, batch: Batch, now: Instant) -> bool:
        """A CALL of a peer, or of an agent of this node."""
        cut = plain.cut_call(frame.header) if self.plans.knows(source) else None
        plan = self.plans.of(source, cut[0], now) if cut is not None else None
        if cut is None or plan is None:
            return False
        call_id = frame.header[plain.ID_AT : plain.ID_END]
        waiter = LocalAgent(source, call_id) if isinstance(source, int) else Peer(source, call_id)
        if waiter in self._calls:
            return False
        if plan.node == self._me and not plan.agent:
            return self._pong(source, call_id, frame.payload, batch, now)
        deadline = cut[1]
        return self._go(plan, waiter, int.from_bytes(deadline[1:]), deadline, frame.payload, batch, now)

    def ask(
        self, ticket: int, header: CallHeader, payload: bytes, where: NodeId | None, batch: Batch, now: Instant
    ) -> bool:
        """A call of a door."""
        plan = self.plans.of_door(where, header, now)
        if plan is None:
            return False
        deadline_ms = header.deadline_ms
        return self._go(plan, Door(ticket), deadline_ms, plain.number(deadline_ms), payload, batch, now)

    def _go(
        self, plan: Plan, waiter: Waiter, deadline_ms: int, deadline: bytes, payload: bytes, batch: Batch, now: Instant
    ) -> bool:
        if deadline_ms > self._deadline_max_ms or not self._admission.roomy(payload):
            return False
        now_us = now.mono_us
        due_us = now_us + deadline_ms * MS
        look_us, conn, name, receiver = min(due_us, now_us + plan.look_us), NO_CONN, _NOBODY, plan.node
        if plan.node == self._me:
            unit = self._unit(plan, now)
            if unit is None:
                return False
            self._units.took(unit)
            look_us, conn, name, receiver = due_us, unit.conn, unit.name, unit.conn
        if plan.agent:
            self._index.queued(plan.node, plan.agent, 1)
        call_id = self._life.next_id()
        lean = Lean(call_id, plan, payload, waiter, now_us, deadline_ms, due_us, look_us, plan.node, conn, name)
        self._calls.add_lean(lean)
        header = plain.call(call_id, plan.before, deadline, plan.behind)
        batch.frame(receiver, Frame(Kind.CALL, header=header, payload=payload))
        return True

    def _unit(self, plan: Plan, now: Instant) -> Unit | None:
        """Who takes it here: the next unit of its agent, as long as this node is where the slow path would go."""
        if not plan.alone:
            offer = self._index.here(plan.header.skill, plan.header.agent, now)
            if offer is None or offer.agent != plan.agent:
                return None
        unit = self._units.pick(plan.agent, -1)
        return unit if unit is not None and unit.slots == 1 else None

    def _pong(self, source: Source, call_id: bytes, payload: bytes, batch: Batch, now: Instant) -> bool:
        if not self._admission.roomy(payload):
            return False
        self._life.next_id()  # as if it had a row: ids are the same, whichever way calls go
        pong = msgspec.json.encode({"wall_ms": now.wall_ms})
        batch.frame(source, Frame(Kind.RESULT, header=plain.result(call_id, _PONG_BY, 0), payload=pong))
        return True

    # -- answers ------------------------------------------------------------------------------------------------------

    def answer(self, source: Source, frame: Frame, batch: Batch, now: Instant) -> bool:
        """A RESULT of a peer, or of an agent of this node."""
        lean = self._calls.lean(frame.header[plain.ID_AT : plain.ID_END])
        if lean is None or source != (lean.node if lean.conn == NO_CONN else lean.conn):
            return False
        written = plain.plain_instance(frame.header)
        instance = self._instance(written) if written is not None else None
        if written is None or instance is None or len(frame.payload) > RESULT_BYTES_MAX:
            return False
        if lean.conn != NO_CONN:  # an agent itself cannot say who it is
            instance, written = lean.unit, self._as_written(lean.unit)
        self._end(lean, instance, written, frame.payload, batch, now)
        return True

    def _end(
        self, lean: Lean, instance: InstanceId, written: bytes, payload: bytes, batch: Batch, now: Instant
    ) -> None:
        plan, waiter = lean.plan, lean.waiter
        took_us = now.mono_us - lean.started_us
        self._calls.remove_lean(lean)
        self._counters.add("calls-ok")
        if plan.agent:
            self._index.observed(plan.node, plan.agent, plan.header.skill, took_us, now, ok=True)
            self._index.queued(plan.node, plan.agent, -1)
            if lean.conn != NO_CONN:
                self._units.gave_back(lean.conn)
        if isinstance(waiter, Door):
            batch.tell(CallEnded(waiter.ticket, lean.call_id, "", "", payload, plan.node, instance, took_us, 1))
            return
        receiver = waiter.node if isinstance(waiter, Peer) else waiter.conn
        header = plain.result(waiter.call_id, written, took_us)
        batch.frame(receiver, Frame(Kind.RESULT, header=header, payload=payload))

    def _instance(self, written: bytes) -> InstanceId | None:
        """``None``: it is not written as we would, or too long to be passed on, and the slow path looks at it."""
        known = self._instances.get(written)
        if known is not None:
            return known
        try:
            instance = InstanceId(msgspec.msgpack.decode(written, type=str))
        except ValueError:
            return None
        if plain.text(instance) != written or len(instance) > TEXT_CHARS_MAX:
            return None
        if len(self._instances) >= _INSTANCES_MAX:
            self._instances.clear()
        self._instances[written] = instance
        return instance

    def _as_written(self, unit: InstanceId) -> bytes:
        written = self._written.get(unit)
        if written is None:
            if len(self._written) >= _INSTANCES_MAX:
                self._written.clear()
            written = self._written[unit] = plain.text(unit)
        return written
