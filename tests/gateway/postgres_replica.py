"""One replica as a process of its own: waits to lead, goes on from the committed cursors, commits events, says so.

    python -m tests.gateway.postgres_replica URL [--nodes N] [--lease S] [--no-dedupe]

Lines on stdout: ``open``, ``leads``, ``acked TOTAL`` for every commit, ``refused WHY``. What it commits is a made-up
journal: the event ``number`` of a node always says the same. Every batch begins with some events that were sent
before, as a puller does whose answer was lost.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import CursorRow, EventRow, Row
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres.store import PostgresStore, open_postgres
from cloud_gateway.store.postgres.wire import Bounds
from cloud_gateway.store.postgres.work import Mark
from cloud_gateway.store.postgres.writing import Writing

AGAIN, NEW = 3, 5


def say(line: str) -> None:
    """In one write, so that whoever is killed leaves no half of it."""
    os.write(sys.stdout.fileno(), (line.replace("\n", " ") + "\n").encode())


def event(node: int, number: int) -> EventRow:
    return EventRow(
        node_id=f"{node:064x}",
        node=f"n{node}",
        region="r",
        life=1,
        boot=1,
        number=number,
        at_ms=1_764_000_000_000 + number,
        subject="agent/words",
        text=f"{node}/{number}: " + "x" * 80,
    )


def batch(node: int, number: int) -> Batch:
    """What follows ``number`` in a node's journal, and a little of what came before."""
    first, last = max(1, number + 1 - AGAIN), number + NEW
    cursor = CursorRow(node_id=f"{node:064x}", node=f"n{node}", boot=1, number=last, run="00", last=last)
    return Batch(events=[event(node, at) for at in range(first, last + 1)], rows={"cursors": list[Row]([cursor])})


async def pull(store: PostgresStore, node: int, number: int) -> None:
    """Until a commit is refused."""
    while True:
        done = await store.commit(batch(node, number))
        number += NEW
        say(f"acked {done.events}")


async def lead_once(store: PostgresStore, nodes: int) -> None:
    await store.lead()
    say("leads")
    cursors = {row.node: row.number for row in (await store.cursors()).values()}
    try:
        async with asyncio.TaskGroup() as tasks:
            for node in range(nodes):
                tasks.create_task(pull(store, node, cursors.get(f"n{node}", 0)), name=f"pull-{node}")
    except* StoreFailed as failed:
        say(f"refused {failed.exceptions[0]}")


async def run(url: str, nodes: int, lease_s: float) -> None:
    store = await open_postgres(url, bounds=Bounds(lease_s=lease_s, poll_s=0.1, lock_s=2.0))
    say("open")
    while True:
        try:
            await lead_once(store, nodes)
        except StoreFailed as failed:
            say(f"refused {failed}")
        await asyncio.sleep(0.05)


def forget_to_dedupe() -> None:
    """The planted fault: nothing is known to be committed."""

    async def nothing(_self: Writing, _link: object, _batches: Sequence[Batch]) -> dict[str, Mark]:
        return {}

    Writing._marks = nothing


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--lease", type=float, default=15.0)
    parser.add_argument("--no-dedupe", action="store_true")
    given = parser.parse_args()
    if given.no_dedupe:
        forget_to_dedupe()
    asyncio.run(run(given.url, given.nodes, given.lease))


if __name__ == "__main__":
    main()
