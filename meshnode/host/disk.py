"""The journal's disk on a real machine: one file, and a lock so that only one process has it."""

import fcntl
import os
import time
from collections import deque
from pathlib import Path

from meshnode.host.atomic import replace_file
from meshnode.model.errors import LocalError

LOCK_NAME = "lock"
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


class AlreadyRunning(LocalError):
    """Another process on this machine works in this data directory. Nothing was changed."""

    code = "already-running"


HOLDER_LOOKS_MAX, HOLDER_LOOK_S = 50, 0.01


class DirectoryLock:
    """Holds a data directory for this process until ``release``, or until the process ends in whatever way.

    It knows this machine only: of a copy of the directory on another one, peers are the first to notice.

    Raises:
        AlreadyRunning: names the process that has it.
        OSError: the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / LOCK_NAME, _OPEN, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(self._fd) or "unknown"
            os.close(self._fd)
            raise AlreadyRunning(
                f"{directory}: a meshnode with process id {holder} runs in this directory. Nothing was changed",
                next_step="look at it with meshnode status, end it with meshnode down, or choose another directory",
                details={"pid": int(holder) if holder.isdecimal() else None},
            ) from error
        except OSError:
            os.close(self._fd)
            raise
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """The file stays: removing it would let two processes lock two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _holder(fd: int) -> str:
    """The process that has the lock; one that took it just now writes its number in the next moment."""
    for _ in range(HOLDER_LOOKS_MAX):
        if holder := os.pread(fd, 32, 0).decode("ascii", "replace").strip():
            return holder
        time.sleep(HOLDER_LOOK_S)
    return ""


AHEAD_BYTES = 128 * 1024
BUSY_SYNCS, BUSY_S = 64, 2.0
SMALL_BYTES = 8 * 1024  # of one commit; a longer one has more to write than what the file system adds


class FileDisk:
    """``kernel.journal.Disk`` on a file. Used by one thread at a time.

    While one commit follows the other it keeps zeros ahead of what it writes: to write over them does not change the
    file, so that a sync has its data to write and nothing of the file system's (a third less time). They go when the
    file is closed; after a crash the journal finds them behind its last record. Who writes seldom is spared them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = self._open()
        self._length = self._synced = self._end = os.fstat(self._fd).st_size
        self._doubtful = False
        self._syncs: deque[float] = deque(maxlen=BUSY_SYNCS)  # when the last ones were
        # A predecessor may have been killed between write and sync: what is read as truth must be on the disk.
        try:
            os.fdatasync(self._fd)
        except OSError:
            os.close(self._fd)
            raise

    def _open(self) -> int:
        return os.open(self.path, _OPEN, 0o600)

    def read(self) -> bytes:
        pieces: list[bytes] = []
        at = 0
        while piece := os.pread(self._fd, self._length - at, at):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def append(self, data: bytes) -> None:
        self._mend()
        try:
            self._write(data, self._length)
        except OSError:
            self._undo()
            raise
        self._length += len(data)
        if self._length > self._end:
            self._end = self._length
            if len(data) <= SMALL_BYTES and self._is_busy():
                self._write_ahead()

    def _write(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            wrote = os.pwrite(self._fd, view, at)
            view, at = view[wrote:], at + wrote

    def _is_busy(self) -> bool:
        return len(self._syncs) == BUSY_SYNCS and time.monotonic() - self._syncs[0] < BUSY_S

    def _write_ahead(self) -> None:
        try:
            self._write(bytes(AHEAD_BYTES), self._length)
            self._end += AHEAD_BYTES
        except OSError:  # little room is left: what matters was written before
            os.ftruncate(self._fd, self._length)

    def sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError:
            # The kernel may have dropped the pages and will not say so twice: only a whole new file is to be trusted.
            self._doubtful = True
            self._undo()
            raise
        self._synced = self._length
        self._syncs.append(time.monotonic())

    def replace(self, data: bytes) -> None:
        try:
            replace_file(self.path, data)
        finally:
            self._reopen()
        self._doubtful = False

    def truncate(self, length: int) -> None:
        os.ftruncate(self._fd, length)
        self._length = self._end = length
        self.sync()

    def close(self) -> None:
        try:
            if self._end > self._length:
                os.ftruncate(self._fd, self._length)
        finally:
            os.close(self._fd)

    def _reopen(self) -> None:
        """After an error as well: the new file may have its name already."""
        fd = self._open()
        os.close(self._fd)
        self._fd = fd
        self._length = self._synced = self._end = os.fstat(fd).st_size

    def _undo(self) -> None:
        self._length = self._end = self._synced
        try:
            os.ftruncate(self._fd, self._synced)
        except OSError:
            self._doubtful = True

    def _mend(self) -> None:
        if self._doubtful:
            self.replace(self.read())
