"""Inputs and effects of the switch."""

from meshnode.kernel.effects import Effect, Fact
from meshnode.model.ids import NodeId


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
