"""Tier 2: frames change hands as the objects they are, and only their length on a wire is reckoned.

The same links, sessions and letters as in tier 1; nothing is packed, nothing is cut. A parcel is bytes to whoever only
measures or passes it on. What comes as plain bytes is read as on a wire.
"""

from collections.abc import Sequence
from typing import Self

from meshnode.model.errors import RemoteError
from meshnode.wire.codec import Reader
from meshnode.wire.frame import LITTLE_BYTES, Frame, FrameReader, encode, size


class Parcel(bytes):
    """Whole frames under way. Empty inside, as long as they would be on a wire."""

    frames: tuple[Frame, ...]
    wire_bytes: int

    def __new__(cls, frames: tuple[Frame, ...], wire_bytes: int) -> Self:
        self = super().__new__(cls)
        self.frames, self.wire_bytes = frames, wire_bytes
        return self

    def __len__(self) -> int:
        return self.wire_bytes


class ParcelReader:
    """Implements ``wire.codec.Reader``."""

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._wire = FrameReader(frame_bytes_max)

    def feed(self, data: bytes, /) -> list[Frame]:
        if not isinstance(data, Parcel):
            self._wire.frame_bytes_max = self.frame_bytes_max
            return self._wire.feed(data)
        if len(data) > self.frame_bytes_max and any(size(frame) > self.frame_bytes_max for frame in data.frames):
            raise RemoteError("frame-too-long", f"the limit is {self.frame_bytes_max}")
        return list(data.frames)

    def whole(self, data: bytes, /) -> list[Frame]:
        if not isinstance(data, Parcel):
            return self._wire.whole(data)
        return list(data.frames) if len(data) <= size(data.frames[0]) + LITTLE_BYTES else []


class Parcels:
    """Implements ``wire.codec.Codec``."""

    def encode(self, frame: Frame, marks: int = 0, /) -> bytes:
        marked = Frame(frame.kind, frame.flags | marks, frame.stream, frame.header, frame.payload) if marks else frame
        return Parcel((marked,), size(frame))

    def encode_all(self, frames: Sequence[Frame], marks: int = 0, /) -> list[bytes]:
        return [self.encode(frame, marks) for frame in frames]

    def join(self, pieces: Sequence[bytes], /) -> bytes:
        if len(pieces) == 1:
            return pieces[0]
        if not all(isinstance(piece, Parcel) for piece in pieces):
            return b"".join(as_bytes(piece) for piece in pieces)
        parcels = [piece for piece in pieces if isinstance(piece, Parcel)]
        frames = tuple(frame for parcel in parcels for frame in parcel.frames)
        return Parcel(frames, sum(map(len, parcels)))

    def reader(self, frame_bytes_max: int, /) -> Reader:
        return ParcelReader(frame_bytes_max)


def as_bytes(data: bytes) -> bytes:
    """What a wire would carry."""
    return b"".join(encode(frame) for frame in data.frames) if isinstance(data, Parcel) else data
