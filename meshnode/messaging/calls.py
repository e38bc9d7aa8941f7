"""The call table: one row per call in flight through this node, with who waits for it and who works on it."""

import enum
from dataclasses import dataclass, field

from meshnode.model.ids import AgentConn, NodeId
from meshnode.registry.index import Candidate
from meshnode.wire.calls import CallHeader


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
    node: NodeId = NodeId(b"")
    conn: AgentConn = AgentConn(0)
    sent_us: int = 0
    attempts: int = 0
    instance: str = ""
    rest: list[Candidate] = field(default_factory=list[Candidate])  # who else could answer, best first
