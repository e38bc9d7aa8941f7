"""What watches the watcher: /metrics and /healthz."""

import asyncio
import logging
from collections.abc import Iterable

import msgspec
import psutil
from starlette.requests import Request
from starlette.responses import Response

from cloud_gateway.api.feed import Feed
from cloud_gateway.api.freshness import Freshness
from cloud_gateway.api.meter import METRICS_TYPE, Meter, family
from cloud_gateway.api.respond import answer
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.store.port import Store, StoreFailed

log = logging.getLogger(__name__)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """``ok``: the store answers. ``reasons``: what is wrong, also where the gateway still answers from what it has."""

    ok: bool
    as_of: int
    stale: bool
    reasons: list[str]


class Watching:
    """Both endpoints."""

    def __init__(self, store: Store, settings: ApiSettings, fresh: Freshness, feed: Feed, meter: Meter) -> None:
        self._store, self._settings, self._fresh = store, settings, fresh
        self._feed, self._meter = feed, meter
        self._process = psutil.Process()

    async def healthz(self, request: Request) -> Response:
        """200 when the store answers; a gateway that shows an old picture is degraded, not dead."""
        request.scope["operation"] = "/healthz"
        reasons: list[str] = []
        source = self._fresh.known
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                source = await self._store.source()
        except (StoreFailed, TimeoutError):
            log.exception("the store does not answer")
            reasons.append("the store does not answer")
        ok = not reasons
        stale = self._fresh.stale(source)
        if stale:
            reasons.append("what is shown is old: the gateway's node is out of reach, or tells nothing new")
        if not self._feed.listening:
            reasons.append("pages are not told what changes: the store does not tell its commits")
        health = Health(ok=ok, as_of=source.as_of_ms, stale=stale, reasons=reasons)
        return answer(request, health, status=200 if ok else 503)

    async def metrics(self, request: Request) -> Response:
        request.scope["operation"] = "/metrics"
        sizes: dict[str, int] = {}
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                sizes = await self._store.sizes()
                await self._fresh.source()
        except (StoreFailed, TimeoutError):
            log.exception("the store does not tell its sizes")
        body = "\n".join([*self._meter.lines(), *self._gauges(up=bool(sizes)), *_sizes(sizes), ""])
        return Response(body, media_type=METRICS_TYPE, headers={"Cache-Control": "no-store"})

    def _gauges(self, *, up: bool) -> Iterable[str]:
        feed = self._feed
        told = (
            ("meshnode_gateway_store_up", "gauge", "1: the store answers.", int(up)),
            ("meshnode_gateway_source_lag_seconds", "gauge", "Age of the newest proof.", self._fresh.lag_s()),
            ("meshnode_gateway_watch_readers", "gauge", "Readers of the live feed.", feed.readers),
            ("meshnode_gateway_watch_frames_total", "counter", "Frames given to readers.", feed.frames_sent),
            ("meshnode_gateway_watch_resets_total", "counter", "Readers told to ask anew.", feed.resets),
            ("meshnode_gateway_commits_total", "counter", "Commits heard of.", feed.commits),
            ("meshnode_gateway_commit_seq", "gauge", "Number of the newest commit told.", feed.seq),
            ("process_resident_memory_bytes", "gauge", "Memory held.", self._process.memory_info().rss),
            ("process_cpu_seconds_total", "counter", "Processor time used.", sum(self._process.cpu_times()[:2])),
        )
        for name, kind, about, value in told:
            yield from family(name, kind, about, {(): value})


def _sizes(sizes: dict[str, int]) -> Iterable[str]:
    for name, value in sorted(sizes.items()):
        plain = name.removeprefix("store_")
        yield from family(f"meshnode_gateway_store_{plain}", "gauge", f"The store's {plain}.", {(): value})
