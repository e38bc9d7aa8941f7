"""The guest on a real store and a made-up node: what it keeps whenever it is killed, what it acknowledges and when."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_gateway.mesh.census import Census
from cloud_gateway.mesh.guest import Guest
from cloud_gateway.mesh.pages import Page
from cloud_gateway.mesh.polling import Poller
from cloud_gateway.mesh.pulling import Puller
from cloud_gateway.mesh.requests import Requests
from cloud_gateway.model.batch import Batch, Committed
from cloud_gateway.model.queries import JournalQuery, Query
from cloud_gateway.model.rows import (
    CommandRow,
    CursorRow,
    EventRow,
    GapRow,
    InstanceRow,
    NodeRow,
    ProblemRow,
    Row,
    SourceRow,
)
from cloud_gateway.store import open_store
from cloud_gateway.store.port import Store, StoreFailed
from tests.gateway.guest_kit import MadeUpJournal, MadeUpNode, faults
from tests.gateway.test_guest_requests import document
from tests.gateway.test_guest_rows import agent_view

WITHIN_S = 10.0


def wall_ms() -> int:
    return 1_000_000


@asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[Store]:
    store = await open_store(f"sqlite:{directory / 'history.db'}")
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Killed at the end, wherever it is."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, StoreFailed, BaseExceptionGroup):
                await task


async def until(look: Callable[[], Coroutine[Any, Any, bool]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + WITHIN_S
    while not await look():
        assert asyncio.get_running_loop().time() < deadline, f"not within {WITHIN_S:g} s: {what}"
        await asyncio.sleep(0.005)


def census_of(node: MadeUpNode) -> Census:
    census = Census()
    census.note(node.views)
    census.whole({view.node_id for view in node.views})
    return census


def puller(store: Store, node: MadeUpNode, kind: type[Puller] = Puller) -> Puller:
    return kind(store, node.at, census_of(node), reader="gateway", wall_ms=wall_ms, rests_s=0.005)


async def kept_of(store: Store, journal: MadeUpJournal) -> tuple[CursorRow, list[EventRow], list[GapRow]]:
    """All that the store has of a journal, page by page."""
    events: list[EventRow] = []
    life = number = 0
    while True:
        page = await store.journal(JournalQuery(node_id=journal.node_id, life=life, number=number, limit=500))
        events += page.items
        if not page.more:
            break
        life, number = page.items[-1].life, page.items[-1].number
    gaps = (await store.listed(Query(kind="gaps", limit=500))).items
    cursor = (await store.cursors()).get(journal.node_id, CursorRow(node_id=journal.node_id, node=journal.name))
    return cursor, events, [gap for gap in gaps if isinstance(gap, GapRow) and gap.node_id == journal.node_id]


async def caught_up(store: Store, journal: MadeUpJournal) -> bool:
    cursor = (await store.cursors()).get(journal.node_id)
    return cursor is not None and cursor.number == journal.last and cursor.run == journal.run


def play(journal: MadeUpJournal, what: str, count: int) -> None:
    match what:
        case "write":
            journal.write(count)
        case "drop":
            journal.drop(count)
        case "damage":
            journal.damage(count)
        case "restart":
            journal.restart()
        case _:
            journal.lose_disk()


_STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["write", "write", "drop", "damage", "restart", "lose", "kill", "kill"]),
        st.integers(1, 30),
    ),
    max_size=14,
)


@settings(max_examples=20)
@given(steps=_STEPS)
def test_what_the_store_has_is_complete_whenever_the_guest_was_killed(steps: list[tuple[int, str, int]]) -> None:
    """A kill comes after as many turns of the loop as the step says: within a question, a commit or between."""
    journals = MadeUpJournal("alpha"), MadeUpJournal("beta")
    node = MadeUpNode(*journals)

    async def live(directory: Path) -> None:
        pending = [*steps, (0, "kill", 1)]
        while pending:
            async with opened(directory) as store, running(puller(store, node).run()):
                while pending:
                    which, what, count = pending.pop(0)
                    if what == "kill":
                        for _ in range(count):
                            await asyncio.sleep(0.0005)
                        break
                    play(journals[which], what, count)
        for journal in journals:
            journal.write(1)
        async with opened(directory) as store, running(puller(store, node).run()):
            for journal in journals:
                await until(lambda of=journal: caught_up(store, of), f"{journal.name} is read to its end")
                assert not faults(journal, *await kept_of(store, journal))

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(live(Path(directory)))


class Hasty(Puller):
    """Moves its cursor, which is its acknowledgement, before the commit."""

    async def _write(self, pages: list[Page], absences: list[CursorRow]) -> None:
        for page in pages:
            self._cursors[page.cursor.node_id] = page.cursor
        await super()._write(pages, absences)


class Doubtful:
    """A store that holds commits back, or refuses them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.holds = asyncio.Event()
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> Committed:
        self.asked.set()
        await self.holds.wait()
        return await self._store.commit(batch)


async def _acknowledged_early(directory: Path, kind: type[Puller]) -> bool:
    """Whether the node was told of a cursor whose events were not committed."""
    journal = MadeUpJournal("alpha")
    node = MadeUpNode(journal)
    journal.write(3)
    async with opened(directory) as store:
        doubtful = Doubtful(store)
        reading = puller(doubtful, node, kind)  # pyright: ignore[reportArgumentType] # the rest of it is the store
        async with running(reading.run()):
            async with asyncio.timeout(WITHIN_S):
                await doubtful.asked.wait()
            early = any(cursor.number for cursor in reading._cursors.values())
            assert not any(node.acknowledged.values())
            doubtful.holds.set()
            await until(lambda: _told(node, 3), "it is acknowledged after the commit")
        return early


async def _told(node: MadeUpNode, number: int) -> bool:
    return node.acknowledged["alpha"] == number


def test_events_are_acknowledged_after_their_commit_only(tmp_path: Path) -> None:
    assert not asyncio.run(_acknowledged_early(tmp_path, Puller))


def test_a_puller_that_acknowledges_before_the_commit_is_found_out(tmp_path: Path) -> None:
    assert asyncio.run(_acknowledged_early(tmp_path, Hasty))


def test_a_node_with_much_to_tell_holds_nobody_up(tmp_path: Path) -> None:
    """Its past is paged alongside: what others tell meanwhile comes at once."""
    long, live = MadeUpJournal("alpha"), MadeUpJournal("beta")
    node = MadeUpNode(long, live)
    long.write(20_000)

    async def behind(store: Store) -> None:
        async with running(puller(store, node).run()):
            for _ in range(5):
                live.write(1)
                await until(lambda: caught_up(store, live), "beta is read")
            cursor = (await store.cursors()).get(long.node_id)
            assert cursor is None or cursor.number < long.last, "alpha was read first"
            await until(lambda: caught_up(store, long), "alpha is read, too")
        assert not faults(long, *await kept_of(store, long))

    async def live_on() -> None:
        async with opened(tmp_path) as store:
            await behind(store)

    asyncio.run(live_on())


def test_why_a_journal_cannot_be_read_is_told_until_it_can(tmp_path: Path) -> None:
    journal = MadeUpJournal("alpha")
    node = MadeUpNode(journal)
    node.missing["alpha"] = "down: silent"

    async def says(reading: Puller, missing: dict[str, str]) -> bool:
        return reading.missing == missing

    async def look() -> None:
        async with opened(tmp_path) as store:
            reading = puller(store, node)

            async def told(why: str) -> bool:
                cursor = (await store.cursors()).get(journal.node_id)
                return cursor is not None and cursor.missing == why

            async with running(reading.run()):
                await until(lambda: told("down: silent"), "it is missing")
                await until(lambda: says(reading, {journal.node_id: "down: silent"}), "the puller says so")
                del node.missing["alpha"]
                journal.write(1)
                await until(lambda: told(""), "it is there again")
                await until(lambda: says(reading, {}), "the puller says so, too")

    asyncio.run(look())


async def _rows(store: Store, kind: str) -> list[Row]:
    return (await store.listed(Query(kind=kind, limit=500))).items


def test_rows_appear_change_and_vanish_as_the_node_shows_them(tmp_path: Path) -> None:
    node = MadeUpNode(MadeUpJournal("alpha"), MadeUpJournal("beta"))
    node.units = [agent_view(state="backoff", reason="exit code 1")]

    async def look() -> None:
        async with opened(tmp_path) as store:
            poller = Poller(store, node.at, Census(), missing=dict, wall_ms=wall_ms, every_s=0.01)
            async with running(poller.run()):
                await until(lambda: _names(store, "alpha", "beta"), "both nodes")
                await until(lambda: _units(store, "backoff"), "the unit")
                await until(lambda: _problems(store, "agent words/0 on beta keeps ending: exit code 1"), "the problem")
                node.units = [agent_view()]
                await until(lambda: _units(store, "running"), "it runs")
                node.units, node.views = [], node.views[:1]
                await until(lambda: _names(store, "alpha"), "beta has left")
                await until(lambda: _units(store), "the unit has gone")
                await until(lambda: _problems(store), "nothing is wrong any more")
                node.away = True
                await until(lambda: _source_says(store, "no daemon"), "the node is away")
                assert await _names(store, "alpha"), "what was known stays"
                node.away = False
                await until(lambda: _source_says(store, ""), "the node is back")

    asyncio.run(look())


async def _names(store: Store, *names: str) -> bool:
    return sorted(row.name for row in await _rows(store, "nodes") if isinstance(row, NodeRow)) == sorted(names)


async def _units(store: Store, *states: str) -> bool:
    return [row.state for row in await _rows(store, "instances") if isinstance(row, InstanceRow)] == list(states)


async def _problems(store: Store, *texts: str) -> bool:
    return [row.text for row in await _rows(store, "problems") if isinstance(row, ProblemRow)] == list(texts)


async def _source_says(store: Store, problem: str) -> bool:
    source = await store.source()
    return source.problem.startswith(problem) if problem else not source.problem and bool(source.node)


def test_a_request_waits_for_its_node_is_given_once_and_watched(tmp_path: Path) -> None:
    node = MadeUpNode(MadeUpJournal("alpha"))
    node.away = True
    asked = CommandRow(command_id="c1", verb="scale", body={"name": "words", "replicas": 2}, asked_ms=wall_ms())

    async def look() -> None:
        async with opened(tmp_path) as store:
            await store.ask(asked)
            requests = Requests(store, node.at, wall_ms=wall_ms)

            async def one() -> CommandRow:
                await requests.round()
                row = await store.get("commands", ("c1",))
                assert isinstance(row, CommandRow)
                return row

            waiting = await one()
            assert (waiting.state, waiting.attempts) == ("queued", 1)
            assert "no daemon runs here" in waiting.answer
            node.away = False
            node.held["Agent", "default", "words"] = document(2, 1)
            accepted = await one()
            assert accepted.state == "accepted"
            node.held["Agent", "default", "words"] = document(2, 2)
            assert (await one()).state == "applied"
            await one()
            assert node.given == ["scale 2 words"]

    asyncio.run(look())


def test_a_refused_request_fails_with_the_words_of_the_node(tmp_path: Path) -> None:
    node = MadeUpNode(MadeUpJournal("alpha"))
    asked = CommandRow(command_id="c1", verb="delete", body={"kind": "Agent", "name": "words"}, asked_ms=wall_ms())

    async def look() -> None:
        async with opened(tmp_path) as store:
            await store.ask(asked)
            await Requests(store, node.at, wall_ms=wall_ms).round()
            row = await store.get("commands", ("c1",))
            assert isinstance(row, CommandRow)
            assert (row.state, row.answer) == ("failed", "no Agent words is known here")

    asyncio.run(look())


@pytest.mark.parametrize("state", ["queued", "accepted"])
def test_a_request_that_was_given_before_a_kill_ends_as_asked(tmp_path: Path, state: str) -> None:
    """The node took it, and the gateway was killed before or after it noted that."""
    node = MadeUpNode(MadeUpJournal("alpha"))
    asked = CommandRow(
        command_id="c1", verb="delete", body={"kind": "Agent", "name": "words"}, asked_ms=wall_ms(), attempts=1
    )

    async def look() -> None:
        async with opened(tmp_path) as store:
            await store.ask(asked)
            if state == "accepted":
                await store.tell(CommandRow(**{**_fields(asked), "state": "accepted"}))
            for _ in range(2):
                await Requests(store, node.at, wall_ms=wall_ms).round()
            row = await store.get("commands", ("c1",))
            assert isinstance(row, CommandRow)
            assert row.state == "applied"

    asyncio.run(look())


def _fields(row: CommandRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


class Refusing:
    """A store whose disk is full, until there is room."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.full = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> Committed:
        if self.full:
            raise StoreFailed("no space left")
        return await self._store.commit(batch)


def test_a_store_that_takes_nothing_is_told_of_and_loses_nothing_once_it_does(tmp_path: Path) -> None:
    journal = MadeUpJournal("alpha")
    node = MadeUpNode(journal)
    journal.write(5)

    async def look() -> None:
        async with opened(tmp_path) as store:
            refusing = Refusing(store)
            guest = Guest(refusing, node.at, reader="gateway", puller="here", wall_ms=wall_ms)  # pyright: ignore[reportArgumentType]

            async def says(problem: str) -> bool:
                return guest.problem == problem

            async with running(guest.run()):
                await until(lambda: says("no space left"), "it says so")
                assert not any(node.acknowledged.values())
                refusing.full = False
                await until(lambda: says(""), "it is well again")
                await until(lambda: caught_up(store, journal), "everything is there")
            assert not faults(journal, *await kept_of(store, journal))

    asyncio.run(look())


def test_a_commit_that_is_given_up_does_not_stop_the_store(tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(tmp_path) as store:
            for number in range(50):
                given_up = asyncio.ensure_future(store.commit(Batch(source=SourceRow(node=f"n{number}"))))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                given_up.cancel()
            async with asyncio.timeout(WITHIN_S):
                await store.commit(Batch(source=SourceRow(node="last")))
            assert (await store.source()).node == "last"

    asyncio.run(look())
