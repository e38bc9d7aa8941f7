"""Commits: all batches that wait go into one transaction, behind the fence.

The first statement numbers the commit and proves that this replica still leads; from then on no other commit, of
whatever replica, is between it and its end. Whatever goes wrong ends the connection: the server then takes the
transaction back, or had already made it durable. Nobody knows which, and it does not matter, since batches may be
sent again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from cloud_gateway.model.batch import Batch, Changes, Committed
from cloud_gateway.model.rows import CommandRow, Row
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres import loads, rows
from cloud_gateway.store.postgres.archive import Archive, Desk, Part
from cloud_gateway.store.postgres.hearing import CHANNEL, Hearing
from cloud_gateway.store.postgres.leadership import Leadership
from cloud_gateway.store.postgres.tallying import SWEEP
from cloud_gateway.store.postgres.told import packed
from cloud_gateway.store.postgres.wire import Link, Wire, storable
from cloud_gateway.store.postgres.work import Mark, Work, merged, nodes_of

log = logging.getLogger(__name__)

# One transaction: so many events or batches at most, so that it ends soon.
EVENTS_MAX, BATCHES_MAX = 8192, 256
CHANGES_KEPT = 1024
_TRIM_EVERY = 64

_FENCE = """
WITH leads AS (SELECT epoch FROM leadership WHERE epoch = $1 FOR KEY SHARE)
UPDATE counter SET seq = seq + 1 FROM leads RETURNING seq"""
_HOLD = "SELECT epoch FROM leadership WHERE epoch = $1 FOR KEY SHARE"
_NUMBER = "UPDATE counter SET seq = seq + 1 RETURNING seq"
_KNOWN = "SELECT 1 FROM commands WHERE command_id = $1"
_SOURCE = "INSERT INTO source VALUES (true, $1) ON CONFLICT (one) DO UPDATE SET body = excluded.body"
_TOLD = "INSERT INTO changes VALUES ($1, $2, $3)"
_HINT = "SELECT pg_notify($1, $2)"
_TRIM = "DELETE FROM changes WHERE seq <= $1"


class _Fenced(StoreFailed):
    """Another replica took over."""


class _Waiting(NamedTuple):
    batch: Batch
    done: "asyncio.Future[Committed]"


class Writing:
    """``commit`` for the leader, ``put_command`` for every replica."""

    def __init__(self, wire: Wire, leadership: Leadership, archive: Archive, hearing: Hearing) -> None:
        self._wire, self._leadership, self._archive, self._hearing = wire, leadership, archive, hearing
        self._waiting: deque[_Waiting] = deque()
        self._turn = asyncio.Lock()
        self._link: Link | None = None
        self._desk: Desk | None = None
        self._epoch: int | None = None

    async def commit(self, batch: Batch) -> Committed:
        mine = _Waiting(batch, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            async with self._turn:
                # Whoever has the turn commits for all that wait; most find their batch done when it is theirs.
                if not mine.done.done():
                    await self._commit_waiting()
            return mine.done.result()
        finally:
            mine.done.cancel()

    async def put_command(self, command: CommandRow, *, unless_known: bool = False) -> None:
        """A request and what became of it: any replica's, therefore without the fence. The number is taken first: it
        holds off everybody who might put the same."""
        row: list[Row] = [command]
        async with self._wire.reading() as link, link.transaction():
            seq = await _numbered(link, _NUMBER)
            if unless_known and await link.fetchrow(_KNOWN, storable(command.command_id)) is not None:
                row = []
            else:
                await rows.put(link, "commands", row)
            changes = Changes(seq=seq, at_ms=_now_ms(), rows={"commands": row} if row else {})
            await self._tell(link, changes, [])
        self._hearing.answered(seq)

    def close(self) -> None:
        if self._link is not None:
            self._link.terminate()
            self._link = None

    async def _commit_waiting(self) -> None:
        taken: list[_Waiting] = []
        events = 0
        while self._waiting and len(taken) < BATCHES_MAX:
            if self._waiting[0].done.cancelled():
                self._waiting.popleft()
                continue
            events += len(self._waiting[0].batch.events)
            if taken and events > EVENTS_MAX:
                break
            taken.append(self._waiting.popleft())
        try:
            seq, work = await self._transact([waiting.batch for waiting in taken])
        except StoreFailed as error:
            _answer(taken, error)
        except BaseException:
            _answer(taken, StoreFailed("the commit was given up; asking again is harmless"))
            raise
        else:
            for waiting, count in zip(taken, work.counts, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(Committed(seq, count))
            await self._tidy()

    async def _transact(self, batches: Sequence[Batch]) -> tuple[int, Work]:
        epoch = self._leadership.epoch
        if epoch is None:
            raise StoreFailed("this replica does not lead (any more): another one writes; nothing was stored")
        origins = len(self._archive.origins)
        seq = 0
        try:
            with self._wire.plain():
                link = await self._connected(epoch)
                async with link.transaction():
                    seq = await _numbered(link, _FENCE, epoch)
                    work = await self._write(link, seq, batches)
        except BaseException as error:
            self._hearing.forget(seq)
            self._archive.settle(origins)
            self.close()
            if isinstance(error, _Fenced):
                self._leadership.deny(str(error))
            raise
        self._archive.settle()
        self._hearing.answered(seq)
        return seq, work

    async def _connected(self, epoch: int) -> Link:
        """Also: what is known of the log's end belongs to one connection and one epoch."""
        if self._link is None or self._link.is_closed() or self._epoch != epoch:
            self.close()
            self._desk, self._epoch = None, epoch
            self._link = await self._wire.connect(self._wire.bounds.write_s, writes=True)
        return self._link

    async def _write(self, link: Link, seq: int, batches: Sequence[Batch]) -> Work:
        if self._desk is None:
            self._desk = await self._archive.sit_down(link)
        work = merged(batches, await self._marks(link, batches))
        draft = self._archive.draft(self._desk, work.events)
        await rows.write(link, work)
        await loads.write(link, work.loads, _now_ms())
        parts = await self._archive.append(link, self._desk, draft)
        if work.source is not None:
            await link.execute(_SOURCE, msgspec.msgpack.encode(work.source))
        changes = Changes(
            seq=seq,
            at_ms=_now_ms(),
            rows={kind: list(kept.values()) for kind, kept in work.rows.items() if kept},
            gone={kind: list(gone) for kind, gone in work.gone.items() if gone},
            events=work.events,
            source=work.source,
        )
        await self._tell(link, changes, parts)
        return work

    async def _marks(self, link: Link, batches: Sequence[Batch]) -> dict[str, Mark]:
        """What is committed: events that are not behind it are not new. Tests replace it by nothing."""
        return await rows.marks(link, nodes_of(batches))

    async def _tell(self, link: Link, changes: Changes, parts: list[Part]) -> None:
        await link.execute(_TOLD, changes.seq, changes.at_ms, packed(changes, parts, self._archive.origins))
        if changes.seq % _TRIM_EVERY == 0:
            await link.execute(_TRIM, changes.seq - CHANGES_KEPT)
        await link.execute(_HINT, CHANNEL, str(changes.seq))
        self._hearing.expect(changes)

    async def _tidy(self) -> None:
        """Work on the log that its commits leave behind. If it fails, it is due again with the next commit."""
        link, desk = self._link, self._desk
        if link is None or desk is None or not desk.catalog.due:
            return
        try:
            with self._wire.plain():
                async with link.transaction():
                    await _numbered(link, _HOLD, self._epoch)
                    await self._archive.make_run(link, desk)
                    await self._archive.drop_oldest(link, self._wire.bounds.events_bytes_max)
                    await link.execute(SWEEP)
        except StoreFailed as error:
            log.warning("the event log was not tidied", extra={"why": str(error)})
            self.close()


def _answer(taken: Sequence[_Waiting], error: StoreFailed) -> None:
    for waiting in taken:
        if not waiting.done.done():
            waiting.done.set_exception(StoreFailed(str(error)))


async def _numbered(link: Link, query: str, *args: object) -> int:
    row = await link.fetchrow(query, *args)
    if row is None:
        raise _Fenced("another replica has taken over and writes now; nothing of this was stored")
    return int(row[0])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
