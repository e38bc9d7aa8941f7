"""The one thread that writes: all that waits shares a commit.

An idle store commits at once. A busy one first gathers for a moment what else comes: a sync costs the same for one
event and for a thousand.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from cloud_gateway.store.port import StoreFailed

log = logging.getLogger(__name__)

WAITING_MAX = 1024
_GROUP_MAX = 64
_GATHER_S = 0.05
_BUSY_S = 0.1  # how long after a commit the next counts as busy
# After these the page may or may not be on the disk, and nobody can tell: what was acked before is safe, nothing after.
_SYNC_ERRORS = ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC")
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

WorkT = TypeVar("WorkT")
DoneT = TypeVar("DoneT")


class Writer(Generic[WorkT, DoneT]):
    """``perform`` writes one group durably and returns what each of it gets; it may raise ``sqlite3.Error``, and then
    nothing of the group is stored. ``rest`` is called when nothing waits any more, for upkeep."""

    def __init__(
        self, perform: Callable[[Sequence[WorkT]], Sequence[DoneT]], rest: Callable[[], None], where: str
    ) -> None:
        self._perform, self._rest, self._where = perform, rest, where
        self._waiting: deque[tuple[WorkT, Future[DoneT]]] = deque()
        self._wanted = threading.Condition()
        self._closing = False
        self._failed = ""
        self._committed_at = 0.0
        self._crowded = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> str:
        """Why nothing is stored any more, "" while it is."""
        return self._failed

    def submit(self, work: WorkT) -> "Future[DoneT]":
        """Its outcome, once it is durable; fails with ``StoreFailed``."""
        future: Future[DoneT] = Future()
        with self._wanted:
            if self._failed or self._closing:
                raise StoreFailed(self._failed or f"{self._where} is closed")
            if len(self._waiting) >= WAITING_MAX:
                raise StoreFailed(f"{self._where}: {WAITING_MAX} commits wait already; the disk is too slow, send less")
            self._waiting.append((work, future))
            self._wanted.notify()
        return future

    def close(self) -> None:
        """Write what waits, then end."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._group():
            self._write(group)
            self._crowded = len(group) > 1
            if not self._failed:
                self._rest()
            self._committed_at = time.monotonic()

    def _group(self) -> list[tuple[WorkT, "Future[DoneT]"]]:
        """Those that wait, [] at the end. Who gave up while waiting is left out; from here on nobody can."""
        while taken := self._taken():
            if group := [each for each in taken if each[1].set_running_or_notify_cancel()]:
                return group
        return []

    def _taken(self) -> list[tuple[WorkT, "Future[DoneT]"]]:
        with self._wanted:
            while not self._waiting and not self._closing:
                self._wanted.wait()
            # Who commits alone, one after the other, has nobody to wait for.
            if self._crowded and time.monotonic() - self._committed_at < _BUSY_S:
                until = time.monotonic() + _GATHER_S
                self._wanted.wait_for(
                    lambda: len(self._waiting) >= _GROUP_MAX or self._closing, timeout=until - time.monotonic()
                )
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _GROUP_MAX))]

    def _write(self, group: Sequence[tuple[WorkT, "Future[DoneT]"]]) -> None:
        if self._failed:
            for _, future in group:
                future.set_exception(StoreFailed(self._failed))
            return
        try:
            done = self._perform([work for work, _ in group])
        except (sqlite3.Error, ValueError, OverflowError, AssertionError) as error:
            self._refuse(group, error)
            return
        for (_, future), outcome in zip(group, done, strict=True):
            future.set_result(outcome)

    def _refuse(self, group: Sequence[tuple[WorkT, "Future[DoneT]"]], error: Exception) -> None:
        text = self._text(error)
        log.warning("store refused a commit", extra={"why": text, "batches": len(group)})
        if len(group) > 1 and not isinstance(error, sqlite3.OperationalError) and not self._failed:
            # One of them cannot be stored; the others are not to blame.
            for one in group:
                self._write([one])
            return
        for _, future in group:
            failure = StoreFailed(text)
            failure.__cause__ = error
            future.set_exception(failure)

    def _text(self, error: Exception) -> str:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(_SYNC_ERRORS):
            self._failed = (
                f"{self._where}: the disk could not be synced ({error}); nothing is stored any more."
                " Look at the disk, then start the gateway anew"
            )
            return self._failed
        if name.startswith(_DAMAGE):
            self._failed = f"{self._where} is damaged ({error}); move it aside and start the gateway anew"
            return self._failed
        if name.startswith("SQLITE_FULL"):
            return f"{self._where}: the disk is full; nothing of this was stored. Free some space: it is tried again"
        return f"{self._where}: {error}; nothing of this was stored"
