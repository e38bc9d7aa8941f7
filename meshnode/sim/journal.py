"""Journal appends of one simulated process: one write and one sync for all that waits, as host/journal.py does it.

The sync takes the disk's time; a process killed in between has told nobody that anything is stored.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from meshnode.kernel.instant import SECOND
from meshnode.kernel.journal import Disk, Header, JournalUnreadable, Quarantined, record_bytes, recover
from meshnode.kernel.ledger import JournalBudget, JournalFull, Ledger, Started, compact, live, start
from meshnode.kernel.records import Record
from meshnode.node.inputs import Stored, StoreFailed

BATCH_BYTES_MAX = 1024 * 1024
PENDING_BYTES_MAX = 16 * 1024 * 1024
RETRY_FIRST_US, RETRY_CAP_US = 1 * SECOND, 30 * SECOND
_TRIAL = bytes(8192)


class Pace(Protocol):
    """How long the next commit takes, and a way to be called after a while."""

    def commit_us(self) -> int: ...

    def after(self, wait_us: int, act: Callable[[], None]) -> None: ...


class _Request(msgspec.Struct, frozen=True):
    batch_no: int
    records: Sequence[Record]
    size: int
    patient: bool


class SimJournal:
    """Owns the journal while a process lives. ``failed``: why nothing is stored at the moment, "" when all is well."""

    def __init__(self, disk: Disk, fresh: Header, pace: Pace, tell: Callable[[Stored | StoreFailed], None]) -> None:
        """Raises ``JournalUnreadable`` or ``OSError``: this process cannot start."""
        self._disk, self._pace, self._tell = disk, pace, tell
        self._kept_aside: list[Quarantined] = []
        self.began: Started = start(disk, fresh, self._kept_aside.extend)
        self._ledger = self.began.ledger
        self._budget = JournalBudget()
        self._queue: deque[_Request] = deque()
        self._pending_bytes = 0
        self._busy = False
        self._retry_us = RETRY_FIRST_US
        self._compact_above = 0
        self.failed = ""
        self.commits = 0

    @property
    def file_bytes(self) -> int:
        return self._ledger.file_bytes

    @property
    def quarantined(self) -> int:
        return len(self._kept_aside)

    def append(self, batch_no: int, records: Sequence[Record], *, patient: bool = False) -> None:
        """``patient``: nobody waits for them."""
        size = sum(map(record_bytes, records))
        if self._pending_bytes + size > PENDING_BYTES_MAX:
            self._tell(StoreFailed(batch_no, "more waits to be written than fits into memory"))
            return
        self._queue.append(_Request(batch_no, records, size, patient))
        self._pending_bytes += size
        if not self._busy:
            self._commit()

    def _commit(self) -> None:
        """Write what waits; the sync ends later."""
        batch = self._next_batch()
        if not batch:
            return
        if self.failed:
            for request in batch:
                self._tell(StoreFailed(request.batch_no, self.failed))
            self._commit()
            return
        self._busy = True
        outcomes: list[Stored | StoreFailed] = []
        written: list[Record] = []
        for request in batch:
            try:
                written += self._ledger.entered(request.records)
                outcomes.append(Stored(request.batch_no))
            except JournalFull as error:
                outcomes.append(StoreFailed(request.batch_no, str(error)))
        try:
            self._disk.append(self._ledger.encoded(written, packed=all(request.patient for request in batch)))
        except OSError as error:
            self._fail(error)
            outcomes = [StoreFailed(request.batch_no, self.failed) for request in batch]
        self._pace.after(self._pace.commit_us(), lambda: self._synced(outcomes))

    def _synced(self, outcomes: list[Stored | StoreFailed]) -> None:
        self._busy = False
        if not self.failed:
            try:
                self._disk.sync()
                self.commits += 1
            except OSError as error:
                self._fail(error)
                outcomes = [StoreFailed(outcome.batch_no, self.failed) for outcome in outcomes]
        for outcome in outcomes:
            self._tell(outcome)
        if not self.failed:
            self._compact_if_due()
        self._commit()

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        size = 0
        while self._queue and (not batch or size + self._queue[0].size <= BATCH_BYTES_MAX):
            batch.append(self._queue.popleft())
            size += batch[-1].size
        self._pending_bytes -= size
        return batch

    def _fail(self, error: OSError) -> None:
        self.failed = error.strerror or str(error)
        self._retry_us = RETRY_FIRST_US
        self._pace.after(self._retry_us, self._try_again)

    def _try_again(self) -> None:
        """See whether the disk takes a write again, and open the books anew: they may hold what never got there."""
        try:
            data = self._disk.read()
            found = recover(data)
            self._disk.append(_TRIAL)
            self._disk.sync()
            self._disk.truncate(len(data))
        except (OSError, JournalUnreadable) as error:
            self.failed = str(error)
            self._retry_us = min(RETRY_CAP_US, self._retry_us * 2)
            self._pace.after(self._retry_us, self._try_again)
            return
        self._ledger = Ledger(found.header, live(found.records), len(data), self._budget)
        self.failed = ""

    def _compact_if_due(self) -> None:
        if not self._ledger.wants_compaction or self._ledger.file_bytes <= self._compact_above:
            return
        try:
            clean = compact(self._disk.read())
            self._kept_aside += clean.quarantined
            self._disk.replace(clean.data)
        except (OSError, JournalUnreadable):
            self._compact_above = self._ledger.file_bytes * 3 // 2
            return
        self._ledger = Ledger(clean.header, clean.records, len(clean.data), self._budget)
        self._compact_above = 0
