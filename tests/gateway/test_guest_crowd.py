"""Who is asked together with others and who alone: a crowd that is a little behind is not read one by one."""

import asyncio
from pathlib import Path

from cloud_gateway.mesh.census import Census
from cloud_gateway.mesh.pulling import PAGE_EVENTS, RETURN_MS, WAIT_MS, Puller
from cloud_gateway.model.queries import JournalQuery
from cloud_gateway.store.port import Store
from meshnode.model.commands import GatherJournals, ReadJournal
from meshnode.model.views import JournalsView, JournalView
from tests.gateway.guest_kit import MadeUpJournal, MadeUpNode, faults
from tests.gateway.test_guest_visit import opened, running, until, wall_ms

CROWD = 60


class Noting(MadeUpNode):
    """Notes who was asked alone, and how long each question to many would have waited."""

    def __init__(self, *journals: MadeUpJournal) -> None:
        super().__init__(*journals)
        self.alone: dict[str, int] = {}
        self.waits: list[tuple[int, int]] = []  # nodes asked, ms

    def at(self, _timeout_s: float) -> "Noting":
        return self

    def journal(self, command: ReadJournal) -> JournalView:
        self.alone[command.node] = self.alone.get(command.node, 0) + 1
        return super().journal(command)

    def journals(self, command: GatherJournals, timeout_s: float | None = None) -> JournalsView:
        self.waits.append((len(command.cursors), command.wait_ms))
        return super().journals(command, timeout_s)


async def pull(store: Store, node: Noting) -> None:
    census = Census()
    census.note(node.views)
    census.whole({view.node_id for view in node.views})
    puller = Puller(store, node.at, census, reader="gateway", wall_ms=wall_ms, rests_s=0.01)

    async def all_read() -> bool:
        cursors = await store.cursors()
        behind = [one for one in node.journals_of.values() if one.last]
        return all(one.node_id in cursors and cursors[one.node_id].number == one.last for one in behind)

    async with running(puller.run()):
        await until(all_read, "all journals are read to their ends")
        await until(lambda: _asked_again(node), "all are asked together again")


async def _asked_again(node: Noting) -> bool:
    return node.waits[-1] == (len(node.journals_of), WAIT_MS)


def test_a_crowd_that_is_a_little_behind_is_read_together(tmp_path: Path) -> None:
    journals = [MadeUpJournal(f"n{number}") for number in range(CROWD)]
    for journal in journals:
        journal.write(PAGE_EVENTS)  # more than one question brings of each
    node = Noting(*journals)

    async def look() -> None:
        async with opened(tmp_path) as store:
            await pull(store, node)
            assert node.alone == {}

    asyncio.run(look())


def test_who_is_far_behind_is_read_alone_and_comes_back_before_the_others_have_news(tmp_path: Path) -> None:
    journals = [MadeUpJournal(f"n{number}") for number in range(CROWD)]
    journals[7].write(5 * PAGE_EVENTS)
    node = Noting(*journals)

    async def look() -> None:
        async with opened(tmp_path) as store:
            await pull(store, node)
            assert list(node.alone) == ["n7"]
            without = [wait_ms for asked, wait_ms in node.waits if asked == CROWD - 1]
            assert set(without) == {RETURN_MS}
            query = JournalQuery(node_id=journals[7].node_id, limit=5 * PAGE_EVENTS + 1)
            kept = await store.journal(query)
            assert not faults(journals[7], (await store.cursors())[journals[7].node_id], kept.items, kept.gaps)

    asyncio.run(look())
