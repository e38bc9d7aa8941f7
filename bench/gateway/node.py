"""The gateway's node, made up: it answers what a guest asks of its local API, for a fleet of any size.

What decides about the speed of pulling is as in a real node: an answer waits 20 ms for others who have news at the same
moment, holds at most 4 MiB and of each node its share (``meshnode.node.gathering``).
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

from bench.gateway.deltas import BYTES, Deltas
from bench.gateway.journals import Journal, Ledger
from bench.gateway.roster import Roster, identity, status
from meshnode.api.app import Api
from meshnode.api.ports import Streamed, Told
from meshnode.api.server import serve
from meshnode.client.locate import POINTER, SOCKET
from meshnode.model import commands, document_views, views
from meshnode.model.commands import AnyCommand, GatherJournals, JournalCursor, ReadJournal
from meshnode.model.errors import NotFound
from tests.gateway.fleet import Fleet

LINGER_S = 0.02
KEPT_BYTES_MAX = 4 * 1024 * 1024
EVENT_BYTES, EVENTS_MIN = 256, 16
_AROUND_BYTES = 120  # of an event's JSON around its text


class MadeUpFleet:
    """Implements ``meshnode.api.ports.Asker``. ``directory``: as of a node whose daemon runs, once it is served.
    ``saturated``: for each acknowledged event a new one is written at once."""

    def __init__(self, nodes: int, *, per_node: int, directory: Path) -> None:
        now_s = time.monotonic()
        wall_s = time.time() - now_s
        self.deltas = Deltas()
        self.directory, self.ledger, self.saturated = directory, Ledger(), False
        self.fleet = Fleet(nodes, per_node=per_node, now_ms=int(time.time() * 1000))
        self.roster = Roster(self.fleet)
        self.journals = [
            Journal(at, row.name, row.node_id, self.deltas, self.ledger, wall_s)
            for at, row in enumerate(self.fleet.nodes)
        ]
        self._named = {journal.name: journal for journal in self.journals}
        self._news = asyncio.Event()
        self._turn = 0
        self.rounds = 0  # how often the whole fleet was looked at

    def write(self, journal: Journal, count: int = 1) -> None:
        journal.write(time.monotonic(), count)
        self._news.set()

    def faults(self) -> list[str]:
        return [fault for journal in self.journals for fault in journal.faults]

    # -- Asker -------------------------------------------------------------------------------------------------------

    async def ask(self, command: AnyCommand) -> views.AnyView:
        match command:
            case GatherJournals():
                return await self._gather(command)
            case ReadJournal():
                journal = self._journal(command.node)
                self._acknowledge(journal, command.cursor)
                return journal.view(command.cursor, command.limit)
            case commands.ListNodes():
                return views.NodesView(items=self.roster.nodes_page(command.after, command.limit))
            case commands.ListAgents():
                return views.AgentsView(items=self.roster.units_page(command.after, command.limit))
            case commands.FindSkills():
                return views.SkillsView(items=self.roster.offers_page(command.after, command.limit))
            case commands.ListDocuments():
                return document_views.DocumentsView(
                    items=[one for one in self.roster.documents if one.kind == command.kind]
                )
            case commands.ListConflicts():
                self.rounds += 1
                return document_views.ConflictsView(items=[])
            case commands.GetStatus():
                return status(self.roster, self.fleet)
            case commands.GetIdentity():
                return identity(self.fleet)
            case _:
                raise NotFound(f"a made-up fleet does not know {type(command).__name__}")

    async def stream(self, command: commands.CallSkill) -> AsyncGenerator[Streamed]:
        raise NotFound(f"nobody offers {command.skill} in a made-up fleet")
        yield  # a generator, as the door wants it

    async def watch(self, after: int, *, follow: bool) -> AsyncIterator[Sequence[Told]]:
        raise NotFound(f"a made-up fleet has no story behind {after} ({follow=})")
        yield

    # -- journals ----------------------------------------------------------------------------------------------------

    async def _gather(self, command: GatherJournals) -> views.JournalsView:
        asked = [(self._named[name], cursor) for name, cursor in command.cursors.items() if name in self._named]
        for journal, cursor in asked:
            self._acknowledge(journal, cursor)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(command.wait_ms / 1000):
                while not any(journal.behind(cursor) for journal, cursor in asked):
                    self._news.clear()
                    await self._news.wait()
                await asyncio.sleep(LINGER_S)
        return views.JournalsView(items=self._answer(asked, command.limit))

    def _answer(self, asked: list[tuple[Journal, JournalCursor]], limit: int) -> list[views.JournalView]:
        """It begins with another node each time: an answer that is full holds nobody back for long."""
        share = min(limit, max(EVENTS_MIN, KEPT_BYTES_MAX // EVENT_BYTES // max(1, len(asked))))
        self._turn += 1
        at = self._turn * 97 % max(1, len(asked))
        items: list[views.JournalView] = []
        left = KEPT_BYTES_MAX
        for journal, cursor in (*asked[at:], *asked[:at]):
            if left > 0 and journal.behind(cursor) > 0:
                items.append(journal.view(cursor, share))
                left -= len(items[-1].items) * (BYTES + _AROUND_BYTES)
        return items

    def _acknowledge(self, journal: Journal, cursor: JournalCursor) -> None:
        fresh = journal.acknowledge(cursor.number, time.monotonic())
        if fresh and self.saturated:
            self.write(journal, fresh)

    def _journal(self, name: str) -> Journal:
        if name not in self._named:
            raise NotFound(f"node {name}: not known here")
        return self._named[name]


@contextlib.asynccontextmanager
async def made_up(nodes: int, *, per_node: int = 10) -> AsyncGenerator[MadeUpFleet]:
    """A fleet whose node's local API is served: ``directory`` is what a gateway is given."""
    root = Path(tempfile.mkdtemp(prefix="meshnode-bench-"))
    try:
        directory, run = root / "node", root / "run"
        for path in (directory, run, directory / "identity", directory / "logs"):
            path.mkdir()
        (directory / POINTER).symlink_to(run)
        fleet = MadeUpFleet(nodes, per_node=per_node, directory=directory)
        async with serve(Api(fleet), str(run / SOCKET)):
            yield fleet
    finally:
        shutil.rmtree(root, ignore_errors=True)
