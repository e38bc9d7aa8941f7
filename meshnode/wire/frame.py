"""One frame: the unit on links between nodes and on the local agent socket.

    u32 length of all that follows | u8 kind | u8 flags | u32 stream | u16 header length | header | payload

Big endian. ``header`` is a msgpack array whose type depends on the kind, ``payload`` raw bytes. Lengths are checked
before anything is allocated for them.
"""

import enum
import struct
from collections.abc import Sequence

import msgspec

from meshnode.model.errors import RemoteError

_PREFIX = struct.Struct(">IBBIH")
PREFIX_BYTES = _PREFIX.size
_AFTER_LENGTH = PREFIX_BYTES - 4
HEADER_BYTES_MAX = 16 * 1024
SMALL_BYTES = 64 * 1024
LITTLE_BYTES = 64  # beside a frame that comes alone
APART_BYTES = 4 * 1024  # copying less is cheaper than one more piece
FRAME_BYTES_MAX = 1024 * 1024 + 64 * 1024  # a value of 1 MiB with what goes around it


class Kind(enum.IntEnum):
    """What a frame is. Links use 1-15, calls 16-31, the local agent socket 32-47, tunnels 48-53."""

    HELLO = 1
    WELCOME = 2
    GOAWAY = 3
    PING = 4
    PONG = 5
    ACK = 6
    CREDIT = 7
    CONTROL = 8
    PART = 9  # a piece of a long frame; only peers that put parts together get it
    LANE = 10  # a second connection is asked for, of whoever has dialled the first
    CALL = 16
    RESULT = 17
    CANCEL = 18
    CHUNK = 19  # one item of a streamed result
    GRANT = 20  # how many items the reader of a stream takes in all
    EVENT = 21  # one way, to whoever listens to its topic; only peers that say they listen get it
    REGISTER = 32
    REGISTERED = 33
    STOP = 34
    STATE = 35  # agent -> daemon: what a call, or the agent by itself, changed
    RESTORE = 36  # daemon -> agent: cells of its state, after REGISTERED and before any call
    MERGE = 37  # daemon -> agent: cells that came from another copy
    MERGED = 38  # agent -> daemon: what its merge functions decided
    KEPT = 39  # daemon -> agent: everything up to this STATE is durable
    EMIT = 40  # agent -> daemon: an event of its own
    SUBSCRIBE = 41  # agent -> daemon: all topics it listens to from now on
    TUNNEL_OPEN = 48  # links again: bytes that a relay carries between two of its peers; only relays and clients get it
    TUNNEL_OPENED = 49
    TUNNEL_REFUSED = 50
    TUNNEL_DATA = 51
    TUNNEL_CREDIT = 52
    TUNNEL_CLOSE = 53

    __hash__ = int.__hash__  # that of an enum is Python: sets of kinds are asked for every frame


_KINDS: dict[int, Kind] = {int(kind): kind for kind in Kind}


class Flag(enum.IntFlag):
    """Marks of a frame; unknown bits are refused by the links."""

    NONE = 0
    SEQUENCED = 1  # counts in the sender's sequence: acknowledged, resent after a broken connection, deduplicated


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A decoded frame. ``payload`` is owned by the frame (already copied out of any receive buffer)."""

    kind: Kind
    flags: int = 0
    stream: int = 0
    header: bytes = b""
    payload: bytes = b""


def size(frame: Frame) -> int:
    """How many bytes ``encode`` will give."""
    return PREFIX_BYTES + len(frame.header) + len(frame.payload)


def pieces_of(frame: Frame) -> tuple[bytes, ...]:
    """The bytes of one frame in one or two pieces: a long payload is not copied, for who writes several at once."""
    if len(frame.payload) < APART_BYTES:
        return (encode(frame),)
    head, payload = encode_all((frame,))
    return head, payload


def encode(frame: Frame, marks: int = 0) -> bytes:
    """The bytes of one frame, with ``marks`` added to its flags. Over the limits is our own mistake: an assertion."""
    length = _AFTER_LENGTH + len(frame.header) + len(frame.payload)
    assert len(frame.header) <= HEADER_BYTES_MAX
    assert length <= FRAME_BYTES_MAX
    prefix = _PREFIX.pack(length, frame.kind, frame.flags | marks, frame.stream, len(frame.header))
    return prefix + frame.header + frame.payload


def encode_all(frames: Sequence[Frame], marks: int = 0) -> list[bytes]:
    """The same for many, in pieces that are to be joined: a long payload is one by itself, and copied there only."""
    pieces: list[bytes] = []
    pack, add = _PREFIX.pack, pieces.append
    for frame in frames:
        header, payload = frame.header, frame.payload
        header_bytes = len(header)
        length = _AFTER_LENGTH + header_bytes + len(payload)
        assert header_bytes <= HEADER_BYTES_MAX
        assert length <= FRAME_BYTES_MAX
        head = pack(length, frame.kind, frame.flags | marks, frame.stream, header_bytes) + header
        if len(payload) < APART_BYTES:
            add(head + payload)
        else:
            add(head)
            add(payload)
    return pieces


class FrameReader:
    """Cuts a byte stream into frames.

    Raises ``RemoteError`` at the first junk, and again at every later call: a stream that lost its frame boundaries
    never finds them again. Frames before the junk in the same call are lost with it.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._start = b""  # of a prefix
        self._begun = bytearray()  # room for a frame whose prefix is here
        self._have = 0  # of it
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        return len(self._start) + self._have

    def whole(self, data: bytes) -> list[Frame]:
        """The frames that these bytes are: one, or one and little behind it. None: they are more, or less, or something
        before them waits for its end; they are to be fed, and nothing of them was taken."""
        frames: list[Frame] = []
        if self._have or self._start or self._broken or len(data) > 4 + int.from_bytes(data[:4]) + LITTLE_BYTES:
            return frames
        try:
            end = self._whole_frames(data, frames)
        except RemoteError:
            return []
        return frames if end == len(data) else []

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        if self._broken:
            raise RemoteError("frame-stream-lost")
        try:
            return self._cut(data)
        except RemoteError:
            self._broken = True
            self._start, self._begun, self._have = b"", bytearray(), 0
            raise

    def _cut(self, data: bytes | memoryview) -> list[Frame]:
        """Whole frames are read where they lie; one that comes in pieces is put together once."""
        frames: list[Frame] = []
        if self._have:
            used = min(len(data), len(self._begun) - self._have)
            self._begun[self._have : self._have + used] = data[:used]
            self._have += used
            if self._have < len(self._begun):
                return frames
            with memoryview(self._begun) as whole:
                self._whole_frames(whole, frames)
            self._begun, self._have = bytearray(), 0
            data = data[used:]
        elif self._start:
            data, self._start = self._start + data, b""
        if len(data) <= SMALL_BYTES:
            data = bytes(data)  # pieces of bytes are cheaper to take than pieces of a view, by more than this copy
        end = self._whole_frames(data, frames)
        if end < len(data):
            self._keep(data[end:])
        return frames

    def _keep(self, tail: bytes | memoryview) -> None:
        if len(tail) < PREFIX_BYTES:
            self._start = bytes(tail)
            return
        self._begun = bytearray(4 + int.from_bytes(tail[:4]))  # a length that was judged
        self._have = len(tail)
        self._begun[: self._have] = tail

    def _whole_frames(self, data: bytes | memoryview, frames: list[Frame]) -> int:
        """Adds those that are complete. Returns how many bytes they are."""
        at, have = 0, len(data)
        is_view = isinstance(data, memoryview)
        while have - at >= PREFIX_BYTES:
            length, kind, flags, stream, header_bytes = _PREFIX.unpack_from(data, at)
            end = at + 4 + length
            if not _AFTER_LENGTH <= length <= self.frame_bytes_max:
                self._refuse(length)
            if have < end:
                return at
            header_at = at + PREFIX_BYTES
            payload_at = header_at + header_bytes
            if payload_at > end or header_bytes > HEADER_BYTES_MAX:
                raise RemoteError("frame-header-length")
            known = _KINDS.get(kind)
            if known is None:
                raise RemoteError("frame-kind", str(kind))
            if is_view:
                header, payload = bytes(data[header_at:payload_at]), bytes(data[payload_at:end])
            else:
                header, payload = data[header_at:payload_at], data[payload_at:end]
            frames.append(Frame(known, flags, stream, header, payload))
            at = end
        if have - at >= 4:  # the length is judged as soon as it is known
            self._refuse(int.from_bytes(data[at : at + 4]))
        return at

    def _refuse(self, length: int) -> None:
        if length < _AFTER_LENGTH:
            raise RemoteError("frame-short", f"{length} bytes")
        if length > self.frame_bytes_max:
            raise RemoteError("frame-too-long", f"{length} bytes, the limit is {self.frame_bytes_max}")
