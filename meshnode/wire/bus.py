"""What passes between a node's bus and its switch: data frames of agents, in and out."""

import msgspec

from meshnode.kernel.effects import Effect
from meshnode.model.ids import AgentConn
from meshnode.wire.frame import Frame


class AgentFrames(msgspec.Struct, frozen=True):
    """CALL, RESULT and CANCEL frames of a registered agent, in order."""

    conn: AgentConn
    frames: tuple[Frame, ...]


class ToAgent(Effect, frozen=True):
    """Frames for an agent. A call that finds its queue full is answered by the bus with an error, not lost."""

    conn: AgentConn
    frames: tuple[Frame, ...]
