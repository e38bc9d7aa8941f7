"""How frames become what a connection carries: a port of the links. On a real wire, bytes."""

from collections.abc import Sequence
from typing import Protocol

from meshnode.wire.frame import Frame, FrameReader, encode, encode_all


class Reader(Protocol):
    """Cuts what arrives on one connection into frames; raises ``RemoteError`` at junk. See ``FrameReader``."""

    frame_bytes_max: int

    def feed(self, data: bytes, /) -> list[Frame]: ...

    def whole(self, data: bytes, /) -> list[Frame]: ...


class Codec(Protocol):
    """Both directions. What ``encode`` gives has the length of the frame on a wire, whatever it is made of."""

    def encode(self, frame: Frame, marks: int = 0, /) -> bytes: ...

    def encode_all(self, frames: Sequence[Frame], marks: int = 0, /) -> list[bytes]: ...

    def join(self, pieces: Sequence[bytes], /) -> bytes: ...

    def reader(self, frame_bytes_max: int, /) -> Reader: ...


class Wire:
    """Real bytes: the daemon's, and those of the simulator's first tier."""

    def encode(self, frame: Frame, marks: int = 0, /) -> bytes:
        return encode(frame, marks)

    def encode_all(self, frames: Sequence[Frame], marks: int = 0, /) -> list[bytes]:
        return encode_all(frames, marks)

    def join(self, pieces: Sequence[bytes], /) -> bytes:
        return b"".join(pieces)

    def reader(self, frame_bytes_max: int, /) -> Reader:
        return FrameReader(frame_bytes_max)


WIRE = Wire()
