"""Who may write: one replica at a time, and never an old one after a new one.

A session lock says who leads while its connection lives; when the process dies, the server lets the lock go. A leader
that is only stopped keeps its connection: it is sent away when its sign of life is older than the lease. What makes
that safe is the *epoch* (a fencing token, Kleppmann 2016): taking over raises it, and every commit checks in its own
transaction that it is still the one it was won with. A sign of life changes no key, so that it does not wait for a
commit, which holds the row's key (``FOR KEY SHARE``); taking over does.
"""

import asyncio
import logging

from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres.wire import Link, Lost, Wire

log = logging.getLogger(__name__)

# Any number will do, as long as all replicas of all versions use the same; locks are per database.
LEADER_LOCK = 0x6D657368_6E6F6465
_BEATS_A_LEASE = 5

_TRY = "SELECT pg_try_advisory_lock($1)"
_TAKE = """
UPDATE leadership SET epoch = epoch + 1, leader = $1, seen = clock_timestamp() RETURNING epoch"""
_BEAT = "UPDATE leadership SET seen = clock_timestamp() WHERE epoch = $1"
_STALE = """
SELECT leader, extract(epoch FROM clock_timestamp() - seen)::float8 FROM leadership"""
_SEND_AWAY = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()"""

_SEND_LAST_AWAY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN leadership ON application_name = leader
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


class Leadership:
    """``epoch``: what this replica leads with; None: it does not lead."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._link: Link | None = None
        self._electing, self._beating = asyncio.Lock(), asyncio.Lock()
        self.epoch: int | None = None

    async def win(self) -> None:
        """Returns when this replica leads. While the server is away it waits for it."""
        said = ""
        async with self._electing:
            # Whoever asks again after a refusal may know more than this has noticed.
            await self._beat()
            while self.epoch is None:
                try:
                    if await self._try():
                        return
                except StoreFailed as error:
                    if str(error) != said:
                        log.warning("cannot stand for leader yet", extra={"why": str(error)})
                    said = str(error)
                    self.resign()
                await asyncio.sleep(self._wire.bounds.poll_s)

    async def _try(self) -> bool:
        if self._link is None or self._link.is_closed():
            self._link = await self._wire.connect(self._wire.bounds.lock_s, writes=True)
        with self._wire.plain():
            got = await self._link.fetchrow(_TRY, LEADER_LOCK)
            if got is None or not got[0]:
                await self._send_stale_away(self._link)
                return False
            try:
                # Whoever led before has lost the lock: a transaction it left open would only hold this one up.
                await self._link.execute(_SEND_LAST_AWAY)
                taken = await self._link.fetchrow(_TAKE, self._wire.writer)
            except BaseException:
                # The lock alone is worth nothing, and whoever holds the row must not be waited for with it.
                self.resign()
                raise
        assert taken is not None, "the row is made with the tables"
        self.epoch = int(taken[0])
        self._link.add_termination_listener(self._ended)
        log.info("this replica leads", extra={"epoch": self.epoch, "replica": self._wire.name})
        return True

    async def _send_stale_away(self, link: Link) -> None:
        row = await link.fetchrow(_STALE)
        if row is None or float(row[1]) < self._wire.bounds.lease_s or not row[0]:
            return
        sent = await link.fetchrow(_SEND_AWAY, row[0])
        log.warning(
            "sent away a leader that gave no sign of life",
            extra={"leader": row[0], "silent_s": round(float(row[1]), 1), "connections": sent and sent[0]},
        )

    async def beats(self) -> None:
        """For ever: a sign of life a few times a lease."""
        every_s = self._wire.bounds.lease_s / _BEATS_A_LEASE
        while True:
            await asyncio.sleep(every_s)
            await self._beat()

    async def _beat(self) -> None:
        async with self._beating:
            link, epoch = self._link, self.epoch
            if link is None or epoch is None:
                return
            try:
                with self._wire.plain():
                    done = await link.execute(_BEAT, epoch)
            except Lost as error:
                self._stop(str(error))
            except StoreFailed as error:
                # A full disk, say: nobody else could write either.
                log.warning("no sign of life could be given", extra={"why": str(error)})
            else:
                if done != "UPDATE 1":
                    self._stop("another replica took over")

    def deny(self, why: str) -> None:
        """A commit found that another replica leads."""
        self._stop(why)

    def resign(self) -> None:
        """Lets the lock go, by ending the connection that holds it."""
        link, self._link, self.epoch = self._link, None, None
        if link is not None:
            link.terminate()

    def _stop(self, why: str) -> None:
        if self.epoch is not None:
            log.warning("this replica does not lead any more", extra={"why": why, "epoch": self.epoch})
        self.resign()

    def _ended(self, link: object) -> None:
        if link is self._link:
            self._stop("the connection that held the lock ended")
