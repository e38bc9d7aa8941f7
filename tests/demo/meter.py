"""The agent that the demo counts with: one key for every reading it was given, and one total over all of them.

A reading that ran twice shows: its key is the same, and the total has grown twice.
"""

from collections.abc import Iterator
from typing import TypedDict

from meshnode.sdk import Agent, Ctx

agent = Agent("meter")

ID = "id "
TOTAL = "total"


class Reading(TypedDict):
    """The total, and what was added for each id."""

    total: int
    ids: dict[str, int]


@agent.skill
def add(ctx: Ctx, id: str, n: int) -> int:  # noqa: A002 - the name of the argument, for people
    """Count one reading and tell the new total.

    Args:
        id: unique for each reading.
        n: what it adds.
    """
    ctx.state[ID + id] = n
    total = ctx.state.counter(TOTAL)
    total.add(n)
    return total.value


@agent.skill(idempotent=True)
def read(ctx: Ctx) -> Reading:
    """Tell all that was counted."""
    ids = {key.removeprefix(ID): ctx.state[key] for key in ctx.state if key.startswith(ID)}
    return Reading(total=ctx.state.counter(TOTAL).value, ids=ids)


@agent.skill(concurrent=True, idempotent=True, tags=("meter.listing",))
def ids(ctx: Ctx) -> Iterator[str]:
    """List the ids of all readings, one after the other."""
    yield from sorted(key.removeprefix(ID) for key in ctx.state if key.startswith(ID))


if __name__ == "__main__":
    agent.run()
