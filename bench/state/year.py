"""A record that changes for a year: what is left of a million updates."""

import os
import time
from collections import deque
from collections.abc import AsyncIterator

from bench.gossip.process import memory
from bench.rows import Meter, Row, quantile, skipped
from bench.state.effort import Effort
from bench.state.rooms import START_MS, Replica, Trusted
from meshnode.kernel.instant import SECOND, ClockTrust, Instant
from meshnode.model.errors import LocalError

DISK_KIB, MEMORY_MIB, UPDATE_US = 64.0, 1.0, 1_000.0
YEAR_S = 365 * 86_400
LAST = 1_000
WARM = 600  # of another record, over two generations: code that is used for the first time is no memory of a record
GOALS = (("hot-year", "KiB", DISK_KIB), ("hot-year-memory", "MiB", MEMORY_MIB), ("hot-year-update", "us", UPDATE_US))


class Year:
    """A clock on which a year passes in so many questions."""

    def __init__(self, steps: int) -> None:
        self._step_us, self._us = YEAR_S * SECOND // max(1, steps), 0

    def now(self) -> Instant:
        self._us += self._step_us
        return Instant(self._us, START_MS + self._us // 1000, ClockTrust.SYNCED)


async def year(effort: Effort) -> AsyncIterator[Row]:
    if not effort.year:
        for id_, unit, goal in GOALS:
            yield skipped(id_, unit, goal)
        return
    for row in _year(effort):
        yield row


def _year(effort: Effort) -> list[Row]:
    meter = Meter()
    clock = Year(effort.year)
    replica = Replica(Trusted(1), 0, clock)  # pyright: ignore[reportArgumentType]
    for number in range(WARM):
        replica.write("other", {"spec": {"count": number}})
        replica.wake(clock.now())
    replica.kept.clear()
    before_mib = memory(os.getpid()).rss_mib
    took_us: deque[float] = deque(maxlen=LAST)
    live: dict[tuple[int, bytes], int] = {}  # what a journal would hold: nothing of our own may grow with the updates
    refused, done = "", 0
    for number in range(effort.year):
        began = time.perf_counter_ns()
        try:
            replica.write("hot", {"spec": {"count": number, "state": "busy" if number % 2 else "idle"}})
        except LocalError as error:
            refused = f"; refused after {number:,} updates: {error.message[:60]}"
            break
        took_us.append((time.perf_counter_ns() - began) / 1000)
        done += 1
        replica.wake(clock.now())
        _keep(live, replica)
    kib = sum(live.values()) / 1024
    mib = memory(os.getpid()).rss_mib - before_mib
    last_us = quantile(list(took_us), 0.99)
    told = f"in process: {done:,} of {effort.year:,} updates of one record over a simulated year{refused}"
    values = ((kib, "live records of the journal"), (mib, "growth of RSS"), (last_us, f"p99 of the last {LAST}"))
    return [
        meter.row(id_, value, unit, goal, n=done, why=f"{told}; {what}", ok=not refused and value <= goal)
        for (id_, unit, goal), (value, what) in zip(GOALS, values, strict=True)
    ]


def _keep(live: dict[tuple[int, bytes], int], replica: Replica) -> None:
    for record in replica.kept:
        live.pop((record.kind, record.key), None)
        if record.body:
            live[record.kind, record.key] = len(record.key) + len(record.body)
    replica.kept.clear()
