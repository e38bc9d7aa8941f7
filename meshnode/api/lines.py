"""JSON lines: the items of a streaming call as they come, then how it ended.

``{"item": StreamItem}`` any number of times, then ``{"end": CallView}`` or ``{"failure": Failure}``. A stream without
an end was cut off, and whoever reads it can tell.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from meshnode.api.events import until_gone
from meshnode.api.ports import Streamed
from meshnode.model.views import CallView, Failure, StreamItem

LINES_TYPE = "application/jsonl"


class Lines(Response):
    """The answer to a call whose first item, or end, is there already."""

    media_type = LINES_TYPE

    def __init__(self, first: Streamed, heard: AsyncGenerator[Streamed]) -> None:
        super().__init__()
        self._first, self._heard = first, heard
        del self.headers["content-length"]  # it ends when the call does

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's shape
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with contextlib.aclosing(self._heard), asyncio.TaskGroup() as tasks:
            ends = [
                tasks.create_task(self._tell(send), name="api-items"),
                tasks.create_task(until_gone(receive), name="api-reader"),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in ends:
                task.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _tell(self, send: Send) -> None:
        # The next item is asked for once this one has left: a slow reader thereby slows the skill down.
        await send({"type": "http.response.body", "body": line(self._first), "more_body": True})
        async for heard in self._heard:
            await send({"type": "http.response.body", "body": line(heard), "more_body": True})


def line(heard: Streamed) -> bytes:
    match heard:
        case StreamItem():
            tagged = {"item": heard}
        case CallView():
            tagged = {"end": heard}
        case Failure():
            tagged = {"failure": heard}
    return msgspec.json.encode(tagged) + b"\n"
