"""A process that commits events under load and says what was acked, to be killed; and what is checked afterwards.

    python -m tests.gateway.store_crash URL [hasty]

Each line ``NODE NUMBER`` is an ack: that node's events up to NUMBER are said to be durable. ``hasty``: the planted
fault, a store that acks what it has only taken.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from cloud_gateway.model.batch import Batch, Committed
from cloud_gateway.model.queries import JournalQuery
from cloud_gateway.model.rows import CursorRow, EventRow, NodeRow, Row
from cloud_gateway.store import open_store
from cloud_gateway.store.port import Store

PULLERS, EVENTS = 12, 20
ACKS_S = 60.0
_ROOT = Path(__file__).parents[2]


class Commits(Protocol):
    """The part of a store under test."""

    async def commit(self, batch: Batch) -> Committed: ...


class Hasty:
    """Acks before the commit: what a cache in front of the disk would do."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._later: set[asyncio.Task[Committed]] = set()

    async def commit(self, batch: Batch) -> Committed:
        task = asyncio.get_running_loop().create_task(self._commit(batch), name="late commit")
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        await asyncio.sleep(0)
        return Committed(0, len(batch.events))

    async def _commit(self, batch: Batch) -> Committed:
        # Wider than a sync takes, so that the fault does not depend on the disk.
        await asyncio.sleep(0.05)
        return await self._store.commit(batch)


def batch_of(name: str, first: int) -> Batch:
    """The next events of one node, its cursor, and its row."""
    luck = random.Random(f"{name}{first}")
    events = [
        EventRow(
            node_id=name * 8,
            node=name,
            region="here",
            life=1,
            boot=1,
            number=number,
            at_ms=1_000_000 + number,
            subject="agent/x",
            text=f"{number} " + "".join(luck.choices("abcdef0123456789", k=400)),
        )
        for number in range(first, first + EVENTS)
    ]
    last = events[-1].number
    cursor = CursorRow(node_id=name * 8, node=name, boot=1, number=last, last=last)
    node = NodeRow(node_id=name * 8, name=name, region="here", cpu_percent=float(last % 100), boot=last)
    return Batch(events=events, rows={"cursors": list[Row]([cursor]), "nodes": list[Row]([node])})


async def _pull(commits: Commits, name: str, first: int) -> None:
    while True:
        await commits.commit(batch_of(name, first))
        first += EVENTS
        os.write(1, f"{name} {first - 1}\n".encode())


async def _main(url: str, *, hasty: bool) -> None:
    store = await open_store(url)
    await store.lead()
    commits: Commits = Hasty(store) if hasty else store
    cursors = await store.cursors()
    async with asyncio.TaskGroup() as tasks:
        for name in (f"n{at}" for at in range(PULLERS)):
            known = cursors.get(name * 8)
            tasks.create_task(_pull(commits, name, known.number + 1 if known else 1), name=name)


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    try:
        await store.lead()
        yield store
    finally:
        await store.close()


async def run_and_kill(url: str, acks_before_kill: int, *, hasty: bool = False) -> dict[str, int]:
    """Let the process ack so much, kill it there, and say what it had acked by then."""
    words = [sys.executable, "-m", "tests.gateway.store_crash", url, *(["hasty"] if hasty else [])]
    process = await asyncio.create_subprocess_exec(*words, cwd=_ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    acked: dict[str, int] = {}
    try:
        async with asyncio.timeout(ACKS_S):
            for _ in range(acks_before_kill):
                line = await process.stdout.readline()
                assert line, "the process ended by itself"
                _take(acked, line)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    for line in (await process.stdout.read()).splitlines(keepends=True):
        _take(acked, line)
    await process.wait()
    return acked


def _take(acked: dict[str, int], line: bytes) -> None:
    if line.endswith(b"\n"):
        name, number = line.split()
        acked[name.decode()] = int(number)


async def faults(url: str, acked: dict[str, int]) -> list[str]:
    """What is wrong with a store that was killed: acked events that are lost, events that are there twice, cursors
    and rows that do not belong to the events beside them."""
    found: list[str] = []
    there = 0
    async with _opened(url) as store:
        cursors = await store.cursors()
        for name in (f"n{at}" for at in range(PULLERS)):
            numbers = await _numbers(store, name * 8)
            lost = acked.get(name, 0) - len(set(numbers) & set(range(1, acked.get(name, 0) + 1)))
            if lost:
                found.append(f"{name}: {lost} of {acked[name]} acked events are lost")
            there += len(numbers)
            cursor = cursors.get(name * 8)
            if (cursor.number if cursor else 0) != max(numbers, default=0):
                found.append(
                    f"{name}: the cursor is at {cursor and cursor.number}, the events at {max(numbers, default=0)}"
                )
            node = await store.get("nodes", (name * 8,))
            if isinstance(node, NodeRow) and node.boot != max(numbers, default=0):
                found.append(f"{name}: its row is of {node.boot}, its events end at {max(numbers, default=0)}")
        # A journal shows an event once even where it is stored twice; the count of all does not.
        kept = (await store.overview()).events_total
        if kept != there:
            found.append(f"{kept - there} events are there twice")
    return found


async def _numbers(store: Store, node_id: str) -> list[int]:
    numbers: list[int] = []
    while True:
        page = await store.journal(JournalQuery(node_id=node_id, life=1, number=max(numbers, default=0), limit=500))
        numbers += [event.number for event in page.items]
        if not page.more:
            return numbers


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], hasty="hasty" in sys.argv[2:]))
