"""Requests of HTTP in, answers of the desk out: each in time, each refusal as a problem."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cloud_gateway.api.desk import Desk
from cloud_gateway.api.operations import COMMANDS, Operation
from cloud_gateway.api.parameters import asked
from cloud_gateway.api.problems import Refused, mesh_slow, refusal, store_failed, store_slow
from cloud_gateway.api.requests import Requests
from cloud_gateway.api.respond import JSON_TYPE, answer
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.api.shared import Shared
from cloud_gateway.store.port import StoreFailed
from meshnode.model.errors import LocalError

log = logging.getLogger(__name__)
# Sent where nobody is left to read it.
_NOBODY = Response(status_code=499)
T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


class Endpoints:
    """Makes the endpoint of each operation."""

    def __init__(self, desk: Desk, requests: Requests, settings: ApiSettings) -> None:
        self._desk, self._requests, self._settings = desk, requests, settings
        self._shared = Shared()

    def reading(self, operation: Operation) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            request.scope["operation"] = operation.path_shown
            try:
                query = request.query_params.multi_items()
                question = asked(operation.parameters, request.path_params, query)

                async def told() -> msgspec.Struct:
                    return await self._in_time(operation.handle(self._desk, question), of_mesh=operation.of_mesh)

                if operation.shared:
                    return answer(request, await self._shared.told(operation.path, told))
                return answer(request, await told())
            except LocalError as error:
                return refusal(error)

        return endpoint

    async def asking(self, request: Request) -> Response:
        """POST /commands."""
        request.scope["operation"] = COMMANDS
        try:
            asked((), {}, request.query_params.multi_items())
            body = await self._body(request)
            key = request.headers.get("idempotency-key", "")
            by = request.client.host if request.client else ""
            told = await self._in_time(self._requests.keep(body, key, by))
        except ClientDisconnect:
            return _NOBODY
        except LocalError as error:
            return refusal(error)
        response = answer(request, told, status=202)
        response.headers["Location"] = f"{COMMANDS}/{told.item.command_id}"
        return response

    async def _in_time(self, answering: Awaitable[T], *, of_mesh: bool = False) -> T:
        """What it tells. Raises ``Refused`` when it is not told in time, or cannot be."""
        limit_s = self._settings.mesh_timeout_s if of_mesh else self._settings.store_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await answering
        except TimeoutError:
            raise (mesh_slow(limit_s) if of_mesh else store_slow(limit_s)) from None
        except StoreFailed as error:
            log.exception("the store failed")
            raise store_failed() from error

    async def _body(self, request: Request) -> bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != JSON_TYPE:
            # A form of a foreign page can be sent without asking first; JSON cannot.
            raise Refused("not-json", f"Content-Type: must be {JSON_TYPE}", field="Content-Type")
        limit, body = self._settings.body_bytes_max, bytearray()
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise Refused("too-large", f"body: more than {limit} bytes", next_step="send less")
        except TimeoutError:
            raise Refused("body-timeout", f"body: not here after {self._settings.body_timeout_s:g} s") from None
        return bytes(body)
