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
class Anchor:
    """What else was measured in the same run. ``value`` None: it was not, and ``why`` says why."""

    name: str
    value: float | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One figure. ``goal``: the most ``value`` may be, the least where ``more`` is better; None: told for information.
    ``n``: the runs behind it; ``why``: what was counted.

    ``anchor`` and what follows from it stay empty where nothing else is measured beside the product. ``ratio``: how
    many times better than the anchor.
    """

    id: str
    value: float | None
    unit: str
    goal: float | None
    ok: bool
    n: int
    load: float
    why: str
    date: str
    anchor: str | None = None
    anchor_value: float | None = None
    ratio: float | None = None
    more: bool = False
    skipped: str = ""


class Meter:
    """The machine's load while a figure was taken: the mean of the one-minute averages at both ends."""

    def __init__(self) -> None:
        self._first = os.getloadavg()[0]

    def row(
        self, id_: str, value: float | None, unit: str, goal: float | None, *, n: int, why: str,
        ok: bool | None = None, anchor: Anchor | None = None, more: bool = False,
    ) -> Row:  # fmt: skip
        """``ok``: where more than the value decides. A ``value`` of None: there is none, and ``why`` says why."""
        if ok is None:
            ok = value is not None and (goal is None or (value >= goal if more else value <= goal))
        beside = None if anchor is None else anchor.value
        ratio = None
        if beside and value:
            ratio = round(value / beside if more else beside / value, 2)
        return Row(
            id=id_, value=None if value is None else round(value, 3), unit=unit, goal=goal, ok=ok, n=n,
            load=round((self._first + os.getloadavg()[0]) / 2, 2), date=today(),
            why=why if anchor is None or not anchor.why else f"{why}; {anchor.name}: {anchor.why}",
            anchor=None if anchor is None else anchor.name,
            anchor_value=None if beside is None else round(beside, 3),
            ratio=ratio, more=more,
        )  # fmt: skip


def skipped(id_: str, unit: str, goal: float | None, why: str = "") -> Row:
    """A figure that the quick run leaves to the full one."""
    load = round(os.getloadavg()[0], 2)
    return Row(
        id=id_, value=None, unit=unit, goal=goal, ok=True, n=0, load=load, why=why, date=today(), skipped="full"
    )  # fmt: skip


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median first, then every run in order: a reader sees the outliers."""
    each = " ".join(f"{value:.{digits}f}" for value in values)
    return f"median {statistics.median(values):.{digits}f} of {each}"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def missing(rows: Sequence[Row], ids: Sequence[str]) -> list[str]:
    """Figures that have no row: without them the file says nothing."""
    return [id_ for id_ in ids if all(row.id != id_ for row in rows)]


def read(path: Path) -> list[Row]:
    """What ``write`` wrote; nothing where there is no such file."""
    return [Row(**line) for line in json.loads(path.read_text())] if path.exists() else []


def merged(before: Sequence[Row], now: Sequence[Row], ids: Sequence[str]) -> list[Row]:
    """A file whose groups were measured one at a time, in the order of ``ids``. What is there now counts, but a figure
    that was left out does not take the place of one that was measured; each row keeps its own date and load."""
    known: dict[str, Row] = {}
    for row in (*before, *now):
        if row.id in ids and not (row.skipped and row.id in known):
            known[row.id] = row
    return [known[id_] for id_ in ids if id_ in known]


def write(path: Path, rows: Sequence[Row]) -> None:
    """The file of a run. ``more`` and ``skipped`` are there only where they say something."""
    told: list[dict[str, Any]] = [asdict(row) for row in rows]
    for line in told:
        for field in ("more", "skipped"):
            if not line[field]:
                del line[field]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")


def show(row: Row) -> str:
    """One line for a person."""
    if row.skipped:
        return f"{row.id:<17} left to the full run"
    mark = "ok  " if row.ok else "OVER"
    value = "-" if row.value is None else f"{row.value:g}"
    goal = "-" if row.goal is None else f"{'>=' if row.more else ''}{row.goal:g}"
    beside = f"  {row.anchor}: {row.anchor_value:g} ({row.ratio} x)" if row.anchor_value else ""
    return f"{row.id:<17} {value:>9} {row.unit:<7} goal {goal:<6} {mark} n={row.n} load={row.load}{beside}  {row.why}"
