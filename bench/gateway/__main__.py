"""``make bench-gateway``: the gateway's figures, from the program as it ships, into bench/out/gateway.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from bench.gateway.backlog import catch_up
from bench.gateway.effort import FULL, QUICK, Effort
from bench.gateway.ingest import ingest_pg, ingest_sqlite
from bench.gateway.kills import kill_loss
from bench.gateway.large import large
from bench.ideas import with_next_step
from bench.recovery import finish
from bench.rows import Row, show
from cloud_gateway.store.port import StoreFailed
from meshnode.model.errors import LocalError
from tests.demo.fleet import ROOT, Broken

OUT = ROOT / "bench" / "out" / "gateway.json"
IDS = (
    "ingest-sqlite", "ingest-sqlite-p99", "ingest-sqlite-bytes", "ingest-pg", "ingest-pg-p99", "ingest-pg-bytes",
    "kill-loss", "page-queries", "overview", "skill-search", "sse", "sse-cpu", "sse-views", "first-view",
    "first-view-bytes", "grid-fps", "rss", "catch-up",
)  # fmt: skip
Group = Callable[[Effort], AsyncIterator[Row]]
GROUPS: Mapping[str, Group] = {
    "ingest-sqlite": ingest_sqlite,
    "ingest-pg": ingest_pg,
    "kill-loss": kill_loss,
    "catch-up": catch_up,
    "large": large,
}


async def measure(effort: Effort, wanted: list[str]) -> list[Row]:
    """Rows as they come, shown as they come: what breaks one group does not take other rows with it."""
    rows: list[Row] = []
    for name, group in GROUPS.items():
        if wanted and name not in wanted:
            continue
        try:
            async for row in group(effort):
                rows.append(with_next_step(row))
                print(show(rows[-1]), flush=True)
        except (Broken, LocalError, StoreFailed, AssertionError, OSError) as error:
            print(f"broken: {name}: {type(error).__name__}: {error}", file=sys.stderr)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-gateway")
    parser.add_argument("--quick", action="store_true", help="under a minute of measuring")
    parser.add_argument("--out", type=Path, default=OUT, help="default: bench/out/gateway.json")
    parser.add_argument("--only", choices=GROUPS, action="append", default=[], help="this group of figures")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no gateway is left behind
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    return finish(asyncio.run(measure(QUICK if given.quick else FULL, given.only)), IDS, given.out)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
