"""An agent that does what no agent should. Named as it was run."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from meshnode.sdk import Agent, Ctx

agent = Agent(os.environ.get("MESHNODE_AGENT", "rogue"))


@agent.skill
async def hang(mark: str) -> None:
    """Wait for ever; write a file when that ends."""
    try:
        await asyncio.Event().wait()
    finally:
        note(mark, "ended")


@agent.skill
async def late(gate: str) -> str:
    """Swallow the cancellation, and answer all the same once the gate is opened."""
    note(f"{gate}.runs", "began")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.to_thread(pass_by, gate)
    note(f"{gate}.runs", "over")
    return "too late"


def note(file: str, line: str) -> None:
    with Path(file).open("a") as notes:
        print(line, file=notes)


def pass_by(gate: str) -> None:
    pipe = os.open(gate, os.O_RDONLY)
    os.read(pipe, 1)
    os.close(pipe)


@agent.skill
def lie() -> int:
    """Return what the own schema forbids."""
    return "seven"  # type: ignore[return-value]


@agent.skill
async def midway(n: int) -> AsyncIterator[int]:
    """Raise after some items."""
    for number in range(n):
        yield number
    raise ZeroDivisionError("in the middle")


@agent.skill
def hoard(ctx: Ctx, key: str, size: int, copies: int = 1) -> None:
    """Keep too much."""
    for number in range(copies):
        ctx.state[f"{key} {number}"] = "x" * size


@agent.skill
def kept(ctx: Ctx) -> int:
    """Tell how many keys there are."""
    return len(ctx.state)


@agent.skill
def take(number: int, names: list[str]) -> int:
    """Take a number and names."""
    return number + len(names)


@agent.skill
def flood(bytes_: int) -> None:
    """Print more than anybody will read."""
    line = "x" * 999 + "\n"
    for _ in range(bytes_ // len(line)):
        sys.stdout.write(line)
    sys.stdout.flush()


@agent.skill
async def deafen() -> int:
    """From now on heed nothing, neither the daemon nor a signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.get_running_loop().call_soon(threading.Event().wait)
    return os.getpid()


@agent.skill
def fork_away() -> int:
    """Leave a child in a session of its own."""
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    return child


agent.run()
