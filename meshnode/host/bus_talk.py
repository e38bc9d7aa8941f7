"""What one local connection may say, and when: the rules of the bus without its sockets.

Invariants: before the welcome nothing but one registration is taken; a STATE that belongs to a call is given on
together with the frame after it, which is the call's RESULT, however the bytes were cut on their way.
"""

import enum

import msgspec

from meshnode.kernel.decoding import JUNK, refusal
from meshnode.model.errors import RemoteError
from meshnode.wire.bus import FROM_AGENT
from meshnode.wire.calls import RegisteredHeader, RegisterHeader, SkillDescription
from meshnode.wire.frame import Frame, FrameReader, Kind
from meshnode.wire.parts import Assembly
from meshnode.wire.state import StateHeader

Registration = tuple[RegisterHeader, tuple[SkillDescription, ...]]

# STATE frames of one call that wait for its RESULT. An instance holds 16 MiB; their frames go around it.
HELD_FRAMES_MAX = 64
HELD_BYTES_MAX = 20 * 1024 * 1024
MESSAGE_CHARS_MAX = 1000

_DATA = frozenset(FROM_AGENT)
_PASSED_ON = _DATA - {Kind.STATE}  # as they come
_TAKEN = _DATA | {Kind.PING, Kind.PONG}
_encode = msgspec.msgpack.Encoder().encode
_registers = msgspec.msgpack.Decoder(RegisterHeader)
_skills = msgspec.json.Decoder(tuple[SkillDescription, ...])
_states = msgspec.msgpack.Decoder(StateHeader)


class Phase(enum.Enum):
    """How far a connection has come."""

    NEW = enum.auto()  # it has not said anything yet
    ASKING = enum.auto()  # registered with the core, not yet answered
    WELCOME = enum.auto()


class Talk:
    """One connection's side of the conversation. Every method that is given its words may raise ``RemoteError``."""

    def __init__(self) -> None:
        self.phase = Phase.NEW
        self.missed = 0  # pings since it last said something
        self.parts = False  # it puts PARTs together, and may send them
        self._assembly = Assembly()
        self._reader = FrameReader()
        self._held: list[Frame] = []

    @property
    def holds(self) -> bool:
        """A STATE waits for its RESULT."""
        return bool(self._held)

    @property
    def cut(self) -> bool:
        """Part of a frame is here, or of a call's end: the connection ended in the middle of something, if it ended."""
        return bool(self._held or self._assembly) or self._reader.pending_bytes > 0

    def hear(self, data: memoryview) -> list[Frame]:
        """The frames that are complete with these bytes of a stream."""
        frames = self._reader.feed(data)
        if frames:
            self.missed = 0
        return frames

    def hear_message(self, data: memoryview) -> list[Frame]:
        """The frames of one message, where the endpoint keeps their bounds."""
        frames = self.hear(data)
        if not frames or self._reader.pending_bytes:
            raise RemoteError("bus-frames", "a message holds whole frames")
        return frames

    def register(self, frames: list[Frame]) -> Registration:
        """Its first words."""
        if frames[0].kind is not Kind.REGISTER:
            raise RemoteError("bus-unregistered", "the first frame is a registration")
        if len(frames) > 1:
            raise RemoteError("bus-early", "it did not wait for its welcome")
        registration = read_registration(frames[0])
        self.phase, self.parts = Phase.ASKING, registration[0].parts
        return registration

    def take(self, frames: list[Frame]) -> tuple[list[Frame], list[Frame]]:
        """(what goes up to the core, what is answered at once) of what a registered agent said."""
        if self.phase is Phase.WELCOME and not self._held and all(frame.kind in _PASSED_ON for frame in frames):
            return frames, []
        if self.parts and self.phase is Phase.WELCOME:
            frames = [whole for frame in frames if (whole := self._put_together(frame)) is not None]
            if not frames:
                return [], []
        for frame in frames:
            if frame.kind not in _TAKEN:
                raise RemoteError("bus-kind", f"an agent sends no {frame.kind.name}")
        if self.phase is not Phase.WELCOME:
            raise RemoteError("bus-early", "it did not wait for its welcome")
        pongs = [Frame(Kind.PONG, stream=frame.stream) for frame in frames if frame.kind is Kind.PING]
        data = [frame for frame in frames if frame.kind in _DATA]
        if self._held:
            data, self._held = self._held + data, []
        if frames[-1].kind is Kind.STATE:
            data = self._hold(data)
        return data, pongs

    def _put_together(self, frame: Frame) -> Frame | None:
        return self._assembly.take(frame) if frame.kind is Kind.PART else frame

    def _hold(self, data: list[Frame]) -> list[Frame]:
        """Keep back the STATE frames at the end that belong to one call."""
        call_id = _call_of(data[-1])
        if not call_id:
            return data
        at, held_bytes = len(data), 0
        while at and data[at - 1].kind is Kind.STATE and _call_of(data[at - 1]) == call_id:
            at -= 1
            held_bytes += len(data[at].payload)
            if len(data) - at > HELD_FRAMES_MAX or held_bytes > HELD_BYTES_MAX:
                raise RemoteError("bus-held", f"{len(data) - at} STATE frames without the RESULT of their call")
        self._held = data[at:]
        return data[:at]


def read_registration(frame: Frame) -> Registration:
    """Raises ``RemoteError``."""
    try:
        return _registers.decode(frame.header), _skills.decode(frame.payload)
    except JUNK as error:
        raise refusal("bus-registration", error) from error


def registered(header: RegisteredHeader) -> Frame:
    """The answer to a registration, short enough for a header."""
    short = msgspec.structs.replace(header, message=header.message[:MESSAGE_CHARS_MAX])
    return Frame(Kind.REGISTERED, header=_encode(short))


def _call_of(frame: Frame) -> bytes:
    """b"" also for junk: the core refuses that by name, whatever stands around it."""
    try:
        return _states.decode(frame.header).call_id
    except JUNK:
        return b""
