"""Change chunks written by hand, honest and hostile: the other side of ``crdt/change.py``, sharing no code with it."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence

ACTOR = b"\x0a" * 16
OTHER = b"\x0b" * 16


def uleb(value: int) -> bytes:
    out = b""
    while True:
        value, low = value >> 7, value & 0x7F
        if not value:
            return out + bytes((low,))
        out += bytes((low | 0x80,))


def sleb(value: int) -> bytes:
    out = b""
    while True:
        low, value = value & 0x7F, value >> 7
        if (value == 0 and not low & 0x40) or (value == -1 and low & 0x40):
            return out + bytes((low,))
        out += bytes((low | 0x80,))


def run(count: int, value: bytes) -> bytes:
    return sleb(count) + value


def literals(*values: bytes) -> bytes:
    return sleb(-len(values)) + b"".join(values)


def text(value: str) -> bytes:
    return uleb(len(value.encode())) + value.encode()


def columns_of(fields: Mapping[str, str | None]) -> dict[int, bytes]:
    """The columns of a change that sets fields nobody set before."""
    count = len(fields)
    metas = [uleb(0) if v is None else uleb(len(v.encode()) << 4 | 6) for v in fields.values()]
    return {
        0x15: literals(*(text(key) for key in fields)),
        0x34: uleb(count),
        0x42: run(count, uleb(1)),
        0x56: literals(*metas),
        0x57: "".join(v or "" for v in fields.values()).encode(),
        0x70: run(count, uleb(0)),
    }


def body(
    columns: Mapping[int, bytes],
    *,
    actor: bytes = ACTOR,
    seq: int = 1,
    start_op: int = 1,
    deps: Sequence[bytes] = (),
    others: Sequence[bytes] = (),
    message: bytes = b"",
    time: int = 0,
    tail: bytes = b"",
) -> bytes:
    head = uleb(len(deps)) + b"".join(deps) + uleb(len(actor)) + actor + uleb(seq) + uleb(start_op) + sleb(time)
    head += uleb(len(message)) + message + uleb(len(others)) + b"".join(uleb(len(o)) + o for o in others)
    table = uleb(len(columns)) + b"".join(uleb(number) + uleb(len(data)) for number, data in columns.items())
    return head + table + b"".join(columns.values()) + tail


def chunk(plain: bytes, *, kind: int = 1) -> bytes:
    """A chunk with a right checksum; ``kind`` 2: deflated."""
    digest = hashlib.sha256(b"\x01" + uleb(len(plain)) + plain).digest()
    carried = plain
    if kind == 2:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        carried = deflater.compress(plain) + deflater.flush()
    return b"\x85\x6f\x4a\x83" + digest[:4] + bytes((kind,)) + uleb(len(carried)) + carried


def change(fields: Mapping[str, str | None], **header: object) -> bytes:
    return chunk(body(columns_of(fields), **header))  # pyright: ignore[reportArgumentType]
