"""Current rows into their tables: one statement a kind and commit, whatever the number of rows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloud_gateway.model.rows import CursorRow, Key, Row
from cloud_gateway.store.columns import LAYOUTS, Layout, Value, selected
from cloud_gateway.store.postgres.wire import Link, Record, storable
from cloud_gateway.store.postgres.work import Mark, Work

_ARRAYS = {"text": "text[]", "whole": "bigint[]", "flag": "smallint[]", "real": "float8[]"}


class _Statements(NamedTuple):
    put: str
    drop: str


def _statements(layout: Layout) -> _Statements:
    names = [column.name for column in layout.columns] + ["search", "mark", "body"]
    types = [_ARRAYS[column.holds] for column in layout.columns] + ["text[]", "bigint[]", "bytea[]"]
    given = ", ".join(f"${at}::{kind}" for at, kind in enumerate(types, 1))
    key = ", ".join(f'"{name}"' for name in layout.key)
    news = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in layout.key)
    keys = ", ".join(f"${at}::{_ARRAYS[layout.column(name).holds]}" for at, name in enumerate(layout.key, 1))
    # Names are the fields of our own rows.
    return _Statements(
        put=f"INSERT INTO {layout.kind} ({selected(layout)}, search, mark, body) SELECT * FROM unnest({given}) "  # noqa: S608
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
    """From the columns of ``selected`` and the body."""
    values = tuple(record)
    return layout.row(values[:-1], values[-1])


def _storable(values: Sequence[Value | int | str]) -> tuple[Value, ...]:
    return tuple(storable(value) if isinstance(value, str) else value for value in values)
