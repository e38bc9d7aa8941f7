"""The door of a store. ``tests/gateway/store_suite.py`` is what every implementation must pass."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

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


class StoreFailed(Exception):
    """The store does not take more, or cannot be opened. What was asked is not stored; the text says why and what to
    do."""


class Store(Protocol):
    """Several tasks of one event loop may use it at once. After ``StoreFailed`` from ``commit`` the store may be
    asked again; after an error of the disk's sync it stays failed and says so: a page that may not be there is never
    acked."""

    # -- writing: for the one replica that pulls ---------------------------------------------------------------------

    async def lead(self) -> None:
        """Return when this replica is the one that may write. SQLite: at once. PostgreSQL: holds a lock on the
        database."""
        ...

    async def commit(self, batch: Batch) -> Committed:
        """Returns once it is durable. Batches that wait at the same time share one commit. ``StoreFailed``: none of
        it is, also when this replica no longer leads."""
        ...

    async def cursors(self) -> dict[str, CursorRow]:
        """By node id: where pulling goes on after a start."""
        ...

    async def keys(self, kind: str) -> dict[Key, int]:
        """Keys of all current rows of a kind -> ``fingerprint(row)``: so that a restarted puller writes only what
        differs."""
        ...

    # -- requests: for every replica ---------------------------------------------------------------------------------

    async def ask(self, command: CommandRow) -> None:
        """Keep a queued request, durably."""
        ...

    async def open_commands(self, limit: int) -> list[CommandRow]:
        """Requests that are queued or accepted, oldest first."""
        ...

    async def tell(self, command: CommandRow) -> None:
        """What became of a request."""
        ...

    # -- reading: for every replica ----------------------------------------------------------------------------------

    async def listed(self, query: Query) -> Listed: ...

    async def told(self, query: Query) -> Told:
        """The same page for whoever only sends it on: rows are not made of it."""
        ...

    async def get(self, kind: str, key: Key) -> Row | None: ...

    async def named(self, name: str) -> Row | None:
        """The newest row of a node of that name."""
        ...

    async def agents(self, query: AgentQuery) -> list[AgentCount]:
        """Instances grouped by agent, for ``/agents``: at most ``limit``; as many as that may be followed by more."""
        ...

    async def skills(self, query: SkillQuery) -> tuple[Sequence[OfferRow], int]:
        """Offers in order of rank, and the rank to go on behind (0: no more)."""
        ...

    async def events(self, query: EventQuery) -> EventsListed: ...

    async def journal(self, query: JournalQuery) -> JournalListed: ...

    async def loads(self, query: LoadQuery) -> dict[str, list[LoadSpan]]:
        """Measure -> spans, oldest first."""
        ...

    async def overview(self) -> Overview: ...

    async def regions(self) -> list[RegionCount]: ...

    async def grid(self) -> dict[str, list[GridCell]]:
        """Region -> its nodes by name; small enough to be sent whole."""
        ...

    async def source(self) -> SourceRow: ...

    def changes(self) -> AsyncIterator[Changes]:
        """Every commit from now on, of any replica, in order; a reader that falls behind gets ``whole=False``."""
        ...

    async def sizes(self) -> dict[str, int]:
        """For /metrics: bytes of the store, events kept, segments, whatever it counts; names are snake_case with
        units."""
        ...

    async def close(self) -> None: ...
