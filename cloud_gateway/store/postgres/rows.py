"""Current rows into their tables: one statement a kind and commit, whatever the number of rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cloud_gateway.model.rows import CursorRow, InstanceRow, Key, OfferRow, Row
from cloud_gateway.store.columns import LAYOUTS, Layout, Value, selected
from cloud_gateway.store.postgres.wire import Link, Record, storable
from cloud_gateway.store.postgres.work import Mark, Work

_ARRAYS = {"text": "text[]", "whole": "bigint[]", "flag": "smallint[]", "real": "float8[]"}


class Extra(NamedTuple):
    """A column beyond those of the listings, for questions of one kind of row only."""

    name: str
    of: Callable[[Row], str]


def _offered(row: Row) -> str:
    return "\n".join(sorted(row.skills)) if isinstance(row, InstanceRow) else ""


def _excluded(row: Row) -> str:
    return row.excluded if isinstance(row, OfferRow) else ""


# Units' skills are the same for most units of an agent: few distinct texts.
EXTRAS: Mapping[str, tuple[Extra, ...]] = {
    "instances": (Extra("offered", _offered),),
    "skills": (Extra("excluded", _excluded),),
}


class _Statements(NamedTuple):
    put: str
    drop: str


def _statements(layout: Layout) -> _Statements:
    extras = [extra.name for extra in EXTRAS.get(layout.kind, ())]
    names = [*(column.name for column in layout.columns), *extras, "search", "mark", "body"]
    types = [*(_ARRAYS[column.holds] for column in layout.columns), *("text[]" for _ in extras)]
    types += ["text[]", "bigint[]", "bytea[]"]
    into = ", ".join(f'"{name}"' for name in names)
    given = ", ".join(f"${at}::{kind}" for at, kind in enumerate(types, 1))
    key = ", ".join(f'"{name}"' for name in layout.key)
    news = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in layout.key)
    keys = ", ".join(f"${at}::{_ARRAYS[layout.column(name).holds]}" for at, name in enumerate(layout.key, 1))
    # Names are the fields of our own rows.
    return _Statements(
        put=f"INSERT INTO {layout.kind} ({into}) SELECT * FROM unnest({given}) "  # noqa: S608
        f"ON CONFLICT ({key}) DO UPDATE SET {news}",
        drop=f"DELETE FROM {layout.kind} WHERE ({key}) IN (SELECT * FROM unnest({keys}))",  # noqa: S608
    )


_STATEMENTS: Mapping[str, _Statements] = {kind: _statements(layout) for kind, layout in LAYOUTS.items()}
_CURSORS = (
    f"SELECT {selected(LAYOUTS['cursors'])}, body FROM cursors "  # noqa: S608 - names of our own fields
    "WHERE node_id = ANY($1::text[])"
)


async def put(link: Link, kind: str, rows: Sequence[Row]) -> None:
    """Rows of distinct keys, in the order of their keys."""
    layout = LAYOUTS[kind]
    columns = zip(*(_storable(layout.values(row)) for row in rows), strict=True)
    await link.execute(
        _STATEMENTS[kind].put,
        *columns,
        *([storable(extra.of(row)) for row in rows] for extra in EXTRAS.get(kind, ())),
        [layout.search_text(row) for row in rows],
        [layout.mark(row) for row in rows],
        [layout.body(row) for row in rows],
    )


async def drop(link: Link, kind: str, keys: Sequence[Key]) -> None:
    await link.execute(_STATEMENTS[kind].drop, *zip(*(_storable(key) for key in keys), strict=True))


async def write(link: Link, work: Work) -> None:
    """All rows of a commit."""
    for kind, keys in work.sorted_gone():
        await drop(link, kind, keys)
    for kind, rows in work.sorted_rows():
        await put(link, kind, rows)


async def marks(link: Link, nodes: Sequence[str]) -> dict[str, Mark]:
    """How far the journals of these nodes are committed."""
    if not nodes:
        return {}
    rows = await link.fetch(_CURSORS, [storable(node) for node in nodes])
    found = [row_of(LAYOUTS["cursors"], row) for row in rows]
    return {row.node_id: (row.life, row.number) for row in found if isinstance(row, CursorRow)}


def row_of(layout: Layout, record: Record) -> Row:
    """From the body, the last of what was selected."""
    return layout.row(tuple(record)[-1])


def _storable(values: Sequence[Value | int | str]) -> tuple[Value, ...]:
    return tuple(storable(value) if isinstance(value, str) else value for value in values)
