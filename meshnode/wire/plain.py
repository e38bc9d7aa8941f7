"""Headers of plain calls as bytes: what differs from call to call is cut out, and something else put in its place.

    CALL    array of 13 | id | skill | deadline_ms | agent, caller and what follows
    RESULT  array of 9 | id | code "" | message "" | instance | ran_us | no durability, version 0, not replayed, 0

Only what our own encoder writes is cut; whatever is written otherwise is ``None`` here, and read by the decoder.
"""

import msgspec

from meshnode.wire.calls import CallHeader

ID_AT, ID_END = 3, 19
_CALL = b"\x9d\xc4\x10"
_RESULT = b"\x99\xc4\x10"
_OK = b"\xa0\xa0"  # no code, no message
_PLAIN = b"\xa0\x00\xc2\x00"  # nothing changed, and it was no repetition
_FIXSTR, _FIXSTR_MAX, _STR8 = 0xA0, 0xBF, 0xD9
_SHORT_MIN, _SHORT_MAX, _LONG = b"\xcd\x01", b"\xcd\xff", b"\xce"  # deadlines of two bytes, and of four
_UINT8, _UINT16, _UINT32, _UINT64 = 0xCC, 0xCD, 0xCE, 0xCF
_UINT_BYTES = {_UINT8: 2, _UINT16: 3, _UINT32: 5, _UINT64: 9}  # with its first byte
_FIXINT_MAX = 0x7F
# So much at least follows a text that is looked behind: the shortest number, and what ends a RESULT.
_FOLLOWS = 1 + len(_PLAIN)

_encode = msgspec.msgpack.Encoder().encode


def cut_call(header: bytes) -> tuple[bytes, bytes] | None:
    """All but id and deadline, which is the same for calls that differ in nothing else; the deadline as it stands
    there."""
    if header[:ID_AT] != _CALL:
        return None
    at = _behind_text(header, ID_END)
    mark = header[at : at + 2]
    if _SHORT_MIN <= mark <= _SHORT_MAX:
        end = at + 3
    elif mark[:1] == _LONG and header[at + 1 : at + 3] != b"\0\0":
        end = at + 5
    else:
        return None  # no such text (then it is the array's mark), a deadline under 256 ms, or not written as we would
    return header[ID_END:at] + header[end:], header[at:end]


def split(header: CallHeader) -> tuple[bytes, bytes]:
    """What stands before and behind the deadline of such a header, its id left out."""
    written = _encode(msgspec.structs.replace(header, call_id=bytes(ID_END - ID_AT), deadline_ms=_UINT16))
    at = _behind_text(written, ID_END)
    return written[ID_END:at], written[at + 2 :]


def as_written(header: CallHeader, data: bytes) -> bool:
    """These bytes are what our encoder writes for it."""
    return _encode(header) == data


def call(call_id: bytes, skill: bytes, deadline: bytes, rest: bytes) -> bytes:
    return b"%b%b%b%b%b" % (_CALL, call_id, skill, deadline, rest)


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
