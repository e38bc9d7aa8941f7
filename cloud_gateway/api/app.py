"""The gateway's doors as one ASGI application: the API, the live feed, the page, and what watches the watcher."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_gateway.api.assets import Assets
from cloud_gateway.api.cursors import Cursors
from cloud_gateway.api.desk import Desk
from cloud_gateway.api.feed import Feed
from cloud_gateway.api.freshness import Freshness, wall_ms
from cloud_gateway.api.guard import Guard
from cloud_gateway.api.health import Watching
from cloud_gateway.api.meter import Meter
from cloud_gateway.api.operations import BASE, OPERATIONS, Operation
from cloud_gateway.api.parameters import asked
from cloud_gateway.api.ports import MeshDoor
from cloud_gateway.api.problems import (
    OURS,
    Refused,
    mesh_slow,
    no_such_path,
    refusal,
    store_failed,
    store_slow,
    wrong_method,
)
from cloud_gateway.api.requests import Requests
from cloud_gateway.api.respond import JSON_TYPE, answer, tagged
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.api.streams import Streams
from cloud_gateway.store.port import Store, StoreFailed
from meshnode.model.errors import LocalError

log = logging.getLogger(__name__)
# Sent where nobody is left to read it.
_NOBODY = Response(status_code=499)
Endpoint = Callable[[Request], Awaitable[Response]]


class Gateway:
    """The application, its feed, and the streams it must end before its server can close."""

    def __init__(
        self, store: Store, mesh: MeshDoor | None, settings: ApiSettings, *, clock_ms: Callable[[], int] = wall_ms
    ) -> None:
        fresh = Freshness(store, stale_after_s=settings.stale_after_s, clock_ms=clock_ms)
        self._settings = settings
        self._desk = Desk(store, mesh, fresh, Cursors(settings.token))
        self._requests = Requests(store, settings, fresh)
        self._assets = Assets(settings.page)
        self.feed, self.meter = Feed(store, settings, fresh), Meter()
        self.app: ASGIApp = Guard(self._routed(Watching(store, settings, fresh, self.feed, self.meter)), settings,
                                  self.meter)  # fmt: skip

    async def run(self) -> None:
        """The feed: until it is cancelled."""
        await self.feed.run()

    def close(self) -> None:
        """End the streams, in order."""
        self.feed.end()

    def _routed(self, watching: Watching) -> Starlette:
        extra: dict[str, Endpoint] = {
            "/healthz": watching.healthz, "/metrics": watching.metrics, "/openapi.json": _openapi,
        }  # fmt: skip
        app = Starlette(
            routes=[
                *(Route(BASE + op.path, self._reading(op), methods=["GET"]) for op in OPERATIONS),
                Route(f"{BASE}/commands", self._asking, methods=["POST"]),
                Route(f"{BASE}/watch", Streams(self.feed, self._settings), methods=["GET"]),
                *(Route(f"{base}{path}", endpoint, methods=["GET"]) for base in (BASE, "")
                  for path, endpoint in extra.items()),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _our_error},
        )  # fmt: skip
        app.router.redirect_slashes = False
        app.router.default = self._otherwise
        return app

    def _reading(self, operation: Operation) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            request.scope["operation"] = operation.path_shown

            async def told() -> msgspec.Struct:
                query = request.query_params.multi_items()
                return await operation.handle(self._desk, asked(operation.parameters, request.path_params, query))

            return await self._in_time(request, told, of_mesh=operation.of_mesh, tag=operation.tagged)

        return endpoint

    async def _asking(self, request: Request) -> Response:
        request.scope["operation"] = f"{BASE}/commands"
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return _NOBODY
        except Refused as error:
            return refusal(error)
        key = request.headers.get("idempotency-key", "")
        by = request.client.host if request.client else ""

        async def told() -> msgspec.Struct:
            asked((), {}, request.query_params.multi_items())
            return await self._requests.keep(body, key, by)

        return await self._in_time(request, told, status=202)

    async def _in_time(
        self,
        request: Request,
        told: Callable[[], Awaitable[msgspec.Struct]],
        *,
        of_mesh: bool = False,
        tag: bool = False,
        status: int = 200,
    ) -> Response:
        """What it tells; refused when it is not told in time."""
        limit_s = self._settings.mesh_timeout_s if of_mesh else self._settings.store_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                found = await told()
        except TimeoutError:
            return refusal(mesh_slow(limit_s) if of_mesh else store_slow(limit_s))
        except LocalError as error:
            return refusal(error)
        except StoreFailed:
            log.exception("the store failed", extra={"path": request.url.path})
            return refusal(store_failed())
        return tagged(request, found) if tag else answer(request, found, status=status)

    async def _body(self, request: Request) -> bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != JSON_TYPE:
            # A form of a foreign page can be sent without asking; JSON cannot.
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

    async def _otherwise(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no operation is a file of the page, or nothing."""
        request = Request(scope)
        path, method = request.url.path, request.method
        found = self._assets.answer(request)
        if found is None:
            found = refusal(no_such_path(method, path))
        elif method not in ("GET", "HEAD"):
            found = refusal(wrong_method(method, path, "GET"))
            found.headers["Allow"] = "GET, HEAD"
        else:
            scope["operation"] = "page"
        await found(scope, receive, send)


async def _openapi(request: Request) -> Response:
    request.scope["operation"] = "/openapi.json"
    from cloud_gateway.api.openapi import document  # made when somebody asks

    return answer(request, msgspec.json.encode(document()))


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: only the wrong method is left of them."""
    headers = error.headers if isinstance(error, HTTPException) else None
    allowed = ", ".join(sorted((headers or {"Allow": "GET"})["Allow"].split(", ")))
    response = refusal(wrong_method(request.method, request.url.path, allowed))
    response.headers["Allow"] = allowed
    return response


async def _our_error(_request: Request, _error: Exception) -> Response:
    """Starlette sends this and raises the error on; the guard logs it."""
    return refusal(OURS)
