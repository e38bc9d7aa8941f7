"""ingest-*: deltas from the journals of 1,000 nodes into a store, end to end, acknowledged after their commit."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from bench.gateway import naive
from bench.gateway.effort import Effort
from bench.gateway.load import paced, read_to_the_end
from bench.gateway.node import MadeUpFleet, made_up
from bench.gateway.program import gateway, taken, until
from bench.rows import Anchor, Meter, Row, quantile
from tests.gateway import postgres_kit
from tests.real.gateway_kit import GatewayProcess

NODES, BACKLOG = 1000, 64
PACE, P99_MS, BYTES = 1000, 250.0, 1500.0
GOALS = {"sqlite": 3_000.0, "pg": 20_000.0}
SETTLES_S = 1.0


class Figures(NamedTuple):
    """``bytes_each``: at full load; ``paced_bytes``: at 1,000 a second. Both without what is written when nothing is
    told, ``calm_bytes_s``: current rows, their ages, loads."""

    per_s: float
    acknowledged: int
    p50_ms: float
    p99_ms: float
    paced: int
    bytes_each: float
    paced_bytes: float
    calm_bytes_s: float
    cpu: float
    node_cpu: float


Written = Callable[[], int]


async def ingest_sqlite(effort: Effort) -> AsyncIterator[Row]:
    meter = Meter()
    async with made_up(NODES, per_node=1) as fleet, gateway(fleet.directory) as program:
        pid = program.process.pid
        figures = await _figures(fleet, program, effort, lambda: taken(pid).dirtied_bytes)
    beside = await asyncio.to_thread(naive.sqlite, effort.anchor_s)
    for row in rows_of("sqlite", meter, figures, naive.SQLITE, beside):
        yield row


async def ingest_pg(effort: Effort) -> AsyncIterator[Row]:
    meter = Meter()
    if postgres_kit.programs() is None:
        for id_ in ("ingest-pg", "ingest-pg-p99", "ingest-pg-bytes"):
            yield meter.row(id_, None, "", None, n=0, ok=False, why="no PostgreSQL on this machine: make postgres")
        return
    # Files of the log are made beforehand, as on a server that has run for a while.
    with postgres_kit.server({"min_wal_size": "512MB"}) as server, postgres_kit.database(server, "naive") as plain:
        with postgres_kit.database(server, "fleet") as url:
            async with made_up(NODES, per_node=1) as fleet, gateway(fleet.directory, url) as program:

                def written() -> int:
                    server.sql("CHECKPOINT")  # so that what the log holds is counted in the tables' files, too
                    return server.written_bytes()

                figures = await _figures(fleet, program, effort, written)
        beside = await naive.postgres(server, plain, effort.anchor_s)
    for row in rows_of("pg", meter, figures, naive.POSTGRES, beside):
        yield row


async def _figures(fleet: MadeUpFleet, program: GatewayProcess, effort: Effort, written: Written) -> Figures:
    ledger = fleet.ledger
    for journal in fleet.journals:
        fleet.write(journal)
    await read_to_the_end(fleet)
    calm = await _written(asyncio.sleep(effort.paced_s), written)
    calm_s = calm.total / calm.took_s
    ledger.begin(time.monotonic())
    before = ledger.acknowledged
    slow = await _written(_paced(fleet, effort.paced_s), written)
    waits, paced_count = list(ledger.waits), ledger.acknowledged - before
    await _saturate(fleet)
    cpu, own_s, before = taken(program.process.pid), time.process_time(), ledger.acknowledged
    full = await _written(asyncio.sleep(effort.saturated_s), written)
    done = ledger.acknowledged - before
    cpu, own_s = taken(program.process.pid).since(cpu), time.process_time() - own_s
    fleet.saturated = False
    return Figures(
        per_s=done / full.took_s, acknowledged=done, p50_ms=1000 * quantile(waits, 0.5),
        p99_ms=1000 * quantile(waits, 0.99), paced=len(waits),
        bytes_each=(full.total - calm_s * full.took_s) / done,
        paced_bytes=(slow.total - calm_s * slow.took_s) / paced_count,
        calm_bytes_s=calm_s, cpu=cpu.cpu_s / full.took_s, node_cpu=own_s / full.took_s,
    )  # fmt: skip


class _Window(NamedTuple):
    total: int
    took_s: float


async def _written(happens: Awaitable[None], written: Written) -> _Window:
    """Bytes while something happens, and how long it was counted."""
    before, began_s = await asyncio.to_thread(written), time.monotonic()
    await happens
    total = await asyncio.to_thread(written) - before
    return _Window(total, time.monotonic() - began_s)


async def _paced(fleet: MadeUpFleet, seconds: float) -> None:
    await paced(fleet, PACE, seconds)
    await read_to_the_end(fleet)


async def _saturate(fleet: MadeUpFleet) -> None:
    """Every journal has more to tell from here on."""
    before = fleet.ledger.acknowledged
    fleet.saturated = True
    for journal in fleet.journals:
        fleet.write(journal, BACKLOG)
    await until("nothing is acknowledged at full load", lambda: fleet.ledger.acknowledged > before + NODES)
    await asyncio.sleep(SETTLES_S)


def rows_of(store: str, meter: Meter, got: Figures, anchor: str, beside: naive.Naive) -> list[Row]:
    each = max(got.bytes_each, got.paced_bytes)
    ok = got.per_s >= GOALS[store] and got.p99_ms <= P99_MS and each <= BYTES
    return [
        meter.row(
            f"ingest-{store}", got.per_s, "1/s", GOALS[store], n=got.acknowledged, more=True, ok=ok,
            anchor=Anchor(name=anchor, value=beside.per_s),
            why=f"deltas of 1 KiB from {NODES:,} journals that always have more, acknowledged after their commit; the "
            f"gateway takes {got.cpu:.2f} of a core, the made-up node {got.node_cpu:.2f}; ok needs p99 "
            f"({got.p99_ms:.0f} ms at {PACE:,}/s) and bytes ({each:.0f}) within their goals, too",
        ),
        meter.row(
            f"ingest-{store}-p99", got.p99_ms, "ms", P99_MS, n=got.paced,
            anchor=Anchor(name=anchor, value=beside.p99_ms),
            why=f"from writing to acknowledgement at {PACE:,} deltas/s, every one of them; p50 {got.p50_ms:.0f} ms",
        ),
        meter.row(
            f"ingest-{store}-bytes", each, "B", BYTES, n=got.acknowledged,
            anchor=Anchor(name=anchor, value=beside.bytes_each),
            why=f"written for each delta of 1 KiB: {got.bytes_each:.0f} at full load, {got.paced_bytes:.0f} at "
            f"{PACE:,}/s; the worse counts. Not in it: {got.calm_bytes_s / 1000:.0f} KB/s that are written when "
            f"nothing is told: rows of {NODES:,} nodes, their ages, their loads",
        ),
    ]  # fmt: skip
