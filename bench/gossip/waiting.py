"""Waiting for what other processes do: they set no event here, so one looks."""

import asyncio
import time
from collections.abc import Callable

POLL_S = 0.02


async def until(holds: Callable[[], bool], within_s: float) -> bool:
    """Look until it holds; whether it did in time."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(POLL_S)
    return True
