"""Long frames in pieces: a frame above ``LONG_BYTES`` travels as PARTs, and is put together where it arrives.

A connection keeps the order of what it carries, so the parts of one frame come in order, too; those of several frames,
and whatever is short, come between them. The first part says what the frame is, each how much of it came before. A
frame of which one part would be all travels as it is.

Invariants of the receiver: what is held of frames that are not whole is bounded (``OPEN_MAX`` frames, of
``OPEN_BYTES_MAX`` together by what they say they will be); a frame is given out once, when it is whole.
"""

from typing import Annotated

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, PREFIX_BYTES, Frame, Kind, size

FEATURE = "parts"  # in HELLO and WELCOME: its sender puts parts together
PART_BYTES = 32 * 1024  # of payload in each but the last, on a link
LONG_BYTES = PART_BYTES  # a frame above this is cut
ALONE_BYTES = 128 * 1024  # the same where nothing else is long: whatever comes waits for this much no longer
BUS_PART_BYTES = 128 * 1024  # the same for agents, and above this a frame is cut: a socket of this machine is fast
PART_BYTES_MIN = 4 * 1024  # less only in a last one: what is held is bytes, not an account of crumbs
OPEN_MAX = 64
OPEN_BYTES_MAX = 8 * 1024 * 1024
# What goes in parts. Control is short, or cuts itself.
KINDS = (Kind.CALL, Kind.RESULT, Kind.CANCEL, Kind.CHUNK, Kind.GRANT)
_KINDS = {int(kind): kind for kind in KINDS}
_ROOM = 64  # that the first part's own words need beside the header of its frame
# The first bytes of the header of a frame that belongs to a call: its id, behind an array of up to 15, or of more.
_ID_MARK, _ID_BYTES = b"\xc4\x10", 16

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class PartHeader(msgspec.Struct, frozen=True, array_like=True):
    """One part; its frame's number is the ``stream`` of what carries it. ``at``: bytes of payload that came before.

    The first one tells ``total`` bytes of payload, and ``kind``, ``stream`` and ``header`` of the frame.
    """

    at: Count
    total: Count = 0
    kind: Count = 0
    stream: Count = 0
    header: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PartHeader).decode


def call_of(header: bytes) -> bytes:
    """The id of the call that a frame with this header belongs to; b"" if it is of none."""
    if header[1:3] == _ID_MARK:
        return header[3 : 3 + _ID_BYTES]
    return header[5 : 5 + _ID_BYTES] if header[3:5] == _ID_MARK and header[:1] == b"\xdc" else b""


def fits(frame: Frame, long_bytes: int = LONG_BYTES) -> bool:
    """It is to be cut, and can be."""
    return (
        size(frame) > long_bytes
        and len(frame.payload) > 0
        and len(frame.header) <= HEADER_BYTES_MAX - _ROOM
        and frame.kind in KINDS
    )


def part(frame: Frame, number: int, at: int, part_bytes: int = PART_BYTES) -> Frame:
    """The part of a frame that begins at byte ``at`` of its payload."""
    told = PartHeader(at) if at else PartHeader(0, len(frame.payload), frame.kind, frame.stream, frame.header)
    return Frame(Kind.PART, 0, number, _encode(told), frame.payload[at : at + part_bytes])


class _Begun:
    """A frame of which not all has come."""

    __slots__ = ("first", "have", "pieces")

    def __init__(self, first: PartHeader) -> None:
        self.first, self.have = first, 0
        self.pieces: list[bytes] = []


class Assembly:
    """What came in parts in one session of a link, or by one connection of an agent; one direction."""

    def __init__(self) -> None:
        self._begun: dict[int, _Begun] = {}
        self._bytes = 0  # that those will be

    def __len__(self) -> int:
        """How many frames are not whole."""
        return len(self._begun)

    def take(self, frame: Frame) -> Frame | None:
        """One more part; the frame that it completes. Raises ``RemoteError``."""
        told = _read(frame)
        begun = self._begun.get(frame.stream)
        if told.at == 0:
            if begun is not None:
                raise RemoteError("part-again", f"frame {frame.stream} begins a second time")
            begun = self._begin(frame.stream, told)
        elif begun is None:
            raise RemoteError("part-unknown", f"byte {told.at} of frame {frame.stream}, which has not begun")
        elif told.at != begun.have:
            raise RemoteError("part-order", f"byte {told.at} of frame {frame.stream}, where {begun.have} was due")
        return self._add(frame, begun)

    def _begin(self, number: int, told: PartHeader) -> _Begun:
        if told.kind not in _KINDS:
            raise RemoteError("part-kind", f"a frame of kind {told.kind}")
        whole = PREFIX_BYTES + len(told.header) + told.total
        if not told.total or whole > FRAME_BYTES_MAX or len(told.header) > HEADER_BYTES_MAX:
            raise RemoteError("part-total", f"{told.total} bytes, the limit is {FRAME_BYTES_MAX} with all around them")
        if len(self._begun) >= OPEN_MAX or self._bytes + told.total > OPEN_BYTES_MAX:
            raise RemoteError("part-many", f"{len(self._begun)} frames of {self._bytes} bytes have begun already")
        begun = self._begun[number] = _Begun(told)
        self._bytes += told.total
        return begun

    def _add(self, frame: Frame, begun: _Begun) -> Frame | None:
        first, come = begun.first, len(frame.payload)
        if begun.have + come > first.total:
            raise RemoteError("part-overrun", f"{begun.have + come} bytes of a frame of {first.total}")
        begun.have += come
        begun.pieces.append(frame.payload)
        if begun.have < first.total:
            if come < PART_BYTES_MIN:
                raise RemoteError("part-short", f"{come} bytes, the least is {PART_BYTES_MIN}")
            return None
        del self._begun[frame.stream]
        self._bytes -= first.total
        return Frame(_KINDS[first.kind], frame.flags, first.stream, first.header, b"".join(begun.pieces))


def _read(frame: Frame) -> PartHeader:
    return decoded(_decode, frame.header, "part-malformed")
