"""Passes requests on to the node, in the order they were asked, and watches what becomes of them.

An attempt is noted before it is made: so a request whose answer was lost with the gateway is known to have perhaps been
carried out. A node that is out of reach is no refusal: the request stays queued.
"""

import asyncio

import msgspec

from cloud_gateway.mesh.outcomes import give, look
from cloud_gateway.mesh.ports import Door, WallMs
from cloud_gateway.mesh.threads import in_thread
from cloud_gateway.model.batch import Batch
from cloud_gateway.model.listings import LIMIT_MAX
from cloud_gateway.model.queries import Bound, Query
from cloud_gateway.model.rows import CommandRow, key_of
from cloud_gateway.store.port import Store
from meshnode.model.errors import LocalError, Offline, TimedOut

EVERY_S = 0.5
ANSWER_S = 15.0
OPEN_MAX = 1000
LOOKS_MAX = 50  # accepted requests looked at in one round
WATCHED_MS = 24 * 3600 * 1000
KEPT_MAX = 1000  # requests that have ended; older ones go
SWEPT_EVERY_S = 600.0
ANSWER_CHARS_MAX = 2000
_ENDED = ("applied", "failed")
_AWAY = (Offline.exit_code, TimedOut.exit_code)


class Requests:
    """Of the replica that pulls."""

    def __init__(self, store: Store, door: Door, *, wall_ms: WallMs) -> None:
        self._store, self._door, self._wall_ms = store, door, wall_ms
        self._turn = 0
        self._sweep_due_s = 0.0

    async def run(self) -> None:
        """Until cancelled, or ``StoreFailed``."""
        loop = asyncio.get_running_loop()
        while True:
            await self.round()
            if loop.time() >= self._sweep_due_s:
                self._sweep_due_s = loop.time() + SWEPT_EVERY_S
                await self.sweep()
            await asyncio.sleep(EVERY_S)

    async def sweep(self, kept_max: int = KEPT_MAX) -> None:
        """Lets the oldest requests go that have ended, page by page."""
        kept = 0
        after: tuple[Bound, ...] | None = None
        while True:
            query = Query(
                kind="commands", where={"state": list(_ENDED)}, sort="-asked_ms", limit=LIMIT_MAX, after=after
            )
            found = await self._store.listed(query)
            gone = [key_of("commands", row) for row in found.items[max(0, kept_max - kept) :]]
            if gone:
                await self._store.commit(Batch(gone={"commands": gone}))
            kept += len(found.items)
            after = found.after
            if after is None:
                return

    async def round(self) -> None:
        """Everything queued is given, unless the node is away; some of what is accepted is looked at."""
        found = await self._store.open_commands(OPEN_MAX)
        for command in found:
            if command.state == "queued" and not await self._give(command):
                return
        accepted = [command for command in found if command.state == "accepted"]
        self._turn = self._turn % max(1, len(accepted))
        some = [*accepted[self._turn :], *accepted[: self._turn]][:LOOKS_MAX]
        self._turn += len(some)
        for command in some:
            if not await self._look(command):
                return

    async def _give(self, command: CommandRow) -> bool:
        """Whether the node answered."""
        command = msgspec.structs.replace(command, attempts=command.attempts + 1)
        if command.attempts <= 2 or not command.answer:  # one that waits for its node is not written at every try
            await self._store.tell(command)
        try:
            answer = await in_thread(lambda: give(self._door(ANSWER_S), command), "request")
        except LocalError as error:
            if error.exit_code in _AWAY:
                await self._tell(command, "queued", error.message)
                return False
            await self._tell(command, "failed", _words(error))
            return True
        await self._tell(command, "accepted", answer)
        return True

    async def _look(self, command: CommandRow) -> bool:
        """Whether the node answered."""
        try:
            outcome = await in_thread(lambda: look(self._door(ANSWER_S), command), "request")
        except LocalError as error:
            if error.exit_code in _AWAY:
                return False
            await self._tell(command, "accepted", _words(error))
            return True
        if outcome.state == "accepted" and self._wall_ms() - command.asked_ms > WATCHED_MS:
            await self._tell(command, "failed", f"not as asked after a day, no longer watched: {outcome.answer}")
        else:
            await self._tell(command, outcome.state, outcome.answer)
        return True

    async def _tell(self, command: CommandRow, state: str, answer: str) -> None:
        """Writes only what is news."""
        answer = answer[:ANSWER_CHARS_MAX]
        if (state, answer) != (command.state, command.answer):
            told = msgspec.structs.replace(command, state=state, answer=answer, changed_ms=self._wall_ms())
            await self._store.tell(told)


def _words(error: LocalError) -> str:
    return f"{error.message} -> {error.next_step}" if error.next_step else error.message
