"""``make bench-house``: the figures of the first floor, from four real daemons, into bench/out/house.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run: goals are
promises about a machine that is not busy with something else, and the row says how busy it was.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.commands import cli
from bench.cuts import heal_docs
from bench.idle import idle
from bench.kills import kill_and_boot
from bench.mesh import Mesh
from bench.rows import Row, missing, show, write
from meshnode.model.errors import LocalError
from tests.demo.fleet import ROOT, Broken

OUT = ROOT / "bench" / "out" / "house.json"
IDS = ("idle-rss", "idle-cpu", "idle-sent", "idle-disk", "cli", "heal-docs", "kill-routing", "cold-boot")


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How often each figure is taken. ``settle_s``: from the whole mesh to the first idle window."""

    settle_s: float
    windows: int
    window_s: float
    cli_runs: int
    short_cuts: int
    long_cuts: int
    kills: int
    quick: bool


FULL = Effort(settle_s=20, windows=3, window_s=60, cli_runs=20, short_cuts=5, long_cuts=5, kills=7, quick=False)
QUICK = Effort(settle_s=2, windows=1, window_s=10, cli_runs=10, short_cuts=1, long_cuts=1, kills=2, quick=True)


def measure(mesh: Mesh, effort: Effort) -> Iterator[Row]:
    """Rows as they come; the idle mesh first, before documents and kills have left their traces."""
    mesh.form()
    time.sleep(effort.settle_s)
    yield from idle(mesh, windows=effort.windows, window_s=effort.window_s, quick=effort.quick)
    yield cli(mesh, runs=effort.cli_runs)
    yield heal_docs(mesh, short=effort.short_cuts, long=effort.long_cuts)
    yield from kill_and_boot(mesh, rounds=effort.kills)


def _collect(effort: Effort) -> list[Row]:
    """All that could be measured; what broke the run is told."""
    rows: list[Row] = []
    try:
        with Mesh() as mesh:
            for row in measure(mesh, effort):
                rows.append(row)
                print(show(row), flush=True)
    except (Broken, LocalError, AssertionError) as error:
        print(f"the run broke: {error}", file=sys.stderr)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-house")
    parser.add_argument("--quick", action="store_true", help="under a minute instead of five; leaves two figures out")
    parser.add_argument("--out", type=Path, default=OUT, help="default: bench/out/house.json")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no daemon is left behind
    # An installed package has its bytecode. Where this variable is set, a clone would be compiled anew at every start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    rows = _collect(QUICK if given.quick else FULL)
    write(given.out, rows)
    absent = missing(rows, IDS)
    if absent:
        print(f"not measured: {', '.join(absent)}", file=sys.stderr)
        return 1
    taken = [row for row in rows if not row.skipped]
    print(f"{sum(row.ok for row in taken)} of {len(taken)} figures within their goals, in {given.out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
