"""The event log in PostgreSQL: the leader appends segments and puts them into runs, every replica searches them.

What is appended is numbered by the leader, in memory: the fence of each commit says that there is no other. A replica
that searches brings its catalog up to date in the same snapshot of the database in which it then reads.
"""

import asyncio
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple

import msgspec
import zstandard

from cloud_gateway.model.rows import EventRow
from cloud_gateway.store.eventlog.catalog import Catalog, Snapshot, groups
from cloud_gateway.store.eventlog.run import Run, RunHead, made_run
from cloud_gateway.store.eventlog.search import AnswerT, Blobs, Need, NeedDirectory, NeedPosts, Steps
from cloud_gateway.store.eventlog.segment import (
    Events,
    Head,
    Origin,
    Origins,
    columns_of,
    head_of,
    joined,
    pieces,
    unpack,
)
from cloud_gateway.store.postgres.wire import Link, storable

_HEAD_BYTES_MAX = 4 * 1024 * 1024
_LEVEL = 5

_ORIGINS = "SELECT no, node_id, node, region FROM origins WHERE no > $1 ORDER BY no"
_NEW_ORIGINS = "INSERT INTO origins SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[])"
_APPEND = "INSERT INTO segments SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])"
_HEADS = "SELECT no, head FROM segments WHERE no > $1 ORDER BY no"
_BODIES = "SELECT no, body FROM segments WHERE no = ANY($1::bigint[]) ORDER BY no"
_SIZE = "SELECT coalesce(sum(octet_length(body)), 0)::bigint FROM segments WHERE no BETWEEN $1 AND $2"
_LAST = """
SELECT coalesce((SELECT max(no) FROM segments), 0), coalesce((SELECT max(last_segment) FROM runs), 0),
    coalesce((SELECT max(no) FROM runs), 0)"""
_RUNS = """
SELECT no, first_segment, last_segment, first_ms, last_ms, events, body_bytes, words
FROM runs WHERE no > $1 ORDER BY no"""
_NEW_RUN = "INSERT INTO runs VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_NEW_POSTS = """
INSERT INTO posts SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bytea[])"""
_DIRECTORY = "SELECT directory FROM runs WHERE no = $1"
_POSTS = "SELECT body FROM posts WHERE run = $1 AND first <= $3 AND last >= $2 ORDER BY block"
_SEGMENT = "SELECT body FROM segments WHERE no = $1"
_KNOWN = """
SELECT coalesce((SELECT max(no) FROM runs), 0), coalesce((SELECT min(no) FROM runs), 0),
    coalesce((SELECT max(no) FROM segments), 0), coalesce((SELECT max(no) FROM origins), 0),
    (SELECT before_ms FROM dropped)"""
_OVER = """
SELECT no, first_segment, last_segment, last_ms FROM (
    SELECT *, sum(body_bytes) OVER (ORDER BY no DESC) AS held, max(no) OVER () AS newest FROM runs
) AS r WHERE held > $1 AND no < newest ORDER BY no LIMIT 4"""


class Part(NamedTuple):
    """Where events of a commit lie; ``events`` differs when the segment was joined with others since."""

    no: int
    events: int


@dataclass(slots=True)
class Desk:
    """What the leader knows of the log's end. Void after a commit that failed: then it is read again."""

    catalog: Catalog
    next_segment: int
    next_run: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What a commit appends: ``bodies`` are packed by a thread, meanwhile rows can be written."""

    fresh: list[tuple[int, Origin]]
    heads: list[Head]
    bodies: "asyncio.Future[list[bytes]]"


class Archive:
    """One for each process; ``origins`` are shared by its writer and its readers."""

    def __init__(self) -> None:
        self.origins = Origins()
        self._catalog = Catalog()
        self._run = self._segment = 0
        self._refreshing = asyncio.Lock()
        # While a commit is on its way that numbered new origins, those may have to be taken back.
        self._settled = asyncio.Event()
        self._settled.set()

    # -- the leader -------------------------------------------------------------------------------------------------

    async def sit_down(self, link: Link) -> Desk:
        """Read where the log ends; inside a transaction that holds the fence."""
        await self._learn_origins(link)
        last = await link.fetchrow(_LAST)
        assert last is not None, "aggregates always answer"
        desk = Desk(Catalog(), max(last[0], last[1]) + 1, last[2] + 1)
        desk.catalog.add([_head(body) for _no, body in await link.fetch(_HEADS, last[1])])
        return desk

    def draft(self, desk: Desk, events: Sequence[EventRow]) -> Draft:
        """Begin to pack what a commit appends. ``settle`` follows in any case."""
        parts = [columns_of(piece, self.origins) for piece in pieces(events)]
        fresh = self.origins.fresh()
        if fresh:
            self._settled.clear()
        heads = [head_of(desk.next_segment + at, part, self.origins) for at, part in enumerate(parts)]
        return Draft(fresh, heads, asyncio.get_running_loop().run_in_executor(None, _packed, parts))

    async def append(self, link: Link, desk: Desk, draft: Draft) -> list[Part]:
        """Inside the commit's transaction."""
        if draft.fresh:
            await link.execute(
                _NEW_ORIGINS,
                [no for no, _ in draft.fresh],
                *([storable(getattr(origin, name)) for _, origin in draft.fresh] for name in Origin._fields),
            )
        heads, bodies = draft.heads, await draft.bodies
        if heads:
            await link.execute(_APPEND, [head.no for head in heads], [_head_bytes(head) for head in heads], bodies)
        desk.next_segment += len(heads)
        desk.catalog.add(heads)
        return [Part(head.no, head.events) for head in heads]

    def settle(self, origins: int | None = None) -> None:
        """The commit is done; or it failed, and only the first ``origins`` are known to be stored."""
        if origins is not None:
            self.origins.forget(origins)
        self._settled.set()

    async def make_run(self, link: Link, desk: Desk) -> None:
        """Index the recent segments and join small ones; inside a transaction of its own, behind the fence."""
        recent = list(desk.catalog.recent)
        heads = [await self._joined(link, group) for group in groups(recent)]
        size = await link.fetchrow(_SIZE, recent[0].no, recent[-1].no)
        run = await asyncio.to_thread(made_run, desk.next_run, heads, size[0] if size else 0)
        head = run.head._replace(last_segment=recent[-1].no)
        await _store_run(link, run._replace(head=head))
        desk.next_run += 1
        desk.catalog = Catalog()

    async def _joined(self, link: Link, group: Sequence[Head]) -> Head:
        if len(group) == 1:
            return group[0]
        numbers = [head.no for head in group]
        bodies = [body for _no, body in await link.fetch(_BODIES, numbers)]
        events, body = await asyncio.to_thread(_repacked, bodies)
        head = head_of(numbers[0], events, self.origins)
        await link.execute("DELETE FROM segments WHERE no = ANY($1::bigint[])", numbers)
        await link.execute(_APPEND, [head.no], [_head_bytes(head)], [body])
        return head

    async def drop_oldest(self, link: Link, bytes_max: int) -> int:
        """Keep within the budget; how many runs went. The newest run always stays: numbers go on from it."""
        over = await link.fetch(_OVER, bytes_max)
        for no, first, last, last_ms in over:
            await link.execute("DELETE FROM segments WHERE no BETWEEN $1 AND $2", first, last)
            await link.execute("DELETE FROM posts WHERE run = $1", no)
            await link.execute("DELETE FROM runs WHERE no = $1", no)
            await link.execute("UPDATE dropped SET before_ms = greatest(before_ms, $1)", last_ms + 1)
        return len(over)

    # -- every replica ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def current(self, link: Link) -> AsyncGenerator[Snapshot]:
        """A snapshot of the database and what the log holds in it; search it inside."""
        async with AsyncExitStack() as view:
            # One after the other: whoever finds the catalog newer than its own view would miss what was joined.
            async with self._refreshing:
                await view.enter_async_context(link.transaction(isolation="repeatable_read", readonly=True))
                await self._refresh(link)
                snapshot = self._catalog.snapshot()
            yield snapshot

    async def answer(self, link: Link, steps: Steps[AnswerT]) -> AnswerT:
        """Run a search; unpacking happens off the loop."""
        blobs: Blobs | None = None
        while True:
            step = await asyncio.to_thread(_step, steps, blobs)
            if isinstance(step, _Done):
                return step.answer
            blobs = await _read(link, step)

    async def events_of(self, link: Link, parts: Sequence[Part]) -> list[EventRow] | None:
        """The events of one commit; None: they cannot be told from others any more."""
        found = dict(await link.fetch(_BODIES, [part.no for part in parts]))
        rows: list[EventRow] = []
        for part in parts:
            events = unpack(found[part.no]) if part.no in found else None
            if events is None or len(events) != part.events:
                return None
            await self.learn_origins(link, max(events.origins))
            rows.extend(events.row(at, self.origins) for at in range(len(events)))
        return rows

    async def learn_origins(self, link: Link, newest: int) -> None:
        """Know all up to this one."""
        if newest > len(self.origins):
            await self._learn_origins(link)

    async def _refresh(self, link: Link) -> None:
        known = await link.fetchrow(_KNOWN)
        assert known is not None, "aggregates always answer"
        run, oldest, segment, origin, dropped_ms = known
        await self.learn_origins(link, origin)
        if run > self._run:
            for row in await link.fetch(_RUNS, self._run):
                self._catalog.add_run(RunHead(*row))
                self._run, self._segment = row[0], max(self._segment, row[2])
        for gone in [other for other in self._catalog.runs if other.no < oldest]:
            self._catalog.drop_run(gone)
        self._catalog.dropped_ms = max(self._catalog.dropped_ms, dropped_ms)
        if segment > self._segment:
            rows = await link.fetch(_HEADS, self._segment)
            self._catalog.add([_head(body) for _no, body in rows])
            self._segment = rows[-1][0] if rows else self._segment

    async def _learn_origins(self, link: Link) -> None:
        await self._settled.wait()
        for no, node_id, node, region in await link.fetch(_ORIGINS, len(self.origins)):
            if no == len(self.origins) + 1:
                self.origins.add(no, Origin(node_id, node, region))


class _Done(msgspec.Struct, Generic[AnswerT], frozen=True):
    answer: AnswerT


def _step(steps: Steps[AnswerT], blobs: Blobs | None) -> Need | _Done[AnswerT]:
    try:
        return next(steps) if blobs is None else steps.send(blobs)
    except StopIteration as ended:
        return _Done(ended.value)


async def _read(link: Link, need: Need) -> Blobs:
    if isinstance(need, NeedPosts):
        rows = await link.fetch(_POSTS, need.run, min(need.origins), max(need.origins))
    elif isinstance(need, NeedDirectory):
        rows = await link.fetch(_DIRECTORY, need.run)
    else:
        rows = await link.fetch(_SEGMENT, need.no)
    return [row[0] for row in rows]


async def _store_run(link: Link, run: Run) -> None:
    await link.execute(_NEW_RUN, *run.head, run.directory)
    await link.execute(
        _NEW_POSTS,
        run.head.no,
        list(range(len(run.blocks))),
        [block.first for block in run.blocks],
        [block.last for block in run.blocks],
        [block.body for block in run.blocks],
    )


def _packed(parts: Sequence[Events]) -> list[bytes]:
    return [_pack(part) for part in parts]


def _pack(events: Events) -> bytes:
    """Pressed harder than by ``pack``: the server writes each byte twice, once to its log. ``unpack`` reads both."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(msgspec.msgpack.encode(events))


def _repacked(bodies: Sequence[bytes]) -> tuple[Events, bytes]:
    events = joined([unpack(body) for body in bodies])
    return events, _pack(events)


def _head_bytes(head: Head) -> bytes:
    plain = msgspec.msgpack.encode((*head[:-1], list(head.spans)))
    return zstandard.ZstdCompressor(level=3).compress(plain)


def _head(body: bytes) -> Head:
    plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=_HEAD_BYTES_MAX)
    no, first_ms, last_ms, events, text_bytes, words, spans = msgspec.msgpack.decode(
        plain, type=tuple[int, int, int, int, int, bytes, list[int]]
    )
    return Head(no, first_ms, last_ms, events, text_bytes, words, array("q", spans))
