"""The call table: one row per call in flight through this node, with who waits for it and who works on it."""

import enum
from collections.abc import Callable

import msgspec

from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.wire.calls import CallHeader

UNASKED = NodeId(b"")
NO_CONN = AgentConn(-1)  # no agent has it
CREDIT = 16  # items of a stream that may come before any GRANT


class Phase(enum.Enum):
    """Where a call stands."""

    REACHING = "reaching"  # waits for a link to its target
    RUNNING = "running"  # handed to the target
    KEEPING = "keeping"  # answered by a local agent; what it changed is not durable yet
    WAITING = "waiting"  # lost where it ran; waits for somebody else who answers
    FOLLOWING = "following"  # another call under the same key runs at its target: its answer will do


class Door(msgspec.Struct, frozen=True):
    """The waiter is a command of this node's API."""

    ticket: int


class LocalAgent(msgspec.Struct, frozen=True):
    """The waiter is an agent on this node, which knows the call under its own id."""

    conn: AgentConn
    call_id: bytes


class Peer(msgspec.Struct, frozen=True):
    """The waiter is another node's switch."""

    node: NodeId
    call_id: bytes


Waiter = Door | LocalAgent | Peer


class Ending(msgspec.Struct, frozen=True):
    """How a call ends."""

    code: str = ""
    message: str = ""
    payload: bytes = b""
    retry_after_ms: int = 0


class Call(msgspec.Struct):
    """One call in flight. ``call_id`` is this node's; the header's is the waiter's."""

    call_id: bytes
    header: CallHeader
    payload: bytes
    waiter: Waiter
    started_us: int
    due_us: int
    caller: str = ""  # who made it, as the callee is told
    where: NodeId | None = None  # it may go to this node only
    phase: Phase = Phase.REACHING
    node: NodeId = UNASKED
    conn: AgentConn = NO_CONN
    unit: InstanceId = InstanceId("")  # on this node
    agent: str = ""
    skill: str = ""
    slot: int = -1
    instance: str = ""  # who works on it, for people
    sent_us: int = 0
    attempts: int = 0
    runs: int = 0  # how often it was lost where it may have run
    idempotent: bool = False  # its skill says that running twice is running once
    queued: bool = False  # counted in the queue of its target
    what: str = "due"  # what its timer is for
    passed: dict[NodeId, int] = {}  # who refused it, with what was known of them then
    former: list[NodeId] = []  # where it was lost: what comes from there now is late
    lost_us: int = -1  # when it was last lost, -1 = never
    lost: Ending = Ending()
    settles: bool = False  # it was refused by who had it a moment ago: it waits for news of who has it now
    unkept: int = 0  # STATE frames not durable yet
    held: Ending | None = None  # the answer that waits for them
    durability: str = ""
    version: int = 0
    replayed: bool = False
    granted: int = CREDIT
    items: int = 0  # of a stream, passed on

    @property
    def repeatable(self) -> bool:
        """Running it twice is running it once."""
        return self.idempotent or self.header.idempotency_key != ""


class Calls:
    """All rows, by this node's call id and by waiter."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Call] = {}
        self._by_waiter: dict[Waiter, Call] = {}
        self._unsettled: dict[bytes, None] = {}
        self.payload_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._by_waiter

    def get(self, call_id: bytes) -> Call | None:
        return self._rows.get(call_id)

    def of(self, waiter: Waiter) -> Call | None:
        return self._by_waiter.get(waiter)

    def where(self, fits: Callable[[Call], bool]) -> list[Call]:
        """Rows that fit now, oldest first; a list, so that they may be ended while it is read."""
        return [call for call in self._rows.values() if fits(call)]

    def add(self, call: Call) -> None:
        assert call.waiter not in self._by_waiter
        self._rows[call.call_id] = call
        self._by_waiter[call.waiter] = call
        self.payload_bytes += len(call.payload)

    def remove(self, call: Call) -> None:
        del self._rows[call.call_id]
        del self._by_waiter[call.waiter]
        self._unsettled.pop(call.call_id, None)
        self.payload_bytes -= len(call.payload)

    # Rows that news about nodes may move: they wait for a link, or for somebody who answers.

    def unsettle(self, call: Call) -> None:
        self._unsettled[call.call_id] = None

    def settle(self, call: Call) -> None:
        self._unsettled.pop(call.call_id, None)

    def unsettled(self) -> list[Call]:
        return [self._rows[call_id] for call_id in self._unsettled]
