"""A history that a gateway would have of a large fleet: written into its store by the store's own door.

Rows come from the node's views by the guest's own readings: a gateway that starts on it finds nothing to change.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.gateway.journals import RUN
from bench.gateway.node import MadeUpFleet
from cloud_gateway.mesh.census import Census
from cloud_gateway.mesh.readings import instance_row, node_row, offer_row, wish_row
from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import CursorRow, EventRow, Row
from cloud_gateway.store import Store, open_store
from meshnode.model.commands import JournalCursor

ROWS = 20_000
SPREAD_S = 3600.0
_MEMORY = Path("/dev/shm")  # what is only prepared need not wait for a disk


async def fill(store: Store, fleet: MadeUpFleet, events: int, *, rows: bool = True) -> None:
    """As many events of the last hour, evenly over nodes and time; and all current rows."""
    for batch in _events(fleet, events):
        await store.commit(batch)
    for batch in _rows(fleet) if rows else ():
        await store.commit(batch)


async def prepared(fleet: MadeUpFleet, path: Path, events: int, *, rows: bool) -> None:
    """A SQLite store at ``path``. Without ``rows`` it is left to the gateway to find all nodes and units."""
    root = _scratch()
    try:
        store = await open_store(f"sqlite:{root / path.name}")
        await fill(store, fleet, events, rows=rows)
        await store.close()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(root / path.name, path)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="meshnode-bench-", dir=_MEMORY if _MEMORY.is_dir() else None))


def _rows(fleet: MadeUpFleet) -> Iterator[Batch]:
    now_ms, roster, census = int(time.time() * 1000), fleet.roster, Census()
    census.note(roster.nodes)
    kinds: dict[str, Sequence[Row]] = {
        "nodes": [node_row(view, now_ms) for view in roster.nodes],
        "instances": [instance_row(view, census, now_ms) for view in roster.units],
        "skills": [offer_row(view, now_ms) for view in roster.offers],
        "wishes": [wish_row(view, now_ms) for view in roster.documents],
    }
    for kind, rows in kinds.items():
        for at in range(0, len(rows), ROWS):
            yield Batch(rows={kind: list(rows[at : at + ROWS])})


def _events(fleet: MadeUpFleet, count: int) -> Iterator[Batch]:
    """One of each node in turn: as they would have come."""
    turns = count // len(fleet.journals)
    began_s = time.monotonic() - SPREAD_S
    for turn in range(turns):
        events: list[EventRow] = []
        cursors: list[Row] = []
        for at, journal in enumerate(fleet.journals):
            journal.write(began_s + SPREAD_S * (turn + at / len(fleet.journals)) / turns)
            told = journal.view(JournalCursor(), 1).items[0]
            events.append(
                EventRow(
                    node_id=journal.node_id, node=journal.name, region=fleet.fleet.nodes[at].region, life=1,
                    boot=told.boot, number=told.number, at_ms=told.at_ms, subject=told.subject, text=told.text,
                )
            )  # fmt: skip
            cursors.append(
                CursorRow(node_id=journal.node_id, node=journal.name, boot=1, number=told.number, run=RUN,
                          last=told.number)
            )  # fmt: skip
            journal.acknowledge(told.number, time.monotonic())
        yield Batch(events=events, rows={"cursors": cursors})
