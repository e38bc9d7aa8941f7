"""A figure with its goal: what every bench writes, and how it is shown."""

import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure. ``goal``: the most ``value`` may be; ``n``: the runs behind it; ``why``: what was counted.

    ``anchor`` and what follows from it stay empty where nothing else is measured beside the product.
    """

    id: str
    value: float | None
    unit: str
    goal: float
    ok: bool
    n: int
    load: float
    why: str
    date: str
    anchor: str | None = None
    anchor_value: float | None = None
    ratio: float | None = None
    skipped: str = ""


class Meter:
    """The machine's load while a figure was taken: the mean of the one-minute averages at both ends."""

    def __init__(self) -> None:
        self._first = os.getloadavg()[0]

    def row(self, id_: str, value: float, unit: str, goal: float, *, n: int, why: str, ok: bool | None = None) -> Row:
        """``ok``: where more than the value decides."""
        return Row(
            id=id_, value=round(value, 3), unit=unit, goal=goal, ok=value <= goal if ok is None else ok, n=n,
            load=round((self._first + os.getloadavg()[0]) / 2, 2), why=why, date=today(),
        )  # fmt: skip


def skipped(id_: str, unit: str, goal: float) -> Row:
    """A figure that the quick run leaves to the full one."""
    load = round(os.getloadavg()[0], 2)
    return Row(
        id=id_, value=None, unit=unit, goal=goal, ok=True, n=0, load=load, why="", date=today(), skipped="full"
    )  # fmt: skip


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median first, then every run in order: a reader sees the outliers."""
    each = " ".join(f"{value:.{digits}f}" for value in values)
    return f"median {statistics.median(values):.{digits}f} of {each}"


def write(path: Path, rows: Sequence[Row]) -> None:
    """The file of a run. ``skipped`` is there only where it says something."""
    told: list[dict[str, Any]] = [asdict(row) for row in rows]
    for line in told:
        if not line["skipped"]:
            del line["skipped"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")


def show(row: Row) -> str:
    """One line for a person."""
    if row.skipped:
        return f"{row.id:<13} left to the full run"
    mark = "ok  " if row.ok else "OVER"
    return f"{row.id:<13} {row.value:>9g} {row.unit:<7} goal {row.goal:<5g} {mark} n={row.n} load={row.load}  {row.why}"
