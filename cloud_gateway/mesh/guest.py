"""The guest as a whole: leads, polls, pulls and passes on while the store takes it; begins again when it does not."""

import asyncio
import logging
from typing import NoReturn

from cloud_gateway.mesh.census import Census
from cloud_gateway.mesh.polling import Poller
from cloud_gateway.mesh.ports import Door, WallMs
from cloud_gateway.mesh.pulling import Pick, Puller, everybody
from cloud_gateway.mesh.requests import Requests
from cloud_gateway.store.port import Store, StoreFailed

log = logging.getLogger(__name__)

AGAIN_S = 1.0
FOLLOWS_S = 3.0


class Guest:
    """``reader``: under which name nodes show how far their journals are read here; ``puller``: which replica this is;
    ``pick``: whose journals are read."""

    def __init__(
        self, store: Store, door: Door, *, reader: str, puller: str, wall_ms: WallMs, pick: Pick = everybody
    ) -> None:
        self._store, self._door = store, door
        self._reader, self._puller, self._wall_ms, self._pick = reader, puller, wall_ms, pick
        self.problem = ""  # of the store; "" = it takes all that comes
        self.leads = False

    async def run(self) -> NoReturn:
        """Until cancelled. Nothing is remembered between two beginnings but what the store has."""
        while True:
            try:
                await self._lead()
                await self._visit()
            except* StoreFailed as failed:
                self._failed(str(_first(failed)))
            self.leads = False
            await asyncio.sleep(AGAIN_S)

    async def _lead(self) -> None:
        """While another replica leads, what failed here before is no trouble any more."""
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(self._settled_after(FOLLOWS_S), name="following")
            await self._store.lead()
            waiting.cancel()

    async def _visit(self) -> None:
        census = Census()
        puller = Puller(self._store, self._door, census, reader=self._reader, wall_ms=self._wall_ms, pick=self._pick)
        poller = Poller(
            self._store, self._door, census, missing=lambda: puller.missing, wall_ms=self._wall_ms,
            puller=self._puller, settled=self._settled,
        )  # fmt: skip
        requests = Requests(self._store, self._door, wall_ms=self._wall_ms)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(poller.run(), name="polling")
            tasks.create_task(puller.run(), name="pulling")
            tasks.create_task(requests.run(), name="requests")
            self.leads = True

    def _failed(self, why: str) -> None:
        if why != self.problem:
            log.error("the store takes nothing", extra={"why": why})
        self.problem = why

    async def _settled_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._settled()

    def _settled(self) -> None:
        self.problem = ""


def _first(failed: BaseExceptionGroup[StoreFailed]) -> StoreFailed:
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, StoreFailed)
    return error
