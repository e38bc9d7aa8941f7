"""Inputs and effects of the switch."""

import msgspec

from meshnode.kernel.effects import Effect, Fact
from meshnode.model.ids import AgentConn, NodeId
from meshnode.wire.frame import Frame


class AgentFrames(msgspec.Struct, frozen=True):
    """Data frames (CALL, RESULT, CANCEL) from a registered agent."""

    conn: AgentConn
    frames: tuple[Frame, ...]


class ToAgent(Effect, frozen=True):
    """Data frames for a registered agent."""

    conn: AgentConn
    frames: tuple[Frame, ...]


class Reach(Fact, frozen=True):
    """A call waits for a link to ``node``: dial it now."""

    node: NodeId


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
