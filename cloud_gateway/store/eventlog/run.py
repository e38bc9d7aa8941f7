"""A run: the index over some hundred consecutive segments, in two kinds of blobs.

``directory``: the heads of the segments, without spans. ``posts``: their spans, sorted by origin and cut into blocks,
so that one node's journal is found by reading one block of each run.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import zstandard

from cloud_gateway.store.eventlog.segment import Head, Span

RUN_SEGMENTS_MAX = 256
RUN_SPANS_MAX = 32_768
_BLOCK_SPANS = 1024
_BLOB_BYTES_MAX = 16 * 1024 * 1024


class RunHead(NamedTuple):
    """What is known of a run without reading it; ``words``: of all its segments."""

    no: int
    first_segment: int
    last_segment: int
    first_ms: int
    last_ms: int
    events: int
    body_bytes: int
    words: bytes


class Block(NamedTuple):
    """Posts of the origins ``first``..``last``."""

    first: int
    last: int
    body: bytes


class Run(NamedTuple):
    """All of one, to be stored."""

    head: RunHead
    directory: bytes
    blocks: list[Block]


def made_run(no: int, heads: Sequence[Head], body_bytes: int) -> Run:
    """The run over these segments, which must be consecutive."""
    words: set[int] = set()
    for head in heads:
        words.update(array("H", head.words))
    return Run(
        RunHead(
            no=no,
            first_segment=heads[0].no,
            last_segment=heads[-1].no,
            first_ms=min(head.first_ms for head in heads),
            last_ms=max(head.last_ms for head in heads),
            events=sum(head.events for head in heads),
            body_bytes=body_bytes,
            words=array("H", sorted(words)).tobytes(),
        ),
        _packed([head[:-1] for head in heads]),
        _blocks(sorted(span for head in heads for span in head.all_spans())),
    )


def directory(body: bytes) -> list[Head]:
    """The heads a run was made of, without their spans."""
    found = msgspec.msgpack.decode(_plain(body), type=list[tuple[int, int, int, int, int, bytes]])
    return [Head(*fields, spans=()) for fields in found]


def posts(blocks: Iterable[bytes], origins: Sequence[int]) -> list[Span]:
    """The spans of these origins, in order of segments."""
    wanted = frozenset(origins)
    found: list[Span] = []
    for block in blocks:
        numbers = msgspec.msgpack.decode(_plain(block), type=list[int])
        found += [Span(*numbers[at : at + 5]) for at in range(0, len(numbers), 5) if numbers[at] in wanted]
    return sorted(found, key=lambda span: (span.segment, span.life, span.first))


def _blocks(spans: Sequence[Span]) -> list[Block]:
    blocks: list[Block] = []
    for at in range(0, len(spans), _BLOCK_SPANS):
        part = spans[at : at + _BLOCK_SPANS]
        blocks.append(Block(part[0].origin, part[-1].origin, _packed([n for span in part for n in span])))
    return blocks


def _packed(plain: object) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(plain))


def _plain(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(body, max_output_size=_BLOB_BYTES_MAX)
