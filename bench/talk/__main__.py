"""``make bench-talk``: what calls, streams and objects cost, beside C, zenoh, NATS and gRPC, into bench/out/talk.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import sys

from bench.groups import Bench, Group
from bench.talk import beside
from bench.talk.agents import agents
from bench.talk.breaks import breaks
from bench.talk.calls import calls
from bench.talk.effort import FULL, QUICK, Effort
from bench.talk.events import events
from bench.talk.relayed import relays
from bench.talk.thousand import thousand

IDS = (
    "rpc-64", "rpc-64-cpu", "rpc-1", "rpc-1-p99", "rpc-64-uvloop", "rpc-1-uvloop", "rpc-1-uvloop-p99", "a2a-1",
    "a2a-1-p99", "a2a-1-zmq", "a2a-64", "local-64", "stream", "object", "hang", "events", "events-fanout", "links-1000",
    "links-1000-rss", "links-1000-idle", "resume", "resume-stall", "relay",
)  # fmt: skip
GROUPS: dict[str, Group[Effort]] = {
    "calls": calls,
    "agents": agents,
    "events": events,
    "relays": relays,
    "breaks": breaks,
    "thousand": thousand,
}
BENCH = Bench(
    name="talk", ids=IDS, groups=GROUPS, full=FULL, quick=QUICK,
    quick_is="under 50 s of measuring", prepare=beside.prepare,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(BENCH.main())
