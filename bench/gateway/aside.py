"""Readers in processes of their own: what they do is not timed with what they measure."""

import asyncio
import sys

from tests.demo.fleet import ROOT, Broken

WITHIN_S = 300.0


async def started(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """``python -m bench.gateway.MODULE``, with pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"bench.gateway.{module}", *arguments, cwd=ROOT, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip


async def answered(told: str, module: str, *arguments: str) -> str:
    """What it says to this. Raises ``Broken``."""
    process = await started(module, *arguments)
    try:
        async with asyncio.timeout(WITHIN_S):
            answer, _ = await process.communicate(told.encode())
    except TimeoutError as error:
        process.kill()
        raise Broken(f"bench.gateway.{module} was not done after {WITHIN_S:g} s") from error
    if process.returncode:
        raise Broken(f"bench.gateway.{module} ended with {process.returncode}")
    return answer.decode()
