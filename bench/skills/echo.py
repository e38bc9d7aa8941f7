"""An agent without a memory that echoes, and measures how others do."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator

from meshnode.sdk import Agent, Ctx

BEGAN_S = time.monotonic()
agent = Agent(os.environ["BENCH_AGENT"], tier=os.environ.get("BENCH_TIER", "process"))
PAYLOAD = "x" * 128
HANGING: list[int] = []


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


@agent.skill
async def flow(size: int) -> AsyncIterator[str]:
    """Items of so many characters for as long as somebody reads them."""
    item = "x" * size
    while True:
        yield item


@agent.skill
async def raw_flow(size: int) -> AsyncIterator[bytes]:
    """Items of so many bytes for as long as somebody reads them."""
    item = bytes(size)
    while True:
        yield item


@agent.skill(idempotent=True)
async def raw_blob(size: int) -> bytes:
    """One answer of so many bytes."""
    return bytes(size)


@agent.skill(idempotent=True)
async def blob(size: int) -> str:
    """One answer of so many characters."""
    return "x" * size


@agent.skill(idempotent=True)
async def weigh(data: bytes) -> int:
    """How many bytes were given."""
    return len(data)


@agent.skill
async def rest(for_s: float) -> float:
    """Answer late."""
    await asyncio.sleep(for_s)
    return for_s


@agent.skill(concurrent=True)
async def drain(ctx: Ctx, target: str, size: int, for_s: float, as_bytes: bool = False) -> float:
    """Read a flow; megabytes a second."""
    count, began = 0, time.perf_counter()
    items = ctx.stream(target, size=size, as_bytes=as_bytes)
    try:
        async for _ in items:
            count += 1
            if time.perf_counter() - began >= for_s:
                break
    finally:
        await items.aclose()
    return count * size / (time.perf_counter() - began) / 1e6


@agent.skill(concurrent=True)
async def fetch(ctx: Ctx, target: str, size: int, for_s: float, as_bytes: bool = False) -> float:
    """Fetch blobs, one after another; megabytes a second."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < for_s:
        assert len(await ctx.call(target, size=size, as_bytes=as_bytes)) == size
        count += 1
    return count * size / (time.perf_counter() - began) / 1e6


@agent.skill(concurrent=True)
async def give(ctx: Ctx, target: str, size: int, for_s: float, as_text: bool) -> float:
    """Call again and again with bytes, as they are or in base64; megabytes of them a second."""
    count, data, began = 0, bytes(size), time.perf_counter()
    while time.perf_counter() - began < for_s:
        given = base64.b64encode(data).decode() if as_text else data
        assert await ctx.call(target, data=given) == size
        count += 1
    return count * size / (time.perf_counter() - began) / 1e6


@agent.skill(concurrent=True)
async def take(ctx: Ctx, target: str, size: int, for_s: float, as_text: bool) -> float:
    """Call again and again for bytes, as they are or in base64; megabytes of them a second."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < for_s:
        taken = await ctx.call(target, size=size, as_bytes=not as_text)
        assert len(base64.b64decode(taken) if as_text else taken) == size
        count += 1
    return count * size / (time.perf_counter() - began) / 1e6


@agent.skill(concurrent=True)
async def hang(ctx: Ctx, sleeper: str, flow: str, count: int, for_s: float) -> int:
    """Wait for so many calls that are not answered, and read one item of a flow and no more."""
    items = ctx.stream(flow, size=1024)
    try:
        await anext(items)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(ctx.call(sleeper, for_s=for_s))
            await asyncio.sleep(0)  # each has sent its call
            HANGING.append(count)
    finally:
        await items.aclose()
    return count


@agent.skill(concurrent=True, idempotent=True)
async def hanging() -> int:
    """How many calls of ``hang`` have been sent: they went out before this answer."""
    return sum(HANGING)


if __name__ == "__main__":
    agent.run()
