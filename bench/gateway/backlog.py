"""catch-up: a day of 100 nodes' journals is replayed while others go on writing."""

import asyncio
import time
from collections.abc import AsyncIterator

from bench.gateway.effort import Effort
from bench.gateway.journals import Ledger
from bench.gateway.load import paced
from bench.gateway.node import made_up
from bench.gateway.program import gateway, until
from bench.rows import Meter, Row, quantile

NODES, BEHIND = 1000, 100
EVERY_S = 10.0  # a node's event in the past
LIVE_PER_S = 200
WITHIN_S = 1800.0
LAG_MS = 1000.0


async def catch_up(effort: Effort) -> AsyncIterator[Row]:
    meter, past = Meter(), Ledger()
    async with made_up(NODES, per_node=1) as fleet:
        behind, others = fleet.journals[:BEHIND], fleet.journals[BEHIND:]
        each, now_s = int(effort.backlog_h * 3600 / EVERY_S), time.monotonic()
        for journal in behind:
            journal.ledger = past
            for at in range(each, 0, -1):
                journal.write(now_s - EVERY_S * at)
        async with gateway(fleet.directory), asyncio.TaskGroup() as tasks:
            await until("nothing of the past is acknowledged", lambda: past.acknowledged > 0)
            began_s, live = time.monotonic(), fleet.ledger
            live.begin(began_s)
            writing = tasks.create_task(paced(fleet, LIVE_PER_S, WITHIN_S, others), name="live")
            await until("the past is not replayed", lambda: past.acknowledged == past.written, WITHIN_S)
            took_s = time.monotonic() - began_s
            writing.cancel()
            await until("live events are not acknowledged", lambda: live.acknowledged == live.written)
    lag_ms = 1000 * quantile(live.waits, 0.99)
    yield meter.row(
        "catch-up", lag_ms, "ms", LAG_MS, n=len(live.waits),
        why=f"p99 from writing to acknowledgement of {LIVE_PER_S} live events/s of {len(others)} nodes (p50 "
        f"{1000 * quantile(live.waits, 0.5):.0f}, most {1000 * max(live.waits):.0f} ms) while {effort.backlog_h:g} h "
        f"of {BEHIND} others, {past.written:,} deltas of 1 KiB, are replayed; that took {took_s:.1f} s "
        f"({past.written / took_s:,.0f}/s)",
    )  # fmt: skip
