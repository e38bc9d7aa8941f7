"""What one simulated agent process knows and does: it speaks the bus as an agent of the SDK does (sdk/serving.py).

A stateful one keeps a ledger that can be compared with anybody else's: ``AGENT.add`` {"id", "n"} adds n to the counter
``total`` and writes n under ``id/ID``; ``AGENT.set`` {"key", "value"} and ``AGENT.get`` {"key"} are what they say. A
skill that ends in ``.items`` {"n"} is a stream of n numbers. Any other skill answers with what it was given.

Changes happen in one step, at the end of a call's turn: whatever ends a call earlier changes nothing.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import msgspec

from meshnode.kernel.instant import MS
from meshnode.kernel.rng import Random
from meshnode.messaging.calls import CREDIT
from meshnode.model.ids import InstanceId
from meshnode.sim.cells import Cells, Tally
from meshnode.sim.manner import Manner
from meshnode.wire.calls import CallHeader, CancelHeader, ChunkHeader, GrantHeader, ResultHeader, encoded_result
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import (
    KEY_CHARS_MAX,
    Change,
    KeptHeader,
    Key,
    MergedCell,
    MergedHeader,
    MergeHeader,
    Op,
    RestoredCell,
    RestoreHeader,
    StateHeader,
    decode_changes,
)

TOTAL = "total"
ITEMS, GET = ".items", ".get"
_encode = msgspec.msgpack.Encoder().encode
_calls = msgspec.msgpack.Decoder(CallHeader)
_cancels = msgspec.msgpack.Decoder(CancelHeader)
_grants = msgspec.msgpack.Decoder(GrantHeader)
_restores = msgspec.msgpack.Decoder(RestoreHeader)
_merges = msgspec.msgpack.Decoder(MergeHeader)
_kepts = msgspec.msgpack.Decoder(KeptHeader)
_restored_cells = msgspec.msgpack.Decoder(list[RestoredCell])
_merged_cells = msgspec.msgpack.Decoder(list[MergedCell])


class Hands(Protocol):
    """The process a program runs in."""

    def after(self, wait_us: int, act: Callable[[], None]) -> None:
        """Later, if the process still runs."""
        ...

    def send(self, *frames: Frame) -> None:
        """In order, together; dropped while there is no daemon."""
        ...

    def crash(self) -> None: ...


_Number = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class _Add(msgspec.Struct, frozen=True):
    id: str
    n: _Number


class _Set(msgspec.Struct, frozen=True):
    key: str
    value: msgspec.Raw


class _Get(msgspec.Struct, frozen=True):
    key: str = ""


class _Items(msgspec.Struct, frozen=True):
    n: Annotated[int, msgspec.Meta(ge=0, le=10_000)]


@dataclass(eq=False, slots=True)
class _Call:
    """``others``: calls with the same key, which wait until this one's answer is kept."""

    header: CallHeader
    payload: bytes
    slot: int
    others: dict[bytes, None] = field(default_factory=dict[bytes, None])
    answer: bytes = b""
    over: bool = False
    items: int = -1  # of a stream that flows
    sent: int = 0
    granted: int = CREDIT


class Program:
    """``ready``: it holds its state and serves. ``answered``: calls worked. ``merge_no``: the last MERGE applied."""

    def __init__(self, unit: InstanceId, manner: Manner, hands: Hands, rng: Random) -> None:
        self.ready = self.stopping = False
        self.answered = self.merge_no = 0
        self._unit, self._manner, self._hands, self._rng = unit, manner, hands, rng
        self._agent = unit.partition("/")[0]
        self._first_slot, self._slots = 0, 1
        self._cells, self._loading = Cells(), Cells()
        self._seq = 0
        self._unkept: deque[tuple[int, tuple[Frame, ...], _Call | None]] = deque()
        self._calls: dict[bytes, _Call] = {}
        self._early: list[_Call] = []  # came before the state
        self._keyed: dict[str, _Call] = {}
        self._turns: dict[int, deque[_Call]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._calls)

    def tally(self) -> Tally:
        return self._cells.tally(TOTAL)

    # -- what the daemon says -----------------------------------------------------------------------------------------

    def welcomed(self, first_slot: int, slots: int) -> None:
        """Registered. Who holds its state sends again what the daemon before has not declared kept."""
        self._first_slot, self._slots = first_slot, slots
        if self.ready:
            for _, frames, _ in self._unkept:
                self._hands.send(*frames)

    def lost(self) -> None:
        """The daemon is gone. Streams have lost items and end, other calls go on; half a state counts nothing."""
        self._loading = Cells()
        for call in [call for call in self._calls.values() if call.items >= 0]:
            self._over(call)

    def hear(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.CALL:
                self._called(_calls.decode(frame.header), frame.payload)
            case Kind.CANCEL:
                self._withdrawn(_cancels.decode(frame.header).call_id)
            case Kind.GRANT:
                grant = _grants.decode(frame.header)
                call = self._calls.get(grant.call_id)
                if call is not None:
                    call.granted = max(call.granted, grant.total)
                    self._flow(call)
            case Kind.RESTORE:
                cells = _restored_cells.decode(frame.payload) if frame.payload else []
                self._restored(_restores.decode(frame.header), cells)
            case Kind.MERGE:
                self._merged(_merges.decode(frame.header), _merged_cells.decode(frame.payload))
            case Kind.KEPT:
                self._kept(_kepts.decode(frame.header))
            case _:
                raise AssertionError(f"a daemon does not send this to an agent: {frame.kind.name}")

    # -- state --------------------------------------------------------------------------------------------------------

    def _restored(self, header: RestoreHeader, cells: list[RestoredCell]) -> None:
        self._loading.restore(cells)
        if header.last:
            self._cells, self._loading, self.ready = self._loading, Cells(), True
            early, self._early = self._early, []
            for call in early:
                self._begin(call)

    def _merged(self, header: MergeHeader, cells: list[MergedCell]) -> None:
        """The larger JSON text wins: a choice any two copies make alike."""
        self._cells.merge(cells)
        keys = {cell.key for cell in cells}
        for seq, frames, _ in self._unkept:
            if seq > header.seq >= 0:  # on its way to the daemon, which had not read it
                self._cells.apply(change for change in decode_changes(frames[0].payload) if change.key in keys)
        asked = [cell for cell in cells if cell.ask and self._manner.merges]
        decided = [Change(cell.key, Op.SET, max(cell.mine, cell.theirs)) for cell in asked]
        self.merge_no = header.merge_no
        self._keep(Kind.MERGED, MergedHeader(self.merge_no, self._seq + 1), decided)

    def _kept(self, header: KeptHeader) -> None:
        while self._unkept and self._unkept[0][0] <= header.seq:
            call = self._unkept.popleft()[2]
            if call is not None and call.header.idempotency_key:
                self._keyed.pop(call.header.idempotency_key)
                for other in call.others:
                    if self._calls.pop(other, None) is not None:
                        self._answer(other, payload=call.answer, version=header.version, replayed=True)

    def _keep(
        self,
        kind: Kind,
        header: StateHeader | MergedHeader,
        changes: list[Change],
        result: Frame | None = None,
        call: _Call | None = None,
    ) -> None:
        self._seq = header.seq
        self._cells.apply(changes)
        frame = Frame(kind, header=_encode(header), payload=_encode(changes))
        frames = (frame,) if result is None else (frame, result)
        self._unkept.append((header.seq, frames, call))
        self._hands.send(*frames)

    # -- calls --------------------------------------------------------------------------------------------------------

    def _called(self, header: CallHeader, payload: bytes) -> None:
        if header.call_id in self._calls:
            return  # a daemon that came back asks again for what is in work
        refusal = self._refusal(header)
        if refusal is not None:
            self._answer(header.call_id, *refusal)
            return
        slot = -1 if self._slots == 1 else max(header.slot, self._first_slot)
        call = self._calls[header.call_id] = _Call(header, payload, slot)
        self._hands.after(header.deadline_ms * MS, lambda: self._expired(call))
        if self.ready:
            self._begin(call)
        else:
            self._early.append(call)

    def _refusal(self, header: CallHeader) -> tuple[str, str] | None:
        if self.stopping:
            return "unavailable", f"{self._unit} is stopping"
        if header.skill not in self._manner.skills:
            return "not-found", f"agent {self._agent} has no skill {header.skill}"
        if header.deadline_ms <= 0:
            return "timeout", f"{header.skill}: the deadline had passed when the call arrived; it did not run"
        if header.slot >= 0 and not self._first_slot <= header.slot < self._first_slot + self._slots:
            return "not-found", f"{self._agent}/{header.slot} is not in this process"
        return None

    def _begin(self, call: _Call) -> None:
        if call.over:
            return
        key = call.header.idempotency_key
        if key:
            first = self._keyed.setdefault(key, call)
            if first is not call:
                first.others[call.header.call_id] = None
                return
        if not self._takes_turns(call):
            self._work(call)
            return
        turns = self._turns.setdefault(call.slot, deque())
        turns.append(call)
        if len(turns) == 1:
            self._work(call)

    def _takes_turns(self, call: _Call) -> bool:
        return self._manner.stateful and call.header.skill.rpartition(".")[2] in ("add", "set", "get")

    def _work(self, call: _Call) -> None:
        wait_us = round(self._manner.answer_us * (0.5 + self._rng.random()))
        self._hands.after(wait_us, lambda: self._worked(call))

    def _worked(self, call: _Call) -> None:
        if call.over:
            return
        self.answered += 1
        every = self._manner.crash_every
        if every and self.answered % every == 0:
            self._hands.crash()
            return
        try:
            changes, call.answer = self._run(call)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            self._answer(call.header.call_id, "invalid", f"{call.header.skill}: {error}")
            self._over(call)
            return
        if call.header.stream and call.items >= 0:
            self._flow(call)
        elif changes or call.header.idempotency_key:
            self._commit(call, changes)
        else:
            self._answer(call.header.call_id, payload=call.answer)
            self._over(call)

    def _commit(self, call: _Call, changes: list[Change]) -> None:
        header = call.header
        state = StateHeader(header.call_id, self._seq + 1, self.merge_no, header.idempotency_key)
        self._keep(Kind.STATE, state, changes, self._result(header.call_id, payload=call.answer), call)
        self._over(call, kept=True)

    def _run(self, call: _Call) -> tuple[list[Change], bytes]:
        """What the skill changes, and its answer as JSON. Raises what msgspec raises about the arguments."""
        header, payload = call.header, call.payload
        verb = header.skill.rpartition(".")[2] if self._takes_turns(call) else ""
        total = self._key(call, TOTAL)
        match verb:
            case "add":
                add = msgspec.json.decode(payload, type=_Add)
                paid = Change(self._key(call, f"id/{add.id}"), Op.SET, b"%d" % add.n)
                answer = {"total": self._cells.number(total) + add.n, "by": self._unit}
                return [Change(total, Op.ADD, amount=add.n), paid], msgspec.json.encode(answer)
            case "set":
                given = msgspec.json.decode(payload, type=_Set)
                change = Change(self._key(call, given.key), Op.SET, bytes(given.value))
                return [change], msgspec.json.encode({"total": self._cells.number(total), "by": self._unit})
            case "get":
                asked = msgspec.json.decode(payload or b"{}", type=_Get)
                value = self._cells.value(self._key(call, asked.key)) if asked.key else b"null"
                shown = {"total": self._cells.number(total), "by": self._unit, "value": msgspec.Raw(value)}
                return [], msgspec.json.encode(shown)
            case _:
                return [], self._stateless(call)

    def _stateless(self, call: _Call) -> bytes:
        if call.header.skill.endswith(ITEMS):
            count = msgspec.json.decode(call.payload, type=_Items).n
            if call.header.stream:
                call.items = count
                return b""
            return msgspec.json.encode(list(range(count)))
        given = msgspec.Raw(call.payload or b"{}")
        return msgspec.json.encode({"by": self._unit, "skill": call.header.skill, "given": given})

    def _key(self, call: _Call, name: str) -> str:
        text = Key(name, call.header.session, call.slot).text()
        if not 0 < len(text) <= KEY_CHARS_MAX:
            raise msgspec.ValidationError(f"a key has 1 to {KEY_CHARS_MAX} characters")
        return text

    def _flow(self, call: _Call) -> None:
        """Items as far as the reader takes them, then the end."""
        if call.items < 0:
            return
        call_id = call.header.call_id
        while call.sent < min(call.items, call.granted):
            header = _encode(ChunkHeader(call_id, call.sent))
            self._hands.send(Frame(Kind.CHUNK, header=header, payload=b"%d" % call.sent))
            call.sent += 1
        if call.sent == call.items:
            self._answer(call_id, payload=call.answer)
            self._over(call)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _expired(self, call: _Call) -> None:
        if self._calls.get(call.header.call_id) is call:
            self._withdrawn(call.header.call_id)

    def _withdrawn(self, call_id: bytes) -> None:
        """Nobody waits for it any more: it does nothing, and the next one with its key runs instead."""
        call = self._calls.get(call_id)
        if call is not None:
            self._over(call)

    def _over(self, call: _Call, *, kept: bool = False) -> None:
        """``kept``: its answer is on its way to the state, and its key with it."""
        call.over = True
        call_id, key = call.header.call_id, call.header.idempotency_key
        self._calls.pop(call_id, None)
        turns = self._turns.get(call.slot)
        if turns and call in turns:
            was_first = turns[0] is call
            turns.remove(call)
            if was_first and turns:
                self._work(turns[0])
        first = self._keyed.get(key)
        if first is call and not kept:
            del self._keyed[key]
            for other in call.others:
                if other in self._calls:
                    self._begin(self._calls[other])
        elif first is not None:
            first.others.pop(call_id, None)

    def _answer(
        self,
        call_id: bytes,
        code: str = "",
        message: str = "",
        *,
        payload: bytes = b"",
        version: int = 0,
        replayed: bool = False,
    ) -> None:
        self._hands.send(self._result(call_id, code, message, payload, version=version, replayed=replayed))

    def _result(
        self,
        call_id: bytes,
        code: str = "",
        message: str = "",
        payload: bytes = b"",
        *,
        version: int = 0,
        replayed: bool = False,
    ) -> Frame:
        ran_us = self._manner.answer_us
        header = ResultHeader(call_id, code, message, self._unit, ran_us, version=version, replayed=replayed)
        return Frame(Kind.RESULT, header=encoded_result(header), payload=payload)
