"""``make bench-recovery``: what survives, and how soon, from real daemons, into bench/out/recovery.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.anchors import beside
from bench.failover import AGENT, RAY, TUNED, Books, beside_ray, kill9, silent
from bench.heads import no_head
from bench.ideas import with_next_step
from bench.nodes import Nodes
from bench.reunion import heal_merge
from bench.rows import Row, missing, show, write
from bench.starts import cold_alone, cold_mesh
from meshnode.model.errors import LocalError
from tests.demo.fleet import ROOT, Broken

OUT = ROOT / "bench" / "out" / "recovery.json"
IDS = (
    "kill9-state", "kill9-state-tuned", "silent-state", "silent-state-tuned", "no-head", "cold-mesh", "cold-alone",
    "heal-merge",
)  # fmt: skip
THREE = [("alpha", "eu"), ("beta", "eu"), ("gamma", "us")]
FOUR = [*THREE, ("delta", "us")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How often each figure is taken. ``ray_*``: rounds of the anchor, 0 where its run is left to the full one."""

    kills: int
    silences: int
    calls: int
    calm_s: float
    heads: int
    cold: int
    alone: int
    cuts: int
    cut_s: float
    ray_kills: int = 0
    ray_silences: int = 0
    ray_tuned_kills: int = 0
    ray_tuned_silences: int = 0
    ray_cold: int = 0


FULL = Effort(
    kills=21, silences=10, calls=100, calm_s=600, heads=3, cold=7, alone=7, cuts=3, cut_s=60,
    ray_kills=3, ray_silences=2, ray_tuned_kills=5, ray_tuned_silences=2, ray_cold=3,
)  # fmt: skip
QUICK = Effort(kills=3, silences=1, calls=20, calm_s=0, heads=1, cold=3, alone=1, cuts=1, cut_s=10)


def measure(effort: Effort) -> Iterator[Row]:
    """Rows as they come: three nodes that speak directly, then the anchors, then four nodes that can be cut apart."""
    with Nodes(THREE) as mesh:
        mesh.form()
        mesh.run(mesh.names[0], AGENT, "tally.py")
        books = Books(mesh)
        killed, _ = kill9(mesh, books, rounds=effort.kills, calls=effort.calls)
        print(f"so far, without the anchor: {show(killed)}", flush=True)
        fell_silent, _ = silent(mesh, books, rounds=effort.silences, calls=effort.calls, calm_s=effort.calm_s)
        print(f"so far, without the anchor: {show(fell_silent)}", flush=True)
        yield no_head(mesh, victims=effort.heads)
        yield cold_mesh(mesh, rounds=effort.cold, beside_rounds=effort.ray_cold)
    yield beside_ray(killed, "kill9-state", "kill", RAY, rounds=effort.ray_kills, tuned=False)
    yield beside_ray(killed, "kill9-state-tuned", "kill", TUNED, rounds=effort.ray_tuned_kills, tuned=True)
    yield beside_ray(fell_silent, "silent-state", "stop", RAY, rounds=effort.ray_silences, tuned=False)
    yield beside_ray(fell_silent, "silent-state-tuned", "stop", TUNED, rounds=effort.ray_tuned_silences, tuned=True)
    with Nodes(FOUR, cuttable=True) as mesh:
        mesh.form()
        mesh.run(mesh.names[0], AGENT, "tally.py")
        books = Books(mesh)
        yield cold_alone(mesh, books, rounds=effort.alone)
        yield heal_merge(mesh, rounds=effort.cuts, cut_s=effort.cut_s, counted=books.acknowledged)


def collect(rows: Iterator[Row]) -> list[Row]:
    """All that could be measured, shown as it comes."""
    taken: list[Row] = []
    for row in map(with_next_step, attempted(rows)):
        taken.append(row)
        print(show(row), flush=True)
    return taken


def attempted(rows: Iterator[Row]) -> Iterator[Row]:
    """These rows, as far as they come: what broke them is told, and does not take other rows with it."""
    try:
        yield from rows
    except (Broken, LocalError, AssertionError) as error:
        print(f"broken: {type(error).__name__}: {error}", file=sys.stderr)


def finish(rows: list[Row], ids: tuple[str, ...], out: Path) -> int:
    """Write the file; 1 if it lacks a figure."""
    write(out, rows)
    absent = missing(rows, ids)
    if absent:
        print(f"not measured: {', '.join(absent)}", file=sys.stderr)
        return 1
    taken = [row for row in rows if not row.skipped and row.goal is not None]
    print(f"{sum(row.ok for row in taken)} of {len(taken)} figures within their goals, in {out}")
    return 0


def start(name: str, out: Path) -> argparse.Namespace:
    """Read the command line and prepare what is measured beside the product."""
    parser = argparse.ArgumentParser(prog=f"make bench-{name}")
    parser.add_argument("--quick", action="store_true", help="under a minute of measuring; some anchors are left out")
    parser.add_argument("--out", type=Path, default=out, help=f"default: bench/out/{out.name}")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no daemon is left behind
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    beside.prepare()
    return given


def main() -> int:
    given = start("recovery", OUT)
    return finish(collect(measure(QUICK if given.quick else FULL)), IDS, given.out)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
