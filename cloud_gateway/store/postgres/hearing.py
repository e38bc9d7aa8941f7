"""What changed, heard from the database: of whichever replica's commit, in their order.

NOTIFY carries only the number of a commit, as a hint: rows of ``changes`` say what it changed. Commits are numbered
without gaps in the order in which they become visible, so that a missing number means one thing: too far behind. Then
one ``whole=False`` tells watchers to ask anew, as it does after every interruption of the connection.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence

from cloud_gateway.model.batch import Changes
from cloud_gateway.store.feed import Feed
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres.archive import Archive
from cloud_gateway.store.postgres.told import changes, unpacked
from cloud_gateway.store.postgres.wire import Link, Record, Wire

log = logging.getLogger(__name__)

CHANNEL = "meshnode_gateway"
OWN_MAX = 64  # own commits kept until they are heard of
_LOOK_S = 5.0  # a lost hint costs no more than this
_RETRY_FIRST_S, _RETRY_CAP_S = 0.2, 10.0

_NEWEST = "SELECT seq FROM counter"
_SINCE = "SELECT seq, at_ms, body FROM changes WHERE seq > $1 ORDER BY seq LIMIT 64"


class Hearing:
    """Listens as long as ``run`` runs. ``ready``: from here on nothing is missed without being told so."""

    def __init__(self, wire: Wire, archive: Archive) -> None:
        self._wire, self._archive = wire, archive
        self._feed, self._wanted = Feed(), False
        self._own: dict[int, Changes] = {}
        self._seen = self._hint = self._answered = 0
        self.ready = asyncio.Event()

    def changes(self) -> AsyncIterator[Changes]:
        """What is committed from now on; hints of commits that were answered before may still be on their way."""
        self._wanted = True
        return _behind(self._answered, self._feed.changes())

    def expect(self, change: Changes) -> None:
        """A commit of this process that is on its way: when it is heard of, it need not be fetched."""
        if self._wanted:
            self._own[change.seq] = change
            while len(self._own) > OWN_MAX:
                del self._own[next(iter(self._own))]

    def answered(self, seq: int) -> None:
        """A commit of this process is durable."""
        self._answered = max(self._answered, seq)

    def forget(self, seq: int) -> None:
        """It did not happen, or nobody knows: another may get its number."""
        self._own.pop(seq, None)

    async def run(self) -> None:
        """For ever."""
        retry_s, said = _RETRY_FIRST_S, ""
        while True:
            try:
                link = await self._wire.connect(self._wire.bounds.read_s)
                retry_s, said = _RETRY_FIRST_S, ""
                try:
                    with self._wire.plain():
                        await self._listen(link)
                finally:
                    link.terminate()
            except StoreFailed as error:
                if str(error) != said:
                    log.warning("changes cannot be heard", extra={"why": str(error)})
                said = str(error)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, _RETRY_CAP_S)

    def close(self) -> None:
        self._feed.close()

    async def _listen(self, link: Link) -> None:
        """Until the connection ends."""
        news = asyncio.Event()

        def hear(_link: object, _pid: int, _channel: str, payload: str) -> None:
            self._hint = max(self._hint, int(payload) if payload.isascii() and payload.isdigit() else 0)
            news.set()

        link.add_termination_listener(lambda *_: news.set())
        await link.add_listener(CHANNEL, hear)
        self._hint = await _newest(link)
        if self.ready.is_set():
            self._lose(self._hint)
        self._seen = self._hint
        self.ready.set()
        while not link.is_closed():
            try:
                async with asyncio.timeout(_LOOK_S):
                    await news.wait()
            except TimeoutError:
                self._hint = max(self._hint, await _newest(link))
            news.clear()
            await self._catch_up(link)

    async def _catch_up(self, link: Link) -> None:
        while self._seen < self._hint:
            if not self._wanted:
                self._seen = self._hint
                self._own.clear()
            elif (own := self._own.pop(self._seen + 1, None)) is not None:
                self._tell(own)
            else:
                await self._tell_rows(link, await link.fetch(_SINCE, self._seen))

    async def _tell_rows(self, link: Link, rows: Sequence[Record]) -> None:
        if not rows:
            self._lose(self._hint)
        for seq, at_ms, body in rows:
            if seq != self._seen + 1:
                self._lose(self._hint)
                return
            self._tell(self._own.pop(seq, None) or await self._unpacked(link, seq, at_ms, body))

    async def _unpacked(self, link: Link, seq: int, at_ms: int, body: bytes | None) -> Changes:
        if body is not None:
            told = unpacked(body)
            await self._archive.learn_origins(link, told.newest_origin)
            events = await self._archive.events_of(link, told.segments) if told.segments else []
            if events is not None:
                return changes(seq, at_ms, told, events, self._archive.origins)
        return Changes(seq=seq, at_ms=at_ms, whole=False)

    def _tell(self, change: Changes) -> None:
        self._seen = change.seq
        self._feed.tell(change)

    def _lose(self, seq: int) -> None:
        """Behind ``seq`` it goes on; what lies before is not told."""
        self._tell(Changes(seq=seq, at_ms=time.time_ns() // 1_000_000, whole=False))


async def _newest(link: Link) -> int:
    row = await link.fetchrow(_NEWEST)
    return int(row[0]) if row is not None else 0


async def _behind(floor: int, changes: AsyncIterator[Changes]) -> AsyncIterator[Changes]:
    async for change in changes:
        if change.seq > floor:
            yield change
