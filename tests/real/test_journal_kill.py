"""A daemon is killed while it writes: what it acknowledged is there, and its journal starts."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from meshnode.host.disk import DirectoryLock
from meshnode.host.journal import JournalWriter
from meshnode.kernel.ledger import JournalBudget
from meshnode.kernel.records import Record, RecordKind
from tests.patience import TELLING, bounded

pytestmark = pytest.mark.real
BODY = b"x" * 300
# Small enough that the writer compacts all the time, which is when a kill hurts most.
BUDGET = JournalBudget(garbage_bytes_min=2_000)


def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(3):
        acknowledged = run_and_kill(tmp_path, acknowledged)
        lock = DirectoryLock(tmp_path)
        writer, records, recovered = JournalWriter.open(tmp_path / "journal", budget=BUDGET)
        writer.close()
        lock.release()
        assert not recovered.quarantined
        assert number_in(records) >= acknowledged


def run_and_kill(directory: Path, before: int) -> int:
    """The last number a child said was stored, before it was killed in the middle of its work."""
    command = [sys.executable, *TELLING, "-m", "tests.real.test_journal_kill", str(directory)]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout, bounded(child, "numbers of what is stored"):
        lines = [child.stdout.readline() for _ in range(60)]
        child.kill()
        lines += child.stdout.readlines()
    whole = [int(line) for line in lines if line.endswith("\n")]
    assert whole[0] > before
    return whole[-1]


def number_in(records: Sequence[Record]) -> int:
    return next((int.from_bytes(r.body[:8]) for r in records if r.kind is RecordKind.CLOCK), 0)


async def write_for_ever(directory: Path) -> None:
    lock = DirectoryLock(directory)
    writer, records, _ = JournalWriter.open(directory / "journal", budget=BUDGET)
    number = number_in(records)
    while lock:
        number += 1
        stored: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        writer.append([Record(RecordKind.CLOCK, b"", number.to_bytes(8) + BODY)], stored.set_result)
        if await stored is None:
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1])))
