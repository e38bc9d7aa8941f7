"""What one commit changed, packed for the replicas that did not make it. Events are not in it: their segments are
named."""

import msgspec
import zstandard

from cloud_gateway.model.batch import Changes
from cloud_gateway.model.rows import CURRENT, EventRow, Key, Row, SourceRow
from cloud_gateway.store.postgres.archive import Part

PACKED_BYTES_MAX = 4 * 1024 * 1024
_UNPACKED_BYTES_MAX = 64 * 1024 * 1024
_LEVEL = 1


class Told(msgspec.Struct, frozen=True, array_like=True):
    """``segments``: those that hold the commit's events. Fields are only added, with defaults."""

    rows: dict[str, list[msgspec.Raw]] = {}
    gone: dict[str, list[Key]] = {}
    segments: list[Part] = []
    source: SourceRow | None = None


_told = msgspec.msgpack.Decoder(Told)
_rows: dict[str, msgspec.msgpack.Decoder[Row]] = {
    kind: msgspec.msgpack.Decoder(row_type) for kind, row_type in CURRENT.items()
}


def packed(changes: Changes, segments: list[Part]) -> bytes | None:
    """None: so much changed that watchers had better ask anew."""
    encode = msgspec.msgpack.encode
    told = Told(
        rows={kind: [msgspec.Raw(encode(row)) for row in rows] for kind, rows in changes.rows.items()},
        gone=changes.gone,
        segments=segments,
        source=changes.source,
    )
    body = zstandard.ZstdCompressor(level=_LEVEL).compress(encode(told))
    return body if len(body) <= PACKED_BYTES_MAX else None


def unpacked(body: bytes) -> Told:
    raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=_UNPACKED_BYTES_MAX)
    return _told.decode(raw)


def changes(seq: int, at_ms: int, told: Told, events: list[EventRow]) -> Changes:
    """As the replica that committed it tells it."""
    return Changes(
        seq=seq,
        at_ms=at_ms,
        rows={kind: [_rows[kind].decode(row) for row in rows] for kind, rows in told.rows.items() if kind in _rows},
        gone=told.gone,
        events=events,
        source=told.source,
    )
