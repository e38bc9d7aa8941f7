"""The lock on a data directory, and what a file on a real disk does that a simulated one need not."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from meshnode.host import disk as disk_module
from meshnode.host.disk import AlreadyRunning, DirectoryLock, FileDisk


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
