"""``python -m bench.figures``: all that is kept in ``bench/results`` as one page, ``bench/results/README.md``.

Every figure a bench has to tell stands there, the missed and the unmeasured ones, too: ``tests/house`` fails when the
page is not what would be made. ``--check`` only says whether it is.
"""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.rows import Row, missing, read
from tests.demo.fleet import ROOT
from tools.reference.paper import book, code, head, table

FOLDER = ROOT / "bench" / "results"
NAME = "README.md"
# File, what it is about, its make target, and the module whose ``IDS`` are the figures that there have to be.
BENCHES = (
    ("house", "The first floor", "bench-house", "bench.house"),
    ("recovery", "What survives", "bench-recovery", "bench.recovery"),
    ("agents", "Agents", "bench-agents", "bench.agents"),
    ("talk", "Calls, streams, events, relays", "bench-talk", "bench.talk.__main__"),
    ("state", "Shared state", "bench-state", "bench.state.__main__"),
    ("gossip", "Gossip", "bench-gossip", "bench.gossip.__main__"),
    ("gateway", "The gateway", "bench-gateway", "bench.gateway.__main__"),
)
_ABOUT = """\
What each bench said when it was last run in full, with the date and the load of the machine it ran on. How each
figure is counted is in [bench/README.md](../README.md), where the time goes and what to try next in
[performance](../../docs/performance.md). Goals of figures with something beside them are often multiples of that,
taken in the same run, and move with it."""
_TITLES = ("figure", "measured", "goal", "", "beside it", "load", "date")


def page(folder: Path = FOLDER) -> str:
    """The whole text."""
    lines = head("Figures", _ABOUT, made="*Made by `make figures` out of the files beside it.*")
    measured = {name: [row for row in read(folder / f"{name}.json") if not row.skipped] for name, _, _, _ in BENCHES}
    lines += table(
        ("bench", "figures with a goal", "met"), [(title, *_counts(measured[name])) for name, title, _, _ in BENCHES],
    )  # fmt: skip
    for name, title, target, module in BENCHES:
        rows = measured[name]
        ids: Sequence[str] = importlib.import_module(module).IDS
        lines += [f"## {title}", "", f"`make {target}`, `{name}.json`.", ""]
        lines += table(_TITLES, [*map(_line, rows), *_absent(missing(rows, ids))])
        lines += _missed(rows)
    sizes = [(str(line.pop("nodes")), Row(**line)) for line in json.loads((folder / "gossip-ships.json").read_text())]
    lines += ["## Thousands of nodes in virtual time", ""]
    lines += ["`python -m bench.gossip.ships`, `gossip-ships.json`. None of them is a machine.", ""]
    lines += table(("nodes", *_TITLES), [(nodes, *_line(row)) for nodes, row in sizes])
    lines += _missed([row for _, row in sizes])
    return book(lines)


def _counts(rows: Sequence[Row]) -> tuple[str, str]:
    judged = [row for row in rows if row.goal is not None]
    return str(len(judged)), str(sum(row.ok for row in judged))


def _line(row: Row) -> Sequence[str]:
    goal = "" if row.goal is None else f"{'at least' if row.more else 'at most'} {number(row.goal)}"
    verdict = "" if row.goal is None else "met" if row.ok else "**missed**"
    beside = f"{row.anchor} {number(row.anchor_value)}" if row.anchor and row.anchor_value is not None else ""
    value = "-" if row.value is None else f"{number(row.value)} {row.unit}".strip()
    return code(row.id), value, goal, verdict, beside, f"{row.load:g}", row.date


def _absent(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for id_ in ids:
        yield code(id_), "not measured in a full run", "", "", "", "", ""


def _missed(rows: Sequence[Row]) -> list[str]:
    told = [f"* {code(row.id)}: {row.why}" for row in rows if not row.ok and row.goal is not None]
    return ["Missed, as the bench tells it:", "", *told, ""] if told else []


def number(value: float) -> str:
    """For a person: no more digits than say something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def main(words: Sequence[str]) -> int:
    """0: the page is as it should be, now."""
    if "--check" not in words:
        (FOLDER / NAME).write_text(page())
        return 0
    if is_fresh(FOLDER):
        return 0
    print(f"bench/results/{NAME} is old: make figures")
    return 1


def is_fresh(folder: Path) -> bool:
    path = folder / NAME
    return path.exists() and path.read_text() == page(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
