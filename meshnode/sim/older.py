"""A node of an earlier release among newer ones: it knows neither their newest letters nor the newest fields.

It stands before the links, as a codec: it says of itself that it can nothing new, what an older decoder would refuse
arrives as junk, fields that came later are not there, and what only a newer node would write leaves as an empty
announcement, since links count their frames. Of documents it does not know the newest field, nor do its people.
"""

from collections.abc import Sequence

import msgspec

from meshnode.crdt.kinds import OURS
from meshnode.crdt.kinds import Kind as DocumentKind
from meshnode.kernel.effects import Channel
from meshnode.links.hello import Hello, body_of, frame_of
from meshnode.model.commands import AnyCommand, Apply
from meshnode.model.errors import RemoteError
from meshnode.wire.codec import Codec, Reader
from meshnode.wire.frame import Frame, Kind

# The letters of gossip as first released: how many fields each tag had.
RELEASED = {1: 2, 2: 1, 3: 1, 4: 3, 5: 2, 6: 2, 7: 1, 8: 1, 9: 1, 10: 0, 11: 1, 12: 3, 13: 1, 14: 2, 15: 1, 16: 2}
NEWEST = "orchestrator"  # of an AgentCluster's spec
_LATER = (Kind.PART, Kind.LANE)  # kinds of frames that were not there yet
_JUNK = b"\xc1"  # no msgpack begins so
_decode = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_tag = msgspec.msgpack.Decoder(int).decode
_encode = msgspec.msgpack.Encoder().encode
_NOTHING = _encode([8, []])  # an IHAVE of no rumours


class OlderReader:
    """Implements ``wire.codec.Reader``."""

    def __init__(self, reader: Reader, met: "Older") -> None:
        self._reader, self._met = reader, met
        self.frame_bytes_max = reader.frame_bytes_max

    def feed(self, data: bytes, /) -> list[Frame]:
        self._reader.frame_bytes_max = self.frame_bytes_max
        frames = self._reader.feed(data)
        if any(frame.kind in _LATER for frame in frames):
            raise RemoteError("frame-kind")
        return [self._met.changed(frame, _JUNK) for frame in frames]

    def whole(self, data: bytes, /) -> list[Frame]:  # noqa: ARG002 - an earlier release read all as many
        return []


class Older:
    """Implements ``wire.codec.Codec``. ``skewed``: letters that a newer node reads otherwise; ``met``: greetings."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.skewed = self.met = 0

    def encode(self, frame: Frame, marks: int = 0, /) -> bytes:
        return self._codec.encode(self.changed(frame, _NOTHING), marks)

    def encode_all(self, frames: Sequence[Frame], marks: int = 0, /) -> list[bytes]:
        return [self.encode(frame, marks) for frame in frames]

    def join(self, pieces: Sequence[bytes], /) -> bytes:
        return self._codec.join(pieces)

    def reader(self, frame_bytes_max: int, /) -> Reader:
        return OlderReader(self._codec.reader(frame_bytes_max), self)

    def changed(self, frame: Frame, unknown: bytes) -> Frame:
        """``unknown``: what stands for a letter that was not there yet."""
        if frame.kind in (Kind.HELLO, Kind.WELCOME):
            self.met += 1
            return _without_features(frame)
        if frame.kind is not Kind.CONTROL or frame.stream != Channel.GOSSIP:
            return frame
        body = _as_released(frame.payload, unknown)
        if body == frame.payload:
            return frame
        self.skewed += 1
        return msgspec.structs.replace(frame, payload=body)


def _without_features(frame: Frame) -> Frame:
    """It says of itself that it can nothing new, and does not read what others can."""
    try:
        hello = body_of(frame, Hello)
    except RemoteError:
        return frame
    return frame_of(frame.kind, msgspec.structs.replace(hello, features=()))


def _as_released(body: bytes, unknown: bytes) -> bytes:
    try:
        parts = _decode(body)
        fields = RELEASED.get(_tag(parts[0])) if parts else None
    except msgspec.MsgspecError:
        return body  # what was junk before is junk now
    if fields is None:
        return unknown
    return body if len(parts) <= fields + 1 else _encode(parts[: fields + 1])


def older_kinds(kinds: Sequence[DocumentKind] = OURS) -> tuple[DocumentKind, ...]:
    """As the release before knew them."""
    lacks = f"spec.{NEWEST}"
    return tuple(
        msgspec.structs.replace(kind, fields=tuple(field for field in kind.fields if field != lacks)) for kind in kinds
    )


def as_older(command: AnyCommand) -> AnyCommand:
    """What people of an older release write: they cannot name what it does not know."""
    if not isinstance(command, Apply) or NEWEST not in command.manifest.get("spec", {}):
        return command
    spec = {key: value for key, value in command.manifest["spec"].items() if key != NEWEST}
    return msgspec.structs.replace(command, manifest={**command.manifest, "spec": spec})
