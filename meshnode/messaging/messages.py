"""Inputs and effects of the switch."""

from meshnode.kernel.effects import Effect, Fact
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.wire.state import Change


class Reach(Fact, frozen=True):
    """A call waits for a link to ``node``: dial it now."""

    node: NodeId


class Sought(Fact, frozen=True):
    """A call waits for somebody beyond the region who answers ``address``; ``node``: for that one only."""

    address: str
    node: NodeId | None


class ListensTo(Fact, frozen=True):
    """What agents and doors of this node listen to has changed: all filters there are, sorted."""

    filters: tuple[str, ...]


class CallOverdue(Fact, frozen=True):
    """Nothing at all came from ``peer`` since a call went to it, for longer than its round trips allow."""

    peer: NodeId


class CallEnded(Effect, frozen=True):
    """The end of a call that a door asked for. ``code`` "" = ok and ``payload`` is the JSON result."""

    ticket: int
    call_id: bytes
    code: str
    message: str
    payload: bytes
    node: NodeId
    instance: str
    took_us: int
    attempts: int
    durability: str = ""
    version: int = 0
    replayed: bool = False
    retry_after_ms: int = 0  # with "overloaded"


class CallItem(Effect, frozen=True):
    """One item of a stream that a door asked for, in order; ``payload`` is its JSON. The end is ``CallEnded``."""

    ticket: int
    number: int
    payload: bytes


class StateWritten(Fact, frozen=True):
    """An agent changed its state. The RESULT of ``call_id`` waits in the switch until ``Switch.kept`` or ``refused``.

    ``call_id`` b"": no call of this node waits (the agent did it by itself, or the call is over or unknown here).
    ``answer``: the JSON result to keep under ``idempotency_key``, if that is not "". ``merge_no`` and ``seq`` as the
    agent said.
    """

    instance: InstanceId
    conn: AgentConn
    call_id: bytes
    changes: tuple[Change, ...]
    seq: int
    merge_no: int
    idempotency_key: str = ""
    answer: bytes = b""


class MergeDone(Fact, frozen=True):
    """An agent applied MERGE ``merge_no``; ``changes``: what its merge functions decided."""

    instance: InstanceId
    conn: AgentConn
    merge_no: int
    seq: int
    changes: tuple[Change, ...]


class Emitted(Fact, frozen=True):
    """An agent emitted an event. ``data``: JSON text."""

    instance: InstanceId
    type: str
    data: str


class MeshAsked(Fact, frozen=True):
    """A peer's node asks this one something itself: the skills ``mesh.*``, ping left out, which the switch answers.

    Ends in ``Switch.answer(ticket, ...)``, at the latest when the call's deadline passes.
    """

    ticket: int
    peer: NodeId
    skill: str
    payload: bytes
