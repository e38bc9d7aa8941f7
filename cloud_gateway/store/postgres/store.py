"""The gateway's store in PostgreSQL: for size, and for several replicas before one database."""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Sequence

from cloud_gateway.model.batch import Batch, Changes, Committed
from cloud_gateway.model.queries import (
    AgentCount,
    AgentQuery,
    EventQuery,
    EventsListed,
    GridCell,
    JournalListed,
    JournalQuery,
    Listed,
    LoadQuery,
    Overview,
    Query,
    RegionCount,
    SkillQuery,
    Told,
)
from cloud_gateway.model.rows import CommandRow, CursorRow, Key, LoadSpan, OfferRow, Row, SourceRow
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres.archive import Archive
from cloud_gateway.store.postgres.hearing import Hearing
from cloud_gateway.store.postgres.leadership import Leadership
from cloud_gateway.store.postgres.reading import Reading
from cloud_gateway.store.postgres.schema import prepare
from cloud_gateway.store.postgres.wire import CONNECT_S, Address, Bounds, Wire
from cloud_gateway.store.postgres.writing import Writing

log = logging.getLogger(__name__)


async def open_postgres(url: str, *, bounds: Bounds | None = None) -> "PostgresStore":
    """Makes the tables if there are none. Raises ``StoreFailed``: why it cannot be opened, and what to do."""
    # Names differ between all processes that ever were: a leader is known, and sent away, by its name.
    name = f"meshnode-gateway/{socket.gethostname()[:24]}/{secrets.token_hex(4)}"
    wire = Wire(Address(url), name, bounds or Bounds())
    await prepare(wire)
    store = PostgresStore(wire)
    await store.start()
    return store


class PostgresStore:
    """A ``Store``. Reading and asking work in every replica; ``lead`` says which one commits."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self._archive = wire, Archive()
        self._leadership = Leadership(wire)
        self._hearing = Hearing(wire, self._archive)
        self._writing = Writing(wire, self._leadership, self._archive, self._hearing)
        self._reading = Reading(wire, self._archive)
        self._life: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Of this replica, as the server and the other replicas see it."""
        return self._wire.name

    async def start(self) -> None:
        self._life = asyncio.create_task(self._live(), name="postgres-store")
        try:
            async with asyncio.timeout(2 * CONNECT_S):
                await self._hearing.ready.wait()
        except TimeoutError:
            await self.close()
            raise StoreFailed(
                f"PostgreSQL at {self._wire.address.place} stopped answering while the store was opened; try again"
            ) from None

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hearing.run(), name="postgres-hearing")
            tasks.create_task(self._leadership.beats(), name="postgres-beats")

    async def close(self) -> None:
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait((self._life,))
        self._hearing.close()
        self._leadership.resign()
        self._writing.close()
        await self._wire.close()

    # -- writing ----------------------------------------------------------------------------------------------------

    async def lead(self) -> None:
        await self._leadership.win()

    async def commit(self, batch: Batch) -> Committed:
        return await self._writing.commit(batch)

    async def cursors(self) -> dict[str, CursorRow]:
        return await self._reading.cursors()

    async def keys(self, kind: str) -> dict[Key, int]:
        return await self._reading.keys(kind)

    async def ask(self, command: CommandRow) -> None:
        await self._writing.put_command(command, unless_known=True)

    async def tell(self, command: CommandRow) -> None:
        await self._writing.put_command(command)

    async def open_commands(self, limit: int) -> list[CommandRow]:
        return await self._reading.open_commands(limit)

    # -- reading ----------------------------------------------------------------------------------------------------

    async def listed(self, query: Query) -> Listed:
        return await self._reading.listed(query)

    async def told(self, query: Query) -> Told:
        return await self._reading.told(query)

    async def get(self, kind: str, key: Key) -> Row | None:
        return await self._reading.get(kind, key)

    async def named(self, name: str) -> Row | None:
        return await self._reading.named(name)

    async def agents(self, query: AgentQuery) -> list[AgentCount]:
        return await self._reading.agents(query)

    async def skills(self, query: SkillQuery) -> tuple[Sequence[OfferRow], int]:
        return await self._reading.skills(query)

    async def events(self, query: EventQuery) -> EventsListed:
        return await self._reading.events(query)

    async def journal(self, query: JournalQuery) -> JournalListed:
        return await self._reading.journal(query)

    async def loads(self, query: LoadQuery) -> dict[str, list[LoadSpan]]:
        return await self._reading.loads(query)

    async def overview(self) -> Overview:
        return await self._reading.overview()

    async def regions(self) -> list[RegionCount]:
        return await self._reading.regions()

    async def grid(self) -> dict[str, list[GridCell]]:
        return await self._reading.grid()

    async def source(self) -> SourceRow:
        return await self._reading.source()

    def changes(self) -> AsyncIterator[Changes]:
        return self._hearing.changes()

    async def sizes(self) -> dict[str, int]:
        return await self._reading.sizes()
