"""Aligned tables: columns as functions of a row, colours only where a terminal asked for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshnode.cli.words import one_line

RowT = TypeVar("RowT")
_COLOURS = {
    "green": ("ready", "running", "created", "updated", "direct", "True"),
    "yellow": ("suspect", "starting", "backoff", "pending", "stopping", "Unknown"),
    "red": ("unreachable", "down", "failed", "left", "deleted", "False"),
}
_CODES = {"green": "32", "yellow": "33", "red": "31"}
_CODE_BY_STATE = {state: _CODES[colour] for colour, states in _COLOURS.items() for state in states}


@dataclass(frozen=True, kw_only=True, slots=True)
class Column(Generic[RowT]):
    """``wide``: only with -o wide. ``optional``: left out when no row has anything to say."""

    title: str
    cell: Callable[[RowT], str]
    wide: bool = False
    optional: bool = False
    right: bool = False


def table(rows: Sequence[RowT], columns: Sequence[Column[RowT]], *, wide: bool, colour: bool) -> list[str]:
    """The lines: a title line, then one per row; two spaces between columns, none at the end."""
    shown: list[tuple[Column[RowT], list[str]]] = []
    for column in columns:
        cells = [one_line(column.cell(row)) for row in rows]
        if (wide or not column.wide) and (any(cells) or not column.optional):
            shown.append((column, [cell or "-" for cell in cells]))
    blocks = [_column(column, cells, colour=colour) for column, cells in shown]
    return ["  ".join(line).rstrip() for line in zip(*blocks, strict=True)]


def _column(column: Column[RowT], cells: list[str], *, colour: bool) -> list[str]:
    width = max(len(text) for text in [column.title, *cells])
    padded = [f"{text:>{width}}" if column.right else f"{text:<{width}}" for text in [column.title, *cells]]
    if not colour:
        return padded
    return [padded[0], *(paint(text) for text in padded[1:])]


def paint(text: str) -> str:
    """A known state word in its colour; anything else as it is."""
    code = _CODE_BY_STATE.get(text.strip())
    return f"\x1b[{code}m{text}\x1b[0m" if code else text
