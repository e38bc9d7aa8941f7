"""Several replicas before one database: real processes, real signals, a real server.

Whatever happens to them, every acked event is there, once.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cloud_gateway.model.batch import Batch, Changes
from cloud_gateway.model.rows import WishRow
from cloud_gateway.store.eventlog.segment import unpack
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres import writing
from cloud_gateway.store.postgres.store import PostgresStore, open_postgres
from cloud_gateway.store.postgres.wire import SCHEMA, Bounds
from tests.gateway import postgres_kit as kit
from tests.gateway.postgres_replica import batch

pytestmark = [pytest.mark.postgres, kit.needs_postgres]
DEADLINE_S = 20.0
NODES = 4
QUICK = Bounds(lease_s=1.5, poll_s=0.1, lock_s=2.0)


@pytest.fixture(scope="module")
def server() -> Iterator[kit.Server]:
    with kit.server() as running:
        yield running


@pytest.fixture
def url(server: kit.Server, request: pytest.FixtureRequest) -> Iterator[str]:
    with kit.database(server, request.node.name[:60]) as made:
        yield made


class Replica:
    """A process and the lines it has said."""

    def __init__(self, url: str, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.postgres_replica", url, "--nodes", str(NODES), *options],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.acked = 0
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "acked":
                self.acked += int(rest)
            else:
                self._lines.append(line.strip())

    def said(self, word: str) -> str | None:
        """The next line that begins with ``word``, if there is one; those before it are forgotten."""
        for at, line in enumerate(self._lines):
            if line.split(" ")[0] == word:
                del self._lines[: at + 1]
                return line
        return None

    def says(self, word: str) -> str:
        found: list[str] = []
        _eventually(lambda: found.append(line) is None if (line := self.said(word)) else False, f"a line with {word}")
        return found[0]

    def acks(self, more: int) -> None:
        """Wait for so many more acked events."""
        wanted = self.acked + more
        _eventually(lambda: self.acked >= wanted, f"{more} more acked events")

    def end(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def replicas(url: str, count: int, *options: str) -> Iterator[list[Replica]]:
    made = [Replica(url, *options) for _ in range(count)]
    try:
        for replica in made:
            replica.says("open")
        yield made
    finally:
        for replica in made:
            replica.end()


def _eventually(holds: Callable[[], object], what: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, f"not in {DEADLINE_S} s: {what}"
        time.sleep(0.01)


def leader_of(among: list[Replica]) -> Replica:
    """Whichever says next that it leads."""
    found: list[Replica] = []

    def look() -> bool:
        found.extend(replica for replica in among if replica.said("leads"))
        return bool(found)

    _eventually(look, "a replica that leads")
    assert len(found) == 1, "two lead"
    return found[0]


def stored(server: kit.Server, url: str) -> Counter[tuple[int, int]]:
    """(origin, number) of every stored event, however often: read past the store, which would show each once."""
    lines = server.sql(f"SELECT encode(body, 'hex') FROM {SCHEMA}.segments", url.partition("@/")[2].partition("?")[0])
    found: Counter[tuple[int, int]] = Counter()
    for line in lines.split():
        events = unpack(bytes.fromhex(line))
        found.update(zip(events.origins, events.numbers, strict=True))
    return found


def check(server: kit.Server, url: str, acked: int) -> None:
    """No acked event lost, none doubled, no hole in any journal."""
    found = stored(server, url)
    doubled = {place: count for place, count in found.items() if count > 1}
    assert not doubled, f"{len(doubled)} events are doubled, like {next(iter(doubled))}"
    assert len(found) >= acked, f"{acked} events acked, {len(found)} stored"
    for origin in {place[0] for place in found}:
        numbers = sorted(number for where, number in found if where == origin)
        assert numbers == list(range(1, len(numbers) + 1)), f"the journal of origin {origin} has holes"


def test_a_killed_leader_is_followed_within_seconds_and_no_event_is_lost_or_doubled(
    server: kit.Server, url: str
) -> None:
    acked, killed_at = 0, None
    with replicas(url, 3) as running:
        while running:
            leader = leader_of(running)
            assert killed_at is None or time.monotonic() - killed_at < 5.0, "another replica leads too late"
            leader.acks(200)
            leader.end()
            killed_at = time.monotonic()
            acked += leader.acked
            running.remove(leader)
    check(server, url, acked)


def test_without_deduplication_the_same_check_finds_doubled_events(server: kit.Server, url: str) -> None:
    with replicas(url, 1, "--no-dedupe") as (only,):
        leader_of([only]).acks(100)
        only.end()
    with pytest.raises(AssertionError, match="doubled"):
        check(server, url, 0)


def test_a_stopped_leader_is_replaced_and_writes_nothing_when_it_goes_on(server: kit.Server, url: str) -> None:
    with replicas(url, 2, "--lease", "1.5") as running:
        old = leader_of(running)
        new = next(replica for replica in running if replica is not old)
        old.acks(100)
        os.kill(old.process.pid, signal.SIGSTOP)
        assert leader_of([new]) is new
        new.acks(100)
        os.kill(old.process.pid, signal.SIGCONT)
        assert "not" in old.says("refused")
        new.acks(100)
        acked_by_old = old.acked
        new.acks(100)
        assert old.acked == acked_by_old
        old.end()
        new.end()
        check(server, url, old.acked + new.acked)


def test_a_restarted_server_costs_refusals_and_no_events(server: kit.Server, url: str) -> None:
    with replicas(url, 2) as running:
        first = leader_of(running)
        for how in (signal.SIGINT, signal.SIGQUIT):
            first.acks(100)
            server.stop(how)
            first.says("refused")
            server.start()
            first = leader_of(running)
        first.acks(100)
        for replica in running:
            replica.end()
    check(server, url, sum(replica.acked for replica in running))


async def _taken_over(store: PostgresStore, server: kit.Server, name: str) -> None:
    """As if another replica led, though this one has noticed nothing."""
    await store.lead()
    await store.commit(batch(0, 0))
    server.sql(f"UPDATE {SCHEMA}.leadership SET epoch = epoch + 1", name)
    await store.commit(batch(0, 5))


def test_a_commit_with_an_old_epoch_is_refused_in_its_transaction(
    server: kit.Server, url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        store = await open_postgres(url)
        with pytest.raises(StoreFailed, match="another replica"):
            await _taken_over(store, server, request.node.name[:60])
        assert (await store.cursors())[f"{0:064x}"].number == 5
        await store.close()
        # The planted fault: a fence that lets everybody through must be noticed by the same steps.
        monkeypatch.setattr(writing, "_FENCE", writing._NUMBER + ", $1::bigint")
        broken = await open_postgres(url)
        await _taken_over(broken, server, request.node.name[:60])
        await broken.close()

    asyncio.run(scenario())


def test_a_follower_hears_of_every_commit_in_order_as_the_leader_does(server: kit.Server, url: str) -> None:
    async def scenario() -> None:
        leader, follower = await open_postgres(url), await open_postgres(url)
        await leader.lead()
        heard, own = follower.changes(), leader.changes()
        told = WishRow(kind="Agent", namespace="default", name="words")
        await leader.commit(Batch(rows={"wishes": [told]}))
        await leader.commit(batch(1, 0))
        await leader.commit(batch(1, 0))
        await leader.commit(Batch(gone={"wishes": [("Agent", "default", "words")]}))
        for changes in (heard, own):
            got = [await asyncio.wait_for(anext(changes), DEADLINE_S) for _ in range(4)]
            assert [change.seq for change in got] == list(range(got[0].seq, got[0].seq + 4))
            assert all(change.whole for change in got)
            assert got[0].rows["wishes"] == [told]
            assert got[1].events == batch(1, 0).events
            assert not got[2].events
            assert got[3].gone == {"wishes": [("Agent", "default", "words")]}
        await follower.close()
        await leader.close()

    asyncio.run(scenario())


def test_a_follower_that_lost_the_server_is_told_to_ask_anew_and_goes_on(server: kit.Server, url: str) -> None:
    async def scenario() -> None:
        leader, follower = await open_postgres(url, bounds=QUICK), await open_postgres(url, bounds=QUICK)
        await leader.lead()
        changes = follower.changes()
        await leader.commit(batch(0, 0))
        assert (await asyncio.wait_for(anext(changes), DEADLINE_S)).whole
        server.stop()
        with pytest.raises(StoreFailed, match=r"cannot be reached|does not lead|ended the connection"):
            await leader.commit(batch(0, 5))
        server.start()
        await leader.lead()
        assert not (await asyncio.wait_for(anext(changes), DEADLINE_S)).whole
        done = await leader.commit(batch(0, 5))
        change = await asyncio.wait_for(anext(changes), DEADLINE_S)
        assert (change.seq, change.whole, len(change.events)) == (done.seq, True, 5)
        await follower.close()
        await leader.close()

    asyncio.run(scenario())


def test_a_follower_too_far_behind_is_told_so_once(
    server: kit.Server, url: str, request: pytest.FixtureRequest
) -> None:
    async def scenario() -> None:
        leader, follower = await open_postgres(url), await open_postgres(url)
        await leader.lead()
        changes = follower.changes()
        await leader.commit(batch(0, 0))
        await asyncio.wait_for(anext(changes), DEADLINE_S)
        # Its hint is lost, and so is what it should have read.
        name = request.node.name[:60]
        server.sql(f"UPDATE {SCHEMA}.counter SET seq = seq + 1", name)
        done = await leader.commit(batch(0, 5))
        change: Changes = await asyncio.wait_for(anext(changes), DEADLINE_S)
        assert (change.seq, change.whole) == (done.seq, False)
        await follower.close()
        await leader.close()

    asyncio.run(scenario())
