"""What one commit holds, and what watchers hear of it."""

import msgspec

from cloud_gateway.model.rows import EventRow, Key, LoadPoint, Row, SourceRow


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """All of it is durable or none. ``rows``/``gone``: by kind of current row, see ``rows.CURRENT``; a row replaces
    the one with its key. ``events`` of one node come in the order of their numbers, and those at or below the node's
    committed cursor are skipped: sending a batch again changes nothing. Cursors travel in ``rows["cursors"]``, in the
    same batch as the events they count."""

    rows: dict[str, list[Row]] = {}
    gone: dict[str, list[Key]] = {}
    events: list[EventRow] = []
    loads: list[LoadPoint] = []
    source: SourceRow | None = None


class Committed(msgspec.Struct, frozen=True):
    """Durable. ``seq`` grows with every commit; ``events``: how many were new."""

    seq: int
    events: int


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed by commit ``seq``: new rows by kind, keys of those that went, new events in order of arrival.

    ``whole`` False: more changed than is told; whoever shows it must ask anew.
    """

    seq: int
    at_ms: int
    rows: dict[str, list[Row]] = {}
    gone: dict[str, list[Key]] = {}
    events: list[EventRow] = []
    source: SourceRow | None = None
    whole: bool = True
