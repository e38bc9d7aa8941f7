"""first-view and grid-fps: the page in a headless chromium that draws by software."""

from collections.abc import Generator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from bench.rows import Meter, Row, spread
from tests.browser import figures
from tests.browser.house import chromium_path, launched

USABLE_MS, BYTES, FPS = 1000.0, 150 * 1024, 30.0
_NONE = "no chromium on this machine: make browser"


@contextmanager
def _browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        found = launched(playwright)
        try:
            yield found
        finally:
            found.close()


def first_view(address: str, *, views: int) -> list[Row]:
    meter = Meter()
    if not chromium_path():
        return [meter.row(id_, None, "", None, n=0, ok=False, why=_NONE) for id_ in ("first-view", "first-view-bytes")]
    with _browser() as browser:
        seen = [figures.first_view(browser, address) for _ in range(views)]
    usable = [one.usable_ms for one in seen]
    weight = max(one.transferred_bytes for one in seen)
    faults = [fault for one in seen for fault in one.faults]
    worst = max(usable)
    return [
        meter.row(
            "first-view", worst, "ms", USABLE_MS, n=views, ok=worst <= USABLE_MS and weight <= BYTES and not faults,
            why=f"from the request of the page until the overview's figures and regions stand there, empty cache: "
            f"{spread(usable, 0)}; first paint {spread([one.painted_ms for one in seen], 0)}; {len(faults)} console "
            f"errors and violations of the policy{': ' + '; '.join(faults[:3]) if faults else ''}; ok needs "
            f"{weight / 1024:.0f} KiB within {BYTES / 1024:.0f}, and none of those",
        ),
        meter.row(
            "first-view-bytes", weight / 1024, "KiB", BYTES / 1024, n=views,
            why=f"headers and packed bodies of {seen[0].requests} requests, the live feed not included",
        ),
    ]  # fmt: skip


def grid_fps(address: str, *, seconds: float) -> Row:
    meter = Meter()
    if not chromium_path():
        return meter.row("grid-fps", None, "fps", FPS, n=0, ok=False, more=True, why=_NONE)
    with _browser() as browser:
        seen = figures.grid_smoothness(browser, address, seconds=seconds)
    return meter.row(
        "grid-fps", seen.fps, "fps", FPS, n=1, more=True,
        why=f"panning over {seen.cells:,} cells for {seconds:g} s, 1280 x 900, no GPU; p95 between frames "
        f"{seen.frame_p95_ms:.0f} ms",
    )  # fmt: skip
