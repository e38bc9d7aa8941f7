"""page-queries, overview, skill-search: how long a page of a list takes, over HTTP and by the store alone."""

import json
from collections.abc import Sequence

from bench.gateway.aside import answered
from bench.gateway.questions import Question
from bench.rows import Meter, Row, quantile
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


def rows(meter: Meter, asked: Sequence[Question], took: Times, plain: Sequence[Question], stored: Times) -> list[Row]:
    return [
        _row(
            meter, id_, goal,
            [(one.shown, times) for one, times in zip(asked, took, strict=True) if one.group == group],
            [value for one, times in zip(plain, stored, strict=True) if one.group == group for value in times],
        )
        for id_, group, goal in GOALS
    ]  # fmt: skip


def _row(
    meter: Meter, id_: str, goal: float, each: Sequence[tuple[str, Sequence[float]]], stored: Sequence[float]
) -> Row:
    pooled = [value for _, times in each for value in times]
    slowest = sorted(each, key=lambda one: -quantile(one[1], 0.5))
    over = sum(quantile(times, 0.5) > goal for _, times in each)
    named = "; ".join(f"{shown} {quantile(times, 0.5):.1f}" for shown, times in slowest[:SLOWEST])
    p99 = quantile(pooled, 0.99)
    return meter.row(
        id_, p99, "ms", goal, n=len(pooled), ok=p99 <= goal and not over,
        why=f"p99 over {len(each)} questions on one kept HTTP connection, p50 {quantile(pooled, 0.5):.1f} ms; the "
        f"store alone p50 {quantile(stored, 0.5):.1f}, p99 {quantile(stored, 0.99):.1f}; ok needs the median of each "
        f"question within the goal, too: {over} are not; slowest medians: {named}",
    )  # fmt: skip
