"""What one commit changed, packed for the replicas that did not make it.

Events are not in it: their segments are named. Cursors change with nearly every event, and most of one is who it
belongs to: of those, the number of the origin is told.
"""

from collections.abc import Sequence

import msgspec
import zstandard

from cloud_gateway.model.batch import Changes
from cloud_gateway.model.rows import CURRENT, CursorRow, EventRow, Key, Row, SourceRow
from cloud_gateway.store.eventlog.segment import Origins
from cloud_gateway.store.postgres.archive import Part

PACKED_BYTES_MAX = 4 * 1024 * 1024
_UNPACKED_BYTES_MAX = 64 * 1024 * 1024
_LEVEL = 1
_CURSOR_FIELDS = tuple(name for name in CursorRow.__struct_fields__ if name not in ("node_id", "node"))


class Told(msgspec.Struct, frozen=True, array_like=True):
    """``segments``: those that hold the commit's events. Fields are only added, with defaults."""

    rows: dict[str, list[msgspec.Raw]] = {}
    gone: dict[str, list[Key]] = {}
    segments: list[Part] = []
    source: SourceRow | None = None
    cursors: list[tuple[int, list[int | str]]] = []

    @property
    def newest_origin(self) -> int:
        """Whoever reads it must know the origins up to here."""
        return max((number for number, _ in self.cursors), default=0)


_told = msgspec.msgpack.Decoder(Told)
_rows: dict[str, msgspec.msgpack.Decoder[Row]] = {
    kind: msgspec.msgpack.Decoder(row_type) for kind, row_type in CURRENT.items()
}


def packed(changes: Changes, segments: list[Part], origins: Origins) -> bytes | None:
    """None: so much changed that watchers had better ask anew."""
    encode = msgspec.msgpack.encode
    rows = dict(changes.rows)
    cursors, rows["cursors"] = _split(rows.get("cursors", ()), origins)
    told = Told(
        rows={kind: [msgspec.Raw(encode(row)) for row in kept] for kind, kept in rows.items() if kept},
        gone=changes.gone,
        segments=segments,
        source=changes.source,
        cursors=cursors,
    )
    body = zstandard.ZstdCompressor(level=_LEVEL).compress(encode(told))
    return body if len(body) <= PACKED_BYTES_MAX else None


def _split(rows: Sequence[Row], origins: Origins) -> tuple[list[tuple[int, list[int | str]]], list[Row]]:
    """Cursors of known origins, and the others."""
    known: list[tuple[int, list[int | str]]] = []
    others: list[Row] = []
    for row in rows:
        number = _origin(row, origins) if isinstance(row, CursorRow) else 0
        if number:
            known.append((number, [getattr(row, name) for name in _CURSOR_FIELDS]))
        else:
            others.append(row)
    return known, others


def _origin(row: CursorRow, origins: Origins) -> int:
    return next((no for no in origins.of_node(row.node_id) if origins[no][:2] == (row.node_id, row.node)), 0)


def unpacked(body: bytes) -> Told:
    raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=_UNPACKED_BYTES_MAX)
    return _told.decode(raw)


def changes(seq: int, at_ms: int, told: Told, events: list[EventRow], origins: Origins) -> Changes:
    """As the replica that committed it tells it."""
    rows = {kind: [_rows[kind].decode(row) for row in kept] for kind, kept in told.rows.items() if kind in _rows}
    for number, values in told.cursors:
        fields = dict(zip(_CURSOR_FIELDS, values, strict=False))
        row = msgspec.convert({**fields, "node_id": origins[number].node_id, "node": origins[number].node}, CursorRow)
        rows.setdefault("cursors", []).append(row)
    return Changes(seq=seq, at_ms=at_ms, rows=rows, gone=told.gone, events=events, source=told.source)
