"""Copies on their way between two nodes, in pieces: the receiver says how far the sender may go.

A copy may be larger than what a link queues, so a few pieces are under way at a time.
"""

import enum

import msgspec

from meshnode.checkpoints import letters, merge
from meshnode.checkpoints.desk import Desk
from meshnode.checkpoints.letters import PIECE_BYTES, Ask, Copy, Give, More, Past, past_of
from meshnode.checkpoints.rows import Delta
from meshnode.checkpoints.seen import Seen
from meshnode.checkpoints.unit import Unit
from meshnode.kernel.effects import Effect, Reject
from meshnode.kernel.instant import Instant
from meshnode.model.errors import RemoteError
from meshnode.model.ids import InstanceId, NodeId

WINDOW = 4


class Purpose(enum.Enum):
    """What an asked copy is for."""

    OPEN = 1  # the unit is being opened here
    TAKE = 2  # the unit runs here, and somebody has work we lack
    FOLLOW = 3  # we keep a copy for the giver


class Arrived(msgspec.Struct, frozen=True):
    """The answer to an ask. ``copy`` None: the peer has nothing we lack, or is gone, or was silent."""

    unit: InstanceId
    peer: NodeId
    ask_no: int
    purpose: Purpose
    copy: Copy | None


class _Incoming(msgspec.Struct):
    unit: InstanceId
    peer: NodeId
    purpose: Purpose
    pieces: list[bytes] = []


class _Outgoing(msgspec.Struct):
    unit: InstanceId
    data: bytes
    sent: int = 0

    @property
    def count(self) -> int:
        return -(-len(self.data) // PIECE_BYTES)


class Transfers:
    """Asks of ours, by number; answers of ours, by peer and number."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._incoming: dict[int, _Incoming] = {}
        self._outgoing: dict[tuple[NodeId, int], _Outgoing] = {}

    # -- asking -------------------------------------------------------------------------------------------------------

    def ask(
        self, unit: Unit, peer: NodeId, purpose: Purpose, now: Instant, *, everything: bool = False
    ) -> tuple[int, list[Effect]]:
        """Ask for what this node lacks. Ends in ``Arrived``."""
        number = self._desk.number()
        self._incoming[number] = _Incoming(unit.name, peer, purpose, [])
        self._desk.alarms.set(("ask", str(number)), now.mono_us + self._desk.config.ask_us)
        past = Past() if everything else past_of(unit.state.seen)
        return number, [letters.send(peer, Ask(unit.name, number, past))]

    def asks(self, unit: Unit, peer: NodeId) -> bool:
        """Whether an answer of this peer about this unit is awaited."""
        return any(each.unit == unit.name and each.peer == peer for each in self._incoming.values())

    def given(self, peer: NodeId, give: Give, now: Instant) -> tuple[Arrived | None, list[Effect]]:
        incoming = self._incoming.get(give.ask_no)
        if incoming is None or incoming.peer != peer or incoming.unit != give.unit:
            return None, []  # an answer to an ask that was given up
        if not give.count:
            return self._end(give.ask_no, None), []
        if give.index != len(incoming.pieces):
            return self._end(give.ask_no, None), [Reject(peer, "checkpoint-piece", f"{give.index}")]
        incoming.pieces.append(give.data)
        if len(incoming.pieces) == give.count:
            return self._whole(peer, give, incoming)
        self._desk.alarms.set(("ask", str(give.ask_no)), now.mono_us + self._desk.config.ask_us)
        return None, [letters.send(peer, More(give.ask_no, len(incoming.pieces) + WINDOW))]

    def _whole(self, peer: NodeId, give: Give, incoming: _Incoming) -> tuple[Arrived, list[Effect]]:
        try:
            copy = letters.decode_copy(b"".join(incoming.pieces))
        except RemoteError as error:
            return self._end(give.ask_no, None), [Reject(peer, error.reason, str(error))]
        if copy.unit != give.unit:
            return self._end(give.ask_no, None), [Reject(peer, "checkpoint-copy", "of another unit")]
        return self._end(give.ask_no, copy), []

    def overdue(self, number: int) -> Arrived | None:
        return self._end(number, None) if number in self._incoming else None

    def _end(self, number: int, copy: Copy | None) -> Arrived:
        incoming = self._incoming.pop(number)
        self._desk.alarms.cancel(("ask", str(number)))
        return Arrived(incoming.unit, incoming.peer, number, incoming.purpose, copy)

    # -- giving -------------------------------------------------------------------------------------------------------

    def give(self, unit: Unit | None, peer: NodeId, ask: Ask) -> list[Effect]:
        """Answer an ask. The state has to be read already."""
        past = ask.past.seen()
        if unit is None or not _has_something(unit, past):
            return [letters.send(peer, Give(ask.unit, ask.ask_no))]
        delta = merge.delta(unit.state, past)
        data = letters.encode_copy(_copy_of(unit, delta))
        if len(data) > letters.COPY_BYTES_MAX:
            return [letters.send(peer, Give(ask.unit, ask.ask_no))]
        while len(self._outgoing) >= self._desk.config.transfers_max:
            del self._outgoing[next(iter(self._outgoing))]
        outgoing = self._outgoing[peer, ask.ask_no] = _Outgoing(unit.name, data)
        return self._send(peer, ask.ask_no, outgoing, WINDOW)

    def more(self, peer: NodeId, more: More) -> list[Effect]:
        outgoing = self._outgoing.get((peer, more.ask_no))
        return [] if outgoing is None else self._send(peer, more.ask_no, outgoing, more.upto)

    def _send(self, peer: NodeId, number: int, outgoing: _Outgoing, upto: int) -> list[Effect]:
        effects: list[Effect] = []
        while outgoing.sent < min(upto, outgoing.count):
            start = outgoing.sent * PIECE_BYTES
            piece = outgoing.data[start : start + PIECE_BYTES]
            effects.append(letters.send(peer, Give(outgoing.unit, number, outgoing.sent, outgoing.count, piece)))
            outgoing.sent += 1
        if outgoing.sent >= outgoing.count:
            self._outgoing.pop((peer, number), None)
        return effects

    # -- neighbours ---------------------------------------------------------------------------------------------------

    def peer_gone(self, peer: NodeId) -> list[Arrived]:
        """What was under way to or from a peer ends."""
        for slot in [slot for slot in self._outgoing if slot[0] == peer]:
            del self._outgoing[slot]
        numbers = [number for number, incoming in self._incoming.items() if incoming.peer == peer]
        return [self._end(number, None) for number in numbers]


def _has_something(unit: Unit, past: Seen) -> bool:
    """An owner always answers in full: who asks wants to follow it."""
    return (unit.run is not None and unit.run.ready) or not past.covers(unit.state.seen)


def _copy_of(unit: Unit, delta: Delta) -> Copy:
    run = unit.run
    if run is None or not run.ready:
        return Copy(unit.name, delta, unit.held.epoch, 0, unit.held.head, own=False)
    follow = unit.held.follows.get(run.epoch)
    head = unit.held.head if follow is None else follow.head
    return Copy(unit.name, delta, run.epoch, run.version, head, own=True)
