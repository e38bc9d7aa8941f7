"""``make bench-gossip``: what gossip costs and how soon it tells, beside serf and zenoh, into bench/out/gossip.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import argparse
import asyncio
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from bench.gossip.anchors import beside
from bench.gossip.effort import FULL, QUICK, Effort
from bench.ideas import with_next_step
from bench.recovery import finish
from bench.rows import Row, show
from meshnode.model.errors import LocalError
from tests.demo.fleet import ROOT, Broken

OUT = ROOT / "bench" / "out" / "gossip.json"
IDS = (
    "urgent", "state", "kill", "kill-avoid", "silent", "silent-calls", "false-down", "flaps", "idle-bytes",
    "idle-bytes-edge", "idle-growth", "idle-cost", "idle-memory", "idle-memory-10k", "boot-10k", "join", "heal",
    "sim-cuts", "sim-10k", "sim-10k-copies", "sim-10k-bytes", "sim-10k-skills", "sim-half-killed", "sim-most-killed",
    "sim-speed-2", "sim-speed-3", "sim-false", "sim-freezes", "sim-liars", "lookup", "lookup-elsewhere",
    "lookup-memory",
)  # fmt: skip
Group = Callable[[Effort], AsyncIterator[Row]]
# Module and name of each group's generator. Loaded when its turn comes: what breaks one leaves the others alone.
GROUPS: Mapping[str, tuple[str, str]] = {
    "mesh": ("bench.gossip.mesh", "mesh"),
    "edge": ("bench.gossip.mesh", "edge"),
    "sizes": ("bench.gossip.mesh", "sizes"),
    "thousands": ("bench.gossip.thousands", "thousands"),
    "virtual": ("bench.gossip.virtual", "virtual"),
    "lookup": ("bench.gossip.lookup", "lookup"),
}


async def measure(effort: Effort, wanted: list[str]) -> list[Row]:
    """Rows as they come, shown as they come: what breaks one group does not take other rows with it."""
    rows: list[Row] = []
    for name in GROUPS:
        if wanted and name not in wanted:
            continue
        try:
            async for row in _group(name)(effort):
                rows.append(with_next_step(row))
                print(show(rows[-1]), flush=True)
        except (Broken, LocalError, AssertionError, OSError, ImportError, AttributeError) as error:
            print(f"broken: {name}: {type(error).__name__}: {error}", file=sys.stderr)
        except ExceptionGroup as group:
            print(f"broken: {name}: {_first(group)}", file=sys.stderr)
    return rows


def _group(name: str) -> Group:
    module, function = GROUPS[name]
    found: Group = getattr(importlib.import_module(module), function)
    return found


def _first(error: Exception) -> str:
    """What went wrong in a task of a group, without the groups around it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-gossip")
    parser.add_argument("--quick", action="store_true", help="12 nodes, under a minute of measuring a group")
    parser.add_argument("--out", type=Path, default=OUT, help="default: bench/out/gossip.json")
    parser.add_argument("--only", choices=GROUPS, action="append", default=[], help="this group of figures")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no daemon or namespace is left behind
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    beside.prepare()
    return finish(asyncio.run(measure(QUICK if given.quick else FULL, given.only)), IDS, given.out)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
