"""An agent that keeps books: counters, values and sessions, and calls that wait for a gate. Named as it was run."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from meshnode.sdk import Agent, Ctx

agent = Agent(os.environ.get("MESHNODE_AGENT", "ledger"))


@agent.skill
def add(ctx: Ctx, n: int = 1, line: str = "total") -> int:
    """Count, and tell the sum."""
    ctx.state.counter(line).add(n)
    return ctx.state.counter(line).value


@agent.skill(idempotent=True, tags=("books.total",))
def total(ctx: Ctx, line: str = "total") -> int:
    """Tell a sum."""
    return ctx.state.counter(line).value


@agent.skill
def put(ctx: Ctx, key: str, value: str) -> None:
    """Keep a text."""
    ctx.state[key] = value


@agent.skill
def keep(ctx: Ctx, key: str, size: int) -> None:
    """Keep a text of so many characters."""
    ctx.state[key] = "x" * size


@agent.skill(idempotent=True)
def read(ctx: Ctx, key: str) -> str | None:
    """Tell a text."""
    return ctx.state.get(key)


@agent.skill
def visit(ctx: Ctx) -> tuple[str, int]:
    """Count the visits of the call's session; tell which instance did."""
    visits = ctx.session().counter("visits")
    visits.add(1)
    return ctx.instance, visits.value


@agent.skill
def gated(ctx: Ctx, gate: str, n: int = 1) -> int:
    """Count once somebody opens the gate, a named pipe; every run leaves a line beside it."""
    note(f"{gate}.runs", os.getpid())
    pipe = os.open(gate, os.O_RDONLY)
    os.read(pipe, 1)
    os.close(pipe)
    return add(ctx, n)


def note(file: str, line: object) -> None:
    with Path(file).open("a") as notes:
        print(line, file=notes)


@agent.skill
async def numbers(n: int) -> AsyncIterator[int]:
    """Count aloud."""
    for number in range(n):
        yield number


@agent.skill
async def endless(mark: str) -> AsyncIterator[int]:
    """Count aloud until nobody listens any more; then write a file."""
    number = 0
    try:
        while True:
            yield number
            number += 1
    finally:
        note(mark, number)


@agent.skill
def pid() -> int:
    """Tell the process."""
    return os.getpid()


@agent.skill
def write(lines: int, text: str = "line") -> None:
    """Print lines."""
    for number in range(lines):
        print(f"{text} {number}")


agent.run()
