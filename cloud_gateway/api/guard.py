"""The outermost layer: who may come in, how often, and what every answer carries. It never looks into a body."""

import hashlib
import hmac
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_gateway.api.assets import POLICY_OF_DATA
from cloud_gateway.api.limits import Limits, client_of
from cloud_gateway.api.meter import Meter
from cloud_gateway.api.problems import OURS, Refused, refusal
from cloud_gateway.api.settings import ApiSettings

log = logging.getLogger(__name__)
_SAFE = frozenset({"GET", "HEAD"})
_OPEN_PATHS = frozenset({"/healthz", "/api/v1/healthz"})
_CARRIED = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, settings: ApiSettings, meter: Meter) -> None:
        self._app, self._settings, self._meter = app, settings, meter
        self._reads = Limits(settings.reads, settings.clients_max)
        self._requests = Limits(settings.requests, settings.clients_max)
        self._token = _digest(settings.token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no websockets, no lifespan
        exchange = _Exchange(send)
        began_s = time.perf_counter()
        try:
            await self._serve(scope, receive, exchange)
        except Exception:
            # The one place where a mistake of ours ends: the log has all of it, whoever asked gets a sentence.
            log.exception("a request failed", extra={"method": scope["method"], "path": scope["path"]})
            if not exchange.status:
                await refusal(OURS)(scope, receive, exchange)
        finally:
            route = scope.get("operation", "other")
            self._meter.answered(route, scope["method"], exchange.status, time.perf_counter() - began_s)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._admit(scope, Headers(scope=scope))
        except Refused as error:
            await refusal(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Raises ``Refused``."""
        method, path = scope["method"], scope["path"]
        self._check_host(headers)
        self._count(method, client_of((scope.get("client") or ("", 0))[0]))
        of_page = method in _SAFE and not path.startswith("/api/") and path not in ("/metrics", "/openapi.json")
        if not of_page:
            self._check_site(headers, of_browser=method not in _SAFE)
        if method not in _SAFE or (self._settings.public and not of_page and path not in _OPEN_PATHS):
            self._check_token(headers)

    def _check_host(self, headers: Headers) -> None:
        """A name of somebody else that now points here (DNS rebinding) makes this gateway that page's own origin."""
        host = headers.get("host", "").lower()
        if host not in self._settings.hosts:
            shown = ", ".join(sorted(self._settings.hosts))
            raise Refused(
                "wrong-host", f"Host: {host[:100]!r} is not this gateway", next_step=f"ask for {shown}", field="Host"
            )

    def _count(self, method: str, client: str) -> None:
        limits = self._reads if method in _SAFE else self._requests
        wait_s = limits.take(client, time.monotonic())
        if wait_s:
            raise Refused(
                "too-many", "too many requests from one address", next_step=f"wait {wait_s:.1f} s",
                retry_s=int(wait_s) + 1,
            )  # fmt: skip

    def _check_site(self, headers: Headers, *, of_browser: bool) -> None:
        """A foreign page can make a browser ask; it must not get a place in the feed, nor a request through."""
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            raise Refused("denied", "a page of another origin asks", next_step="open the gateway's own page")
        origin = headers.get("origin")
        if not of_browser or origin is None:
            return
        scheme, _, host = origin.lower().partition("://")
        if scheme not in ("http", "https") or host not in self._settings.hosts:
            raise Refused("denied", "Origin: a page of another origin asks", field="Origin",
                          next_step="open the gateway's own page")  # fmt: skip

    def _check_token(self, headers: Headers) -> None:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        # Digests are compared: equal length whatever is shown, and no byte of it decides how long that takes.
        if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(shown.strip()), self._token):
            raise Refused(
                "unauthorized", "Authorization: a valid token is needed", field="Authorization",
                next_step="open the address that the gateway printed at its start, or send Authorization: Bearer TOKEN",
            )  # fmt: skip


class _Exchange:
    """Sends on, adds what every answer carries, and remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _CARRIED:
                headers[name] = value
            headers.setdefault("Content-Security-Policy", POLICY_OF_DATA)
        await self._send(message)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
