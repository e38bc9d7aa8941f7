"""``make bench-gateway``: the gateway's figures, from the program as it ships, into bench/out/gateway.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import sys

from bench.gateway.backlog import catch_up
from bench.gateway.effort import FULL, QUICK, Effort
from bench.gateway.ingest import ingest_pg, ingest_sqlite
from bench.gateway.kills import kill_loss
from bench.gateway.large import large
from bench.groups import Bench, Group
from cloud_gateway.store.port import StoreFailed

IDS = (
    "ingest-sqlite", "ingest-sqlite-p99", "ingest-sqlite-bytes", "ingest-pg", "ingest-pg-p99", "ingest-pg-bytes",
    "kill-loss", "page-queries", "overview", "skill-search", "sse", "sse-cpu", "sse-views", "first-view",
    "first-view-bytes", "grid-fps", "rss", "catch-up",
)  # fmt: skip
GROUPS: dict[str, Group[Effort]] = {
    "ingest-sqlite": ingest_sqlite,
    "ingest-pg": ingest_pg,
    "kill-loss": kill_loss,
    "catch-up": catch_up,
    "large": large,
}
BENCH = Bench(
    name="gateway", ids=IDS, groups=GROUPS, full=FULL, quick=QUICK,
    quick_is="under a minute of measuring", breaks=(StoreFailed,),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(BENCH.main())
