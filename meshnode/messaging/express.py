"""The express lane: plain calls, and their plain answers, go the way that the slow path chose for the call before.

How a call is decided is told by its plan (``plans``); how many are in flight and which unit is next is looked up for
each call, as the slow path does. Whatever is not plain is not touched here, and takes the slow path with all its
promises: a lean row (``calls``) becomes a whole one as soon as anybody looks for it.
``tests/unit/messaging/test_express.py`` feeds both ways the same inputs and compares what comes out.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

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
from meshnode.messaging.streams import Flows
from meshnode.model.ids import InstanceId, NodeId
from meshnode.wire import plain
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import CallHeader
from meshnode.wire.frame import Frame, Kind

Slow = Callable[[int, Frame], Sequence[Effect]]  # given its place among the frames of the turn

_CALL, _RESULT, _CHUNK = Kind.CALL, Kind.RESULT, Kind.CHUNK
_NOBODY = InstanceId("")
_PONG = plain.result(bytes(plain.ID_END - plain.ID_AT), plain.text(""), 0)  # a ping is answered by nobody's agent
_PONG_HEAD, _PONG_TAIL = _PONG[: plain.ID_AT], _PONG[plain.ID_END :]
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
        self._flows = Flows(life.calls, around.me) if config.plans_max else None
        # Who answers, as it stands in headers and as it is read: each seen to be written as we would.
        self._instances: dict[bytes, InstanceId] = {}
        self._written: dict[InstanceId, bytes] = {}

    def turn(self, source: Source, frames: tuple[Frame, ...], now: Instant, slow: Slow) -> list[Effect]:
        """What a peer, or an agent of this node, says in one turn; ``slow`` is given what takes the slow path."""
        batch, plans, at = Batch(), self.plans.begin(source), 0
        while at < len(frames):
            kind = frames[at].kind
            if kind is _CALL:
                took = self._asked(plans, source, frames, at, batch, now)
            elif kind is _CHUNK:
                took = self._item(source, frames[at], batch)
            else:
                took = self._answers(source, frames, at, batch, now)
            if not took:
                batch.add(slow(at, frames[at]))
            at += took or 1
        return batch.effects()

    # Each of these says how much it took of what it was given; what it did not take is as it was.

    def ask(
        self, ticket: int, header: CallHeader, payload: bytes, where: NodeId | None, now: Instant
    ) -> Post | ToAgent | None:
        """A call of a door."""
        plan = self.plans.of_door(where, header)
        if plan is None or not self.plans.holds(plan, now):
            return None
        deadline_ms, trace = header.deadline_ms, header.trace.encode()
        return self._ask(plan, Door(ticket), plain.number(deadline_ms), deadline_ms, trace, payload, now)

    def lone(self, source: Source, frame: Frame, now: Instant) -> Post | ToAgent | CallEnded | None:
        """What one frame comes to that is all of a turn; ``None``: it was not taken."""
        header, payload = frame.header, frame.payload
        if frame.kind is _RESULT:
            return self._answer(source, header, payload, now)
        known = self._known(self.plans.begin(source), header, now) if frame.kind is _CALL else None
        if known is None:
            return None
        plan, at, end, deadline_ms, trace = known
        call_id = header[plain.ID_AT : plain.ID_END]
        waiter = LocalAgent(source, call_id) if isinstance(source, int) else Peer(source, call_id)
        if waiter in self._calls.by_waiter:
            return None
        if not plan.agent and plan.node == self._me:
            return self._pong(source, call_id, payload, now)
        return self._ask(plan, waiter, header[at:end], deadline_ms, trace, payload, now)

    def _ask(
        self, plan: Plan, waiter: Waiter, deadline: bytes, deadline_ms: int, trace: bytes, payload: bytes, now: Instant
    ) -> Post | ToAgent | None:
        """One call that nobody waits for yet."""
        if deadline_ms > self._deadline_max_ms or len(payload) > self._room_bytes():
            return None
        goes = self._go(plan, waiter, deadline, deadline_ms, trace, payload, now)
        if goes is None:
            return None
        self._queued(plan, 1)
        return to(goes[0], goes[1:])

    def _pong(self, source: Source, call_id: bytes, payload: bytes, now: Instant) -> Post | ToAgent | None:
        if len(payload) > self._room_bytes():
            return None
        self._life.skip_ids(1)
        return to(source, (Frame(_RESULT, 0, 0, _PONG_HEAD + call_id + _PONG_TAIL, _wall(now)),))

    def _answer(self, source: Source, header: bytes, payload: bytes, now: Instant) -> Post | ToAgent | CallEnded | None:
        lean = self._calls.rows.get(header[plain.ID_AT : plain.ID_END])
        if not isinstance(lean, Lean) or lean.worker != source or len(payload) > RESULT_BYTES_MAX:
            return None
        by = plain.instance(header)
        instance = self._instance(by) if by is not None else None
        if by is None or instance is None:
            return None
        took_us, waiter = now.mono_us - lean.started_us, lean.waiter
        self._calls.remove_lean(lean)
        self._took(lean.plan, [took_us], now)
        self._counters.add("calls-ok")
        if isinstance(source, int):
            self._units.gave_back(source)
        if isinstance(waiter, Door):
            by_whom = lean.unit or instance
            return CallEnded(waiter.ticket, lean.call_id, "", "", payload, lean.plan.node, by_whom, took_us, 1)
        whom = self._as_written(lean.unit) if lean.unit else by
        answer = Frame(_RESULT, 0, 0, plain.result(waiter.call_id, whom, took_us), payload)
        return to(waiter.node if isinstance(waiter, Peer) else waiter.conn, (answer,))

    def _item(self, source: Source, frame: Frame, batch: Batch) -> int:
        goes = self._flows.item(source, frame) if self._flows is not None else None
        if goes is None:
            return 0
        batch.frame(*goes)
        return 1

    def _asked(
        self, plans: Mapping[bytes, Plan], source: Source, frames: tuple[Frame, ...], at: int, batch: Batch,
        now: Instant,
    ) -> int:  # fmt: skip
        """Calls that follow each other. Most are like the one before, and are not cut as if nothing were known."""
        plan: Plan | None = None
        like, mark, end, me, calls, admission = b"", 0, 0, self._me, self._calls, self._admission
        rows_max, bytes_max, each_max = admission.calls_room, admission.bytes_room, admission.payload_bytes_max
        is_agent = isinstance(source, int)
        begun, queued, receiver, out = at, 0, source, list[Frame]()
        for frame in islice(frames, at, None):
            header, payload, trace = frame.header, frame.payload, b""
            if frame.kind is not _CALL:
                break
            deadline_ms = plain.cut_like(header, like, mark, end) if like else 0
            if not deadline_ms or plan is None:
                known = self._known(plans, header, now)
                if known is None:
                    break
                self._queued(plan, queued)
                queued = 0
                plan, mark, end, deadline_ms, trace = known
                like = b"" if trace or end - mark != plain.LIKE_BYTES else header
            if not plan.agent and plan.node == me:
                batch.frames(receiver, out)
                return at - begun + self._pongs(source, frames, at, (header if like else b"", mark, end), batch, now)
            call_id = header[3:19]
            waiter = LocalAgent(source, call_id) if is_agent else Peer(source, call_id)
            if waiter in calls.by_waiter or deadline_ms > self._deadline_max_ms or len(payload) > each_max:
                break
            if len(calls.rows) >= rows_max or len(payload) > bytes_max - calls.payload_bytes:
                break
            goes = self._go(plan, waiter, header[mark:end], deadline_ms, trace, payload, now)
            if goes is None:
                break
            if goes[0] != receiver:
                batch.frames(receiver, out)
                receiver, out = goes[0], []
            out.append(goes[1])
            queued += 1
            at += 1
        self._queued(plan, queued)
        batch.frames(receiver, out)
        return at - begun

    def _known(
        self, plans: Mapping[bytes, Plan], header: bytes, now: Instant
    ) -> tuple[Plan, int, int, int, bytes] | None:
        """The plan of a call, from where to where its deadline stands, and what that and its trace are."""
        cut = plain.cut_call(header)
        plan = plans.get(cut[0]) if cut is not None else None
        if cut is None or plan is None or len(cut[4]) != len(plan.header.trace) or not self.plans.holds(plan, now):
            return None
        return plan, *cut[1:]

    def _queued(self, plan: Plan | None, calls: int) -> None:
        """So many more under one plan. Where several answer each is counted at once, as the next may go elsewhere."""
        if plan is not None and calls and plan.alone and plan.agent:
            self._index.queued(plan.node, plan.agent, calls)

    def _go(
        self, plan: Plan, waiter: Waiter, deadline: bytes, deadline_ms: int, trace: bytes, payload: bytes, now: Instant
    ) -> tuple[Source, Frame] | None:
        """Who is given it, and as what."""
        among_several = not plan.alone
        if among_several:
            chosen = self._toward(plan, now)
            if chosen is None or not self.plans.holds(chosen, now):
                return None
            plan = chosen
        agent, node, now_us = plan.agent, plan.node, now.mono_us
        look_us, worker, name = now_us + deadline_ms * MS, node, _NOBODY
        if node == self._me:
            unit = self._units.hand(agent)
            if unit is None:
                return None
            worker, name = unit.conn, unit.name
        else:
            look_us = min(look_us, now_us + plan.look_us)
        if among_several and agent:
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

    def _room_bytes(self) -> int:
        """What any call that comes may bring; below zero: there is room for none."""
        calls, admission = self._calls, self._admission
        if len(calls.rows) >= admission.calls_room:
            return -1
        return min(admission.bytes_room - calls.payload_bytes, admission.payload_bytes_max)

    def _pongs(
        self, source: Source, frames: tuple[Frame, ...], at: int, like: tuple[bytes, int, int], batch: Batch,
        now: Instant,
    ) -> int:  # fmt: skip
        """A ping, and those behind it that differ from ``like`` in id and deadline only. They never have a row."""
        pong, room_bytes, by_waiter = _wall(now), self._room_bytes(), self._calls.by_waiter
        is_agent = isinstance(source, int)
        pongs: list[Frame] = []
        for frame in islice(frames, at, None):
            header = frame.header
            if pongs and not (frame.kind is _CALL and like[0] and plain.cut_like(header, *like)):
                break
            call_id = header[3:19]
            waiter = LocalAgent(source, call_id) if is_agent else Peer(source, call_id)
            if waiter in by_waiter or len(frame.payload) > room_bytes:
                break
            pongs.append(Frame(_RESULT, 0, 0, _PONG_HEAD + call_id + _PONG_TAIL, pong))
        self._life.skip_ids(len(pongs))  # as if they had rows: ids are the same, whichever way calls go
        batch.frames(source, pongs)
        return len(pongs)

    def _answers(self, source: Source, frames: tuple[Frame, ...], at: int, batch: Batch, now: Instant) -> int:
        """Plain answers that follow each other."""
        rows, plan, took = self._calls.rows, None, list[int]()
        begun, same, said, written, instance = at, b"", b"", b"", _NOBODY
        receiver, out = source, list[Frame]()
        for frame in islice(frames, at, None):
            header, payload = frame.header, frame.payload
            lean = rows.get(header[3:19]) if frame.kind is _RESULT else None
            if not isinstance(lean, Lean) or lean.worker != source or len(payload) > RESULT_BYTES_MAX:
                break
            if header[19:] != same and not (said and plain.says_as(header, said)):
                by = plain.instance(header)
                known = self._instance(by) if by is not None else None
                if by is None or known is None:
                    break
                same, said, written, instance = header[19:], plain.said(by), by, known
            under = lean.plan
            if under is not plan:
                self._took(plan, took, now)
                plan, took = under, []
            took_us = now.mono_us - lean.started_us
            took.append(took_us)
            self._calls.remove_lean(lean)
            waiter = lean.waiter
            if isinstance(waiter, Door):
                if out:
                    batch.frames(receiver, out)
                    out = []
                by_whom = lean.unit or instance
                batch.tell(CallEnded(waiter.ticket, lean.call_id, "", "", payload, under.node, by_whom, took_us, 1))
            else:
                asker = waiter.node if isinstance(waiter, Peer) else waiter.conn
                if asker != receiver:
                    batch.frames(receiver, out)
                    receiver, out = asker, []
                # An agent itself cannot say who it is.
                whom = self._as_written(lean.unit) if lean.unit else written
                out.append(Frame(_RESULT, 0, 0, plain.result(waiter.call_id, whom, took_us), payload))
            at += 1
        self._took(plan, took, now)
        batch.frames(receiver, out)
        if at > begun:
            self._counters.add("calls-ok", at - begun)
            if isinstance(source, int):
                self._units.gave_back(source, at - begun)
        return at - begun

    def _took(self, plan: Plan | None, took_us: list[int], now: Instant) -> None:
        """Answers to calls under one plan, which nobody has asked about since the first of them."""
        if plan is not None and plan.agent:
            self._index.answered(plan.node, plan.agent, plan.header.skill, took_us, now)
            self._index.queued(plan.node, plan.agent, -len(took_us))

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


def _wall(now: Instant) -> bytes:
    """What a ping is answered."""
    return msgspec.json.encode({"wall_ms": now.wall_ms})
