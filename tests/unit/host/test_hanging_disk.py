"""A disk that hangs for seconds while the loop waits for it does so once: what it is asked then the thread asks."""

import asyncio
import threading
from pathlib import Path

import pytest

from meshnode.host import journal as journals
from meshnode.host.swiftness import SHOWN
from tests.unit.host.test_journal_writer import Journal, contact

HANG_S = 5.0


class Clock:
    """In place of the ``time`` that the journal reads: goes on when the disk says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


def test_the_loop_waits_for_one_hang_and_for_no_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, hung = Clock(), list[str]()

    async def scenario() -> None:
        with Journal(tmp_path / "journal") as journal:
            synced = journal.disk.sync

            def hang() -> None:
                hung.append(threading.current_thread().name)
                clock.now_s += HANG_S
                synced()

            for number in range(SHOWN):
                await kept(journal, number)
            assert journal.disk.threads[-1] != "journal"
            monkeypatch.setattr(journal.disk, "sync", hang)
            await kept(journal, 100)
            monkeypatch.setattr(journal.disk, "sync", synced)
            for number in range(50):  # quick again, and still not to be trusted
                await kept(journal, 200 + number)
            monkeypatch.setattr(journal.disk, "sync", hang)
            await kept(journal, 300)

    async def kept(journal: Journal, number: int) -> None:
        for _ in range(SHOWN if number == 0 else 0):
            journal.writer._swiftness.took(1, 0.0, here=False)
        done = asyncio.Event()
        with journal.writer._wanted:  # the thread is done with what it did
            journal.writer.append([contact(number)], lambda error: done.set() if error is None else None)
        await asyncio.wait_for(done.wait(), 10)

    monkeypatch.setattr(journals, "time", clock)
    asyncio.run(scenario())
    assert [each == "journal" for each in hung] == [False, True]
