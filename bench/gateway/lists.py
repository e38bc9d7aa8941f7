"""page-queries, overview, skill-search: how long a page of a list takes, over HTTP and by the store alone."""

import asyncio
import json
from collections.abc import Mapping, Sequence

from bench.gateway.aside import answered
from bench.gateway.filling import fill
from bench.gateway.node import MadeUpFleet
from bench.gateway.questions import Question
from bench.rows import Meter, Row, quantile
from cloud_gateway.store import open_store
from tests.gateway import postgres_kit
from tests.real.gateway_kit import GatewayProcess

GOALS = (("page-queries", "lists", 5.0), ("overview", "overview", 20.0), ("skill-search", "search", 5.0))
SLOWEST = 3
Times = Sequence[Sequence[float]]  # of each question, ms


async def over_http(program: GatewayProcess, asked: Sequence[Question], rounds: int) -> Times:
    told = [[f"/api/v1/{one.address}", one.deep] for one in asked]
    return json.loads(await answered(json.dumps(told), "asker", program.host, str(rounds)))


def current(asked: Sequence[Question]) -> list[Question]:
    """Those that a store is asked as they stand: first pages of current rows."""
    return [one for one in asked if not one.deep and one.path not in ("events", "journal", "agents")]


async def alone(store: str, asked: Sequence[Question], rounds: int) -> Times:
    told = [[one.path, one.values] for one in asked]
    return json.loads(await answered(json.dumps(told), "alone", store, str(rounds)))


async def in_postgres(fleet: MadeUpFleet, events: int, asked: Sequence[Question], rounds: int) -> Times:
    """The same rows and events in the other store, by that alone. Nothing, where there is no server."""
    if postgres_kit.programs() is None:
        return []
    with postgres_kit.server() as server, postgres_kit.database(server, "lists") as url:
        store = await open_store(url)
        await store.lead()
        await fill(store, fleet, events)
        await store.close()
        await asyncio.to_thread(server.sql, "VACUUM ANALYZE", "lists")  # as its own upkeep does in time
        return await alone(url, asked, rounds)


def rows(
    meter: Meter, asked: Sequence[Question], took: Times, plain: Sequence[Question], stores: Mapping[str, Times]
) -> list[Row]:
    """``stores``: name of a store -> what it took alone for the plain questions."""
    return [
        figure(
            meter, id_, goal,
            [(one.shown, times) for one, times in zip(asked, took, strict=True) if one.group == group],
            {
                name: [value for one, each in zip(plain, times, strict=True) if one.group == group for value in each]
                for name, times in stores.items() if times
            },
        )
        for id_, group, goal in GOALS
    ]  # fmt: skip


def figure(
    meter: Meter, id_: str, goal: float, each: Sequence[tuple[str, Sequence[float]]],
    stored: Mapping[str, Sequence[float]],
) -> Row:  # fmt: skip
    pooled = [value for _, times in each for value in times]
    slowest = sorted(each, key=lambda one: -quantile(one[1], 0.5))
    over = sum(quantile(times, 0.5) > goal for _, times in each)
    named = "; ".join(f"{shown} {quantile(times, 0.5):.1f}" for shown, times in slowest[:SLOWEST])
    alone_ms = ", ".join(
        f"{name} p50 {quantile(times, 0.5):.1f} p99 {quantile(times, 0.99):.1f}" for name, times in stored.items()
    )
    p99 = quantile(pooled, 0.99)
    return meter.row(
        id_, p99, "ms", goal, n=len(pooled), ok=p99 <= goal and not over,
        why=f"p99 over {len(each)} questions on one kept HTTP connection, p50 {quantile(pooled, 0.5):.1f} ms; ok needs "
        f"the median of each within the goal, too: {over} are over; slowest medians: {named}; stores alone, first "
        f"pages of rows: {alone_ms}",
    )  # fmt: skip
