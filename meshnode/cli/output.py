"""Shows a view in the format that was asked for. JSON and YAML are exactly what the API says."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from meshnode.cli.parser import Given
from meshnode.cli.table import Column, table

RowT = TypeVar("RowT", bound=msgspec.Struct)
WATCH_S = 2.0


def show_list(
    given: Given,
    rows: Sequence[RowT],
    columns: Sequence[Column[RowT]],
    name: Callable[[RowT], str],
    *,
    empty: str = "",
) -> None:
    """Rows as a table or as data. ``name``: the row as ``kind/name``. ``empty``: told instead of a bare head."""
    output: str = given.output
    match output:
        case "json" | "yaml":
            _show_data({"items": list(rows)}, output)
        case "jsonl":
            for row in rows:
                print(msgspec.json.encode(row).decode())
        case "name":
            for row in rows:
                print(name(row))
        case _ if not rows:
            print(empty or "nothing", file=sys.stderr)
        case _:
            print("\n".join(table(rows, columns, wide=output == "wide", colour=colourful())))


def show_one(given: Given, view: msgspec.Struct, lines: Callable[[], Sequence[str]], name: str) -> None:
    """One view: ``lines`` for people, else as data; ``name`` is what -o name prints."""
    output: str = given.output
    match output:
        case "json" | "yaml":
            _show_data(view, output)
        case "jsonl":
            print(msgspec.json.encode(view).decode())
        case "name":
            print(name)
        case _:
            print("\n".join(lines()))


def yaml_of(value: object) -> str:
    import yaml

    return yaml.safe_dump(msgspec.to_builtins(value), sort_keys=False, allow_unicode=True, width=1_000).rstrip("\n")


def json_of(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def again(given: Given, show: Callable[[], int]) -> int:
    """Once, or with -w every two seconds until Ctrl-C; on a terminal each time from the top of the screen."""
    if not given.watch:
        return show()
    while True:
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        show()
        sys.stdout.flush()
        time.sleep(WATCH_S)


def colourful() -> bool:
    """https://no-color.org: a terminal that was not told otherwise."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _show_data(value: object, output: str) -> None:
    print(json_of(value) if output == "json" else yaml_of(value))
