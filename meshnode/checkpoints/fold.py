"""A state as a checkpoint: chunks named by their content, and a manifest that says which.

Cells go into buckets by the hash of their key, so that a later checkpoint shares the chunks of untouched buckets;
answers go by the order of their dots, so that old ones keep their chunks.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshnode.checkpoints.answers import Added, Answer
from meshnode.checkpoints.cell import Cell
from meshnode.checkpoints.entry import HASH_BYTES
from meshnode.checkpoints.held import Follow, Held
from meshnode.checkpoints.rows import AnswerRow, CellRow, DotRow, Reader, Table
from meshnode.checkpoints.seen import Seen
from meshnode.checkpoints.state import State
from meshnode.kernel.blobs import digest_of
from meshnode.kernel.decoding import JUNK, refusal
from meshnode.kernel.epochs import Epoch
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CHUNK_BYTES = 64 * 1024  # aimed at
BUCKETS_MAX = 256
_ANSWERS_A_CHUNK_BITS = 10


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Cells, or answers."""

    epochs: list[Epoch]
    cells: list[CellRow] = []
    answers: list[AnswerRow] = []


class FollowRow(msgspec.Struct, frozen=True, array_like=True):
    """How far the chain of an epoch was followed; ``seen``: what its writer had seen."""

    epoch: int
    version: int
    head: bytes
    seen: list[DotRow]
    cloud: list[DotRow] = []


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """One checkpoint. ``number`` counts those of one unit on one node; ``version`` is what people see."""

    unit: str
    number: int
    epoch: int
    version: int
    head: bytes
    own: bool
    epochs: list[Epoch]
    seen: list[DotRow]
    cloud: list[DotRow]
    trimmed: list[DotRow]
    taken_back: list[tuple[DotRow, Added]]
    follows: list[FollowRow]
    cells: list[str]  # digests, by bucket
    answers: list[str]
    runs: list[tuple[bytes, int]]
    merge_no: int
    keys: int
    size: int
    at_ms: int  # when it was folded
    changed_ms: int  # its newest change

    def digests(self) -> list[str]:
        return [*self.cells, *self.answers]

    def seen_then(self) -> Seen:
        return Reader(self.epochs).seen(self.seen, self.cloud)


class Folded(msgspec.Struct, frozen=True):
    """``fresh``: chunks to be stored, by digest; the others are those of ``manifest`` before."""

    manifest: Manifest
    fresh: dict[str, bytes]


_encode = msgspec.msgpack.Encoder().encode
_chunk = msgspec.msgpack.Decoder(Chunk)
_manifest = msgspec.msgpack.Decoder(Manifest)


def fold(
    held: Held, number: int, *, own: bool, now_ms: int, before: Manifest | None, touched: Iterable[str] | None
) -> Folded:
    """``touched``: keys changed since the manifest ``before``; ``None``: any may have."""
    state = held.state
    count = _buckets(state.size)
    dirty = None
    if before is not None and touched is not None and len(before.cells) == count:
        dirty = {_bucket(key, count) for key in touched}
    fresh: dict[str, bytes] = {}
    kept = [] if before is None else before.cells
    rows: list[list[tuple[str, Cell]]] = [[] for _ in range(count)]
    for key, cell in state.cells.items():
        number_of = _bucket(key, count)
        if dirty is None or number_of in dirty:
            rows[number_of].append((key, cell))
    cells = [_keep(_cells_chunk(rows[n]), fresh) if dirty is None or n in dirty else kept[n] for n in range(count)]
    answers = [_keep(_answers_chunk(group), fresh) for group in _groups(state.answers.in_order())]
    table = Table()
    manifest = Manifest(
        held.unit, number, table.number(held.epoch), state.version, held.head, own, [], table.seen(state.seen.upto),
        [table.dot(dot) for dot in sorted(state.seen.cloud)], table.seen(state.trimmed.upto),
        [(table.dot(dot), added) for dot, added in sorted(state.answers.taken_back.items())],
        [_follow_row(each, follow, table) for each, follow in sorted(held.follows.items())],
        cells, answers, sorted(state.runs.items()), state.merge_no, len(state.cells), state.size, now_ms, state.at_ms,
    )  # fmt: skip
    manifest = msgspec.structs.replace(manifest, epochs=table.epochs())
    known = {} if before is None else dict.fromkeys(before.digests())
    return Folded(manifest, {digest: data for digest, data in fresh.items() if digest not in known})


def encode_manifest(manifest: Manifest) -> bytes:
    return _encode(manifest)


def read_manifest(body: bytes) -> Manifest:
    """Raises ``RemoteError``."""
    try:
        manifest = _manifest.decode(body)
        Reader(manifest.epochs).epoch(manifest.epoch)
    except JUNK as error:
        raise refusal("checkpoint-manifest", error) from error
    if any(len(head) != HASH_BYTES for head in (manifest.head, *(row.head for row in manifest.follows))):
        raise RemoteError("checkpoint-manifest", f"the hash of an entry has {HASH_BYTES} bytes")
    return manifest


def unfold(manifest: Manifest, blobs: Mapping[str, bytes]) -> tuple[State, list[str]]:
    """The state of a manifest, and the digests of chunks that are missing or not what was stored.

    With any of those the state is in pieces: its cells are right, and it has not seen what its manifest says.
    """
    state, reader = State(), Reader(manifest.epochs)
    bad: list[str] = []
    for digest in manifest.cells:
        for key, cell in _cells_of(blobs.get(digest), digest, bad):
            state.put(key, cell)
    answers: list[tuple[str, Answer]] = []
    for digest in manifest.answers:
        answers += _answers_of(blobs.get(digest), digest, bad)
    state.answers.restore(answers)
    for row, added in manifest.taken_back:
        state.answers.take_back(reader.dot(row), added)
    state.runs = {NodeId(node): seq for node, seq in manifest.runs}
    state.merge_no = manifest.merge_no
    state.trimmed = reader.seen(manifest.trimmed)
    state.at_ms = manifest.changed_ms
    if not bad:
        state.seen = manifest.seen_then()
    return state, bad


def follows_of(manifest: Manifest) -> dict[Epoch, Follow]:
    reader = Reader(manifest.epochs)
    return {
        reader.epoch(row.epoch): Follow(row.version, row.head, reader.seen(row.seen, row.cloud))
        for row in manifest.follows
    }


def _follow_row(epoch: Epoch, follow: Follow, table: Table) -> FollowRow:
    cloud = [table.dot(dot) for dot in sorted(follow.seen.cloud)]
    return FollowRow(table.number(epoch), follow.version, follow.head, table.seen(follow.seen.upto), cloud)


def _keep(data: bytes, fresh: dict[str, bytes]) -> str:
    digest = digest_of(data)
    fresh[digest] = data
    return digest


def _buckets(size: int) -> int:
    """A power of two, so that growing by little changes little."""
    count = 1
    while count < BUCKETS_MAX and count * CHUNK_BYTES < size:
        count *= 2
    return count


def _bucket(key: str, count: int) -> int:
    return zlib.crc32(key.encode()) % count


def _cells_chunk(cells: Sequence[tuple[str, Cell]]) -> bytes:
    table = Table()
    rows = [table.cell(key, cell) for key, cell in sorted(cells, key=lambda each: each[0])]
    return _encode(Chunk(table.epochs(), rows))


def _answers_chunk(rows: Sequence[tuple[str, Answer]]) -> bytes:
    table = Table()
    answers = [table.answer(key, answer) for key, answer in rows]
    return _encode(Chunk(table.epochs(), answers=answers))


def _groups(rows: Sequence[tuple[str, Answer]]) -> list[list[tuple[str, Answer]]]:
    groups: dict[tuple[Epoch, int], list[tuple[str, Answer]]] = {}
    for key, answer in rows:
        slot = (answer.dot.epoch, answer.dot.version >> _ANSWERS_A_CHUNK_BITS)
        groups.setdefault(slot, []).append((key, answer))
    return list(groups.values())


def _read(data: bytes | None, digest: str, bad: list[str]) -> Chunk | None:
    """A chunk whose hash does not fit is never used."""
    if data is None or digest_of(data) != digest:
        bad.append(digest)
        return None
    try:
        return _chunk.decode(data)
    except JUNK:
        bad.append(digest)
        return None


def _cells_of(data: bytes | None, digest: str, bad: list[str]) -> list[tuple[str, Cell]]:
    chunk = _read(data, digest, bad)
    if chunk is None:
        return []
    reader = Reader(chunk.epochs)
    return [(key, reader.cell(rows)) for key, rows in chunk.cells]


def _answers_of(data: bytes | None, digest: str, bad: list[str]) -> list[tuple[str, Answer]]:
    chunk = _read(data, digest, bad)
    if chunk is None:
        return []
    reader = Reader(chunk.epochs)
    return [reader.answer(row) for row in chunk.answers]
