"""Calls on the wire: reading what agents and peers send, and frames that surely fit.

Whatever somebody sends, what this node makes of it stays under the limits of a frame: texts are bounded here.
"""

from typing import TypeVar

import msgspec

from meshnode.model.errors import RemoteError
from meshnode.wire.calls import CallHeader, CancelHeader, ResultHeader
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, Frame, Kind

CALL_ID_BYTES = 16
TEXT_CHARS_MAX = 256  # of each text in the header of a call
CODE_CHARS_MAX = 100
MESSAGE_CHARS_MAX = 1000
RESULT_BYTES_MAX = FRAME_BYTES_MAX - HEADER_BYTES_MAX - 64

HeaderT = TypeVar("HeaderT", CallHeader, ResultHeader, CancelHeader)

_encode = msgspec.msgpack.Encoder().encode
_calls = msgspec.msgpack.Decoder(CallHeader)
_results = msgspec.msgpack.Decoder(ResultHeader)
_cancels = msgspec.msgpack.Decoder(CancelHeader)


def read_call(frame: Frame) -> CallHeader:
    """Raises ``RemoteError``. Texts may still be too long: see ``overlong``; their sender gets an answer."""
    return _read(_calls, frame)


def read_result(frame: Frame) -> ResultHeader:
    """Raises ``RemoteError``. Texts are cut to what may be passed on."""
    header = _read(_results, frame)
    return msgspec.structs.replace(
        header,
        code=header.code[:CODE_CHARS_MAX],
        message=header.message[:MESSAGE_CHARS_MAX],
        instance=header.instance[:TEXT_CHARS_MAX],
    )


def read_cancel(frame: Frame) -> CancelHeader:
    """Raises ``RemoteError``."""
    return _read(_cancels, frame)


def overlong(header: CallHeader) -> str:
    """The field whose text is too long to be passed on, "" if none is."""
    texts = (
        ("skill", header.skill), ("agent", header.agent), ("caller", header.caller),
        ("idempotency_key", header.idempotency_key), ("trace", header.trace),
    )  # fmt: skip
    return next((name for name, text in texts if len(text) > TEXT_CHARS_MAX), "")


def call_frame(header: CallHeader, payload: bytes) -> Frame:
    return Frame(Kind.CALL, header=_encode(header), payload=payload)


def cancel_frame(call_id: bytes) -> Frame:
    return Frame(Kind.CANCEL, header=_encode(CancelHeader(call_id, "caller gave up")))


def result_frame(header: ResultHeader, payload: bytes) -> Frame:
    short = msgspec.structs.replace(header, message=header.message[:MESSAGE_CHARS_MAX])
    return Frame(Kind.RESULT, header=_encode(short), payload=payload)


def _read(decoder: msgspec.msgpack.Decoder[HeaderT], frame: Frame) -> HeaderT:
    name = frame.kind.name.lower()
    try:
        header = decoder.decode(frame.header)
    except ValueError as error:  # MsgspecError is one, and text that is no UTF-8 raises UnicodeDecodeError
        raise RemoteError(f"{name}-junk", str(error)[:80]) from error
    if len(header.call_id) != CALL_ID_BYTES:
        raise RemoteError(f"{name}-id", f"{len(header.call_id)} bytes, it has {CALL_ID_BYTES}")
    return header
