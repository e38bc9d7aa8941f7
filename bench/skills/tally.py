"""An agent that counts, and remembers by which key: what the benches kill, cut off and look for again."""

import os

from meshnode.sdk import Agent, Ctx

agent = Agent(os.environ["BENCH_AGENT"], tier=os.environ.get("BENCH_TIER", "process"))


@agent.skill(idempotent=True)
async def add(ctx: Ctx) -> int:
    """Count one call."""
    count = ctx.state.counter("count")
    count.add(1)
    return count.value


@agent.skill(idempotent=True)
async def put(ctx: Ctx, key: str, value: str) -> int:
    """Count one call, and remember a value under a key."""
    ctx.state[key] = value
    count = ctx.state.counter("count")
    count.add(1)
    return count.value


@agent.skill(idempotent=True)
async def look(ctx: Ctx) -> int:
    """Tell the count."""
    return ctx.state.counter("count").value


if __name__ == "__main__":
    agent.run()
