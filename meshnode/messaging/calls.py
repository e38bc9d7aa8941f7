"""The call table: one row per call in flight through this node, with who waits for it and who works on it.

A call that goes by the express lane has a lean row, which is made whole as soon as anybody looks for it: nobody but
that lane ever meets one.
"""

import enum
from collections.abc import Callable

import msgspec

from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.timers import Timers
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.wire.calls import CallHeader
from meshnode.wire.plain import Way

UNASKED = NodeId(b"")
NO_CONN = AgentConn(-1)  # no agent has it
CREDIT = 16  # items of a stream that may come before any GRANT
NEVER_US = 2**63 - 1
LOOK_EVERY_US = SECOND // 20  # lean rows are looked through so often at most


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
    raw: bool = False  # the payload is bytes as they are


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
    granted_bytes: int = 0  # 0 = its reader counts items only
    item_bytes: int = 0  # of those passed on
    raw: bool = False  # its reader takes items that are bytes as they are

    @property
    def repeatable(self) -> bool:
        """Running it twice is running it once."""
        return self.idempotent or self.header.idempotency_key != ""


class Plan(msgspec.Struct, eq=False):
    """What the slow path decided about a call, and would again about one that differs in nothing but its id, payload,
    deadline and trace: see ``plans``. ``header``: of the call that it was decided for."""

    header: CallHeader
    caller: str  # as the callee is told
    asker: NodeId  # the peer that asks; none: the call is this node's own
    asker_name: str
    where: NodeId | None
    node: NodeId  # who answers
    agent: str  # "" = the daemon of that node itself
    alone: bool  # nobody else would be chosen, whatever is measured
    idempotent: bool
    resource: str  # that whoever calls must be allowed to call
    way: Way  # of the header that goes on
    turn: int = 0  # in which it was last found to hold
    look_us: int = 0  # after so long without an answer the slow path looks at it, if its deadline is not sooner
    # Where others may be chosen: the plans towards each who was, by node and agent.
    towards: dict[tuple[NodeId, str], "Plan"] = {}


class Lean(msgspec.Struct, eq=False, gc=False):
    """A call in flight under a plan: handed to ``worker``, and nothing has happened to it since."""

    call_id: bytes
    plan: Plan
    payload: bytes
    waiter: Waiter
    started_us: int
    deadline_ms: int
    look_us: int  # when the slow path has to look at it
    worker: NodeId | AgentConn
    unit: InstanceId  # on this node
    trace: bytes = b""
    place: int = 0  # of its timer, if it gets one

    @property
    def phase(self) -> Phase:
        return Phase.RUNNING

    @property
    def node(self) -> NodeId:
        return self.plan.node

    @property
    def conn(self) -> AgentConn:
        return self.worker if isinstance(self.worker, int) else NO_CONN

    @property
    def repeatable(self) -> bool:
        return self.plan.idempotent

    def whole(self) -> Call:
        plan, waiter, started_us = self.plan, self.waiter, self.started_us
        call_id = plan.header.call_id if isinstance(waiter, Door) else waiter.call_id
        header = msgspec.structs.replace(
            plan.header, call_id=call_id, deadline_ms=self.deadline_ms, trace=self.trace.decode()
        )
        due_us = started_us + self.deadline_ms * MS
        return Call(
            self.call_id, header, self.payload, waiter, started_us, due_us, plan.caller, plan.where,
            Phase.RUNNING, plan.node, self.conn, self.unit, plan.agent, header.skill, -1, self.unit, started_us, 1,
            idempotent=plan.idempotent, queued=plan.agent != "", what="due" if self.look_us == due_us else "overdue",
        )  # fmt: skip


class Calls:
    """All rows, by this node's call id and by waiter. ``timers``: of whole rows."""

    def __init__(self, timers: Timers[bytes]) -> None:
        self.rows: dict[bytes, Call | Lean] = {}  # read as it is by the express lane alone
        self.by_waiter: dict[Waiter, bytes] = {}
        self._unsettled: dict[bytes, None] = {}
        self._timers = timers
        self.lean_count = 0
        self._look_us = NEVER_US  # no lean row is to be looked at before
        self.payload_bytes = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self.by_waiter

    def get(self, call_id: bytes) -> Call | None:
        row = self.rows.get(call_id)
        return self._made_whole(row) if isinstance(row, Lean) else row

    def of(self, waiter: Waiter) -> Call | None:
        call_id = self.by_waiter.get(waiter)
        return None if call_id is None else self.get(call_id)

    def where(self, fits: Callable[[Call | Lean], bool]) -> list[Call]:
        """Rows that fit now, oldest first; a list, so that they may be ended while it is read."""
        rows = [row for row in self.rows.values() if fits(row)]
        return [self._made_whole(row) if isinstance(row, Lean) else row for row in rows]

    def add(self, call: Call) -> None:
        assert call.waiter not in self.by_waiter
        self.rows[call.call_id] = call
        self.by_waiter[call.waiter] = call.call_id
        self.payload_bytes += len(call.payload)

    def remove(self, call: Call) -> None:
        del self.rows[call.call_id]
        del self.by_waiter[call.waiter]
        self._unsettled.pop(call.call_id, None)
        self.payload_bytes -= len(call.payload)

    # Rows that news about nodes may move: they wait for a link, or for somebody who answers.

    def unsettle(self, call: Call) -> None:
        self._unsettled[call.call_id] = None

    def settle(self, call: Call) -> None:
        self._unsettled.pop(call.call_id, None)

    def unsettled(self) -> list[Call]:
        return [call for call_id in self._unsettled if (call := self.get(call_id)) is not None]

    # Lean rows. The order of the table is that of all rows.

    def add_lean(self, lean: Lean) -> None:
        lean.place = self._timers.place()
        self.rows[lean.call_id] = lean
        self.by_waiter[lean.waiter] = lean.call_id
        self.payload_bytes += len(lean.payload)
        if not self.lean_count or lean.look_us < self._look_us:
            self._look_us = lean.look_us
        self.lean_count += 1

    def remove_lean(self, lean: Lean) -> None:
        del self.rows[lean.call_id]
        del self.by_waiter[lean.waiter]
        self.payload_bytes -= len(lean.payload)
        self.lean_count -= 1

    def look(self, now_us: int) -> None:
        """Make those whole that are due, and with them those that soon will be: then nobody looks again before."""
        if not self.lean_count or self._look_us > now_us:
            return
        until_us, next_us = now_us + LOOK_EVERY_US, NEVER_US
        for row in list(self.rows.values()):
            if not isinstance(row, Lean):
                continue
            if row.look_us <= until_us:
                self._made_whole(row)
            else:
                next_us = min(next_us, row.look_us)
        self._look_us = next_us

    def deadline(self) -> int | None:
        """When ``look`` is to be called; a spurious call does nothing."""
        return self._look_us if self.lean_count else None

    def _made_whole(self, lean: Lean) -> Call:
        call = self.rows[lean.call_id] = lean.whole()
        self.lean_count -= 1
        self._timers.set(call.call_id, lean.look_us, lean.place)
        return call
