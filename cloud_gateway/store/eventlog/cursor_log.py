"""The cursors of one commit as one blob, by column: most of a cursor's bytes are ids that repeat with every commit."""

from collections.abc import Sequence

import msgspec
import zstandard

from cloud_gateway.model.rows import CursorRow
from cloud_gateway.store.eventlog.segment import Origins

_BYTES_MAX = 64 * 1024 * 1024


class _Cursors(msgspec.Struct, array_like=True):
    origins: list[int]
    lives: list[int]
    boots: list[int]
    numbers: list[int]
    runs: list[str]
    lasts: list[int]
    missing: list[str]
    as_of_ms: list[int]
    gone: list[str]


def pack(cursors: Sequence[CursorRow], gone: Sequence[str], origins: Origins) -> bytes:
    """Gives numbers to new origins."""
    columns = _Cursors(
        origins=[origins.number_of(cursor.node_id, cursor.node) for cursor in cursors],
        lives=[cursor.life for cursor in cursors],
        boots=[cursor.boot for cursor in cursors],
        numbers=[cursor.number for cursor in cursors],
        runs=[cursor.run for cursor in cursors],
        lasts=[cursor.last for cursor in cursors],
        missing=[cursor.missing for cursor in cursors],
        as_of_ms=[cursor.as_of_ms for cursor in cursors],
        gone=list(gone),
    )
    return zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(columns))


def unpack(body: bytes, origins: Origins) -> tuple[list[CursorRow], list[str]]:
    """What was packed."""
    plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=_BYTES_MAX)
    columns = msgspec.msgpack.decode(plain, type=_Cursors)
    fields = zip(
        columns.origins,
        columns.lives,
        columns.boots,
        columns.numbers,
        columns.runs,
        columns.lasts,
        columns.missing,
        columns.as_of_ms,
        strict=True,
    )
    cursors = [
        CursorRow(
            node_id=origins[origin].node_id,
            node=origins[origin].node,
            life=life,
            boot=boot,
            number=number,
            run=run,
            last=last,
            missing=missing,
            as_of_ms=as_of_ms,
        )
        for origin, life, boot, number, run, last, missing, as_of_ms in fields
    ]
    return cursors, columns.gone
