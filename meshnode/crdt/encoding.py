"""Writes a change of a document without the engine, byte for byte the same everywhere: the other side of ``change.py``.

The engine replaces all values it sees when it sets a field. A rebase must name exactly the writes it replaces, and a
root must be the same bytes on every node and in every release, so both are written here.
"""

import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from meshnode.crdt.change import ACTOR_BYTES, OpId, ParsedChange
from meshnode.crdt.columns import Reader, uleb

_MAGIC = b"\x85\x6f\x4a\x83"
_DEFLATE_FROM = 256  # bytes of body; the engine draws the line there too
_SMALL, _SMALL_WINDOW, _SMALL_LEVEL = 1024, -10, 1  # of a small body: making zlib's tables costs more than filling them
_WINDOW, _LEVEL = -15, 8
_REMEMBERED_MAX, _REMEMBERED_ROWS_MAX = 512, 64
_ACTOR_SIZE = uleb(ACTOR_BYTES)
_NO_TIME_NO_MESSAGE, _NULL = b"\0\0", b"\0"
_NUMBERS = (0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73)  # of the columns, in their order


class Setting(msgspec.Struct, frozen=True, gc=False):
    """One field to be set. ``value`` ``None``: removed. ``preds``: the writes it replaces."""

    key: str
    value: str | None
    preds: tuple[OpId, ...] = ()


def written(actor: bytes, seq: int, start_op: int, deps: Sequence[bytes], settings: Sequence[Setting]) -> ParsedChange:
    """A change that sets each field once, in the order given."""
    keys, values = tuple([each.key for each in settings]), tuple([each.value for each in settings])
    preds = tuple([each.preds for each in settings])
    return composed(actor, seq, start_op, tuple(sorted(deps)), keys, values, preds)


def composed(
    actor: bytes,
    seq: int,
    start_op: int,
    deps: tuple[bytes, ...],
    keys: tuple[str, ...],
    values: tuple[str | None, ...],
    preds: tuple[tuple[OpId, ...], ...],
) -> ParsedChange:
    """The same by columns. ``deps``: sorted."""
    assert len(actor) == ACTOR_BYTES
    replaced = [pred for each in preds for pred in (each if len(each) < 2 else sorted(each))]
    others = {who: None for _, who in replaced}
    others.pop(actor, None)
    named = sorted(others)
    header, columns = _columns(keys, values, tuple(map(len, preds)), replaced, (actor, *named))
    body = b"".join((
        uleb(len(deps)), *deps, _ACTOR_SIZE, actor, uleb(seq), uleb(start_op), _NO_TIME_NO_MESSAGE,
        uleb(len(named)), *[_ACTOR_SIZE + who for who in named], header, *columns,
    ))  # fmt: skip
    framed = b"\x01" + uleb(len(body)) + body
    digest = hashlib.sha256(framed).digest()
    return ParsedChange(digest, actor, seq, start_op, deps, keys, values, preds, _MAGIC + digest[:4] + framed)


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


def _columns(
    keys: tuple[str, ...],
    values: Sequence[str | None],
    counts: tuple[int, ...],
    replaced: Sequence[OpId],
    actors: Sequence[bytes],
) -> tuple[bytes, Sequence[bytes]]:
    """Numbers and sizes of the columns that are not empty, and the columns."""
    count = len(keys)
    is_short = count <= _REMEMBERED_ROWS_MAX
    keys_of = _key_column if is_short else _key_column.__wrapped__
    counts_of = _counts if is_short else _counts.__wrapped__
    metas_of = _metas if is_short else _metas.__wrapped__
    raw = [None if value is None else value.encode() for value in values]
    columns = (
        keys_of(keys),
        uleb(count),
        _repeated(1, count),
        metas_of(tuple([-1 if data is None else len(data) for data in raw])),
        b"".join([data for data in raw if data]),
        counts_of(counts),
        _owners(replaced, actors),
        _steps(replaced),
    )
    return _header(tuple(map(len, columns))), columns


@lru_cache(_REMEMBERED_MAX)
def _header(sizes: tuple[int, ...]) -> bytes:
    named = [uleb(number) + uleb(size) for number, size in zip(_NUMBERS, sizes, strict=True) if size]
    return uleb(len(named)) + b"".join(named)


@lru_cache(_REMEMBERED_MAX)
def _key_column(keys: tuple[str, ...]) -> bytes:
    return runs([text(key) for key in keys])


@lru_cache(_REMEMBERED_MAX)
def _metas(sizes: tuple[int, ...]) -> bytes:
    """Of texts of so many bytes each; -1: null."""
    return runs([uleb(size << 4 | 6) if size >= 0 else _NULL for size in sizes])


@lru_cache(_REMEMBERED_MAX)
def _counts(counts: tuple[int, ...]) -> bytes:
    return runs([uleb(count) for count in counts])


@lru_cache(_REMEMBERED_MAX)
def _repeated(value: int, count: int) -> bytes:
    return runs([uleb(value)] * count)


def _steps(preds: Sequence[OpId]) -> bytes:
    steps: list[bytes] = []
    before = 0
    for counter, _ in preds:
        steps.append(sleb(counter - before))
        before = counter
    return runs(steps)


def _owners(preds: Sequence[OpId], actors: Sequence[bytes]) -> bytes:
    if not preds:
        return b""
    if len(actors) == 1:
        return _repeated(0, len(preds))
    places = {who: number for number, who in enumerate(actors)}
    return runs([uleb(places[who]) for _, who in preds])


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
