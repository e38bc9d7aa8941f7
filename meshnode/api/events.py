"""Server-sent events: the node's story as it happens, resumable by ``Last-Event-ID``.

A stream ends with whichever comes first: the story (without ``follow``), its reader, or the server.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from meshnode.api.errors import response_of
from meshnode.api.ports import Asker, Told
from meshnode.model.views import Failure

STREAMS_MAX = 32
_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
_YES_NO = {"true": True, "1": True, "false": False, "0": False}


class Wanted(msgspec.Struct, frozen=True):
    """What a reader asked for."""

    after: int
    follow: bool


# The frames of one stream, or why there is none.
Source = Callable[[QueryParams, Headers], Awaitable[AsyncGenerator[bytes] | Failure]]


class EventStreams:
    """An ASGI endpoint that sends what ``source`` gives, with heartbeats, to at most ``STREAMS_MAX`` readers."""

    def __init__(self, source: Source, *, heartbeat_s: float) -> None:
        self._source = source
        self._heartbeat_s = heartbeat_s
        self._closing = asyncio.Event()
        self._open = 0

    def close(self) -> None:
        """End every stream in order, and all that come later."""
        self._closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= STREAMS_MAX:
            full = Failure(code="offline", message=f"{STREAMS_MAX} event streams are open already", exit_code=6)
            await response_of(full)(scope, receive, send)
            return
        self._open += 1
        try:
            frames = await self._source(QueryParams(scope["query_string"]), Headers(scope=scope))
            if isinstance(frames, Failure):
                await response_of(frames)(scope, receive, send)
                return
            async with contextlib.aclosing(frames):  # do not leave the reader's place to the garbage collector
                await self._stream(frames, receive, send)
        finally:
            self._open -= 1

    async def _stream(self, frames: AsyncGenerator[bytes], receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await _write(send, b": meshnode events\n\n")  # the reader knows at once that it is heard
        async with asyncio.TaskGroup() as tasks:
            ends = [
                tasks.create_task(self._tell(frames, send), name="sse-events"),
                tasks.create_task(self._beat(send), name="sse-heartbeat"),
                tasks.create_task(until_gone(receive), name="sse-reader"),
                tasks.create_task(self._closed(), name="sse-closing"),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in ends:
                task.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _tell(self, frames: AsyncGenerator[bytes], send: Send) -> None:
        async for each in frames:
            await _write(send, each)

    async def _beat(self, send: Send) -> None:
        """Comments, so that both sides notice when the other is gone without a word."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await _write(send, b": still here\n\n")

    async def _closed(self) -> None:
        await self._closing.wait()


def story_of(asker: Asker) -> Source:
    """The source of ``/v1/events``.

    ``?after=N`` (or ``Last-Event-ID: N``) skips what the reader has; ``?follow=false`` ends when it is up to date.
    """

    async def source(query: QueryParams, headers: Headers) -> AsyncGenerator[bytes] | Failure:
        wanted = _wanted(query, headers)
        return wanted if isinstance(wanted, Failure) else _frames(asker, wanted)

    return source


async def _frames(asker: Asker, wanted: Wanted) -> AsyncGenerator[bytes]:
    story = asker.watch(wanted.after, follow=wanted.follow)
    try:
        async for told in story:
            yield b"".join(map(frame, told))
    finally:
        if isinstance(story, AsyncGenerator):
            await story.aclose()


def frame(told: Told) -> bytes:
    """One event in the format of the WHATWG's server-sent events; JSON has no raw line breaks, so one data line."""
    number = b"id: %d\n" % told.number if told.number else b""
    return number + b"event: note\ndata: " + msgspec.json.encode(told.event) + b"\n\n"


def _wanted(query: QueryParams, headers: Headers) -> Wanted | Failure:
    for name in query:
        if name not in ("after", "follow"):
            return refused(name, "unknown; there are after and follow")
    after = query.get("after") or headers.get("last-event-id") or "0"
    if not (after.isascii() and after.isdigit()) or len(after) > 18:
        return refused("after", "must be the number of an event")
    follow = yes_or_no(query, "follow")
    return refused("follow", "must be true or false") if follow is None else Wanted(int(after), follow)


def yes_or_no(query: QueryParams, name: str) -> bool | None:
    """True when it is not said; None when what is said is neither."""
    return _YES_NO.get(query.get(name, "true"))


def refused(field: str, why: str) -> Failure:
    return Failure(code="invalid", message=f"query: {field}: {why}", exit_code=2, details={"path": [field]})


async def until_gone(receive: Receive) -> None:
    """Waits for the reader to go. Only after the request's body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, chunk: bytes) -> None:
    # One send per frame: a heartbeat never lands inside an event.
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
