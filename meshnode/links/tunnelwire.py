"""What tunnels are made of: the bodies of their frames, what the host is asked to do, and what it tells.

A tunnel has a number on each of the two links it runs over. The end of a link with the smaller NodeId numbers evenly,
the other one oddly, so that both may open tunnels at once. Its bytes come as frames on these links, or, where both ends
can dial the relay, by a connection more of each, which the relay joins: a *pipe*. Whose connection it is, a key
tells, which the relay gave over the link and which is good once.
"""

from typing import Annotated, TypeVar

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.kernel.effects import Effect, Fact
from meshnode.kernel.reasons import DialFailure
from meshnode.links.hello import Count, Id32
from meshnode.model.ids import UNKNOWN_NODE, NodeId
from meshnode.wire.frame import Frame, Kind

RELAY = "relay/"  # as the host of an address: what stands behind it is the NodeId of a relay
RELAY_PORT = 1  # a row wants one; nobody dials it

WINDOW_BYTES = 256 * 1024  # under way in one direction of one tunnel, until its receiver grants more
PIECE_BYTES_MAX = 64 * 1024
PIPE_WINDOW_BYTES = 4 * 1024 * 1024  # in one direction of a pipe before its client's quota is looked at again
CLOSED = "tunnel-closed"  # the reason when what ran in a tunnel has ended
KEY_BYTES = 16

TUNNEL_KINDS = (
    Kind.TUNNEL_OPEN, Kind.TUNNEL_OPENED, Kind.TUNNEL_REFUSED, Kind.TUNNEL_DATA, Kind.TUNNEL_CREDIT, Kind.TUNNEL_CLOSE,
)  # fmt: skip


Key = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES)]


class Open(msgspec.Struct, frozen=True, array_like=True):
    """The opener to the relay, and the relay to the wanted node: bring me to ``wanted``; ``opener`` asks.

    ``pipes``: the opener may come by a connection of its own. ``key``: so may the wanted node, by this one.
    """

    wanted: Id32
    opener: Id32
    pipes: bool = False
    key: Key = b""


class Way(msgspec.Struct, frozen=True, array_like=True):
    """Of TUNNEL_OPENED: the wanted node comes by the key it was given; the opener is to come by this one. Without a
    body the bytes are frames on the links."""

    key: Key


class Why(msgspec.Struct, frozen=True, array_like=True):
    """Of TUNNEL_REFUSED and TUNNEL_CLOSE: a name, counted where it is read."""

    reason: Annotated[str, msgspec.Meta(max_length=64)]


class Credit(msgspec.Struct, frozen=True, array_like=True):
    """So many bytes the receiver of this frame may send in all."""

    total: Count


BodyT = TypeVar("BodyT", Open, Way, Why, Credit)
_encode = msgspec.msgpack.Encoder().encode


def frame_of(kind: Kind, number: int, body: Open | Way | Why | Credit | None = None, data: bytes = b"") -> Frame:
    return Frame(kind, 0, number, b"" if body is None else _encode(body), data)


def body_of(frame: Frame, body_type: type[BodyT]) -> BodyT:
    """The body of a frame; raises ``RemoteError`` "tunnel-malformed"."""
    return decoded(lambda data: msgspec.msgpack.decode(data, type=body_type), frame.header, "tunnel-malformed")


def relay_host(relay: NodeId) -> str:
    """The host of an address that says: reach me through this relay."""
    return RELAY + relay.hex()


def relay_at(host: str) -> NodeId | None:
    """The relay that a host names; ``None``: it is a machine. A name nobody can read is that of no relay."""
    if not host.startswith(RELAY):
        return None
    digits = host.removeprefix(RELAY)
    try:
        named = bytes.fromhex(digits)
    except ValueError:
        return UNKNOWN_NODE
    return NodeId(named) if len(named) == 32 and len(digits) == 64 else UNKNOWN_NODE


# -- for the host -----------------------------------------------------------------------------------------------------


class TunnelStart(Effect, frozen=True):
    """Bytes pass: run TLS over tunnel ``tunnel``, as the client if this node dialled (``dial_no``), else as the server.

    ``peer``: who must answer a dial. ``relay`` carries it; ``relay_name`` is for people. ``door``: its bytes go by a
    connection of their own, to be made to that address, host and port, with this ``key``.
    """

    tunnel: int
    peer: NodeId
    inbound: bool
    dial_no: int
    relay: NodeId
    relay_name: str
    door: tuple[str, int] | None = None
    key: bytes = b""


class TunnelBytes(Effect, frozen=True):
    """They came through a tunnel."""

    tunnel: int
    data: bytes


class TunnelCredit(Effect, frozen=True):
    """So many bytes may be written to a tunnel in all."""

    tunnel: int
    total: int


class TunnelGone(Effect, frozen=True):
    """Nothing passes any more. ``reason``: a name."""

    tunnel: int
    reason: str


class PipeAwaited(Effect, frozen=True):
    """A connection will come with this key: one side of a pipe, 0 or 1. When both are there, each writes what the
    other one reads, ``PIPE_WINDOW_BYTES`` at first."""

    pipe: int
    side: int
    key: bytes


class PipeCredit(Effect, frozen=True):
    """So many bytes may be read from a side of a pipe in all."""

    pipe: int
    side: int
    total: int


class PipeGone(Effect, frozen=True):
    """A pipe is not wanted any more. What is under way in it may still pass, for a moment."""

    pipe: int


class PipeRead(msgspec.Struct, frozen=True):
    """So many bytes a side of a pipe has read in all: half of what it may, or more, or all before the pipe ends."""

    pipe: int
    side: int
    total: int


class PipeEnded(msgspec.Struct, frozen=True):
    """Nothing of a pipe is left, whether both connections came or not. Told once of each, and last."""

    pipe: int


class TunnelWritten(msgspec.Struct, frozen=True):
    """The host has bytes for a tunnel, within its credit."""

    tunnel: int
    data: bytes


class TunnelClosed(msgspec.Struct, frozen=True):
    """The host has no more use for a tunnel."""

    tunnel: int
    reason: str = CLOSED


# -- for other rooms --------------------------------------------------------------------------------------------------


class TunnelReceived(Fact, frozen=True):
    """A frame about a tunnel came from a peer."""

    peer: NodeId
    frame: Frame


class TunnelFailed(Fact, frozen=True):
    """A dial through a relay came to nothing. It says nothing about whoever was dialled."""

    dial_no: int
    how: DialFailure
    detail: str
    address: str


class RelayNeeded(Fact, frozen=True):
    """A link to this relay is wanted, or is to be kept."""

    relay: NodeId
