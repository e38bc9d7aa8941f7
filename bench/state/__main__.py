"""``make bench-state``: shared state beside etcd and pycrdt, into bench/out/state.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import sys

from bench.groups import Bench, Group
from bench.state.anchors import etcd
from bench.state.effort import FULL, QUICK, Effort
from bench.state.ideas import with_next_step

IDS = ("write", "cut", "disk", "read", "docs-10k", "one-change", "heal", "hot-year", "gate", "fuzz")
GROUPS: dict[str, Group[Effort]] = {
    "read": ("bench.state.reading", "reading"),
    "gate": ("bench.state.reading", "gate"),
    "write": ("bench.state.writing", "writing"),
    "many": ("bench.state.many", "many"),
    "change": ("bench.state.changing", "changing"),
    "heal": ("bench.state.healing", "healing"),
    "cut": ("bench.state.cutting", "cutting"),
    "disk": ("bench.state.disk", "disk"),
    "year": ("bench.state.year", "year"),
    "fuzz": ("bench.state.fuzzing", "fuzzing"),
}
BENCH = Bench(
    name="state", ids=IDS, groups=GROUPS, full=FULL, quick=QUICK,
    quick_is="under 50 s of measuring; the rest is left to the full run", prepare=etcd.prepare,
    next_step=with_next_step,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(BENCH.main())
