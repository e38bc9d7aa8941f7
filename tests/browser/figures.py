"""Figures of the page for the bench: how much the first view weighs, when it can be used, how smooth the grid is."""

import itertools
import statistics
from collections.abc import Sequence

import msgspec
from playwright.sync_api import Browser

from tests.browser.house import sight

# Scrolls the grid up and down and counts the frames that were really drawn.
_PAN = """(seconds) => new Promise((done) => {
    const box = document.querySelector(".plane");
    const most = box.scrollHeight - box.clientHeight;
    const frames = [];
    const step = (at) => {
        frames.push(at);
        const part = ((at - frames[0]) / 1000) % 2;
        box.scrollTop = most * (part < 1 ? part : 2 - part);
        if (at - frames[0] < seconds * 1000) requestAnimationFrame(step);
        else done({ most, frames });
    };
    requestAnimationFrame(step);
})"""


class FirstView(msgspec.Struct, frozen=True):
    """Of an overview that is opened cold. ``usable_ms``: from the request of the page until its figures and its regions
    stand there. ``transferred_bytes``: headers and packed bodies of all that was asked for by then, and a second
    after. ``faults``: errors and refusals of the policy."""

    usable_ms: float
    painted_ms: float
    transferred_bytes: int
    requests: int
    faults: list[str]


def first_view(browser: Browser, address: str) -> FirstView:
    """With an empty cache."""
    with sight(browser, address) as seen:
        weights: dict[str, int] = {}
        devtools = seen.page.context.new_cdp_session(seen.page)
        devtools.send("Network.enable")
        devtools.on("Network.loadingFinished", lambda got: weights.update({got["requestId"]: got["encodedDataLength"]}))
        seen.page.goto(f"{address}/", wait_until="commit")
        seen.until("document.querySelectorAll('.figure').length > 0 && document.querySelectorAll('.region').length > 0")
        usable_ms = seen.page.evaluate("performance.now()")
        seen.page.wait_for_timeout(1_000)
        painted_ms = seen.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1")
        return FirstView(
            usable_ms=usable_ms,
            painted_ms=painted_ms,
            transferred_bytes=round(sum(weights.values())),
            requests=len(weights),
            faults=[*seen.errors, *seen.violations()],
        )


class Smoothness(msgspec.Struct, frozen=True):
    """Of panning over all cells. ``frame_p95_ms``: between two frames."""

    fps: float
    frame_p95_ms: float
    cells: int
    panned_px: int


def grid_smoothness(
    browser: Browser, address: str, *, seconds: float = 4.0, closer: int = 6, width: int = 1280, height: int = 900
) -> Smoothness:
    """``closer``: so many steps larger than all at once, so that there is something to pan over."""
    with sight(browser, address, width=width, height=height) as seen:
        seen.open("grid")
        cells = sum(
            int(text.replace("\u2009", "")) for text in seen.page.locator(".legend-item strong").all_inner_texts()
        )
        for _ in range(closer):
            seen.page.keyboard.press("+")
        seen.page.wait_for_timeout(200)
        told = seen.page.evaluate(_PAN, seconds)
        assert told["most"] > 0, "all cells were seen at once: nothing was panned"
        frames: Sequence[float] = told["frames"]
        gaps = [after - before for before, after in itertools.pairwise(frames)]
        return Smoothness(
            fps=1000 * len(gaps) / (frames[-1] - frames[0]),
            frame_p95_ms=statistics.quantiles(gaps, n=20)[-1],
            cells=cells,
            panned_px=told["most"],
        )
