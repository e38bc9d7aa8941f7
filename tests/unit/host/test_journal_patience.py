"""Records that nobody waits for: when they are written, and as what."""

import asyncio
from pathlib import Path

from meshnode.host.journal import JournalConfig
from meshnode.kernel.journal import record_bytes
from meshnode.kernel.records import Record, RecordKind
from tests.unit.host.test_journal_writer import Journal, contact


def test_what_nobody_waits_for_rides_with_the_next_commit_in_its_order(tmp_path: Path) -> None:
    patient = JournalConfig(idle_s=3600.0)

    async def scenario() -> tuple[list[str], int]:
        told: list[str] = []
        with Journal(tmp_path / "journal", config=patient) as journal:
            before, done = journal.disk.syncs, asyncio.Event()
            journal.writer.append([contact(1)], lambda error: told.append(f"idle {error}"), idly=True)
            journal.writer.append([contact(2)], lambda error: (told.append(f"urgent {error}"), done.set()))
            await asyncio.wait_for(done.wait(), 10)
            return told, journal.disk.syncs - before

    assert asyncio.run(scenario()) == (["idle None", "urgent None"], 1)
    with Journal(tmp_path / "journal") as again:
        assert again.records == [contact(1), contact(2)]


def test_what_nobody_waits_for_is_written_by_itself_after_a_while_and_at_the_end(tmp_path: Path) -> None:
    async def scenario(idle_s: float) -> int:
        with Journal(tmp_path / f"journal-{idle_s}", config=JournalConfig(idle_s=idle_s)) as journal:
            before, done = journal.disk.syncs, asyncio.Event()
            journal.writer.append([contact(1)], lambda _: done.set(), idly=True)
            if idle_s < 1:
                await asyncio.wait_for(done.wait(), 10)
                return journal.disk.syncs - before
        return journal.disk.syncs - before

    assert asyncio.run(scenario(0.01)) == 1
    assert asyncio.run(scenario(3600.0)) == 1


def test_what_is_kept_lazily_waits_longer_than_what_is_idle_and_rides_with_whatever_is_written_first(
    tmp_path: Path,
) -> None:
    async def scenario(name: str, idle_s: float, lazy_s: float, *, idly: bool) -> int:
        with Journal(tmp_path / name, config=JournalConfig(idle_s=idle_s, lazy_s=lazy_s)) as journal:
            before, done = journal.disk.syncs, asyncio.Event()
            journal.writer.append([contact(1)], lambda _: done.set(), lazily=True)
            if idly:
                journal.writer.append([contact(2)], lambda _: None, idly=True)
            if min(idle_s if idly else lazy_s, lazy_s) < 1:
                await asyncio.wait_for(done.wait(), 10)
            return journal.disk.syncs - before

    assert asyncio.run(scenario("a", 0.01, 3600.0, idly=False)) == 0
    assert asyncio.run(scenario("b", 0.01, 3600.0, idly=True)) == 1
    assert asyncio.run(scenario("c", 3600.0, 0.01, idly=True)) == 1
    with Journal(tmp_path / "a") as again:
        assert again.records == [contact(1)], "the end of a process in order loses nothing"


def test_what_nobody_waits_for_is_one_record_and_what_somebody_waits_for_has_its_own(tmp_path: Path) -> None:
    alike = [Record(RecordKind.CONTACT, b"host:%d" % number, b"the same of all, " * 20) for number in range(10)]
    plain = sum(map(record_bytes, alike))

    async def grown(name: str, *, urgent: bool) -> int:
        with Journal(tmp_path / name, config=JournalConfig(lazy_s=3600.0)) as journal:
            before, done = journal.writer.file_bytes, asyncio.Event()
            for record in alike[:-1]:
                journal.writer.append([record], lambda _: None, lazily=True)
            journal.writer.append(alike[-1:], lambda _: done.set(), lazily=not urgent)
            if urgent:
                await asyncio.wait_for(done.wait(), 10)
            writer = journal.writer
        return writer.file_bytes - before

    assert asyncio.run(grown("lazy", urgent=False)) * 2 < plain
    assert asyncio.run(grown("urgent", urgent=True)) >= plain
    for name in ("lazy", "urgent"):
        with Journal(tmp_path / name) as again:
            assert again.records == alike
