"""Journal appends off the loop: one thread, one write and one sync for all that waits, outcomes told to the loop.

A disk that has shown to be quick is waited for in the loop itself: handing a commit to a thread and its outcome back
costs more than the commit. All that one turn of the loop appended is one commit either way.

Idle the thread sleeps without a timeout and writes nothing. When the disk fails, nothing half-written stays, every
request is answered with the reason, and the journal is read-only until a trial write succeeds.
"""

import asyncio
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from meshnode.host.disk import FileDisk
from meshnode.host.swiftness import Swiftness
from meshnode.kernel.journal import (
    SALT_BYTES,
    Disk,
    Header,
    JournalUnreadable,
    Quarantined,
    Recovered,
    record_bytes,
    recover,
)
from meshnode.kernel.ledger import JournalBudget, JournalFull, Keep, Ledger, compact, live, start
from meshnode.kernel.records import Record
from meshnode.model.errors import LocalError
from meshnode.model.ids import UNKNOWN_NODE, NodeId

log = logging.getLogger(__name__)

Done = Callable[[Exception | None], None]
QUARANTINE_BYTES_MAX = 4 * 1024 * 1024
# A trial write has to need a block of its own: a few bytes may fit into the last one of a full disk.
_TRIAL = bytes(8192)


class JournalFailed(LocalError):
    """The disk does not take more, or the journal cannot be opened. What was asked is not stored."""

    code = "journal-failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalConfig:
    """Bounds of the writer."""

    pending_bytes_max: int = 16 * 1024 * 1024
    batch_bytes_max: int = 1024 * 1024
    here_bytes_max: int = 128 * 1024  # that the loop waits for itself, if the disk is quick
    idle_s: float = 1.5  # that records nobody waits for may wait for a commit to ride with
    lazy_s: float = 10.0  # that records may wait whose writer was told that a power cut may take them back
    retry_first_s: float = 1.0
    retry_cap_s: float = 30.0


class Opened(NamedTuple):
    """``records``: what the journal holds, oldest first."""

    writer: "JournalWriter"
    records: list[Record]
    recovered: Recovered


class _Request(msgspec.Struct, frozen=True):
    records: Sequence[Record]
    size: int
    done: Done
    loop: asyncio.AbstractEventLoop
    patient: bool


class JournalWriter:
    """Owns the journal while the daemon runs. ``append`` is for the loop's thread, the rest for any.

    ``failed``: why nothing is stored at the moment, ``None`` when all is well. ``quarantined``: pieces of the file
    found unreadable, at the start or since.
    """

    def __init__(
        self,
        disk: Disk,
        ledger: Ledger,
        *,
        where: str = "the journal",
        keep: Keep = lambda _: None,
        config: JournalConfig | None = None,
        budget: JournalBudget | None = None,
    ) -> None:
        self.failed: JournalFailed | None = None
        self.quarantined = 0
        self._disk, self._ledger, self._where, self._keep = disk, ledger, where, keep
        self._close_disk: Callable[[], None] = lambda: None
        self._config, self._budget = config or JournalConfig(), budget or JournalBudget()
        self._queue: deque[_Request] = deque()
        self._pending_bytes = 0
        self._wanted = threading.Condition()
        self._swiftness = Swiftness()
        self._working = True  # the thread is doing something; ledger and disk are its own meanwhile
        self._here: asyncio.AbstractEventLoop | None = None  # the loop that will take what waits before its next turn
        self._urgent = False  # something waits that somebody waits for
        self._idle_until = 0.0  # when what nobody waits for is written all the same
        self._closing = False
        self._retry_s = self._config.retry_first_s
        self._retry_at = 0.0
        self._compact_above = 0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        node: NodeId = UNKNOWN_NODE,
        config: JournalConfig | None = None,
        budget: JournalBudget | None = None,
        through: Callable[[Disk], Disk] = lambda disk: disk,
    ) -> Opened:
        """Open or begin the journal at ``path``; hold a ``DirectoryLock`` on its directory.

        ``through`` may put another disk in front of the real one: that is how a test breaks it.

        Raises:
            JournalUnreadable: it is no journal of ``node``.
            JournalFailed: the disk refuses.
        """
        where, keep = str(path), Quarantine(path.with_name(path.name + ".quarantine")).keep
        try:
            file = FileDisk(path)
        except OSError as error:
            raise _failed(where, error) from error
        try:
            disk = through(file)
            began = start(disk, Header(node, secrets.token_bytes(SALT_BYTES)), keep, budget=budget, where=where)
        except OSError as error:
            file.close()
            raise _failed(where, error) from error
        except JournalUnreadable:
            file.close()
            raise
        writer = cls(disk, began.ledger, where=where, keep=keep, config=config, budget=budget)
        writer._close_disk = file.close
        writer.quarantined = len(began.recovered.quarantined)
        return Opened(writer, began.records, began.recovered)

    @property
    def file_bytes(self) -> int:
        return self._ledger.file_bytes

    def append(self, records: Sequence[Record], done: Done, *, idly: bool = False, lazily: bool = False) -> None:
        """Store ``records`` in this order; ``done`` is called later, in the loop: with ``None`` once they are durable.

        ``idly``: they may wait a moment for a commit to ride with; a sync costs the disk a page, however little it is.
        ``lazily``: for seconds, and whoever wrote them has been told.
        ``JournalFull`` and ``JournalFailed`` mean that none of them is stored and none will be.
        """
        loop = asyncio.get_running_loop()
        size = sum(map(record_bytes, records))
        with self._wanted:
            if not self._closing and self._pending_bytes + size <= self._config.pending_bytes_max:
                until = time.monotonic() + (self._config.lazy_s if lazily else self._config.idle_s)
                self._idle_until = min(self._idle_until, until) if self._queue else until
                self._queue.append(_Request(records, size, done, loop, idly or lazily))
                self._pending_bytes += size
                self._urgent = self._urgent or not (idly or lazily)
                if self._here is not loop and self._urgent and self._may_commit_here():
                    self._here = loop
                    loop.call_soon(self._commit_here)
                elif self._here is not loop:
                    self._wanted.notify()
                return
        why = "it is closed" if self._closing else "more waits to be written than fits into memory"
        loop.call_soon(done, JournalFailed(f"{self._where}: {why}. Nothing was stored", next_step="try again later"))

    def _may_commit_here(self) -> bool:
        """The disk is quick and well, and nobody else is at it."""
        if self._working or self._closing or self.failed is not None:
            return False
        return self._pending_bytes <= self._config.here_bytes_max and self._swiftness.is_quick(time.monotonic())

    def _commit_here(self) -> None:
        """In the loop: what its last turn appended. The thread keeps off, as this holds the lock."""
        with self._wanted:
            self._here = None
            if not self._urgent or not self._may_commit_here():  # it has grown, or the thread was told to end
                self._wanted.notify()
                return
            batch = self._taken()
            outcomes = self._outcomes(batch)
            if self.failed is not None or self._is_fold_due() or self._queue:
                self._wanted.notify()
        _call_all([request.done for request in batch], outcomes)

    def close(self) -> None:
        """Write what waits, then end. Blocks for as long as the disk takes."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        self._thread.join()
        self._close_disk()

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if self.failed is not None and time.monotonic() >= self._retry_at:
                self._try_again()
            if batch:
                self._tell(batch, self._outcomes(batch))
            self._compact_if_due()
            if not batch and self._closing:
                return

    def _next_batch(self) -> list[_Request]:
        """What waits, up to the batch limit. Empty: time to try again, or to end."""
        with self._wanted:
            self._working = False
            if not self._is_due() and not self._is_fold_due():
                self._wanted.wait(self._patience())
            self._working = True
            return self._taken() if self._is_due() else []

    def _taken(self) -> list[_Request]:
        """What waits, up to the batch limit."""
        batch: list[_Request] = []
        size = 0
        while self._queue and (not batch or size + self._queue[0].size <= self._config.batch_bytes_max):
            batch.append(self._queue.popleft())
            size += batch[-1].size
        self._pending_bytes -= size
        self._urgent = bool(self._queue)
        return batch

    def _is_due(self) -> bool:
        """There is something for the thread to write now, or to end for."""
        if self._closing or (self._urgent and self._here is None):
            return True
        return bool(self._queue) and time.monotonic() >= self._idle_until

    def _patience(self) -> float | None:
        """How long to sleep if nobody wants anything."""
        until = [self._idle_until] if self._queue else []
        until += [self._retry_at] if self.failed is not None else []
        return max(0.0, min(until) - time.monotonic()) if until else None

    def _outcomes(self, batch: Sequence[_Request]) -> list[Exception | None]:
        if self.failed is not None:
            return [self.failed] * len(batch)
        try:
            return self._commit(batch)
        except OSError as error:
            return [self._fail(error)] * len(batch)
        except Exception as error:
            # A mistake of ours. A thread that died of it would leave everybody waiting for ever.
            log.exception("the journal broke")
            return [self._fail(error)] * len(batch)

    def _commit(self, batch: Sequence[_Request]) -> list[Exception | None]:
        written: list[Record] = []
        outcomes: list[Exception | None] = []
        for request in batch:
            try:
                written += self._ledger.entered(request.records)
                outcomes.append(None)
            except JournalFull as error:
                outcomes.append(error)
        if written:
            data = self._ledger.encoded(written, packed=all(request.patient for request in batch))
            began_s = time.monotonic()
            self._disk.append(data)
            self._disk.sync()
            ended_s = time.monotonic()
            self._swiftness.took(round((ended_s - began_s) * 1e6), ended_s, here=not self._working)
        return outcomes

    def _tell(self, batch: Sequence[_Request], outcomes: Sequence[Exception | None]) -> None:
        loop = batch[0].loop
        try:
            loop.call_soon_threadsafe(_call_all, [request.done for request in batch], outcomes)
        except RuntimeError:
            log.debug("the loop is closed: nobody is left to hear of a commit")

    def _fail(self, error: Exception) -> JournalFailed:
        log.error("the journal is read-only", extra={"path": self._where, "error": str(error)})
        self.failed = _failed(self._where, error)
        self._retry_s = self._config.retry_first_s
        self._retry_at = time.monotonic() + self._retry_s
        return self.failed

    def _try_again(self) -> None:
        """See whether the disk takes a write again, and open the books anew: they may hold what never got there."""
        try:
            data = self._disk.read()
            found = recover(data, self._where)
            self._disk.append(_TRIAL)
            self._disk.sync()
            self._disk.truncate(len(data))
        except (OSError, JournalUnreadable) as error:
            self.failed = _failed(self._where, error)
            self._retry_s = min(self._config.retry_cap_s, self._retry_s * 2)
            self._retry_at = time.monotonic() + self._retry_s
        else:
            log.info("the journal can be written again", extra={"path": self._where})
            self._ledger = Ledger(found.header, live(found.records), len(data), self._budget)
            self.failed = None

    def _is_fold_due(self) -> bool:
        grown = self._ledger.wants_compaction and self._ledger.file_bytes > self._compact_above
        return grown and self.failed is None

    def _compact_if_due(self) -> None:
        if not self._is_fold_due():
            return
        try:
            clean = compact(self._disk.read(), self._where)
            if clean.quarantined:
                self._keep(clean.quarantined)
                self.quarantined += len(clean.quarantined)
            self._disk.replace(clean.data)
        except (OSError, JournalUnreadable) as error:
            # The old file is still good for appends. Try again when it has grown by half.
            log.warning("the journal was not compacted", extra={"path": self._where, "error": str(error)})
            self._compact_above = self._ledger.file_bytes * 3 // 2
        else:
            self._ledger = Ledger(clean.header, clean.records, len(clean.data), self._budget)
            self._compact_above = 0


class Quarantine:
    """The side file for bytes that are no records: of use to a person, never read by the node.

    At ``QUARANTINE_BYTES_MAX`` the file becomes ``*.old``, in place of the one before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, pieces: Sequence[Quarantined]) -> None:
        if self._path.exists() and self._path.stat().st_size >= QUARANTINE_BYTES_MAX:
            self._path.replace(self._path.with_name(self._path.name + ".old"))
        with self._path.open("ab") as file:
            for piece in pieces:
                file.write(f"offset {piece.offset}, {len(piece.data)} bytes: {piece.reason}\n".encode())
                file.write(piece.data + b"\n")


def _call_all(dones: Sequence[Done], outcomes: Sequence[Exception | None]) -> None:
    """All in this round of the loop: another one would cost a write as much as its signature. An error in one does not
    silence the others."""
    for done, outcome in zip(dones, outcomes, strict=True):
        try:
            done(outcome)
        except Exception:
            log.exception("whoever waited for a commit broke")


def _failed(where: str, error: Exception) -> JournalFailed:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return JournalFailed(
        f"{where}: {reason}. Nothing was stored",
        next_step="free space or mend the disk; the node goes on by itself as soon as it can write",
    )
