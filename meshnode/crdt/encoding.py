"""Writes a change of a document without the engine, byte for byte the same everywhere: the other side of ``change.py``.

The engine replaces all values it sees when it sets a field. A rebase must name exactly the writes it replaces, and a
root must be the same bytes on every node and in every release, so both are written here.
"""

import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from meshnode.crdt.change import ACTOR_BYTES, Op, OpId, ParsedChange
from meshnode.crdt.columns import Reader, uleb

_MAGIC = b"\x85\x6f\x4a\x83"
_DEFLATE_FROM = 256  # bytes of body; the engine draws the line there too
_SMALL, _SMALL_WINDOW, _SMALL_LEVEL = 1024, -10, 1  # of a small body: making zlib's tables costs more than filling them
_WINDOW, _LEVEL = -15, 8
_REMEMBERED_MAX, _REMEMBERED_ROWS_MAX = 512, 64
_ULEBS_MAX = 4096
_ULEBS = [uleb(value) for value in range(_ULEBS_MAX)]


class Setting(msgspec.Struct, frozen=True, gc=False):
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
    if len(change.plain) < _DEFLATE_FROM:
        return change.plain
    reader = Reader(change.plain)
    reader.take(9)
    body = reader.block(len(change.plain))
    if len(body) < _DEFLATE_FROM:
        return change.plain
    window, level = (_SMALL_WINDOW, _SMALL_LEVEL) if len(body) <= _SMALL else (_WINDOW, _LEVEL)
    deflater = zlib.compressobj(6, zlib.DEFLATED, window, level)
    small = deflater.compress(body) + deflater.flush()
    return change.plain[:8] + b"\x02" + uleb(len(small)) + small


def _columns(settings: Sequence[Setting], actors: dict[bytes, int]) -> list[tuple[int, bytes]]:
    count = len(settings)
    is_short = count <= _REMEMBERED_ROWS_MAX
    keys_of = _key_column if is_short else _key_column.__wrapped__
    counts_of = _counts if is_short else _counts.__wrapped__
    raw = [b"" if each.value is None else each.value.encode() for each in settings]
    metas = [0 if each.value is None else len(data) << 4 | 6 for each, data in zip(settings, raw, strict=True)]
    preds = [pred for each in settings for pred in (each.preds if len(each.preds) < 2 else sorted(each.preds))]
    steps: list[int] = []
    before = 0
    for counter, _ in preds:
        steps.append(counter - before)
        before = counter
    columns = (
        (0x15, keys_of(tuple([each.key for each in settings]))),
        (0x34, uleb(count)),
        (0x42, _repeated(1, count)),
        (0x56, runs([_ULEBS[meta] if meta < _ULEBS_MAX else uleb(meta) for meta in metas])),
        (0x57, b"".join(raw)),
        (0x70, counts_of(tuple([len(each.preds) for each in settings]))),
        (0x71, _owners(preds, actors)),
        (0x73, runs([sleb(step) for step in steps])),
    )
    return [(number, data) for number, data in columns if data]


@lru_cache(_REMEMBERED_MAX)
def _key_column(keys: tuple[str, ...]) -> bytes:
    return runs([text(key) for key in keys])


@lru_cache(_REMEMBERED_MAX)
def _counts(counts: tuple[int, ...]) -> bytes:
    return runs([uleb(count) for count in counts])


@lru_cache(_REMEMBERED_MAX)
def _repeated(value: int, count: int) -> bytes:
    return runs([uleb(value)] * count)


def _owners(preds: Sequence[OpId], actors: dict[bytes, int]) -> bytes:
    if not preds:
        return b""
    first = preds[0][1]
    if all(who == first for _, who in preds):
        return _repeated(actors[first], len(preds))
    return runs([uleb(actors[who]) for _, who in preds])


def runs(values: Sequence[bytes]) -> bytes:
    """The one shortest form of a column: repeated values as runs, the others as literals between them."""
    out, single, at = bytearray(), list[bytes](), 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at]:
            end += 1
        if end - at == 1:
            single.append(values[at])
        else:
            out += literals(single) + sleb(end - at) + values[at]
            single = []
        at = end
    return bytes(out + literals(single))


def literals(values: Sequence[bytes]) -> bytes:
    return sleb(-len(values)) + b"".join(values) if values else b""


def text(value: str) -> bytes:
    data = value.encode()
    return uleb(len(data)) + data


def sleb(value: int) -> bytes:
    """The encoding of one signed number."""
    if -64 <= value < 64:
        return _SHORT[value]
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        if (value == 0 and not low & 0x40) or (value == -1 and low & 0x40):
            return bytes((*out, low))
        out.append(low | 0x80)


_SHORT = {value: bytes((value & 0x7F,)) for value in range(-64, 64)}
