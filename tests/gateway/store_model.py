"""What a store should answer, worked out the plain way over lists in memory."""

from collections.abc import Iterable

from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import Query
from cloud_gateway.model.rows import KEYS, EventRow, Row, key_of


def expected(rows: Iterable[Row], query: Query) -> list[Row]:
    """All rows that fit, in order, without paging."""
    listing = LISTINGS[query.kind]
    sort = query.sort or listing.sorts[0]
    name, down = sort.removeprefix("-"), sort.startswith("-")

    def place(row: Row) -> tuple[object, ...]:
        value = getattr(row, name)
        return ((value is not None, value if value is not None else 0), *key_of(query.kind, row))

    return sorted((row for row in rows if _fits(row, query)), key=place, reverse=down)


def newest_first(events: Iterable[EventRow]) -> list[EventRow]:
    return sorted(events, key=lambda event: -event.at_ms)


def _fits(row: Row, query: Query) -> bool:
    for name, wanted in query.where.items():
        value = getattr(row, name)
        text = str(value).lower() if isinstance(value, bool) else value
        if text not in wanted:
            return False
    if not query.q:
        return True
    found_in = "\n".join(str(getattr(row, name)) for name in LISTINGS[query.kind].search)
    return query.q.casefold() in found_in.casefold()


def same_key(kind: str, row: Row, other: Row) -> bool:
    return all(getattr(row, name) == getattr(other, name) for name in KEYS[kind])
