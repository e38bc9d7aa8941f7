"""Calls on the wire: reading what agents and peers send, and frames that surely fit.

Whatever somebody sends, what this node makes of it stays under the limits of a frame: texts are bounded here.
"""

import re
from typing import TypeVar

import msgspec

from meshnode.kernel.decoding import JUNK, refusal
from meshnode.model.errors import RemoteError
from meshnode.wire.calls import (
    CallHeader,
    CancelHeader,
    ChunkHeader,
    GrantHeader,
    ResultHeader,
    encoded_call,
    encoded_result,
)
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, Frame, Kind
from meshnode.wire.state import EmitHeader, MergedHeader, StateHeader

CALL_ID_BYTES = 16
TEXT_CHARS_MAX = 256  # of each text in the header of a call
CODE_CHARS_MAX = 100
MESSAGE_CHARS_MAX = 1000
RESULT_BYTES_MAX = FRAME_BYTES_MAX - HEADER_BYTES_MAX - 64
EMIT_BYTES_MAX = 4096
NUMBER_MAX = 2**53
ITEMS_MAX = 1024  # of a stream in one frame
_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

IdT = TypeVar("IdT", CallHeader, ResultHeader, CancelHeader, ChunkHeader, GrantHeader)
HeaderT = TypeVar("HeaderT")

_encode = msgspec.msgpack.Encoder().encode
_calls = msgspec.msgpack.Decoder(CallHeader)
_results = msgspec.msgpack.Decoder(ResultHeader)
_cancels = msgspec.msgpack.Decoder(CancelHeader)
_chunks = msgspec.msgpack.Decoder(ChunkHeader)
_grants = msgspec.msgpack.Decoder(GrantHeader)
_states = msgspec.msgpack.Decoder(StateHeader)
_merged = msgspec.msgpack.Decoder(MergedHeader)
_emits = msgspec.msgpack.Decoder(EmitHeader)

# All readers raise ``RemoteError``.


def read_call(frame: Frame) -> CallHeader:
    """Texts may still be too long: see ``overlong``; their sender gets an answer."""
    return _of_call(_calls, frame)


def read_result(frame: Frame) -> ResultHeader:
    """Texts are cut to what may be passed on."""
    header = _of_call(_results, frame)
    if (
        len(header.code) <= CODE_CHARS_MAX
        and len(header.message) <= MESSAGE_CHARS_MAX
        and len(header.instance) <= TEXT_CHARS_MAX
        and len(header.durability) <= CODE_CHARS_MAX
    ):
        return header
    return msgspec.structs.replace(
        header,
        code=header.code[:CODE_CHARS_MAX],
        message=header.message[:MESSAGE_CHARS_MAX],
        instance=header.instance[:TEXT_CHARS_MAX],
        durability=header.durability[:CODE_CHARS_MAX],
    )


def read_cancel(frame: Frame) -> CancelHeader:
    return _of_call(_cancels, frame)


def read_chunk(frame: Frame) -> ChunkHeader:
    """Its ``lengths`` are those of its payload, if there are any."""
    header = _of_call(_chunks, frame)
    _counts("chunk", header.number)
    lengths = header.lengths
    if lengths and (len(lengths) > ITEMS_MAX or min(lengths) < 0 or sum(lengths) != len(frame.payload)):
        words = f"{len(lengths)} items of {sum(lengths)} bytes in {len(frame.payload)}"
        raise RemoteError("chunk-lengths", words[:100])
    return header


def read_grant(frame: Frame) -> GrantHeader:
    header = _of_call(_grants, frame)
    _counts("grant", header.total, header.total_bytes)
    return header


def read_state(frame: Frame) -> StateHeader:
    """Its ``call_id`` may be b""."""
    header = _read(_states, frame)
    if len(header.call_id) not in (0, CALL_ID_BYTES) or len(header.idempotency_key) > TEXT_CHARS_MAX:
        raise RemoteError("state-id", f"{len(header.call_id)} bytes, key of {len(header.idempotency_key)} characters")
    _counts("state", header.seq, header.merge_no)
    return header


def read_merged(frame: Frame) -> MergedHeader:
    header = _read(_merged, frame)
    _counts("merged", header.merge_no, header.seq)
    return header


def read_emit(frame: Frame) -> tuple[str, str]:
    """Type and JSON text."""
    header = _read(_emits, frame)
    if not _TYPE.fullmatch(header.type):
        raise RemoteError("emit-type", header.type[:80])
    if len(frame.payload) > EMIT_BYTES_MAX:
        raise RemoteError("emit-too-long", f"{len(frame.payload)} bytes, the limit is {EMIT_BYTES_MAX}")
    try:
        msgspec.json.decode(frame.payload)
        return header.type, frame.payload.decode()
    except JUNK as error:
        raise refusal("emit-junk", error) from error


def overlong(header: CallHeader) -> str:
    """The field whose text is too long to be passed on, "" if none is. Its ``caller`` is not passed on."""
    texts = (header.skill, header.agent, header.idempotency_key, header.trace, header.session)
    if sum(map(len, texts)) <= TEXT_CHARS_MAX:
        return ""
    names = ("skill", "agent", "idempotency_key", "trace", "session")
    return next((name for name, text in zip(names, texts, strict=True) if len(text) > TEXT_CHARS_MAX), "")


def call_frame(header: CallHeader, payload: bytes) -> Frame:
    return Frame(Kind.CALL, header=encoded_call(header), payload=payload)


def cancel_frame(call_id: bytes) -> Frame:
    return Frame(Kind.CANCEL, header=_encode(CancelHeader(call_id, "caller gave up")))


def chunk_frame(
    call_id: bytes,
    number: int,
    payload: bytes,
    *,
    metered: bool = False,
    lengths: tuple[int, ...] = (),
    raw: bool = False,
) -> Frame:
    return Frame(Kind.CHUNK, header=_encode(ChunkHeader(call_id, number, metered, lengths, raw)), payload=payload)


def grant_frame(call_id: bytes, total: int, total_bytes: int = 0, *, raw: bool = False) -> Frame:
    return Frame(Kind.GRANT, header=_encode(GrantHeader(call_id, total, total_bytes, raw)))


def result_frame(header: ResultHeader, payload: bytes) -> Frame:
    if len(header.message) > MESSAGE_CHARS_MAX:
        header = msgspec.structs.replace(header, message=header.message[:MESSAGE_CHARS_MAX])
    return Frame(Kind.RESULT, header=encoded_result(header), payload=payload)


def _of_call(decoder: msgspec.msgpack.Decoder[IdT], frame: Frame) -> IdT:
    header = _read(decoder, frame)
    if len(header.call_id) != CALL_ID_BYTES:
        raise RemoteError(f"{frame.kind.name.lower()}-id", f"{len(header.call_id)} bytes, it has {CALL_ID_BYTES}")
    return header


def _read(decoder: msgspec.msgpack.Decoder[HeaderT], frame: Frame) -> HeaderT:
    try:
        return decoder.decode(frame.header)
    except JUNK as error:
        raise refusal(f"{frame.kind.name.lower()}-junk", error) from error


def _counts(name: str, *numbers: int) -> None:
    if not all(0 <= number <= NUMBER_MAX for number in numbers):
        raise RemoteError(f"{name}-number", str(max(numbers, key=abs))[:40])
