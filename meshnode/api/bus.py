"""The bus over HTTP, for agents in any language: they register by a request that never ends and hear calls, events and
their state as server-sent events; everything they say is a request of its own that names them by their token.

    POST /v1/bus                   register; the answer is the stream
    POST /v1/bus/TOKEN/VERB        answer, fail, item, call, publish, subscribe, state, leave
    GET  /v1/bus/TOKEN/state       all keys of its state
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from meshnode.api.errors import failure_of, invalid_request, response_of
from meshnode.api.events import until_gone
from meshnode.api.ports import AgentDoor, AgentLine
from meshnode.model.errors import Invalid, LocalError, RemoteError
from meshnode.model.views import Failure
from meshnode.wire import http

BODY_BYTES_MAX = 2 * 1024 * 1024  # a value of 1 MiB with what goes around it
_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
_NOBODY = Response(status_code=499)
_Saying = Callable[[AgentLine, Any], Any]


async def _answer(line: AgentLine, said: http.Answer) -> None:
    line.answer(said)


async def _fail(line: AgentLine, said: http.Fail) -> None:
    line.fail(said)


async def _item(line: AgentLine, said: http.Item) -> None:
    await line.item(said)


async def _call(line: AgentLine, said: http.Ask) -> object:
    return {"result": await line.call(said)}


async def _publish(line: AgentLine, said: http.Tell) -> None:
    line.publish(said)


async def _subscribe(line: AgentLine, said: http.Listen) -> None:
    line.subscribe(said)


async def _put(line: AgentLine, said: http.Put) -> object:
    return {"version": await line.put(said)}


async def _leave(line: AgentLine, _said: http.Put) -> None:
    line.gone()


VERBS: dict[str, tuple[type[msgspec.Struct], Callable[[AgentLine, Any], Awaitable[object]]]] = {
    "answer": (http.Answer, _answer), "fail": (http.Fail, _fail), "item": (http.Item, _item),
    "call": (http.Ask, _call), "publish": (http.Tell, _publish), "subscribe": (http.Listen, _subscribe),
    "state": (http.Put, _put), "leave": (http.Put, _leave),
}  # fmt: skip


def routes(door: AgentDoor, closing: asyncio.Event) -> list[Route]:
    """``closing``: set when the server ends, and every stream with it."""

    async def say(request: Request) -> Response:
        kind, saying = VERBS[request.path_params["verb"]]
        try:
            line = door.of(request.path_params["token"])
            said = msgspec.json.decode(await _body(request), type=kind)
            return await _unless_gone(request, saying(line, said))
        except ClientDisconnect:
            return _NOBODY
        except msgspec.DecodeError as error:
            return response_of(invalid_request(error, "body"))
        except (LocalError, RemoteError, RecursionError) as error:
            return response_of(_failure(error))

    async def state(request: Request) -> Response:
        try:
            return _said(door.of(request.path_params["token"]).state())
        except LocalError as error:
            return response_of(failure_of(error))

    return [
        Route("/v1/bus", _Registered(door, closing), methods=["POST"]),
        *(Route("/v1/bus/{token}/" + verb, _named(verb, say), methods=["POST"]) for verb in VERBS),
        Route("/v1/bus/{token}/state", state, methods=["GET"]),
    ]


def _named(verb: str, say: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request.path_params["verb"] = verb
        return await say(request)

    return endpoint


class _Registered:
    """The stream of one agent: an ASGI endpoint."""

    def __init__(self, door: AgentDoor, closing: asyncio.Event) -> None:
        self._door, self._closing = door, closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            said = msgspec.json.decode(await _body(request), type=http.Registration)
            line = self._door.open(descriptor_of(scope), said)
        except ClientDisconnect:
            return
        except msgspec.DecodeError as error:
            await response_of(invalid_request(error, "body"))(scope, receive, send)
            return
        except (LocalError, RecursionError, OSError) as error:
            await response_of(_failure(error))(scope, receive, send)
            return
        try:
            await self._stream(line, receive, send)
        finally:
            line.gone()

    async def _stream(self, line: AgentLine, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with contextlib.aclosing(line.events()) as events, asyncio.TaskGroup() as tasks:

            async def tell() -> None:
                async for piece in events:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})

            ends = [
                tasks.create_task(tell(), name="agent-events"),
                tasks.create_task(until_gone(receive), name="agent-reader"),
                tasks.create_task(_until(self._closing), name="agent-closing"),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in ends:
                task.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _until(closing: asyncio.Event) -> None:
    await closing.wait()


def descriptor_of(scope: Scope) -> int:
    """Of the connection's socket, as ``api/server.py`` notes it. Raises ``Invalid``: it is not there."""
    kind, number = scope.get("client") or ("", -1)
    if kind != "unix":
        raise Invalid("agents register over the unix socket of their node")
    return number


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Invalid(f"body: more than {BODY_BYTES_MAX} bytes", next_step="pass large data by reference")
    return bytes(body or b"{}")


async def _unless_gone(request: Request, saying: Awaitable[object]) -> Response:
    async with asyncio.TaskGroup() as tasks:
        said = asyncio.ensure_future(saying)
        gone = tasks.create_task(until_gone(request.receive), name="agent-asker")
        await asyncio.wait((said, gone), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not said.done():
            said.cancel()
            await asyncio.wait((said,))
    return _NOBODY if said.cancelled() else _said(said.result())


def _said(answer: object) -> Response:
    return Response(msgspec.json.encode({} if answer is None else answer), media_type="application/json")


def _failure(error: Exception) -> Failure:
    match error:
        case LocalError():
            return failure_of(error)
        case RemoteError():
            return Failure(code=error.reason, message=str(error), exit_code=5)
        case RecursionError():
            return Failure(code="invalid", message="body: nested too deeply", exit_code=2)
        case _:
            return Failure(code="offline", message=f"this node cannot take an agent now: {error}", exit_code=6)
