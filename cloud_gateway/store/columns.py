"""How rows become columns, for every engine: what can be asked for is a column, and the row is one body of JSON.

Made from ``model/rows.py`` and ``model/listings.py``. Texts compare by code point in both engines (SQLite: BINARY,
PostgreSQL: collation "C"). A missing number is stored as minus infinity: it sorts before every number, the same way
everywhere, and a keyset never meets NULL.

The body holds the whole row, the columns' fields too: to read a typed row from JSON takes a fifth of the time that it
takes to put one together from columns and a packed rest, and a page of a list is up to 500 of them.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from cloud_gateway.model.fingerprint import fingerprint
from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import Bound, Listed, Query, Told
from cloud_gateway.model.rows import CURRENT, KEYS, Row

Value = str | int | float | bytes
Holds = Literal["text", "whole", "flag", "real"]
_ABSENT = -math.inf
_HOLDS: Mapping[object, Holds] = {str: "text", int: "whole", bool: "flag", float | None: "real"}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One field that can be filtered or sorted."""

    name: str
    holds: Holds

    def stored(self, value: object) -> Value:
        """A field's value, or a bound of a page, as both engines keep it."""
        if self.holds == "real":
            return float(value) if isinstance(value, int | float) and math.isfinite(value) else _ABSENT
        if self.holds == "flag":
            return int(value in (True, "true", "1"))
        assert isinstance(value, str | int), f"{self.name} holds {type(value).__name__}"
        return value

    def told(self, value: Value) -> Bound:
        """What the field was."""
        if self.holds == "flag":
            return bool(value)
        assert not isinstance(value, bytes), self.name
        return None if value == _ABSENT else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One kind of current row: ``columns`` (key columns first), ``found_by``: fields that ``q`` looks into."""

    kind: str
    row_type: type[Row]
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    found_by: tuple[str, ...]
    decoder: msgspec.json.Decoder[Row]

    def values(self, row: Row) -> tuple[Value, ...]:
        """Of the columns, in their order."""
        return tuple(column.stored(getattr(row, column.name)) for column in self.columns)

    def search_text(self, row: Row) -> str:
        """In which ``q`` is found; see ``folded``."""
        return folded("\n".join(str(getattr(row, name)) for name in self.found_by))

    def body(self, row: Row) -> bytes:
        """The row. Fields are only ever added, with defaults: an older body lacks some and reads as well."""
        return msgspec.json.encode(row)

    def mark(self, row: Row) -> int:
        """The row's fingerprint, kept as a column for ``Store.keys``."""
        return fingerprint(row)

    def row(self, body: bytes | msgspec.Raw) -> Row:
        """The row that was stored as ``body``."""
        return self.decoder.decode(body)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def folded(text: str) -> str:
    """Text as ``q`` compares it: without case, and without what PostgreSQL cannot keep."""
    return text.casefold().replace("\0", "\ufffd")


def _layout(kind: str) -> Layout:
    listing, row_type, key = LISTINGS[kind], CURRENT[kind], KEYS[kind]
    hints = typing.get_type_hints(row_type)
    asked = (*key, *listing.filters, *(name.removeprefix("-") for name in listing.sorts))
    names = tuple(dict.fromkeys(asked))
    return Layout(
        kind=kind,
        row_type=row_type,
        key=key,
        columns=tuple(Column(name, _HOLDS[hints[name]]) for name in names),
        found_by=listing.search,
        decoder=msgspec.json.Decoder(row_type),
    )


LAYOUTS: Mapping[str, Layout] = {kind: _layout(kind) for kind in CURRENT}


class Dialect(typing.NamedTuple):
    """What differs between the engines. ``types``: of a column, by what it holds; ``within``: "is the parameter a
    part of the column", with both to be filled in."""

    types: Mapping[str, str]
    numbered: bool  # parameters are $1, $2 ... instead of ?
    within: str


SQLITE = Dialect(
    types={"text": "TEXT", "whole": "INTEGER", "flag": "INTEGER", "real": "REAL", "bytes": "BLOB"},
    numbered=False,
    within="instr({column}, {parameter}) > 0",
)
POSTGRES = Dialect(
    types={
        "text": 'TEXT COLLATE "C"',
        "whole": "BIGINT",
        "flag": "SMALLINT",
        "real": "DOUBLE PRECISION",
        "bytes": "BYTEA",
    },
    numbered=True,
    within="strpos({column}, {parameter}) > 0",
)


def declared(layout: Layout, dialect: Dialect) -> str:
    """The columns of a table, for CREATE TABLE; without search, mark and body, whose place each engine chooses."""
    return ", ".join(f'"{column.name}" {dialect.types[column.holds]} NOT NULL' for column in layout.columns)


def selected(layout: Layout, table: str = "") -> str:
    """The columns of ``layout.values``, for SELECT and INSERT."""
    return ", ".join(f'{table}"{column.name}"' for column in layout.columns)


class PageSql(typing.NamedTuple):
    """One page in SQL. ``where`` is "" or begins with WHERE; ``params`` belong to it. Ask for one row more than
    ``limit``: it tells whether there is a next page."""

    where: str
    order: str
    params: list[Value]
    limit: int
    sort: str

    def after(self, layout: Layout, last: Row) -> tuple[Bound, ...]:
        """To go on behind ``last``."""
        return (getattr(last, self.sort), *(getattr(last, name) for name in layout.key))


def page_told(layout: Layout, page: PageSql, bodies: Sequence[bytes]) -> Told:
    """A page out of the bodies of its rows, behind which there may be one more."""
    items = [msgspec.Raw(body) for body in bodies[: page.limit]]
    return Told(items, page.after(layout, layout.row(items[-1])) if len(bodies) > page.limit else None)


def page_listed(layout: Layout, told: Told) -> Listed:
    """The same page, as rows."""
    return Listed([layout.row(body) for body in told.items], told.after)


def page_sql(layout: Layout, query: Query, dialect: Dialect, *, searched: str = '"search"') -> PageSql:
    """Filters, search, order and keyset of a page; ``searched``: the column of the folded text, "" if ``q`` is
    answered elsewhere."""
    made = _Made(dialect)
    for name, wanted in query.where.items():
        if not wanted:
            continue
        made.one_of(layout.column(name), wanted)
    if query.q and searched:
        made.parts.append(dialect.within.format(column=searched, parameter=made.given(folded(query.q))))
    sort = query.sort or LISTINGS[layout.kind].sorts[0]
    name, down = sort.removeprefix("-"), sort.startswith("-")
    ordered = (name, *(part for part in layout.key if part != name))
    if query.after is not None:
        made.behind(layout, ordered, query.after, "<" if down else ">")
    direction = " DESC" if down else ""
    return PageSql(
        where="WHERE " + " AND ".join(made.parts) if made.parts else "",
        order="ORDER BY " + ", ".join(f'"{part}"{direction}' for part in ordered),
        params=made.params,
        limit=query.limit,
        sort=name,
    )


class _Made:
    """Parts of a WHERE and their parameters, in step."""

    def __init__(self, dialect: Dialect) -> None:
        self.parts: list[str] = []
        self.params: list[Value] = []
        self._dialect = dialect

    def given(self, value: Value) -> str:
        self.params.append(value)
        return f"${len(self.params)}" if self._dialect.numbered else "?"

    def one_of(self, column: Column, wanted: Sequence[str]) -> None:
        marks = [self.given(column.stored(value)) for value in wanted]
        self.parts.append(
            f'"{column.name}" = {marks[0]}' if len(marks) == 1 else f'"{column.name}" IN ({", ".join(marks)})'
        )

    def behind(self, layout: Layout, ordered: Sequence[str], after: Sequence[Bound], sign: str) -> None:
        bounds = dict(zip((*layout.key,), after[1:], strict=True))
        bounds[ordered[0]] = after[0]
        marks = [self.given(layout.column(name).stored(bounds[name])) for name in ordered]
        names = ", ".join(f'"{name}"' for name in ordered)
        self.parts.append(f"({names}) {sign} ({', '.join(marks)})")
