"""How fast events go into PostgreSQL, how late they are acked and what they cost its disk.

    python -m tests.gateway.postgres_measure [--events N] [--batch N] [--pullers N] [--nodes N] [--rate N]

A delta is an event of 1 KiB with the cursor that counts it, acked after a commit that is on disk (fsync and
synchronous_commit on). Bytes: of the log, and by which the data files grew; behind them all that the processes of the
server handed to write(), from one checkpoint to the next: there PostgreSQL 15 counts a new page twice, since it
lengthens a file by zeros first. The log's files are made beforehand, as on a server that has run for a while.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from cloud_gateway.model.batch import Batch
from cloud_gateway.store.postgres.store import PostgresStore, open_postgres
from tests.gateway import postgres_kit as kit
from tests.gateway.fleet import Fleet

BODY_BYTES = 1024
_LOG_FILES = 20
NOW_MS = 1_764_000_000_000


class Measured(NamedTuple):
    """Over ``events`` acked events."""

    events: int
    commits: int
    per_s: float
    p50_ms: float
    p99_ms: float
    wal_bytes: float  # each, of the write-ahead log
    grown_bytes: float  # each, of data files
    written_bytes: float  # each, of all files
    cpu: float  # of a core, of the gateway alone


async def load(store: PostgresStore, batches: list[Batch], pullers: int, rate: float) -> tuple[float, list[float]]:
    """Seconds it took, and how late each batch was acked; with a rate, from the moment it was due."""
    waits: list[float] = []
    began = time.perf_counter()

    async def pull(rest: Iterator[tuple[float, Batch]]) -> None:
        for due_s, batch in rest:
            since = began + due_s if rate else time.perf_counter()
            await asyncio.sleep(max(0.0, since - time.perf_counter()))
            await store.commit(batch)
            waits.append(time.perf_counter() - since)

    per_batch_s = len(batches[0].events) / rate if rate else 0.0
    rest = iter([(at * per_batch_s, batch) for at, batch in enumerate(batches)])
    async with asyncio.TaskGroup() as tasks:
        for at in range(pullers):
            tasks.create_task(pull(rest), name=f"pull-{at}")
    return time.perf_counter() - began, sorted(waits)


async def measure(server: kit.Server, url: str, given: argparse.Namespace) -> Measured:
    fleet = Fleet(given.nodes, per_node=0, now_ms=NOW_MS)
    store = await open_postgres(url)
    await store.lead()
    made = [fleet.events(given.batch, body_bytes=BODY_BYTES) for _ in range(2 * given.events // given.batch)]
    half = len(made) // 2
    await load(store, made[:half], given.pullers, 0.0)
    for _ in range(_LOG_FILES):
        server.sql("SELECT pg_switch_wal(); SELECT txid_current()")
    server.sql("CHECKPOINT")
    wal, written, cpu = _wal_bytes(server), server.written_bytes(), time.process_time()
    before = await store.sizes()
    took_s, waits = await load(store, made[half:], given.pullers, given.rate)
    cpu = time.process_time() - cpu
    wal = _wal_bytes(server) - wal
    server.sql("CHECKPOINT")
    after = await store.sizes()
    grown, commits = (after[name] - before[name] for name in ("store_bytes", "store_commits"))
    await store.close()
    events = sum(len(batch.events) for batch in made[half:])
    return Measured(
        events, commits, events / took_s, waits[len(waits) // 2] * 1000, waits[int(len(waits) * 0.99)] * 1000,
        wal / events, grown / events, (server.written_bytes() - written) / events, cpu / took_s,
    )  # fmt: skip


def _wal_bytes(server: kit.Server) -> int:
    return int(server.sql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--pullers", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: as fast as it goes")
    given = parser.parse_args()
    with kit.server({"min_wal_size": "512MB"}) as server, kit.database(server, "measure") as url:
        got = asyncio.run(measure(server, url, given))
    print(
        f"{got.per_s:,.0f} deltas/s in {got.commits} commits; acked after p50 {got.p50_ms:.1f} ms, "
        f"p99 {got.p99_ms:.1f} ms; {got.wal_bytes + got.grown_bytes:,.0f} B a delta ({got.wal_bytes:,.0f} log, "
        f"{got.grown_bytes:,.0f} data files; {got.written_bytes:,.0f} handed to write()); "
        f"gateway {got.cpu:.0%} of a core; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
