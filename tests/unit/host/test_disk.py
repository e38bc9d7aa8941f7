"""The lock on a data directory, and what a file on a real disk does that a simulated one need not."""

import multiprocessing
import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from meshnode.host import disk as disk_module
from meshnode.host.disk import AlreadyRunning, DirectoryLock, FileDisk
from meshnode.kernel.journal import Header
from meshnode.kernel.ledger import start
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId

HEADER = Header(NodeId(b"n" * 32), b"saltsalt")


def hold(directory: Path, pipe: Connection) -> None:
    DirectoryLock(directory)
    pipe.send(os.getpid())
    pipe.recv()


def test_a_directory_belongs_to_one_process_and_the_refusal_names_it(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    pid = ours.recv()
    with pytest.raises(AlreadyRunning, match=f"process id {pid} runs") as caught:
        DirectoryLock(tmp_path)
    assert caught.value.details == {"pid": pid}
    assert caught.value.next_step
    process.kill()
    process.join()
    DirectoryLock(tmp_path).release()


def test_a_released_directory_can_be_taken_again(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(AlreadyRunning):
        DirectoryLock(tmp_path)
    lock.release()
    lock.release()
    DirectoryLock(tmp_path).release()


def test_the_journal_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "journal")
    disk.replace(b"x")
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600
    disk.close()


def test_after_a_failed_sync_the_file_is_written_anew_before_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel drops dirty pages after an I/O error and reports it once; the next sync would lie."""
    disk = FileDisk(tmp_path / "journal")
    disk.append(b"kept ")
    disk.sync()

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    disk.append(b"lost")
    with monkeypatch.context() as patch:
        patch.setattr(disk_module.os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input/output"):
            disk.sync()
    assert disk.read() == b"kept "
    before = (tmp_path / "journal").stat().st_ino
    disk.append(b"more")
    disk.sync()
    assert (tmp_path / "journal").stat().st_ino != before
    assert (tmp_path / "journal").read_bytes() == b"kept more"
    disk.close()


def busy(path: Path) -> FileDisk:
    """A disk on which one commit has followed the other, so that it keeps zeros ahead."""
    disk = FileDisk(path)
    for _ in range(disk_module.BUSY_SYNCS):
        disk.sync()
    return disk


def test_a_busy_disk_keeps_zeros_ahead_that_are_no_content_and_go_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    disk = busy(path)
    for number in range(50):
        disk.append(b"%3d " % number)
        disk.sync()
    content = b"".join(b"%3d " % number for number in range(50))
    assert path.stat().st_size == 4 + disk_module.AHEAD_BYTES  # it did not grow with each commit
    assert disk.read() == content
    disk.close()
    assert path.read_bytes() == content


def test_a_disk_with_little_to_do_and_long_commits_are_spared_them(tmp_path: Path) -> None:
    disk = FileDisk(tmp_path / "journal")
    disk.append(b"one")
    disk.sync()
    assert (tmp_path / "journal").stat().st_size == 3
    disk.close()
    disk = busy(tmp_path / "long")
    disk.append(bytes(disk_module.SMALL_BYTES + 1))
    assert (tmp_path / "long").stat().st_size == disk_module.SMALL_BYTES + 1
    disk.close()


def test_a_journal_killed_while_busy_starts_with_all_that_was_acknowledged_and_calls_nothing_torn(
    tmp_path: Path,
) -> None:
    disk = busy(tmp_path / "journal")
    ledger = start(disk, HEADER, lambda _: None).ledger
    for _ in range(disk_module.BUSY_SYNCS):
        disk.sync()
    records = [Record(RecordKind.EVENT, number.to_bytes(8), b"body") for number in range(20)]
    for record in records:
        disk.append(ledger.add([record]))
        disk.sync()
    killed = FileDisk(tmp_path / "journal")  # the one before was never closed
    found = start(killed, HEADER, lambda _: None)
    assert found.records == records
    assert found.recovered.spare
    assert not found.recovered.quarantined
    killed.append(found.ledger.add([Record(RecordKind.EVENT, b"later", b"body")]))
    killed.sync()
    killed.close()
    again = FileDisk(tmp_path / "journal")
    recovered = start(again, HEADER, lambda _: None).recovered
    assert len(recovered.records) == 21
    assert not recovered.torn
    again.close()
    disk.close()


def test_where_no_zeros_fit_the_commit_stands_all_the_same(tmp_path: Path) -> None:
    disk = busy(tmp_path / "journal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        disk.append(b"kept")
        disk.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert disk.read() == b"kept"
    assert (tmp_path / "journal").read_bytes() == b"kept"
    disk.close()
