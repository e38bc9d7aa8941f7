"""What a daemon and the warden of its node say to each other: msgpack behind its length in four bytes.

Both ends belong to one user on one machine, but not always to one version of this program: after an update a daemon
may find the warden of the old one. ``Listed`` names the version; who does not know it starts a new warden.
"""

import struct
from collections.abc import Callable

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.model.errors import RemoteError

WARDEN_SOCKET = "warden.sock"  # in the run directory of the node
VERSION = 1
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class List(msgspec.Struct, frozen=True, tag="list"):
    """The first word of a daemon. Answered by ``Listed``, then by every ``Exited`` nobody was there to hear."""


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Answered by ``Started``, which wants a ``Go``, or by ``Failed``.

    ``file`` is forked with ``argv`` as its arguments; without it ``argv`` is executed.
    """

    instance: str
    run_no: int
    ticket: str
    argv: tuple[str, ...]
    cwd: str
    environment: dict[str, str]
    file: str = ""


class Go(msgspec.Struct, frozen=True, tag="go"):
    """``Started`` has been heard. Nothing of the agent runs before, so nobody meets a process not told of yet."""

    instance: str
    run_no: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """SIGTERM now, SIGKILL after ``grace_us``. Unknown runs are passed over: their ``Exited`` is under way."""

    instance: str
    run_no: int
    grace_us: int


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye"):
    """Kill everything at once and end. Answered by the exits and the end of the connection."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One run the warden has."""

    instance: str
    run_no: int
    pid: int
    ticket: str


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    rows: tuple[Row, ...]
    version: int = VERSION


class Started(msgspec.Struct, frozen=True, tag="started"):
    instance: str
    run_no: int
    pid: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    instance: str
    run_no: int
    error: str


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """``signal``: its name, "" if the process exited with ``code``."""

    instance: str
    run_no: int
    code: int
    signal: str
    tail: str


ToWarden = List | Start | Go | Stop | Goodbye
FromWarden = Listed | Started | Failed | Exited

_ENCODER = msgspec.msgpack.Encoder()
_TO_WARDEN: Callable[[bytes], ToWarden] = msgspec.msgpack.Decoder(ToWarden).decode
_FROM_WARDEN: Callable[[bytes], FromWarden] = msgspec.msgpack.Decoder(FromWarden).decode


def encode(message: ToWarden | FromWarden) -> bytes:
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Bytes in, whole messages' bodies out."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Raises ``RemoteError``: a length beyond all measure, so nothing after it can be understood."""
        self._pending += data
        bodies: list[bytes] = []
        at = 0
        while len(self._pending) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._pending, at)
            if length > MESSAGE_BYTES_MAX:
                raise RemoteError("too-long", f"{length} bytes")
            if len(self._pending) - at - _LENGTH.size < length:
                break
            at += _LENGTH.size
            bodies.append(bytes(self._pending[at : at + length]))
            at += length
        del self._pending[:at]
        return bodies


def read_order(body: bytes) -> ToWarden:
    """Raises ``RemoteError``."""
    return decoded(_TO_WARDEN, body, "not-an-order")


def read_report(body: bytes) -> FromWarden:
    """Raises ``RemoteError``."""
    return decoded(_FROM_WARDEN, body, "not-a-report")
