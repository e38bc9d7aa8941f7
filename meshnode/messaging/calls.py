"""The call table: one row per call in flight through this node, with who waits for it and who works on it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.model.ids import AgentConn, NodeId
from meshnode.registry.index import Candidate
from meshnode.wire.calls import CallHeader

UNASKED = NodeId(b"")


class Phase(enum.Enum):
    """Where a call stands."""

    REACHING = "reaching"  # waits for a link to its target
    RUNNING = "running"  # handed to the target


@dataclass(frozen=True, slots=True)
class Door:
    """The waiter is a command of this node's API."""

    ticket: int


@dataclass(frozen=True, slots=True)
class LocalAgent:
    """The waiter is an agent on this node, which knows the call under its own id."""

    conn: AgentConn
    call_id: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """The waiter is another node's switch."""

    node: NodeId
    call_id: bytes


Waiter = Door | LocalAgent | Peer


@dataclass(slots=True)
class Call:
    """One call in flight."""

    header: CallHeader  # as this node will send it on, with this node's call id
    payload: bytes
    waiter: Waiter
    started_us: int
    due_us: int
    phase: Phase = Phase.REACHING
    node: NodeId = UNASKED
    conn: AgentConn = AgentConn(0)
    sent_us: int = 0
    attempts: int = 0
    instance: str = ""
    rest: list[Candidate] = field(default_factory=list[Candidate])  # who else could answer, best first


class Calls:
    """All rows, by this node's call id and by waiter."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Call] = {}
        self._by_waiter: dict[Waiter, bytes] = {}
        self.payload_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._by_waiter

    def get(self, call_id: bytes) -> Call | None:
        return self._rows.get(call_id)

    def of(self, waiter: Waiter) -> tuple[bytes, Call] | None:
        call_id = self._by_waiter.get(waiter)
        return None if call_id is None else (call_id, self._rows[call_id])

    def where(self, fits: Callable[[Call], bool]) -> list[tuple[bytes, Call]]:
        """Rows that fit now, oldest first; a list, so that they may be ended while it is read."""
        return [(call_id, call) for call_id, call in self._rows.items() if fits(call)]

    def add(self, call_id: bytes, call: Call) -> None:
        assert call.waiter not in self._by_waiter
        self._rows[call_id] = call
        self._by_waiter[call.waiter] = call_id
        self.payload_bytes += len(call.payload)

    def remove(self, call_id: bytes) -> Call:
        call = self._rows.pop(call_id)
        del self._by_waiter[call.waiter]
        self.payload_bytes -= len(call.payload)
        return call
