"""The express lane: plain calls, and their plain answers, go the way that the slow path chose for the call before.

How a call is decided is told by its plan (``plans``); how many are in flight and which unit is next is looked up for
each call, as the slow path does. Whatever is not plain is not touched here, and takes the slow path with all its
promises: a lean row (``calls``) becomes a whole one as soon as anybody looks for it.
``tests/unit/messaging/test_express.py`` feeds both ways the same inputs and compares what comes out.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, Instant
from meshnode.links.messages import Post
from meshnode.messaging.admission import Admission
from meshnode.messaging.around import Around
from meshnode.messaging.batches import Batch, to
from meshnode.messaging.calls import Door, Lean, LocalAgent, Peer, Plan, Waiter
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.letters import RESULT_BYTES_MAX, TEXT_CHARS_MAX
from meshnode.messaging.life import Life
from meshnode.messaging.messages import CallEnded
from meshnode.messaging.plans import Plans, Source
from meshnode.messaging.routes import FIRST
from meshnode.model.ids import InstanceId, NodeId
from meshnode.wire import plain
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import CallHeader
from meshnode.wire.frame import Frame, Kind

Slow = Callable[[int, Frame], Sequence[Effect]]  # given its place among the frames of the turn

_CALL, _RESULT = Kind.CALL, Kind.RESULT
_NOBODY = InstanceId("")
_PONG_BY = plain.text("")  # a ping is answered by nobody's agent
_INSTANCES_MAX = 1024


class Express:
    """One switch's."""

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

    def turn(self, source: Source, frames: tuple[Frame, ...], now: Instant, slow: Slow) -> list[Effect]:
        """What a peer, or an agent of this node, says in one turn; ``slow`` is given what takes the slow path."""
        batch, plans, ended = Batch(), self.plans.begin(source), 0
        for at, frame in enumerate(frames):
            if frame.kind is _CALL and self._call(plans, source, frame, batch, now):
                continue
            if frame.kind is _RESULT and self._answer(source, frame, batch, now):
                ended += 1
            else:
                batch.add(slow(at, frame))
        if ended:
            self._counters.add("calls-ok", ended)
        return batch.effects()

    # Each of these says whether it took what it was given; what it did not take is as it was.

    def ask(
        self, ticket: int, header: CallHeader, payload: bytes, where: NodeId | None, now: Instant
    ) -> Post | ToAgent | None:
        """A call of a door."""
        plan = self.plans.of_door(where, header)
        if plan is None or not self.plans.holds(plan, now):
            return None
        deadline_ms, trace = header.deadline_ms, header.trace.encode()
        goes = self._go(plan, Door(ticket), plain.number(deadline_ms), deadline_ms, trace, payload, now)
        return None if goes is None else to(goes[0], goes[1:])

    def _call(self, plans: Mapping[bytes, Plan], source: Source, frame: Frame, batch: Batch, now: Instant) -> bool:
        header = frame.header
        cut = plain.cut_call(header)
        if cut is None:
            return False
        common, deadline, deadline_ms, trace = cut
        plan = plans.get(common)
        if plan is None or len(trace) != len(plan.header.trace) or not self.plans.holds(plan, now):
            return False
        call_id = header[plain.ID_AT : plain.ID_END]
        waiter = LocalAgent(source, call_id) if isinstance(source, int) else Peer(source, call_id)
        if waiter in self._calls.by_waiter:
            return False
        if not plan.agent and plan.node == self._me:
            return self._pong(source, call_id, frame.payload, batch, now)
        goes = self._go(plan, waiter, deadline, deadline_ms, trace, frame.payload, now)
        if goes is not None:
            batch.frame(*goes)
        return goes is not None

    def _go(
        self, plan: Plan, waiter: Waiter, deadline: bytes, deadline_ms: int, trace: bytes, payload: bytes, now: Instant
    ) -> tuple[Source, Frame] | None:
        """Who is given it, and as what."""
        if deadline_ms > self._deadline_max_ms or not self._has_room(len(payload)):
            return None
        if not plan.alone:
            chosen = self._toward(plan, now)
            if chosen is None or not self.plans.holds(chosen, now):
                return None
            plan = chosen
        agent, node, now_us = plan.agent, plan.node, now.mono_us
        look_us, worker, name = now_us + deadline_ms * MS, node, _NOBODY
        if node == self._me:
            unit = self._units.pick(agent, -1)
            if unit is None or unit.slots != 1:
                return None
            self._units.took(unit)
            worker, name = unit.conn, unit.name
        else:
            look_us = min(look_us, now_us + plan.look_us)
        if agent:
            self._index.queued(node, agent, 1)
        call_id = self._life.next_id()
        self._calls.add_lean(Lean(call_id, plan, payload, waiter, now_us, deadline_ms, look_us, worker, name, trace))
        return worker, Frame(_CALL, 0, 0, plain.call(call_id, plan.way, deadline, trace), payload)

    def _toward(self, plan: Plan, now: Instant) -> Plan | None:
        """Several answer: the plan towards whom the slow path would choose now. ``None``: it has more to look at."""
        index, asked = self._index, plan.header
        offer = index.here(asked.skill, asked.agent, now)
        if offer is not None and self._units.pick(offer.agent, -1) is not None:
            return self.plans.toward(plan, self._me, offer)
        if asked.agent:
            return None
        for candidate in index.top(asked.skill, k=FIRST, now=now):
            if not candidate.local or self._units.pick(candidate.offer.agent, -1) is not None:
                return self.plans.toward(plan, candidate.node, candidate.offer)
        return None

    def _has_room(self, payload_bytes: int) -> bool:
        """For any call that comes."""
        calls, admission = self._calls, self._admission
        return (
            len(calls.rows) < admission.calls_room
            and calls.payload_bytes + payload_bytes <= admission.bytes_room
            and payload_bytes <= admission.payload_bytes_max
        )

    def _pong(self, source: Source, call_id: bytes, payload: bytes, batch: Batch, now: Instant) -> bool:
        if not self._has_room(len(payload)):
            return False
        self._life.next_id()  # as if it had a row: ids are the same, whichever way calls go
        pong = msgspec.json.encode({"wall_ms": now.wall_ms})
        batch.frame(source, Frame(_RESULT, 0, 0, plain.result(call_id, _PONG_BY, 0), pong))
        return True

    def _answer(self, source: Source, frame: Frame, batch: Batch, now: Instant) -> bool:
        header, payload = frame.header, frame.payload
        lean = self._calls.rows.get(header[plain.ID_AT : plain.ID_END])
        if not isinstance(lean, Lean) or lean.worker != source:
            return False
        written = plain.instance(header)
        instance = self._instance(written) if written is not None else None
        if written is None or instance is None or len(payload) > RESULT_BYTES_MAX:
            return False
        plan, waiter, took_us = lean.plan, lean.waiter, now.mono_us - lean.started_us
        self._calls.remove_lean(lean)
        if lean.unit:  # an agent itself cannot say who it is
            instance, written = lean.unit, self._as_written(lean.unit)
            self._units.gave_back(lean.conn)
        if plan.agent:
            self._index.observed(plan.node, plan.agent, plan.header.skill, took_us, now, ok=True)
            self._index.queued(plan.node, plan.agent, -1)
        if isinstance(waiter, Door):
            batch.tell(CallEnded(waiter.ticket, lean.call_id, "", "", payload, plan.node, instance, took_us, 1))
        else:
            receiver = waiter.node if isinstance(waiter, Peer) else waiter.conn
            batch.frame(receiver, Frame(_RESULT, 0, 0, plain.result(waiter.call_id, written, took_us), payload))
        return True

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
