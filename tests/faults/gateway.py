"""A real gateway with one planted fault: ``python -m tests.faults.gateway FAULT --dir DIR ...``."""

import sys

import msgspec

from cloud_gateway import __main__ as program
from cloud_gateway import service
from cloud_gateway.model.batch import Batch, Committed
from cloud_gateway.store import open_store
from cloud_gateway.store.port import Store

SKIP_EVENT = "skip-event"
EVERY = 7


class Skipping:
    """A store that acknowledges every seventh event without keeping it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def commit(self, batch: Batch) -> Committed:
        kept = [event for event in batch.events if event.number % EVERY]
        return await self._store.commit(msgspec.structs.replace(batch, events=kept))

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def _planted(url: str) -> Store:
    return Skipping(await open_store(url))  # pyright: ignore[reportReturnType] # the rest is the store's own


if __name__ == "__main__":
    fault, *argv = sys.argv[1:]
    assert fault == SKIP_EVENT, fault
    service.open_store = _planted
    sys.exit(program.main(argv))
