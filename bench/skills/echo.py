"""An agent without a memory that echoes, and measures how others do."""

import asyncio
import os
import time

from meshnode.sdk import Agent, Ctx

BEGAN_S = time.monotonic()
agent = Agent(os.environ["BENCH_AGENT"], tier=os.environ.get("BENCH_TIER", "process"))
PAYLOAD = "x" * 128


@agent.skill(idempotent=True)
async def echo(payload: str) -> str:
    """Give back what was given."""
    return payload


@agent.skill(idempotent=True)
async def began() -> float:
    """When this file began to run, on this machine's CLOCK_MONOTONIC."""
    return BEGAN_S


@agent.skill(concurrent=True)
async def sequence(ctx: Ctx, target: str, warm: int, samples: int) -> list[float]:
    """Call a skill again and again with 128 bytes; how long each call took, in microseconds."""
    for _ in range(warm):
        await ctx.call(target, payload=PAYLOAD)
    took: list[float] = []
    for _ in range(samples):
        began = time.perf_counter()
        await ctx.call(target, payload=PAYLOAD)
        took.append(round((time.perf_counter() - began) * 1e6, 1))
    return took


@agent.skill(concurrent=True)
async def window(ctx: Ctx, target: str, in_flight: int, window_s: float) -> float:
    """Keep so many calls in flight; how many were answered in a second."""
    count, began = 0, time.perf_counter()

    async def one() -> None:
        nonlocal count
        while time.perf_counter() - began < window_s:
            await ctx.call(target, payload=PAYLOAD)
            count += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(one())
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    agent.run()
