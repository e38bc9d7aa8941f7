"""The ASGI endpoint of ``/watch``. A stream ends with whichever comes first: its reader, the gateway, or a reader that
takes nothing for too long."""

import asyncio

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from cloud_gateway.api.feed import Feed, Reader
from cloud_gateway.api.frames import KINDS, Wanted
from cloud_gateway.api.limits import client_of
from cloud_gateway.api.operations import WATCH
from cloud_gateway.api.parameters import Asked, Parameter, asked
from cloud_gateway.api.problems import Refused, refusal
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.model.rows import CURRENT

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that gathers would make it an old feed
]
_FIELDS = tuple(dict.fromkeys(name for row in CURRENT.values() for name in row.__struct_fields__))
PARAMETERS = (
    Parameter(name="kinds", summary="only these kinds of rows, and events", many=True, commas=True, choices=KINDS),
    Parameter(name="region", summary="only rows of these regions", many=True),
    Parameter(name="node", summary="only rows of these nodes, by name", many=True),
    Parameter(name="fields", summary="only these fields of each row, and those that identify it", many=True,
              commas=True, choices=_FIELDS),
)  # fmt: skip


class Streams:
    """Serves the feed to one reader per request."""

    def __init__(self, feed: Feed, settings: ApiSettings) -> None:
        self._feed, self._settings = feed, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        scope["operation"] = WATCH
        client = client_of(request.client.host if request.client else "")
        try:
            wanted = self._admitted(request, client)
        except Refused as error:
            await refusal(error)(scope, receive, send)
            return
        if request.method == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": b""})
            return
        last_id = request.headers.get("last-event-id", "")
        reader = self._feed.enter(client, wanted, last_id)
        hello = self._feed.hello(begins=not last_id)  # nothing is awaited here: what comes later is in the queue
        try:
            await self._stream(reader, hello, receive, send)
        finally:
            self._feed.leave(reader)

    def _admitted(self, request: Request, client: str) -> Wanted:
        wanted = _wanted(asked(PARAMETERS, {}, request.query_params.multi_items()))
        if why := self._feed.refuses(client):
            raise Refused("too-many", f"watch: {why}", next_step="close some pages, or try again", retry_s=5)
        return wanted

    async def _stream(self, reader: Reader, hello: bytes, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with asyncio.TaskGroup() as tasks:
            ends = [
                tasks.create_task(self._tell(reader, hello, send), name="watch-tell"),
                tasks.create_task(_until_gone(receive), name="watch-reader"),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in ends:
                task.cancel()
        if not reader.stuck:  # one that takes nothing would not take the end either: its connection is cut
            await send({"type": "http.response.body", "body": b""})

    async def _tell(self, reader: Reader, hello: bytes, send: Send) -> None:
        told = hello
        while told:
            try:
                async with asyncio.timeout(self._settings.reader_stuck_s):
                    await send({"type": "http.response.body", "body": told, "more_body": True})
            except TimeoutError:
                reader.stuck = True
                return
            told = await reader.take()


def _wanted(question: Asked) -> Wanted:
    return Wanted(
        kinds=tuple(sorted(set(question.texts("kinds")))),
        regions=tuple(sorted(set(question.texts("region")))),
        nodes=tuple(sorted(set(question.texts("node")))),
        fields=tuple(sorted(set(question.texts("fields")))),
    )


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
