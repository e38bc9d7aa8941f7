"""Reads a change that is in the one form ``encoding.py`` writes, at a fraction of the time ``change.py`` needs.

What deviates by a byte is not judged here: ``change.parse`` reads it and names what is wrong with it. The engine writes
this form too, byte for byte, so it need not be asked whether it would take such a change: whether dependencies, numbers
and replaced writes fit is for the store to judge. Nearly all changes of a mesh repeat the same fields, so the columns
that do not depend on values are read once.
"""

import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache

from meshnode.crdt import change, columns
from meshnode.crdt.change import (
    ACTOR_BYTES,
    CHANGE_BYTES_MAX,
    HASH_BYTES,
    KEY_BYTES_MAX,
    OPS_MAX,
    PREDS_MAX,
    VALUE_BYTES_MAX,
    OpId,
    ParsedChange,
)
from meshnode.crdt.columns import uleb
from meshnode.crdt.encoding import literals, runs, sleb, text
from meshnode.model.errors import RemoteError

_MAGIC = b"\x85\x6f\x4a\x83"
_PLAIN, _DEFLATED = 1, 2
_KEY, _INSERT, _ACTION, _META, _RAW, _COUNTS, _WHO, _WHEN = 0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73
_ORDER = (_KEY, _INSERT, _ACTION, _META, _RAW, _COUNTS, _WHO, _WHEN)
_ACTORS_MAX = 100  # named by one change; more is not usual
_OP_MAX = 1 << 32
# Longer columns are read each time: what is remembered stays under 10 MB, whatever a peer sends.
_REMEMBERED_BYTES_MAX, _REMEMBERED_ROWS_MAX, _REMEMBERED_MAX = 512, 64, 512

Places = tuple[int, ...]  # where each column ends


class _Unusual(Exception):
    """Not in that form."""


def parse(chunk: bytes) -> tuple[ParsedChange, bool]:
    """The change, judged, and whether it is in the usual form. Raises ``RemoteError`` as ``change.parse`` does."""
    try:
        return _read(chunk), True
    except (_Unusual, RemoteError, IndexError, ValueError, zlib.error):
        return change.parse(chunk), False


def _read(chunk: bytes) -> ParsedChange:
    body, digest, plain = _opened(chunk)
    count = body[0]
    at = 1 + HASH_BYTES * count
    deps = tuple([body[start : start + HASH_BYTES] for start in range(1, at, HASH_BYTES)])
    if count > 1 and (count > _ACTORS_MAX or list(deps) != sorted(dict.fromkeys(deps))):
        raise _Unusual
    actor, at = _actor(body, at)
    seq, at = _number(body, at)
    start_op, at = _number(body, at)
    named = body[at + 2]
    if body[at] or body[at + 1] or not 0 < seq < _OP_MAX or not 0 < start_op < _OP_MAX or named > _ACTORS_MAX:
        raise _Unusual
    at += 3
    actors = [actor]
    for _ in range(named):
        other, at = _actor(body, at)
        actors.append(other)
    keys, values, preds = _rows(body, at, actors)
    return ParsedChange(digest, actor, seq, start_op, deps, keys, values, preds, plain)


def _actor(body: bytes, at: int) -> tuple[bytes, int]:
    if body[at] != ACTOR_BYTES:
        raise _Unusual
    end = at + 1 + ACTOR_BYTES
    return body[at + 1 : end], end


def _opened(chunk: bytes) -> tuple[bytes, bytes, bytes]:
    """Body, hash and plain chunk."""
    if chunk[:4] != _MAGIC:
        raise _Unusual
    size, at = _number(chunk, 9)
    if at + size != len(chunk) or size > CHANGE_BYTES_MAX:
        raise _Unusual
    body = chunk[at:]
    if chunk[8] == _DEFLATED:
        inflater = zlib.decompressobj(-15)
        body = inflater.decompress(body, CHANGE_BYTES_MAX)
        if not inflater.eof or inflater.unused_data:
            raise _Unusual
        chunk = _MAGIC + chunk[4:8] + b"\x01" + uleb(len(body)) + body
    elif chunk[8] != _PLAIN:
        raise _Unusual
    digest = hashlib.sha256(chunk[8:]).digest()
    if digest[:4] != chunk[4:8]:
        raise _Unusual
    return body, digest, chunk


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number in its shortest form, and where it ends."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value, shift = value & 0x7F, 7
    while shift < 35:
        at += 1
        low = data[at]
        value |= (low & 0x7F) << shift
        if low < 0x80:
            if not low:
                raise _Unusual
            return value, at + 1
        shift += 7
    raise _Unusual


def _rows(
    body: bytes, at: int, actors: Sequence[bytes]
) -> tuple[tuple[str, ...], tuple[str | None, ...], tuple[tuple[OpId, ...], ...]]:
    """Keys, values and replaced writes, from where the columns begin."""
    count = body[at]
    places = _places_once(body[at : at + 1 + 2 * count]) if count <= len(_ORDER) else None
    if places is None:
        places, at = _places(body, at)
    else:
        at += 1 + 2 * count
    if at + places[-1] != len(body):
        raise _Unusual
    key, insert, action, meta, raw, counts, who, when = [at + each for each in places]
    shape = _shape_once if meta - at <= _REMEMBERED_BYTES_MAX else _shape
    keys, sizes = shape(body[at:meta], key - at, insert - at, action - at)
    values = _values(body[meta:raw], sizes)
    return keys, values, _preds(_unsigned(body[raw:counts], len(keys)), body[counts:who], body[who:when], actors)


def _places(body: bytes, at: int) -> tuple[Places, int]:
    """Where each column ends, from where they begin; and that."""
    count, at = body[at], at + 1
    sizes: dict[int, int] = {}
    last = 0
    for _ in range(count):
        column = body[at]
        size, at = _number(body, at + 1)
        if column <= last or not size:
            raise _Unusual
        sizes[column] = size
        last = column
    ends: list[int] = []
    end = 0
    for column in _ORDER:
        end += sizes.pop(column, 0)
        ends.append(end)
    if sizes:
        raise _Unusual
    return tuple(ends), at


@lru_cache(_REMEMBERED_MAX)
def _places_once(header: bytes) -> Places | None:
    """The same for columns that are all shorter than 128 bytes, whose header is two bytes each. ``None``: others."""
    if any(size >= 0x80 for size in header[2::2]):
        return None
    return _places(header, 0)[0]


def _shape(front: bytes, key: int, insert: int, action: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Of the columns before the values, which end there: keys, and bytes of each value (-1: null)."""
    keys = _read_keys(front[:key])
    if (front[key:insert], front[insert:action]) != _fixed(len(keys)):
        raise _Unusual
    return keys, _read_sizes(front[action:], len(keys))


def _values(raw: bytes, sizes: Sequence[int]) -> tuple[str | None, ...]:
    text = raw.decode() if raw.isascii() else None
    values: list[str | None] = []
    at = 0
    for size in sizes:
        if size < 0:
            values.append(None)
            continue
        end = at + size
        values.append(raw[at:end].decode() if text is None else text[at:end])
        at = end
    if at != len(raw):
        raise _Unusual
    return tuple(values)


def _preds(counts: Sequence[int], who: bytes, when: bytes, actors: Sequence[bytes]) -> tuple[tuple[OpId, ...], ...]:
    total = sum(counts)
    if not total:
        if who or when or len(actors) > 1:
            raise _Unusual
        return ((),) * len(counts)
    if total > PREDS_MAX:
        raise _Unusual
    numbers, owners = _deltas(when, total), _unsigned(who, total)
    ids = [(number, actors[owner]) for number, owner in zip(numbers, owners, strict=True)]
    if len(actors) > 1 and actors[1:] != sorted({owner: None for _, owner in ids if owner != actors[0]}):
        raise _Unusual
    if total == len(counts) == counts.count(1):
        return tuple([(each,) for each in ids])
    preds: list[tuple[OpId, ...]] = []
    at = 0
    for count in counts:
        mine = tuple(ids[at : at + count])
        if count > 1 and list(mine) != sorted(dict.fromkeys(mine)):
            raise _Unusual
        preds.append(mine)
        at += count
    return tuple(preds)


# -- columns, read once ------------------------------------------------------------------------------------------------


def _unsigned(column: bytes, count: int) -> tuple[int, ...]:
    return _unsigned_once(column, count) if _is_short(column, count) else _read_unsigned(column, count)


def _deltas(column: bytes, count: int) -> tuple[int, ...]:
    return _deltas_once(column, count) if _is_short(column, count) else _read_deltas(column, count)


def _is_short(column: bytes, count: int) -> bool:
    return len(column) <= _REMEMBERED_BYTES_MAX and count <= _REMEMBERED_ROWS_MAX


def _read_keys(column: bytes) -> tuple[str, ...]:
    keys = [key for key in columns.strings(column, OPS_MAX, KEY_BYTES_MAX) if key]
    if not keys or len(dict.fromkeys(keys)) != len(keys) or literals([text(key) for key in keys]) != column:
        raise _Unusual
    return tuple(keys)


def _read_unsigned(column: bytes, count: int) -> tuple[int, ...]:
    values = [value for value in columns.numbers(column, count) if value is not None]
    if len(values) != count or runs([uleb(value) for value in values]) != column:
        raise _Unusual
    return tuple(values)


def _read_sizes(column: bytes, count: int) -> tuple[int, ...]:
    """Bytes of each text; -1: null."""
    sizes: list[int] = []
    for meta in _read_unsigned(column, count):
        if meta and (meta & 15 != 6 or meta >> 4 > VALUE_BYTES_MAX):
            raise _Unusual
        sizes.append(meta >> 4 if meta else -1)
    return tuple(sizes)


def _read_deltas(column: bytes, count: int) -> tuple[int, ...]:
    values = [value for value in columns.deltas(column, count) if value is not None]
    steps = [sleb(after - before) for before, after in zip([0, *values], values, strict=False)]
    if len(values) != count or runs(steps) != column or not 0 < min(values) <= max(values) < _OP_MAX:
        raise _Unusual
    return tuple(values)


_shape_once = lru_cache(_REMEMBERED_MAX)(_shape)
_unsigned_once = lru_cache(_REMEMBERED_MAX)(_read_unsigned)
_deltas_once = lru_cache(_REMEMBERED_MAX)(_read_deltas)


@lru_cache(_REMEMBERED_MAX)
def _fixed(count: int) -> tuple[bytes, bytes]:
    """The columns that say of each row that it sets a field."""
    return uleb(count), runs([b"\x01"] * count)
