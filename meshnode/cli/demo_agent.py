"""The agent of ``meshnode demo``: a total that lives through kills and cuts. Also a small example to start from."""

from meshnode.sdk import Agent, Ctx

agent = Agent("tally")


@agent.skill
def add(ctx: Ctx, n: int = 1) -> int:
    """Add to the total and return it. Copies that were cut off from each other are added up when they meet again."""
    total = ctx.state.counter("total")
    total.add(n)
    return total.value


@agent.skill
def total(ctx: Ctx) -> int:
    """The total as it is here."""
    return ctx.state.counter("total").value


if __name__ == "__main__":
    agent.run()
