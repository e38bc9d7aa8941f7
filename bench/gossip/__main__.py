"""``make bench-gossip``: what gossip costs and how soon it tells, beside serf and zenoh, into bench/out/gossip.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import sys

from bench.gossip.anchors import beside
from bench.gossip.effort import FULL, QUICK, Effort
from bench.groups import Bench, Group

IDS = (
    "urgent", "state", "kill", "kill-avoid", "silent", "silent-calls", "false-down", "flaps", "idle-bytes",
    "idle-bytes-edge", "idle-growth", "idle-cost", "idle-memory", "idle-memory-10k", "boot-10k", "join", "heal",
    "sim-cuts", "sim-10k", "sim-10k-copies", "sim-10k-bytes", "sim-10k-skills", "sim-half-killed", "sim-most-killed",
    "sim-speed-2", "sim-speed-3", "sim-false", "sim-freezes", "sim-liars", "lookup", "lookup-elsewhere",
    "lookup-memory",
)  # fmt: skip
GROUPS: dict[str, Group[Effort]] = {
    "mesh": ("bench.gossip.mesh", "mesh"),
    "edge": ("bench.gossip.mesh", "edge"),
    "sizes": ("bench.gossip.mesh", "sizes"),
    "thousands": ("bench.gossip.thousands", "thousands"),
    "ships": ("bench.gossip.ships", "ships"),
    "virtual": ("bench.gossip.virtual", "virtual"),
    "lookup": ("bench.gossip.lookup", "lookup"),
}
BENCH = Bench(
    name="gossip", ids=IDS, groups=GROUPS, full=FULL, quick=QUICK,
    quick_is="12 nodes, under a minute of measuring a group", prepare=beside.prepare,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(BENCH.main())
