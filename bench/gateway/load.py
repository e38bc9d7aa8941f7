"""Who writes into the journals, and how fast."""

import asyncio
import random
import time
from collections.abc import Sequence

from bench.gateway.journals import Journal
from bench.gateway.node import MadeUpFleet
from bench.gateway.program import until

TICK_S = 0.01
CHANGED_NODES, CHANGED_UNITS = 200, 50  # a second


async def paced(fleet: MadeUpFleet, per_s: float, seconds: float, among: Sequence[Journal] = ()) -> None:
    """So many events a second, each in the journal of a random node, evenly over the time."""
    luck, journals = random.Random(4), among or fleet.journals
    began_s, done = time.monotonic(), 0
    while (now_s := time.monotonic()) < began_s + seconds:
        due = int((now_s - began_s) * per_s) - done
        for journal in luck.choices(journals, k=due):
            fleet.write(journal)
        done += due
        await asyncio.sleep(TICK_S)


async def read_to_the_end(fleet: MadeUpFleet, within_s: float = 60.0) -> None:
    """Until all that was written is acknowledged. The last page of a node is acknowledged with the next question that
    concerns it: news of others bring it about."""
    await until("not all that was written was acknowledged",
                lambda: fleet.ledger.acknowledged == fleet.ledger.written, within_s)  # fmt: skip


async def living(fleet: MadeUpFleet) -> None:
    """Every second some nodes tell another load, some units another state, and some write events."""
    luck = random.Random(5)
    while True:
        fleet.roster.stir(CHANGED_NODES, CHANGED_UNITS)
        for journal in luck.choices(fleet.journals, k=CHANGED_UNITS):
            fleet.write(journal)
        await asyncio.sleep(1.0)
