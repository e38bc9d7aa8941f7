"""Inputs, effects and facts of the links room."""

import msgspec

from meshnode.kernel.effects import Channel, Effect, Fact
from meshnode.kernel.reasons import Bye, Loss
from meshnode.model.ids import UNKNOWN_NODE, LinkId, NodeId
from meshnode.wire.frame import Frame

LANE_DIALS = 1 << 40  # above the numbers of dials that others ask for
CHANNELS = {int(channel): channel for channel in Channel}  # by the stream of a frame of kind CONTROL


class LinkOpened(msgspec.Struct, frozen=True):
    """TLS stands and ``check_peer`` accepted. ``dial_no`` is that of the Dial effect, 0 for inbound links."""

    link: LinkId
    peer: NodeId
    name: str
    inbound: bool
    dial_no: int = 0
    address: str = ""
    relay: NodeId = UNKNOWN_NODE  # that carries it, if it runs through a tunnel


class LinkBytes(msgspec.Struct, frozen=True):
    link: LinkId
    data: bytes


class LinkLost(msgspec.Struct, frozen=True):
    """The connection ended. Told exactly once per LinkOpened, also after our own CloseLink."""

    link: LinkId
    how: Loss


class LaneFailed(msgspec.Struct, frozen=True):
    """A dial that the hub asked for by itself, numbered above ``LANE_DIALS``, came to nothing."""

    dial_no: int


class Post(Effect, frozen=True):
    """Data frames (CALL, RESULT, CANCEL) for a peer, from the switch."""

    peer: NodeId
    frames: tuple[Frame, ...]


class Shutdown(msgspec.Struct, frozen=True):
    """Say goodbye to all peers and take no new links."""

    reason: str = Bye.SHUTDOWN.value


class Transmit(Effect, frozen=True):
    """Give these bytes to the connection; all frames of one turn come as one piece."""

    link: LinkId
    data: bytes


class CloseLink(Effect, frozen=True):
    """End the connection. ``abort``: drop what is unsent and do not read another byte."""

    link: LinkId
    abort: bool


class PeerUp(Fact, frozen=True):
    """A link to ``peer`` has passed HELLO/WELCOME. Not repeated when a second link replaces the first."""

    peer: NodeId
    name: str
    region: str
    boot: int
    inbound: bool
    dial_no: int
    address: str
    member: bytes  # the peer's admin-signed member record, still to be judged by Trust.admit


class PeerDown(Fact, frozen=True):
    """The last link to ``peer`` is gone. ``bye``: the reason it told us, if it said goodbye."""

    peer: NodeId
    how: Loss
    bye: str


class LinkRejected(Fact, frozen=True):
    """A dialled link ended before WELCOME. ``bye`` tells why if the peer said so; else it counts as refused.

    But ``how`` SILENT is only silence: TLS stood and no WELCOME came. ``how`` REPLACED with ``bye`` "duplicate-link"
    ends a dial that gave no PeerUp because the peer has a link that is up: it is proof of life. ``bye`` "self": the
    address is our own; "no-room": we have too many links.
    """

    dial_no: int
    peer: NodeId
    how: Loss
    bye: str


class ControlReceived(Fact, frozen=True):
    peer: NodeId
    channel: Channel
    body: bytes


class FramesReceived(Fact, frozen=True):
    """Data frames for the switch, in order, deduplicated."""

    peer: NodeId
    frames: tuple[Frame, ...]


class Expelled(Fact, frozen=True):
    """A peer refused us for good: another process runs with our identity (``twin``) or our boot is old."""

    by: NodeId
    reason: str
