"""What two nodes say to each other before and after they talk: HELLO, WELCOME, GOAWAY, PING, PONG, ACK, CREDIT.

The bodies travel as the header of their frame. Fields are only ever added, with defaults.
"""

from typing import Annotated, TypeVar

import msgspec

from meshnode.kernel.decoding import JUNK, refusal
from meshnode.kernel.reasons import Bye
from meshnode.wire.frame import Frame, Kind

VERSION_MIN = 1
VERSION_MAX = 1
MEMBER_BYTES_MAX = 8 * 1024
LANE = "lane"  # a feature: its sender takes a second connection for what is long

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Word = Annotated[str, msgspec.Meta(max_length=255)]
Id32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Id8 = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
SessionId = Annotated[bytes, msgspec.Meta(max_length=8)]


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The dialler's first frame, and, as WELCOME, the acceptor's answer: who I am and where our session stands.

    ``run_id``: drawn at every start of the process; ``hello_no``: counts the HELLOs of the process, so that of two
    links of one dialler the later one is known.

    HELLO offers the ``session`` it holds with the peer, if any, and a ``fresh`` id to begin one otherwise; WELCOME
    names the chosen one in ``session``. A dialler offers the same fresh id until a session stands: a WELCOME that is
    lost with its connection loses nothing.
    ``attached``: how many links the session has had, which tells whether the sender knows of a link that the receiver
    still holds. ``received`` and ``data_got``: sequenced frames, and bytes of data frames, got in it so far;
    ``window``: how many data bytes more may be under way. ``pace_us``: so much quiet, and its sender
    pings; 0 = unsaid. ``lane``: 0 the link itself, 1 a second connection beside it (see lanes.py); said only to who
    tells the feature.
    """

    versions: tuple[Count, Count]
    mesh: Word
    node: Id32
    name: Word
    region: Word
    boot: Count
    run_id: Id8
    hello_no: Count
    session: SessionId
    fresh: Id8
    attached: Count
    received: Count
    data_got: Count
    window: Count
    member: Annotated[bytes, msgspec.Meta(max_length=MEMBER_BYTES_MAX)] = b""
    features: Annotated[tuple[Word, ...], msgspec.Meta(max_length=64)] = ()
    pace_us: Count = 0
    lane: Count = 0


class Goaway(msgspec.Struct, frozen=True, array_like=True):
    """The last frame of a link: why its sender closes it. ``reason`` is a ``Bye``, or a name of a later version."""

    reason: Annotated[str, msgspec.Meta(max_length=64)]


class Ping(msgspec.Struct, frozen=True, array_like=True):
    """Its number is the frame's stream. Carries what the pinger knows of the path, so that only one side must ping.

    ``ahead_ms``: how far the receiver's wall clock is ahead of the pinger's. Both ``None`` until measured.
    """

    rtt_us: Count | None = None
    ahead_ms: Annotated[int, msgspec.Meta(gt=-(2**62), lt=2**62)] | None = None


class Pong(msgspec.Struct, frozen=True, array_like=True):
    """Answers the PING of the same stream, at ``wall_ms`` by the answerer's clock."""

    wall_ms: Count


class Total(msgspec.Struct, frozen=True, array_like=True):
    """ACK: sequenced frames received so far. CREDIT: data bytes the receiver of this frame may send, in all so far."""

    total: Count


BodyT = TypeVar("BodyT", Hello, Goaway, Ping, Pong, Total)
_encode = msgspec.msgpack.Encoder().encode


def frame_of(kind: Kind, body: Hello | Goaway | Ping | Pong | Total, stream: int = 0) -> Frame:
    return Frame(kind, 0, stream, _encode(body))


def body_of(frame: Frame, body_type: type[BodyT]) -> BodyT:
    """The body of a frame, or ``RemoteError``, e.g. "hello-malformed"."""
    try:
        return msgspec.msgpack.decode(frame.header, type=body_type)
    except JUNK as error:
        raise refusal(f"{frame.kind.name.lower()}-malformed", error) from error


def objection(hello: Hello, mesh: str, node: bytes, name: str) -> Bye | None:
    """Why a HELLO cannot come from the peer that TLS proved to be ``node`` called ``name`` in our ``mesh``."""
    low, high = hello.versions
    if hello.mesh != mesh:
        return Bye.WRONG_MESH
    if low > VERSION_MAX or high < VERSION_MIN or low > high:
        return Bye.VERSION
    if hello.node != node or hello.name != name:
        return Bye.UNTRUSTED
    return None
