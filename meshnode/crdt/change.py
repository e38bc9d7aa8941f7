"""What a change of a document says, read without the engine: nothing unjudged reaches it.

A change of ours is narrow: it sets fields at the root of one document to JSON texts or to null (the field is gone). All
else the engine's format knows (lists, maps, counters, marks, unknown scalars) is refused here, because some of it hurts
the engine: a counter panics every later reader, a 104-byte list of nulls costs seconds, a deflated text a gigabyte.

Source: the Automerge binary document format, section "Change chunks".
"""

import hashlib
import zlib
from collections.abc import Sequence

import msgspec

from meshnode.crdt import columns
from meshnode.crdt.columns import Reader
from meshnode.model.errors import RemoteError

OPS_MAX = 1024
DEPS_MAX = 1024
PREDS_MAX = 4096
KEY_BYTES_MAX = 256
VALUE_BYTES_MAX = 128 * 1024
CHANGE_BYTES_MAX = 256 * 1024  # inflated
# Of all changes of an envelope together: deflated, a hundred of the largest are smaller than one letter.
BULK_BYTES_MAX, BULK_PREDS_MAX = 2 * CHANGE_BYTES_MAX, 2 * PREDS_MAX
BULK_OPS_MAX = 4 * OPS_MAX + 128  # as many fields as a document can have, and the stamp of each change
ACTOR_BYTES = 16
HASH_BYTES = 32

_MAGIC = b"\x85\x6f\x4a\x83"
_PLAIN, _DEFLATED = 1, 2
_SET = 1
_NULL, _TEXT = 0, 6
_DEFLATE_BIT = 8
_COUNTER_MAX = 1 << 32

# Column ids of the format: (column << 4) | type.
_KEY, _INSERT, _ACTION, _META, _RAW = 0x15, 0x34, 0x42, 0x56, 0x57
_PRED_COUNT, _PRED_ACTOR, _PRED_COUNTER = 0x70, 0x71, 0x73
_KNOWN_COLUMNS = (_KEY, _INSERT, _ACTION, _META, _RAW, _PRED_COUNT, _PRED_ACTOR, _PRED_COUNTER)

OpId = tuple[int, bytes]  # (counter, actor): compares as the engine does when it picks a winner


class Op(msgspec.Struct, frozen=True, gc=False):
    """One field set to ``value`` (a JSON text; ``None``: the field is gone), replacing the writes ``preds``."""

    counter: int
    key: str
    value: str | None
    preds: tuple[OpId, ...]


class ParsedChange(msgspec.Struct, frozen=True, gc=False):
    """One change, by columns as it travels: its operations are numbered from ``start_op`` on.

    ``plain``: the inflated chunk, the only form the engine is given.
    """

    hash: bytes
    actor: bytes
    seq: int
    start_op: int
    deps: tuple[bytes, ...]
    keys: tuple[str, ...]
    values: tuple[str | None, ...]
    preds: tuple[tuple[OpId, ...], ...]
    plain: bytes

    @property
    def max_op(self) -> int:
        return self.start_op + len(self.keys) - 1

    @property
    def rows(self) -> int:
        """Fields it sets and writes it replaces: what it costs to judge."""
        return len(self.keys) + sum(map(len, self.preds))

    @property
    def ops(self) -> tuple[Op, ...]:
        rows = zip(self.keys, self.values, self.preds, strict=True)
        return tuple([Op(number, *row) for number, row in enumerate(rows, self.start_op)])


def parse(chunk: bytes) -> ParsedChange:
    """Read and judge one change chunk, plain or deflated. Raises ``RemoteError`` with a stable reason."""
    body, digest = _opened(chunk)
    reader = Reader(body)
    deps = tuple(reader.take(HASH_BYTES) for _ in range(_counted(reader, DEPS_MAX)))
    actor = reader.block(ACTOR_BYTES)
    seq, start_op = reader.uleb(), reader.uleb()
    time, message = reader.sleb(), reader.block(0)
    others = [reader.block(ACTOR_BYTES) for _ in range(_counted(reader, DEPS_MAX))]
    if time or message or not 0 < seq < _COUNTER_MAX or not 0 < start_op < _COUNTER_MAX:
        raise RemoteError("change-header", "time, message, sequence or operation number")
    if any(len(each) != ACTOR_BYTES for each in (actor, *others)) or _repeats((actor, *others)) or _repeats(deps):
        raise RemoteError("change-header", "actors or dependencies")
    keys, values, preds = _rows(_columns(reader), (actor, *others))
    return ParsedChange(digest, actor, seq, start_op, deps, keys, values, preds, _chunk(body, digest))


class Bulk:
    """What the changes of one envelope come to together."""

    def __init__(self) -> None:
        self._bytes = self._ops = self._preds = 0

    def add(self, each: ParsedChange) -> None:
        """Raises ``RemoteError``: with this one it is too much."""
        self._bytes += len(each.plain)
        self._ops += len(each.keys)
        self._preds += sum(map(len, each.preds))
        if self._bytes > BULK_BYTES_MAX:
            raise RemoteError("change-inflate", f"an envelope of more than {BULK_BYTES_MAX} bytes, inflated")
        if self._ops > BULK_OPS_MAX or self._preds > BULK_PREDS_MAX:
            raise RemoteError("change-ops-max", f"{self._ops} fields, {self._preds} replaced writes in an envelope")


def judge_size(changes: Sequence[ParsedChange]) -> None:
    """The bounds of ``parse`` and of an envelope, for changes written here. Raises ``RemoteError``: every peer would
    refuse them."""
    bulk = Bulk()
    for each in changes:
        preds = sum(map(len, each.preds))
        if len(each.keys) > OPS_MAX or preds > PREDS_MAX or len(each.deps) > DEPS_MAX:
            raise RemoteError("change-ops-max", f"{len(each.keys)} fields, {preds} replaced writes")
        if len(each.plain) > CHANGE_BYTES_MAX:
            raise RemoteError("change-inflate", f"{len(each.plain)} bytes, the limit is {CHANGE_BYTES_MAX}")
        bulk.add(each)


def _repeats(names: Sequence[bytes] | Sequence[OpId]) -> bool:
    return len(dict.fromkeys(names)) != len(names)


def _opened(chunk: bytes) -> tuple[bytes, bytes]:
    """The body, inflated within its bound, and the hash it has: verified."""
    reader = Reader(chunk)
    if reader.take(4) != _MAGIC:
        raise RemoteError("change-frame", "magic")
    checksum, kind = reader.take(4), reader.take(1)[0]
    body = reader.block(CHANGE_BYTES_MAX)
    if kind not in (_PLAIN, _DEFLATED) or reader.left:
        raise RemoteError("change-frame", f"chunk of type {kind}, {reader.left} bytes behind it")
    if kind == _DEFLATED:
        body = _inflated(body)
    digest = hashlib.sha256(bytes((_PLAIN,)) + columns.uleb(len(body)) + body).digest()
    if digest[:4] != checksum:
        raise RemoteError("change-checksum")
    return body, digest


def _inflated(body: bytes) -> bytes:
    inflater = zlib.decompressobj(-15)
    try:
        plain = inflater.decompress(body, CHANGE_BYTES_MAX)
    except zlib.error as error:
        raise RemoteError("change-inflate") from error
    if not inflater.eof or inflater.unused_data:
        raise RemoteError("change-inflate", f"more than {CHANGE_BYTES_MAX} bytes, or torn")
    return plain


def _chunk(body: bytes, digest: bytes) -> bytes:
    return _MAGIC + digest[:4] + bytes((_PLAIN,)) + columns.uleb(len(body)) + body


def _counted(reader: Reader, count_max: int) -> int:
    count = reader.uleb()
    if count > count_max:
        raise RemoteError("change-header", f"{count} entries where {count_max} are allowed")
    return count


def _columns(reader: Reader) -> dict[int, bytes]:
    sizes: list[tuple[int, int]] = []
    for _ in range(reader.uleb()):  # ends at the first number that is not a known column in ascending order
        column, size = reader.uleb(), reader.uleb()
        if column not in _KNOWN_COLUMNS or column & _DEFLATE_BIT or (sizes and column <= sizes[-1][0]):
            raise RemoteError("change-columns", f"column {column}")
        sizes.append((column, size))
    found = {column: reader.take(size) for column, size in sizes}
    if reader.left:
        raise RemoteError("change-columns", "bytes behind the columns")
    return found


def _rows(
    found: dict[int, bytes], actors: tuple[bytes, ...]
) -> tuple[tuple[str, ...], tuple[str | None, ...], tuple[tuple[OpId, ...], ...]]:
    """Keys, values and replaced writes of all operations."""
    keys = _keys(found)
    count = len(keys)
    actions = columns.numbers(found.get(_ACTION, b""), count)
    if actions != [_SET] * count or columns.flags(found.get(_INSERT, b""), count) != [False] * count:
        raise RemoteError("change-action", "only setting fields is known")
    return tuple(keys), tuple(_values(found, count)), tuple(_preds(found, actors, count))


def _keys(found: dict[int, bytes]) -> list[str]:
    rows = columns.strings(found.get(_KEY, b""), OPS_MAX, KEY_BYTES_MAX)
    keys = [key for key in rows if key]
    if not keys or len(dict.fromkeys(keys)) != len(rows):
        raise RemoteError("change-key", "no key, an empty key, or one key twice")
    return keys


def _values(found: dict[int, bytes], count: int) -> list[str | None]:
    raw = Reader(found.get(_RAW, b""))
    values: list[str | None] = []
    for meta in columns.numbers(found.get(_META, b""), count):
        kind, size = (-1, 0) if meta is None else (meta & 15, meta >> 4)
        if kind not in (_NULL, _TEXT) or size > VALUE_BYTES_MAX or (kind == _NULL and size):
            raise RemoteError("change-value", f"type {kind}, {size} bytes")
        values.append(None if kind == _NULL else columns.decoded(raw.take(size)))
    if len(values) != count or raw.left:
        raise RemoteError("change-value", "another number of values than keys")
    return values


def _preds(found: dict[int, bytes], actors: tuple[bytes, ...], count: int) -> list[tuple[OpId, ...]]:
    counts = [each or 0 for each in columns.numbers(found.get(_PRED_COUNT, b""), count)]
    total = sum(counts)
    if len(counts) != count or total > PREDS_MAX:
        raise RemoteError("change-pred", f"{total} replaced writes")
    who = columns.numbers(found.get(_PRED_ACTOR, b""), total)
    when = columns.deltas(found.get(_PRED_COUNTER, b""), total)
    if len(who) != total or len(when) != total:
        raise RemoteError("change-pred", "torn")
    ids = iter([_op_id(actors, actor, counter) for actor, counter in zip(who, when, strict=True)])
    preds = [tuple(next(ids) for _ in range(each)) for each in counts]
    if any(_repeats(each) for each in preds):
        raise RemoteError("change-pred", "one write twice")
    return preds


def _op_id(actors: tuple[bytes, ...], actor: int | None, counter: int | None) -> OpId:
    if actor is None or counter is None or actor >= len(actors) or not 0 < counter < _COUNTER_MAX:
        raise RemoteError("change-pred", "no such write")
    return counter, actors[actor]
