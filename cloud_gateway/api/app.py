"""The gateway's doors as one ASGI application: the API, the live feed, the page, and what watches the watcher."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_gateway.api.assets import Assets
from cloud_gateway.api.cursors import Cursors
from cloud_gateway.api.desk import Desk
from cloud_gateway.api.endpoints import Endpoint, Endpoints
from cloud_gateway.api.feed import Feed
from cloud_gateway.api.freshness import Freshness, wall_ms
from cloud_gateway.api.guard import Guard
from cloud_gateway.api.health import Watching
from cloud_gateway.api.meter import Meter
from cloud_gateway.api.operations import BASE, COMMANDS, OPERATIONS, WATCH
from cloud_gateway.api.ports import MeshDoor
from cloud_gateway.api.problems import OURS, no_such_path, refusal, wrong_method
from cloud_gateway.api.requests import Requests
from cloud_gateway.api.respond import JSON_TYPE
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.api.streams import Streams
from cloud_gateway.store.port import Store


class Gateway:
    """The application, its feed, and the streams it must end before its server can close."""

    def __init__(
        self, store: Store, mesh: MeshDoor | None, settings: ApiSettings, *, clock_ms: Callable[[], int] = wall_ms
    ) -> None:
        fresh = Freshness(store, stale_after_s=settings.stale_after_s, clock_ms=clock_ms)
        self.feed, self._assets = Feed(store, settings, fresh), Assets(settings.page)
        meter = Meter()
        desk = Desk(store, mesh, fresh, Cursors(settings.token))
        endpoints = Endpoints(desk, Requests(store, settings, fresh), settings)
        watching = Watching(store, settings, fresh, self.feed, meter)
        app = Starlette(
            routes=[
                *(Route(BASE + operation.path, endpoints.reading(operation)) for operation in OPERATIONS),
                Route(COMMANDS, endpoints.asking, methods=["POST"]),
                Route(WATCH, Streams(self.feed, settings), methods=["GET", "HEAD"]),
                *_at_both("/healthz", watching.healthz),
                *_at_both("/metrics", watching.metrics),
                *_at_both("/openapi.json", _openapi),
            ],
            exception_handlers={HTTPException: _http_error, Exception: _our_error},
        )
        app.router.redirect_slashes = False
        app.router.default = self._otherwise
        self.app: ASGIApp = Guard(app, settings, meter)

    async def run(self) -> None:
        """The feed: until it is cancelled."""
        await self.feed.run()

    def close(self) -> None:
        """End the streams, in order."""
        self.feed.end()

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


def _at_both(path: str, endpoint: Endpoint) -> list[Route]:
    """Where whoever watches expects it, and beside the rest."""
    return [Route(base + path, endpoint) for base in ("", BASE)]


async def _openapi(request: Request) -> Response:
    request.scope["operation"] = "/openapi.json"
    from cloud_gateway.api.openapi import encoded  # made when somebody asks

    return Response(encoded(), media_type=JSON_TYPE, headers={"Cache-Control": "no-cache"})


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: only the wrong method is left of them."""
    headers = error.headers if isinstance(error, HTTPException) else None
    allowed = ", ".join(sorted((headers or {"Allow": "GET"})["Allow"].split(", ")))
    if request.url.path == COMMANDS:  # two routes, of which the router names one
        allowed = "GET, HEAD, POST"
    response = refusal(wrong_method(request.method, request.url.path, allowed))
    response.headers["Allow"] = allowed
    return response


async def _our_error(_request: Request, _error: Exception) -> Response:
    """Starlette sends this and raises the error on; the guard logs it."""
    return refusal(OURS)
