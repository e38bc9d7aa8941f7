"""The local API as a Starlette application: HTTP/JSON and server-sent events over a node that answers commands.

One generic endpoint serves the whole table of operations; nothing here knows what a command means.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meshnode.api import bus
from meshnode.api.answers import BODY_BYTES_MAX, asked, from_body, from_path, internal, said
from meshnode.api.errors import failure_of, response_of
from meshnode.api.events import EventStreams, story_of, until_gone
from meshnode.api.lines import Lines
from meshnode.api.operations import OPERATIONS, Operation
from meshnode.api.plain import PlainDoor
from meshnode.api.ports import AgentDoor, Asker, Streamed
from meshnode.api.topics import topics_of
from meshnode.api.watch import changes_of
from meshnode.model.commands import AnyCommand, CallSkill
from meshnode.model.errors import LocalError
from meshnode.model.views import AnyView, CallView, Failure, StreamItem

AnswerT = TypeVar("AnswerT")
_POINTER = (
    "meshnode, the local API of one node.\n\n/openapi.json   every path\n/v1/status      this node at one glance\n"
)
# Sent where nobody is left to read it.
_NOBODY = Response(status_code=499)


class Api:
    """The application, the door beside it, and the streams it must end before its server can close."""

    def __init__(self, asker: Asker, *, agents: AgentDoor | None = None, heartbeat_s: float = 15.0) -> None:
        self._closing = asyncio.Event()
        self.plain = PlainDoor(asker)
        self.streams = (
            EventStreams(story_of(asker), heartbeat_s=heartbeat_s),
            EventStreams(changes_of(asker), heartbeat_s=heartbeat_s),
            EventStreams(topics_of(asker), heartbeat_s=heartbeat_s),
        )
        self.app = Starlette(
            routes=[
                *(_route(operation, asker) for operation in OPERATIONS),
                Route("/v1/events", self.streams[0], methods=["GET"]),
                Route("/v1/watch", self.streams[1], methods=["GET"]),
                Route("/v1/subscribe", self.streams[2], methods=["GET"]),
                *(bus.routes(agents, self._closing) if agents is not None else ()),
                Route("/openapi.json", _openapi, methods=["GET"]),
                Route("/", _pointer, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _our_error},
        )

    def close(self) -> None:
        """End every stream in order, and all that come later."""
        self._closing.set()
        for streams in self.streams:
            streams.close()


def _route(operation: Operation, asker: Asker) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            command = await _command_of(operation, request)
        except ClientDisconnect:
            return _NOBODY
        if isinstance(command, Failure):
            return response_of(command)
        if isinstance(command, CallSkill) and command.stream:
            return await _streamed(asker, request, command)
        answer = await _unless_gone(request, asked(asker, command))
        return _NOBODY if answer is None else _respond(operation, answer)

    return Route(operation.path, endpoint, methods=[operation.method], name=f"{operation.method} {operation.path}")


async def _streamed(asker: Asker, request: Request, command: CallSkill) -> Response:
    """What comes first decides: a call that fails before its first item is refused like any other."""
    heard = asker.stream(command)
    first = await _unless_gone(request, _first(heard))
    if isinstance(first, StreamItem | CallView):
        return Lines(first, heard)
    await heard.aclose()
    return _NOBODY if first is None else response_of(first)


async def _first(heard: AsyncGenerator[Streamed]) -> Streamed:
    try:
        return await anext(heard)
    except LocalError as error:
        return failure_of(error)


async def _unless_gone(request: Request, answer: Coroutine[None, None, AnswerT]) -> AnswerT | None:
    """The answer; None when the reader goes before it is there, so that the node need not go on for nobody."""
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(answer, name="api-ask")
        gone = tasks.create_task(until_gone(request.receive), name="api-reader")
        await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        asked.cancel()
    return None if asked.cancelled() else asked.result()


async def _command_of(operation: Operation, request: Request) -> AnyCommand | Failure:
    if operation.has_body:
        body = await _read(request)
        return body if isinstance(body, Failure) else from_body(operation, body, request.path_params)
    given = [*request.path_params.items(), *request.query_params.multi_items()]
    fields = dict(given)
    if len(fields) != len(given):
        return _repeated(given)
    return from_path(operation, fields)


def _repeated(given: list[tuple[str, str]]) -> Failure:
    names = [name for name, _ in given]
    twice = next(name for name in names if names.count(name) > 1)
    return Failure(code="invalid", message=f"query: {twice}: given twice", exit_code=2, details={"path": [twice]})


async def _read(request: Request) -> bytes | Failure:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return Failure(
                code="too-large",
                message=f"body: more than {BODY_BYTES_MAX} bytes",
                next_step="pass large data by reference: a path or an address the agent can read",
                exit_code=2,
            )
    return bytes(body)


def _respond(operation: Operation, answer: AnyView) -> Response:
    status, body = said(operation, answer)
    return Response(body, status, media_type="application/json")


async def _pointer(_request: Request) -> Response:
    return PlainTextResponse(_POINTER)


async def _openapi(_request: Request) -> Response:
    from meshnode.api.openapi import document  # made when somebody asks: daemons are small

    return Response(msgspec.json.encode(document()), media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "no-such-path", 405: "method-not-allowed"}.get(status, "failed")
    failure = Failure(
        code=code,
        message=f"{request.method} {request.url.path} is not part of this API",
        next_step="GET /openapi.json shows every path",
        exit_code=3 if status == 404 else 2,
    )
    return response_of(failure)


async def _our_error(_request: Request, error: Exception) -> Response:
    """A fault of ours: Starlette sends this answer and raises the error on, so that it reaches the log."""
    return response_of(internal(error))
