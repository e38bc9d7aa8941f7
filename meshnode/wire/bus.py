"""What passes between a node's bus and its core: frames of agents, in and out."""

import msgspec

from meshnode.kernel.effects import Effect
from meshnode.model.ids import AgentConn
from meshnode.wire.frame import Frame, Kind

# What a registered agent may send; everything else is junk.
FROM_AGENT = (
    Kind.CALL, Kind.RESULT, Kind.CANCEL, Kind.CHUNK, Kind.GRANT, Kind.STATE, Kind.MERGED, Kind.EMIT, Kind.EVENT,
    Kind.SUBSCRIBE,
)  # fmt: skip


class AgentFrames(msgspec.Struct, frozen=True):
    """Frames of a registered agent, of the kinds in ``FROM_AGENT``, in order."""

    conn: AgentConn
    frames: tuple[Frame, ...]


class ToAgent(Effect, frozen=True):
    """Frames for an agent. A call that finds its queue full is answered by the bus with an error, not lost."""

    conn: AgentConn
    frames: tuple[Frame, ...]


class Spread(Effect, frozen=True):
    """Events for all who listen here: encoded once, the same bytes for each. ``doors``: by their numbers."""

    conns: tuple[AgentConn, ...]
    doors: tuple[int, ...]
    frames: tuple[Frame, ...]
