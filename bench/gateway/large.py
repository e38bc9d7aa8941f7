"""A gateway of 10,000 nodes and 100,000 units, and what is measured on it: memory, lists, the live feed, the page."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from bench.gateway import lists
from bench.gateway.effort import Effort
from bench.gateway.feed import feed
from bench.gateway.filling import prepared
from bench.gateway.load import living
from bench.gateway.node import MadeUpFleet, made_up
from bench.gateway.pages import first_view, grid_fps
from bench.gateway.program import gateway, peak_rss_mib, rss_mib, until
from bench.gateway.questions import questions
from bench.rows import Meter, Row
from tests.real.gateway_kit import GatewayProcess

NODES, PER_NODE = 10_000, 10
FIRST_ROUND_S = 600.0
RSS_MIB, SAMPLE_S = 120.0, 0.25


async def large(effort: Effort) -> AsyncIterator[Row]:
    async with made_up(NODES, per_node=PER_NODE) as fleet:
        path = fleet.directory / "gateway" / "history.db"
        began_s = time.monotonic()
        await prepared(fleet, path, effort.events, rows=not effort.full)
        asked, meter = questions(fleet.fleet), Meter()
        plain = lists.current(asked)
        async with gateway(fleet.directory) as program:
            await until("the gateway has not seen the whole fleet", lambda: fleet.rounds > 0, FIRST_ROUND_S)
            way = "read through the guest" if effort.full else "made beforehand"
            print(f"{NODES:,} nodes {way} in {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
            yield await _rss(fleet, program, effort)
            took = await lists.over_http(program, asked, effort.asks)
            async for row in feed(fleet, program, effort):
                yield row
            for row in await asyncio.to_thread(first_view, program.url, views=effort.views):
                yield row
            yield await asyncio.to_thread(grid_fps, program.url, seconds=effort.pan_s)
            await asyncio.to_thread(program.end)
        stores = {"SQLite": await lists.alone(f"sqlite:{path}", plain, effort.asks)}
    if effort.full:
        async with made_up(NODES, per_node=PER_NODE) as again:
            stores["PostgreSQL"] = await lists.in_postgres(again, effort.events, plain, effort.asks)
    for row in lists.rows(meter, asked, took, plain, stores):
        yield row


async def _rss(fleet: MadeUpFleet, program: GatewayProcess, effort: Effort) -> Row:
    meter, pid = Meter(), program.process.pid
    samples: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        changing = tasks.create_task(living(fleet), name="living")
        until_s = time.monotonic() + effort.changes_s
        while time.monotonic() < until_s:
            samples.append(rss_mib(pid))
            await asyncio.sleep(SAMPLE_S)
        changing.cancel()
    return meter.row(
        "rss", max(samples), "MiB", RSS_MIB, n=len(samples),
        why=f"VmRSS, the most in {effort.changes_s:g} s of changes, at {len(fleet.journals):,} nodes, "
        f"{len(fleet.roster.units):,} units and {effort.events:,} events; {samples[0]:.0f} at first, "
        f"{samples[-1]:.0f} at last; the most since its start {peak_rss_mib(pid):.0f}",
    )  # fmt: skip
