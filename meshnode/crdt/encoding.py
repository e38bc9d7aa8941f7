"""Writes a change of a document without the engine, byte for byte the same everywhere: the other side of ``change.py``.

The engine replaces all values it sees when it sets a field. A rebase must name exactly the writes it replaces, and a
root must be the same bytes on every node and in every release, so both are written here.
"""

import hashlib
import zlib
from collections.abc import Sequence

import msgspec

from meshnode.crdt.change import ACTOR_BYTES, Op, OpId, ParsedChange
from meshnode.crdt.columns import Reader, uleb

_MAGIC = b"\x85\x6f\x4a\x83"
_DEFLATE_FROM = 256  # bytes of body; the engine draws the line there too


class Setting(msgspec.Struct, frozen=True):
    """One field to be set. ``value`` ``None``: removed. ``preds``: the writes it replaces."""

    key: str
    value: str | None
    preds: tuple[OpId, ...] = ()


def written(actor: bytes, seq: int, start_op: int, deps: Sequence[bytes], settings: Sequence[Setting]) -> ParsedChange:
    """A change that sets each field once, in the order given."""
    assert len(actor) == ACTOR_BYTES
    named = sorted({who: None for each in settings for _, who in each.preds if who != actor})
    actors = {who: number for number, who in enumerate((actor, *named))}
    columns = _columns(settings, actors)
    body = b"".join((
        uleb(len(deps)), *sorted(deps), uleb(ACTOR_BYTES), actor, uleb(seq), uleb(start_op), b"\0", b"\0",
        uleb(len(named)), *(uleb(ACTOR_BYTES) + who for who in named),
        uleb(len(columns)), *(uleb(number) + uleb(len(data)) for number, data in columns),
        *(data for _, data in columns),
    ))  # fmt: skip
    digest = hashlib.sha256(b"\x01" + uleb(len(body)) + body).digest()
    plain = _MAGIC + digest[:4] + b"\x01" + uleb(len(body)) + body
    ops = tuple(Op(start_op + row, each.key, each.value, each.preds) for row, each in enumerate(settings))
    return ParsedChange(digest, actor, seq, start_op, tuple(sorted(deps)), ops, plain)


def packed(change: ParsedChange) -> bytes:
    """The chunk as it travels: deflated when long."""
    reader = Reader(change.plain)
    reader.take(9)
    body = reader.block(len(change.plain))
    if len(body) < _DEFLATE_FROM:
        return change.plain
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    small = deflater.compress(body) + deflater.flush()
    return change.plain[:8] + b"\x02" + uleb(len(small)) + small


def _columns(settings: Sequence[Setting], actors: dict[bytes, int]) -> list[tuple[int, bytes]]:
    count = len(settings)
    keys = [_text(each.key) for each in settings]
    raw = [b"" if each.value is None else each.value.encode() for each in settings]
    metas = [uleb(0 if each.value is None else len(data) << 4 | 6) for each, data in zip(settings, raw, strict=True)]
    preds = [pred for each in settings for pred in sorted(each.preds)]
    counters = [counter for counter, _ in preds]
    steps = [sleb(after - before) for before, after in zip([0, *counters], counters, strict=False)]
    columns = (
        (0x15, _runs(keys)),
        (0x34, uleb(count)),
        (0x42, _runs([b"\x01"] * count)),
        (0x56, _runs(metas)),
        (0x57, b"".join(raw)),
        (0x70, _runs([uleb(len(each.preds)) for each in settings])),
        (0x71, _runs([uleb(actors[who]) for _, who in preds])),
        (0x73, _runs(steps)),
    )
    return [(number, data) for number, data in columns if data]


def _runs(values: Sequence[bytes]) -> bytes:
    """The one shortest form of a column: repeated values as runs, the others as literals between them."""
    out, literals, at = bytearray(), list[bytes](), 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at]:
            end += 1
        if end - at == 1:
            literals.append(values[at])
        else:
            out += _literals(literals) + sleb(end - at) + values[at]
            literals = []
        at = end
    return bytes(out + _literals(literals))


def _literals(values: Sequence[bytes]) -> bytes:
    return sleb(-len(values)) + b"".join(values) if values else b""


def _text(value: str) -> bytes:
    data = value.encode()
    return uleb(len(data)) + data


def sleb(value: int) -> bytes:
    """The encoding of one signed number."""
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        if (value == 0 and not low & 0x40) or (value == -1 and low & 0x40):
            return bytes((*out, low))
        out.append(low | 0x80)
