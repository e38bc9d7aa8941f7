"""What the writer says is stored is stored; what it says is not, is not; and it never keeps anybody waiting."""

import asyncio
import errno
import threading
import time
from pathlib import Path

import pytest

from meshnode.host.journal import JournalConfig, JournalFailed, JournalWriter
from meshnode.host.swiftness import SHOWN
from meshnode.kernel.journal import Disk, JournalUnreadable, recover
from meshnode.kernel.ledger import JournalBudget, JournalFull
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId

QUICK = JournalConfig(retry_first_s=0.01, retry_cap_s=0.02)


class WeakDisk:
    """Stands in front of the real disk, counts, and fails on demand."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.full = False
        self.mistake = False
        self.appends = self.syncs = self.replaces = 0
        self.threads: list[str] = []  # who synced

    def read(self) -> bytes:
        return self._disk.read()

    def append(self, data: bytes) -> None:
        if self.mistake:
            raise ValueError("a mistake of ours")
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.appends += 1
        self._disk.append(data)

    def sync(self) -> None:
        self.syncs += 1
        self.threads.append(threading.current_thread().name)
        self._disk.sync()

    def replace(self, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.replaces += 1
        self._disk.replace(data)

    def truncate(self, length: int) -> None:
        self._disk.truncate(length)


class Journal:
    """A writer on a weak disk in ``path``."""

    def __init__(self, path: Path, *, budget: JournalBudget | None = None, config: JournalConfig = QUICK) -> None:
        self.weak: WeakDisk | None = None

        def through(disk: Disk) -> Disk:
            self.weak = WeakDisk(disk)
            return self.weak

        self.writer, self.records, self.recovered = JournalWriter.open(
            path, config=config, budget=budget, through=through
        )

    @property
    def disk(self) -> WeakDisk:
        assert self.weak is not None
        return self.weak

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    async def store(self, *records: Record) -> Exception | None:
        answer: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.writer.append(records, answer.set_result)
        return await asyncio.wait_for(answer, 10)


def event(number: int, size: int = 10) -> Record:
    return Record(RecordKind.EVENT, number.to_bytes(8), b"e" * size)


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == []
        assert asyncio.run(journal.store(event(1), Record(RecordKind.AGENT, b"words", b"recipe"))) is None
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(1), Record(RecordKind.AGENT, b"words", b"recipe")]
        assert journal.recovered.records == journal.records


def test_all_that_waits_goes_into_one_write_and_one_sync_and_is_answered_in_order(tmp_path: Path) -> None:
    async def run(journal: Journal) -> list[int]:
        answered: list[int] = []
        finished = asyncio.Event()

        def done(number: int, error: Exception | None) -> None:
            assert error is None
            answered.append(number)
            if len(answered) == 500:
                finished.set()

        with journal.writer._wanted:  # the thread cannot take the first before the last is there
            for number in range(500):
                journal.writer.append([event(number)], lambda error, number=number: done(number, error))
        await asyncio.wait_for(finished.wait(), 10)
        return answered

    with Journal(tmp_path / "journal") as journal:
        before = journal.disk.syncs
        assert asyncio.run(run(journal)) == list(range(500))
        assert journal.disk.syncs - before == 1


def trusted(journal: Journal) -> None:
    """The disk has shown that it is quick, whatever the machine does at the moment."""
    for _ in range(SHOWN):
        journal.writer._swiftness.took(1, 0.0, here=False)


async def rested(journal: Journal) -> None:
    """The thread has done what it had to do."""
    async with asyncio.timeout(10):
        while journal.writer._working:  # noqa: ASYNC110  # a thread tells nobody
            await asyncio.sleep(0)


def test_a_quick_disk_is_waited_for_in_the_loop_once_for_all_of_a_turn(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        trusted(journal)
        await rested(journal)
        before = journal.disk.syncs
        answers = await asyncio.gather(*(journal.store(event(number)) for number in range(64)))
        assert answers == [None] * 64
        assert journal.disk.syncs - before == 1
        assert journal.disk.threads[-1] != "journal"

    with Journal(tmp_path / "journal") as journal:
        asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(number) for number in range(64)]


def test_nothing_is_answered_before_the_sync_in_the_loop(tmp_path: Path) -> None:
    async def run(journal: Journal) -> list[int]:
        trusted(journal)
        await rested(journal)
        synced: list[int] = []
        done = asyncio.Event()

        def told(error: Exception | None) -> None:
            assert error is None
            synced.append(journal.disk.syncs)
            done.set()

        before = journal.disk.syncs
        journal.writer.append([event(1)], told)
        assert not synced  # never within the call
        await done.wait()
        return [each - before for each in synced]

    with Journal(tmp_path / "journal") as journal:
        assert asyncio.run(run(journal)) == [1]


def test_a_commit_that_kept_the_loop_waiting_sends_the_next_one_to_the_thread(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        trusted(journal)
        await rested(journal)
        journal.writer._swiftness.took(1_000_000, time.monotonic(), here=True)
        journal.writer._swiftness.took(1_000_000, time.monotonic(), here=True)
        assert await journal.store(event(1)) is None
        assert journal.disk.threads[-1] == "journal"

    with Journal(tmp_path / "journal") as journal:
        asyncio.run(run(journal))


def test_a_disk_that_fails_in_the_loop_is_reported_and_tried_again_by_the_thread(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        assert await journal.store(event(1)) is None
        trusted(journal)
        await rested(journal)
        journal.disk.full = True
        assert isinstance(await journal.store(event(2)), JournalFailed)
        journal.disk.full = False
        async with asyncio.timeout(10):
            while await journal.store(event(3)) is not None:
                pass

    with Journal(tmp_path / "journal") as journal:
        asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(1), event(3)]


def test_what_was_appended_for_the_loop_is_written_when_the_journal_closes_first(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        trusted(journal)
        await rested(journal)
        journal.writer.append([event(1)], lambda _: None)
        journal.writer.close()

    journal = Journal(tmp_path / "journal")
    asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(1)]


def test_commits_of_the_loop_and_of_the_thread_in_turns_fold_the_file_and_lose_nothing(tmp_path: Path) -> None:
    budget = JournalBudget(garbage_bytes_min=2_000)

    async def run(journal: Journal) -> None:
        for number in range(300):
            if number % 3 == 0:
                trusted(journal)
            elif number % 3 == 1:
                journal.writer._swiftness.took(1_000_000, time.monotonic(), here=True)
            assert await journal.store(Record(RecordKind.CLOCK, b"", b"%100d" % number), event(number)) is None

    with Journal(tmp_path / "journal", budget=budget) as journal:
        asyncio.run(run(journal))
        assert journal.disk.replaces > 1
    with Journal(tmp_path / "journal", budget=budget) as journal:
        assert journal.records[-1] == event(299)
        assert [record for record in journal.records if record.kind is RecordKind.EVENT] == list(map(event, range(300)))


def test_a_full_disk_is_reported_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        assert await journal.store(event(1)) is None
        journal.disk.full = True
        error = await journal.store(event(2))
        assert isinstance(error, JournalFailed)
        assert "No space left on device" in error.message
        assert str(tmp_path) in error.message
        assert error.next_step
        assert journal.writer.failed is error

    with Journal(tmp_path / "journal", config=JournalConfig()) as journal:
        asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(1)]


def test_the_journal_goes_on_by_itself_when_there_is_space_again(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        journal.disk.full = True
        assert isinstance(await journal.store(event(1)), JournalFailed)
        journal.disk.full = False
        async with asyncio.timeout(10):
            while await journal.store(event(2)) is not None:
                pass
        assert journal.writer.failed is None
        assert journal.writer.file_bytes == len(journal.disk.read())

    with Journal(tmp_path / "journal") as journal:
        asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(2)]
        assert not journal.recovered.torn
        assert not journal.recovered.quarantined


def test_while_failed_requests_are_answered_and_the_disk_is_left_alone(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        journal.disk.full = True
        for number in range(50):
            assert isinstance(await journal.store(event(number)), JournalFailed)

    with Journal(tmp_path / "journal", config=JournalConfig(retry_first_s=60, retry_cap_s=60)) as journal:
        asyncio.run(run(journal))
        journal.disk.full = False


def test_a_mistake_of_ours_in_the_thread_leaves_nobody_waiting(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        journal.disk.mistake = True
        error = await journal.store(event(1))
        assert isinstance(error, JournalFailed)
        assert "a mistake of ours" in error.message
        journal.disk.mistake = False
        async with asyncio.timeout(10):
            while await journal.store(event(2)) is not None:
                pass

    with Journal(tmp_path / "journal") as journal:
        asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(2)]


def test_one_request_over_its_budget_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    budget = JournalBudget(kind_bytes_max=dict.fromkeys(RecordKind, 1000), total_bytes_max=12_000)

    async def run(journal: Journal) -> list[Exception | None]:
        wanted = [(event(1),), (event(2), Record(RecordKind.AGENT, b"big", b"x" * 2000)), (event(3),)]
        return await asyncio.gather(*(journal.store(*records) for records in wanted))

    with Journal(tmp_path / "journal", budget=budget) as journal:
        first, second, third = asyncio.run(run(journal))
        assert first is None and third is None
        assert isinstance(second, JournalFull)
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [event(1), event(3)]


def test_more_waiting_than_fits_is_refused_at_once(tmp_path: Path) -> None:
    config = JournalConfig(pending_bytes_max=1000)

    async def run(journal: Journal) -> list[Exception | None]:
        answers: list[Exception | None] = []
        with journal.writer._wanted:
            waiting = [asyncio.ensure_future(journal.store(event(n, 400))) for n in range(4)]
            await asyncio.sleep(0)
        answers += await asyncio.gather(*waiting)
        return answers

    with Journal(tmp_path / "journal", config=config) as journal:
        answers = asyncio.run(run(journal))
    assert [type(answer) for answer in answers] == [type(None), type(None), JournalFailed, JournalFailed]


def test_the_file_stays_small_however_often_a_key_is_rewritten(tmp_path: Path) -> None:
    budget = JournalBudget(garbage_bytes_min=4000)

    async def run(journal: Journal) -> None:
        for number in range(400):
            assert await journal.store(Record(RecordKind.CLOCK, b"", b"%100d" % number)) is None

    with Journal(tmp_path / "journal", budget=budget) as journal:
        asyncio.run(run(journal))
        assert journal.disk.replaces > 2
    assert (tmp_path / "journal").stat().st_size < 9000
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [Record(RecordKind.CLOCK, b"", b"%100d" % 399)]


def test_a_compaction_without_space_loses_nothing(tmp_path: Path) -> None:
    budget = JournalBudget(garbage_bytes_min=1000)

    async def run(journal: Journal) -> None:
        whole = journal.disk.replace

        def refuses(_: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        journal.disk.replace = refuses
        for number in range(50):
            assert await journal.store(Record(RecordKind.CLOCK, b"", b"%100d" % number)) is None
        assert journal.writer.failed is None
        journal.disk.replace = whole

    with Journal(tmp_path / "journal", budget=budget) as journal:
        asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as journal:
        assert journal.records == [Record(RecordKind.CLOCK, b"", b"%100d" % 49)]


def test_an_idle_journal_writes_nothing_and_an_empty_change_neither(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        before = (journal.disk.appends, journal.disk.syncs)
        assert asyncio.run(journal.store(Record(RecordKind.AGENT, b"nobody", b""))) is None
        assert (journal.disk.appends, journal.disk.syncs) == before


def test_a_damaged_record_is_put_into_the_side_file_and_the_rest_starts(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    async def fill(journal: Journal) -> None:
        for number in range(3):
            await journal.store(event(number))

    with Journal(path) as journal:
        asyncio.run(fill(journal))
    data = bytearray(path.read_bytes())
    middle = len(data) - 50
    data[middle] ^= 8
    path.write_bytes(data)
    with Journal(path) as journal:
        assert len(journal.records) == 2
        assert journal.writer.quarantined == 1
    aside = (tmp_path / "journal.quarantine").read_bytes()
    assert aside.startswith(b"offset ")
    assert bytes(data[middle - 4 : middle + 4]) in aside
    assert not recover(path.read_bytes()).quarantined


def test_a_journal_without_a_readable_header_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"this is not a journal at all, and long enough to have been one of those")
    with pytest.raises(JournalUnreadable) as caught:
        JournalWriter.open(path)
    assert caught.value.message.startswith(f"{path}: cannot be read")
    assert path.read_bytes().startswith(b"this is not")


def test_the_journal_of_another_node_is_refused(tmp_path: Path) -> None:
    JournalWriter.open(tmp_path / "journal", node=NodeId(b"a" * 32)).writer.close()
    with pytest.raises(JournalUnreadable, match="belongs to node 616161616161"):
        JournalWriter.open(tmp_path / "journal", node=NodeId(b"b" * 32))


def test_a_directory_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed, match="nowhere"):
        JournalWriter.open(tmp_path / "nowhere" / "journal")


def test_closing_writes_what_waits_and_refuses_what_comes_after(tmp_path: Path) -> None:
    async def run(journal: Journal) -> None:
        waiting = asyncio.ensure_future(journal.store(event(1)))
        await asyncio.sleep(0)
        journal.writer.close()
        assert await waiting is None
        assert isinstance(await journal.store(event(2)), JournalFailed)

    journal = Journal(tmp_path / "journal")
    asyncio.run(run(journal))
    with Journal(tmp_path / "journal") as again:
        assert again.records == [event(1)]


def contact(number: int) -> Record:
    return Record(RecordKind.CONTACT, b"host:%d" % number, b"x")
