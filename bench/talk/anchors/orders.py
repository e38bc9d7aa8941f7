"""What every anchor's client does: reads an order a line, takes the figure, says it as a line of JSON.

{"what": "sequence", "bytes": 128, "for_s": 0.5}            latencies of calls one after another
{"what": "window", "bytes": 128, "at_once": 64, "for_s": 1} answered calls a second
{"what": "stream", "bytes": 16384, "for_s": 1}              megabytes a second, one way, the last one acknowledged
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Call = Callable[[bytes], Awaitable[object]]
Stream = Callable[[bytes, float], Awaitable[int]]
WARM = 3


def say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


async def until_closed() -> None:
    """Stay as long as somebody holds the other end of stdin."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def obey(call: Call, stream: Stream) -> None:
    say({"ready": True, "pid": os.getpid()})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        payload = os.urandom(order["bytes"])
        match order["what"]:
            case "sequence":
                say(await sequence(call, payload, order["for_s"]))
            case "window":
                say(await window(call, payload, order["at_once"], order["for_s"]))
            case _:
                began = time.perf_counter()
                count = await stream(payload, order["for_s"])
                took_s = time.perf_counter() - began
                say({"count": count, "mb_s": count * len(payload) / took_s / 1e6})


async def sequence(call: Call, payload: bytes, for_s: float) -> dict[str, Any]:
    for _ in range(WARM):
        await call(payload)
    took: list[float] = []
    until = time.perf_counter() + for_s
    while (began := time.perf_counter()) < until:
        await call(payload)
        took.append(time.perf_counter() - began)
    took.sort()
    at = {share: round(took[int(len(took) * share)] * 1e6, 2) for share in (0.5, 0.99)}
    return {"count": len(took), "p50_us": at[0.5], "p99_us": at[0.99]}


async def window(call: Call, payload: bytes, at_once: int, for_s: float) -> dict[str, Any]:
    count, began = 0, time.perf_counter()

    async def one() -> None:
        nonlocal count
        while time.perf_counter() - began < for_s:
            await call(payload)
            count += 1

    await asyncio.gather(*[one() for _ in range(at_once)])
    return {"count": count, "per_s": count / (time.perf_counter() - began)}
