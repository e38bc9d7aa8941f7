"""What the live feed tells: changes gathered for a moment, and the bytes of them for one set of filters."""

from collections.abc import Iterable

import msgspec

from cloud_gateway.model.batch import Changes
from cloud_gateway.model.rows import KEYS, EventRow, JsonObject, Key, NodeRow, Row, SourceRow, key_of

EVENTS = "events"
KINDS = (*KEYS, EVENTS)


class Wanted(msgspec.Struct, frozen=True):
    """What a reader asked for. Empty: all of it. Rows without a region or a node are told whatever was asked of
    those: they are about the whole fleet."""

    kinds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    def kind(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds

    def row(self, row: Row) -> bool:
        """A row of a kind that is wanted."""
        if self.regions and getattr(row, "region", self.regions[0]) not in self.regions:
            return False
        if not self.nodes:
            return True
        name = row.name if isinstance(row, NodeRow) else getattr(row, "node", self.nodes[0])
        return name in self.nodes

    def gone(self, kind: str, key: Key) -> bool:
        """A key that went. Only some keys say whose row it was; the others are told, and mean nothing to who has no
        such row."""
        if not self.nodes or "node" not in KEYS[kind]:
            return True
        return key[KEYS[kind].index("node")] in self.nodes


class Gathered:
    """Changes of some commits in a row, the newest row of each key only. ``whole`` False: more changed than is kept."""

    def __init__(self, rows_max: int) -> None:
        self.first, self.seq, self.at_ms, self.size = 0, 0, 0, 0
        self.whole = True
        self.rows: dict[str, dict[Key, Row]] = {}
        self.gone: dict[str, dict[Key, None]] = {}
        self.events: list[EventRow] = []
        self.source: SourceRow | None = None
        self._rows_max = rows_max

    def add(self, changes: Changes) -> None:
        self.first = self.first or changes.seq
        self.seq, self.at_ms = changes.seq, changes.at_ms
        self.source = changes.source or self.source
        self.whole = self.whole and changes.whole
        if self.whole:
            self._take(changes)
        if self.size > self._rows_max:
            self.whole = False
        if not self.whole:
            self.rows, self.gone, self.events, self.size = {}, {}, [], 0

    def _take(self, changes: Changes) -> None:
        for kind, rows in changes.rows.items():
            kept, gone = self.rows.setdefault(kind, {}), self.gone.get(kind, {})
            for row in rows:
                key = key_of(kind, row)
                kept[key] = row
                gone.pop(key, None)
        for kind, keys in changes.gone.items():
            kept, gone = self.rows.get(kind, {}), self.gone.setdefault(kind, {})
            for key in keys:
                kept.pop(tuple(key), None)
                gone[tuple(key)] = None
        self.events.extend(changes.events)
        held: Iterable[dict[Key, Row] | dict[Key, None]] = (*self.rows.values(), *self.gone.values())
        self.size = sum(len(of_kind) for of_kind in held) + len(self.events)


def changed_frame(gathered: Gathered, wanted: Wanted, run: str) -> bytes:
    """The bytes of it for one set of filters; b"" when nothing of it is wanted."""
    rows = {
        kind: found
        for kind, kept in gathered.rows.items()
        if wanted.kind(kind) and (found := [_shown(kind, row, wanted) for row in kept.values() if wanted.row(row)])
    }
    gone = {
        kind: found
        for kind, keys in gathered.gone.items()
        if wanted.kind(kind) and (found := [key for key in keys if wanted.gone(kind, key)])
    }
    events = [event for event in gathered.events if wanted.row(event)] if wanted.kind(EVENTS) else []
    if not (rows or gone or events):
        return b""
    told = {"seq": gathered.seq, "at_ms": gathered.at_ms, "rows": rows, "gone": gone, "events": events}
    return frame("changed", told, mark(gathered.seq, run))


def _shown(kind: str, row: Row, wanted: Wanted) -> Row | JsonObject:
    if not wanted.fields:
        return row
    kept = dict.fromkeys((*KEYS[kind], *wanted.fields))
    return {name: getattr(row, name) for name in kept if name in row.__struct_fields__}


def mark(seq: int, run: str) -> str:
    """An id to resume by. ``run``: a store that began anew counts from one again, and must not be mistaken."""
    return f"{seq}-{run}"


def frame(event: str, told: object, event_id: str = "") -> bytes:
    """One event in the format of the WHATWG's server-sent events; JSON has no raw line breaks, so one data line."""
    number = f"id: {event_id}\n".encode() if event_id else b""
    return number + b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(told))
