"""A machine that is busy with something else."""

import asyncio


async def busy(loops: int, for_s: float) -> None:
    """So many shells that do nothing, as fast as they can."""
    started = [
        await asyncio.create_subprocess_exec("timeout", str(for_s), "sh", "-c", "while :; do :; done")
        for _ in range(loops)
    ]
    for loop in started:
        await loop.wait()
