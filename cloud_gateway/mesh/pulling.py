"""Pulls the journals of all nodes through one.

Most nodes have little to tell: shares of them are asked at once and wait for news together. A node that is behind by
more than a page is taken out and paged alongside, so that its past holds nobody else up. A node is in one puller's
hand at a time: its cursor never goes back. The next question carries the committed cursor, and is asked after the
commit only.
"""

import asyncio
import logging
import math
from collections import deque
from typing import Protocol

import msgspec

from cloud_gateway.mesh.census import Census, Resident
from cloud_gateway.mesh.pages import Page, asked, read_page
from cloud_gateway.mesh.ports import Door, WallMs
from cloud_gateway.mesh.threads import in_thread
from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import CursorRow, EventRow, Row
from cloud_gateway.store.port import Store
from meshnode.model.commands import GatherJournals, ReadJournal
from meshnode.model.errors import LocalError
from meshnode.model.views import JournalsView, JournalView

log = logging.getLogger(__name__)

SHARE_MAX = 1024  # nodes in one question
SHARE_NODES = 800  # on the average: by their ids they fall into shares unevenly
SHARES_MAX = 12  # a node serves 16 such readers at once; 10,000 nodes are asked all the time
WAIT_MS = 5_000
RETURN_MS = 300  # instead, while one of a share is being paged: until the share is asked again nobody asks that one
GRACE_S = 15.0  # past the wait: a node that is asked for a thousand others is busy
PAGE_EVENTS = 500
GATHERED_EVENTS_MAX = 8_000
PAGERS = 4
RESTS_S = 1.0
MISSING_S = 15.0


class Pick(Protocol):
    """Whose journals are read."""

    def __call__(self, resident: Resident) -> bool: ...


def everybody(resident: Resident) -> bool:
    return resident.state != "left"


class Puller:
    """``reader``: under which name nodes show how far it is; ``rests_s``: between two looks where nothing waits."""

    def __init__(
        self,
        store: Store,
        door: Door,
        census: Census,
        *,
        reader: str,
        wall_ms: WallMs,
        pick: Pick = everybody,
        rests_s: float = RESTS_S,
    ) -> None:
        self._store, self._door, self._census = store, door, census
        self._reader, self._wall_ms, self._pick, self._rests_s = reader, wall_ms, pick, rests_s
        self._cursors: dict[str, CursorRow] = {}
        self._held: dict[str, None] = {}  # being asked together with others
        self._paged: dict[str, None] = {}  # being paged, or in the row for it
        self._behind: deque[str] = deque()
        self._news = asyncio.Condition()
        self._missed_s: dict[str, float] = {}  # when a node was last said to be missing
        self._shares = 1
        self._turns: dict[int, int] = {}
        self._grouped: list[list[Resident]] = []
        self._grouped_as_of = (-1, 0)

    @property
    def missing(self) -> dict[str, str]:
        """Node id -> why its journal cannot be read at the moment."""
        cursors = (self._cursors.get(node_id) for node_id in self._missed_s)
        return {cursor.node_id: cursor.missing for cursor in cursors if cursor is not None and cursor.missing}

    async def run(self) -> None:
        """Until cancelled, or ``StoreFailed``."""
        self._cursors = await self._store.cursors()
        await self._census.taken.wait()
        async with asyncio.TaskGroup() as tasks:
            for number in range(PAGERS):
                tasks.create_task(self._page_on(), name=f"journal-pager-{number}")
            self._shares = 0
            while True:
                wanted = min(SHARES_MAX, max(1, math.ceil(len(self._census.all()) / SHARE_NODES)))
                before, self._shares = self._shares, max(self._shares, wanted)
                for number in range(before, wanted):
                    tasks.create_task(self._gather_on(number), name=f"journal-share-{number}")
                await asyncio.sleep(self._rests_s)

    # -- many at once -----------------------------------------------------------------------------------------------

    async def _gather_on(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            share = self._take(number)
            began = loop.time()
            told = False
            try:
                told = bool(share) and await self._gather(number, share)
            finally:
                for resident in share:
                    self._held.pop(resident.node_id, None)
            if not told and loop.time() - began < self._rests_s:  # nobody there, or refused at once
                await asyncio.sleep(self._rests_s)

    def _take(self, number: int) -> list[Resident]:
        """Those of a share who are in nobody's hand, one of each name."""
        taken: dict[str, Resident] = {}
        for resident in self._members(number):
            if resident.node_id not in self._held and resident.node_id not in self._paged:
                taken.setdefault(resident.name, resident)
        names = list(taken)
        if len(names) > SHARE_MAX:  # in turns, where there are more than all shares together may ask
            at = self._turns[number] = (self._turns.get(number, 0) + SHARE_MAX) % len(names)
            names = [*names[at:], *names[:at]][:SHARE_MAX]
        share = [taken[name] for name in names]
        for resident in share:
            self._held[resident.node_id] = None
        return share

    def _members(self, number: int) -> list[Resident]:
        """Looked up for every question: only a change of the census goes through all nodes."""
        as_of = (self._census.version, self._shares)
        if self._grouped_as_of != as_of:
            self._grouped = [[] for _ in range(self._shares)]
            for resident in filter(self._pick, self._census.all()):
                self._grouped[self._share(resident.node_id)].append(resident)
            self._grouped_as_of = as_of
        return self._grouped[number]

    def _share(self, node_id: str) -> int:
        return int(node_id[:8], 16) % self._shares

    async def _gather(self, number: int, share: list[Resident]) -> bool:
        """Whether there was news. Each share has a name of its own: a node asks once at a time for one reader."""
        command = GatherJournals(
            reader=f"{self._reader}.{number}" if number else self._reader,
            cursors={resident.name: asked(self._cursor(resident)) for resident in share},
            limit=min(PAGE_EVENTS, max(20, GATHERED_EVENTS_MAX // len(share))),
            wait_ms=RETURN_MS if any(self._share(node_id) == number for node_id in self._paged) else WAIT_MS,
        )
        try:
            view = await in_thread(lambda: self._door(GRACE_S).journals(command, WAIT_MS / 1000 + GRACE_S), "journals")
        except LocalError as error:
            log.debug("journals cannot be gathered", extra={"why": error.message})
            return False
        await self._commit(share, view)
        return bool(view.items)

    async def _commit(self, share: list[Resident], view: JournalsView) -> None:
        by_id = {resident.node_id: resident for resident in share}
        # A name may have gone over to another node meanwhile: the census will know.
        answers = [(item, by_id[item.node_id]) for item in view.items if item.node_id in by_id]
        pages = [self._page(item, resident) for item, resident in answers]
        await self._write(pages, self._changed_absences(share, view))
        for (item, _), page in zip(answers, pages, strict=True):
            if page.events and item.last - page.cursor.number > PAGE_EVENTS:
                await self._set_aside(item.node_id)

    def _changed_absences(self, share: list[Resident], view: JournalsView) -> list[CursorRow]:
        """Cursors of nodes that cannot be asked, or can again. One that is neither told of nor said to be missing is
        still being asked: only after a while that means that it is there."""
        now_s = asyncio.get_running_loop().time()
        told = {item.node_id for item in view.items}
        found: list[CursorRow] = []
        for resident in share:
            why = view.missing.get(resident.name, "")
            if why:
                self._missed_s[resident.node_id] = now_s
            elif resident.node_id in told or now_s - self._missed_s.get(resident.node_id, now_s) > MISSING_S:
                self._missed_s.pop(resident.node_id, None)
            else:
                continue
            cursor = self._cursor(resident)
            if cursor.missing != why and resident.node_id not in told:
                found.append(msgspec.structs.replace(cursor, node=resident.name, missing=why, as_of_ms=self._wall_ms()))
        return found

    # -- one with much to tell --------------------------------------------------------------------------------------

    async def _set_aside(self, node_id: str) -> None:
        async with self._news:
            self._paged[node_id] = None
            self._behind.append(node_id)
            self._news.notify()

    async def _page_on(self) -> None:
        while True:
            async with self._news:
                await self._news.wait_for(lambda: self._behind)
                node_id = self._behind.popleft()
            if await self._read_on(node_id):
                await self._set_aside(node_id)
            else:
                self._paged.pop(node_id, None)

    async def _read_on(self, node_id: str) -> bool:
        """Whether there is more."""
        resident = self._census.get(node_id)
        if resident is None:
            return False
        cursor = asked(self._cursor(resident))
        command = ReadJournal(reader=self._reader, cursor=cursor, limit=PAGE_EVENTS, node=resident.name)
        try:
            view = await in_thread(lambda: self._door(GRACE_S).journal(command), "journal")
        except LocalError as error:  # the next share asks it again
            log.debug("a journal cannot be read", extra={"node": resident.name, "why": error.message})
            return False
        if view.node_id != node_id:
            return False
        page = self._page(view, resident)
        await self._write([page], [])
        return view.more and bool(page.events)

    # -- what is committed ------------------------------------------------------------------------------------------

    def _cursor(self, resident: Resident) -> CursorRow:
        held = self._cursors.get(resident.node_id)
        return held if held is not None else CursorRow(node_id=resident.node_id, node=resident.name)

    def _page(self, view: JournalView, resident: Resident) -> Page:
        return read_page(view, self._cursor(resident), region=resident.region, now_ms=self._wall_ms())

    async def _write(self, pages: list[Page], absences: list[CursorRow]) -> None:
        """One commit; what is known of cursors changes after it."""
        found = [page.cursor for page in pages if page.events or page.gaps or self._was_missing(page.cursor)]
        cursors = [*found, *absences]
        if not cursors:
            return
        events: list[EventRow] = [event for page in pages for event in page.events]
        rows: dict[str, list[Row]] = {"cursors": list[Row](cursors)}
        if gaps := [gap for page in pages for gap in page.gaps]:
            rows["gaps"] = list[Row](gaps)
        await self._store.commit(Batch(events=events, rows=rows))
        for cursor in cursors:
            self._cursors[cursor.node_id] = cursor

    def _was_missing(self, cursor: CursorRow) -> bool:
        held = self._cursors.get(cursor.node_id)
        return held is not None and bool(held.missing)
