"""kill-loss: the gateway is killed under load, again and again; then the nodes' books are held against its store."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from bench.gateway.deltas import Deltas
from bench.gateway.effort import Effort
from bench.gateway.journals import Journal
from bench.gateway.load import paced, read_to_the_end
from bench.gateway.node import MadeUpFleet, made_up
from bench.gateway.program import gateway, until
from bench.rows import Meter, Row
from cloud_gateway.model.queries import JournalQuery
from cloud_gateway.model.rows import EventRow, GapRow
from cloud_gateway.store import Store, open_store

NODES, PER_S = 200, 2000
_SHOWN = 3


def discrepancies(journal: Journal, deltas: Deltas, events: Sequence[EventRow], gaps: Sequence[GapRow]) -> list[str]:
    """What is wrong with what a store has of a node's journal, [] if nothing is: every acknowledged event must be there
    once, with its text, and nothing that was never written."""
    counts = Counter((event.life, event.number) for event in events)
    found = [f"{journal.name}: {number} doubled" for (_, number), count in counts.items() if count > 1]
    found += [
        f"{journal.name}: {number} was acknowledged and is lost"
        for number in range(1, journal.acknowledged + 1)
        if (1, number) not in counts
    ]
    found += [
        f"{journal.name}: {event.number} of life {event.life} was never written"
        for event in events
        if event.life != 1 or event.number > journal.written
    ]
    found += [
        f"{journal.name}: {event.number} has another text"
        for event in events
        if event.text != deltas.text(journal.index, event.number)
    ]
    return found + [f"{journal.name}: a gap from {gap.first} to {gap.last}: {gap.why}" for gap in gaps]


async def read_back(store: Store, journal: Journal) -> tuple[list[EventRow], list[GapRow]]:
    """All that a store has of a node."""
    events, gaps = list[EventRow](), dict[int, GapRow]()
    life = number = 0
    while True:
        page = await store.journal(JournalQuery(node_id=journal.node_id, life=life, number=number, limit=500))
        events += page.items
        gaps |= {gap.first: gap for gap in page.gaps}
        if not page.more:
            return events, list(gaps.values())
        life, number = page.items[-1].life, page.items[-1].number


async def kill_loss(effort: Effort) -> AsyncIterator[Row]:
    meter, luck = Meter(), random.Random()
    async with made_up(NODES, per_node=1) as fleet, asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(paced(fleet, PER_S, 3600.0), name="writing")
        acknowledged = [await _life(fleet, luck.uniform(*effort.kill_after_s)) for _ in range(effort.kills)]
        writing.cancel()
        async with gateway(fleet.directory) as last:
            await read_to_the_end(fleet)
            await asyncio.to_thread(last.end)
        path = str(fleet.directory / "gateway" / "history.db")
        wrong = await _held_against(fleet, path)
        integrity = await asyncio.to_thread(_integrity, path)
        wrong += [] if integrity == "ok" else [f"integrity: {integrity}"]
    yield meter.row(
        "kill-loss", len(wrong), "events", 0, n=effort.kills, ok=not wrong and min(acknowledged) > 0,
        why=f"SIGKILL {effort.kills} times, up to {effort.kill_after_s[1]:g} s after the first commit of a life, at "
        f" {PER_S:,} deltas/s: {fleet.ledger.acknowledged:,} acknowledged, each of them once and unchanged in the "
        f"store, integrity {integrity}; acknowledged before each kill: {min(acknowledged):,} to {max(acknowledged):,}"
        + (f"; WRONG: {'; '.join(wrong[:_SHOWN])}" if wrong else ""),
    )  # fmt: skip


async def _life(fleet: MadeUpFleet, seconds: float) -> int:
    """How much was acknowledged by a gateway before it was killed: at least something, so that there is load."""
    async with gateway(fleet.directory) as process:
        before = fleet.ledger.acknowledged
        await until("the gateway acknowledges nothing", lambda: fleet.ledger.acknowledged > before)
        await asyncio.sleep(seconds)
        process.process.kill()
        await asyncio.to_thread(process.process.wait)
        return fleet.ledger.acknowledged - before


async def _held_against(fleet: MadeUpFleet, path: str) -> list[str]:
    store = await open_store(f"sqlite:{path}")
    try:
        wrong = fleet.faults()
        for journal in fleet.journals:
            wrong += discrepancies(journal, fleet.deltas, *(await read_back(store, journal)))
        return wrong
    finally:
        await store.close()


def _integrity(path: str) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    finally:
        connection.close()
