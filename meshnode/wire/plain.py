"""Headers of plain calls as bytes: what differs from call to call is cut out, and something else put in its place.

    CALL    array of 13 | id | skill | deadline_ms | agent, caller, no key | trace, if there is one | no clock, slot -1,
            no session, no stream, idempotent, batch; of 15, if one of them is true: raw, as_bytes
    RESULT  array of 9 | id | code "" | message "" | instance | ran_us | no durability, version 0, not replayed, 0

Only what our own encoder writes is cut; whatever is written otherwise is ``None`` here, and read by the decoder.
"""

from typing import NamedTuple

import msgspec

from meshnode.wire.calls import CallHeader, encoded_call

ID_AT, ID_END = 3, 19
_MARKS = {b"\x9d\xc4\x10": 0, b"\x9f\xc4\x10": 2}  # of calls, with the bytes behind the tail
_RESULT = b"\x99\xc4\x10"
_OK = b"\xa0\xa0"  # no code, no message
_PLAIN = b"\xa0\x00\xc2\x00"  # nothing changed, and it was no repetition
_FIXSTR, _FIXSTR_MAX, _STR8 = 0xA0, 0xBF, 0xD9
_UINT8, _UINT16, _UINT32, _UINT64 = 0xCC, 0xCD, 0xCE, 0xCF
_UINT_BYTES = {_UINT8: 2, _UINT16: 3, _UINT32: 5, _UINT64: 9}  # with its first byte
_FIXINT_MAX = 0x7F
LIKE_BYTES = _UINT_BYTES[_UINT16]  # of the deadlines of most calls
# The least that is written in so many bytes: a smaller number is written in fewer.
_LEAST = {_UINT8: 2**7, _UINT16: 2**8, _UINT32: 2**16}
TRACE_CHARS = 55  # of a traceparent (W3C Trace Context, version 00)
BLANK_TRACE = "0" * TRACE_CHARS
_TRACE_MARK = b"\xd9\x37"  # a text of 55 bytes
_TAIL = 6  # bytes behind the trace of a plain call
_TRACE = TRACE_CHARS + _TAIL
# So much at least follows a text that is looked behind: the shortest number, and what ends a RESULT.
_FOLLOWS = 1 + len(_PLAIN)

_encode = msgspec.msgpack.Encoder().encode


# All of a header but id, deadline and trace, which calls that differ in nothing else have in common; where the deadline
# stands, from and to, and what it is; the trace, b"" if there is none.
Cut = tuple[bytes, int, int, int, bytes]


class Way(NamedTuple):
    """What stands before the id, and before and behind the deadline, of calls that differ in nothing but id, deadline
    and trace; ``tail``: behind the trace, of calls that have one."""

    mark: bytes
    before: bytes
    behind: bytes
    tail: bytes = b""


def cut_call(header: bytes) -> Cut | None:
    mark = header[:ID_AT]
    more, at = _MARKS.get(mark), _behind_text(header, ID_END)
    if more is None or not at:
        return None
    first = header[at]
    if first == _UINT16:
        end, deadline_ms = at + 3, header[at + 1] << 8 | header[at + 2]
    elif first <= _FIXINT_MAX:
        end, deadline_ms = at + 1, first
    elif first in (_UINT8, _UINT32):
        end = at + _UINT_BYTES[first]
        deadline_ms = int.from_bytes(header[at + 1 : end])
    else:
        return None
    if deadline_ms < _LEAST.get(first, 1):
        return None  # there is none, or it is not written as we would
    trace_at = len(header) - _TRACE - more
    if header[trace_at - len(_TRACE_MARK) : trace_at] != _TRACE_MARK or trace_at - len(_TRACE_MARK) < end:
        return mark + header[ID_END:at] + header[end:], at, end, deadline_ms, b""
    trace = header[trace_at : trace_at + TRACE_CHARS]
    if not trace.isascii():
        return None
    common = mark + header[ID_END:at] + header[end:trace_at] + header[trace_at + TRACE_CHARS :]
    return common, at, end, deadline_ms, trace


def cut_like(header: bytes, like: bytes, at: int, end: int) -> int:
    """The deadline of a header that differs from this one in nothing but its id and that; 0: it does, or may.

    ``at``, ``end``: where the deadline of that one stands, which is ``LIKE_BYTES`` long.
    """
    if header[:ID_AT] != like[:ID_AT] or header[ID_END : at + 1] != like[ID_END : at + 1] or header[end:] != like[end:]:
        return 0
    return header[at + 1] << 8 | header[at + 2] if header[at + 1] else 0


def split(header: CallHeader) -> Way:
    """What such a header says beside id, deadline and trace."""
    written = encoded_call(msgspec.structs.replace(header, call_id=bytes(ID_END - ID_AT), deadline_ms=_UINT16))
    at = _behind_text(written, ID_END)
    mark, before, behind = written[:ID_AT], written[ID_END:at], written[at + 2 :]
    if not header.trace:
        return Way(mark, before, behind)
    trace_at = len(behind) - _TRACE - _MARKS[mark]
    return Way(mark, before, behind[:trace_at], behind[trace_at + TRACE_CHARS :])


def is_trace(trace: str) -> bool:
    """It can be cut out: it is as long as a traceparent, and ASCII."""
    return len(trace) == TRACE_CHARS and trace.isascii()


def as_written(header: CallHeader, data: bytes) -> bool:
    """These bytes are what our encoder writes for it."""
    return encoded_call(header) == data


def call(call_id: bytes, way: Way, deadline: bytes, trace: bytes = b"") -> bytes:
    return b"%b%b%b%b%b%b%b" % (way.mark, call_id, way.before, deadline, way.behind, trace, way.tail)


def number(value: int) -> bytes:
    return _encode(value)


def text(value: str) -> bytes:
    return _encode(value)


def instance(header: bytes) -> bytes | None:
    """Who answered, as it stands in the header of a RESULT that says nothing else; its id is not looked at."""
    if header[:ID_AT] != _RESULT or header[ID_END : ID_END + 2] != _OK or header[-4:] != _PLAIN:
        return None
    at = ID_END + 2
    end = _behind_text(header, at)
    if not end:
        return None
    first = header[end]
    ran_bytes = 1 if first <= _FIXINT_MAX else _UINT_BYTES.get(first, 0)
    return header[at:end] if end + ran_bytes + len(_PLAIN) == len(header) else None


def said(instance: bytes) -> bytes:
    """What stands behind the id in the header of a RESULT of that instance, up to ``ran_us``."""
    return _OK + instance


def says_as(header: bytes, said: bytes) -> bool:
    """It is the header of a RESULT that differs from that one in nothing but id and ``ran_us``."""
    end = ID_END + len(said)
    if header[:ID_AT] != _RESULT or header[ID_END:end] != said or header[-4:] != _PLAIN:
        return False
    ran_bytes = len(header) - end - len(_PLAIN)
    if ran_bytes == 1:
        return header[end] <= _FIXINT_MAX
    return ran_bytes > 1 and _UINT_BYTES.get(header[end]) == ran_bytes


def result(call_id: bytes, instance: bytes, took_us: int) -> bytes:
    """The header of the answer to a plain call."""
    return b"%b%b\xa0\xa0%b%b\xa0\x00\xc2\x00" % (_RESULT, call_id, instance, _encode(took_us))


def _behind_text(header: bytes, at: int) -> int:
    """0: no short text begins there, or nothing follows it."""
    if len(header) <= at + 1:
        return 0
    first = header[at]
    if _FIXSTR <= first <= _FIXSTR_MAX:
        end = at + 1 + first - _FIXSTR
    elif first == _STR8:
        end = at + 2 + header[at + 1]
    else:
        return 0
    return end if end + _FOLLOWS <= len(header) else 0
