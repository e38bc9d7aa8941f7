"""A gateway over a made-up fleet in a thread of its own, and pages of a headless chromium that watch themselves.

Playwright's sync API owns the loop of the thread that uses it: so the gateway lives in another one.
"""

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

from cloud_gateway.api.app import Gateway
from cloud_gateway.api.server import listen, serve
from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import SourceRow
from cloud_gateway.store import open_store
from tests.gateway.api_kit import TOKEN, now_ms, serving, settings_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "cloud_gateway" / "page"
START_S, ANSWER_MS, _ASK_AGAIN_MS = 60, 30_000, 25
# What the browser refused by our own policy: told by it, gathered before any script of the page runs.
_GATHER = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
      window.violations.push(`${event.violatedDirective}: ${event.blockedURI || event.sample} at ${event.sourceFile}`));
"""


class Served:
    """A gateway that can be stopped, and started again on the same port."""

    def __init__(self, nodes: int, *, per_node: int = 5) -> None:
        self._nodes, self._per_node = nodes, per_node
        self.address, self._port = "", 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._thread = threading.Thread()
        self._error: BaseException | None = None

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(ready,), name="gateway")
        self._thread.start()
        assert ready.wait(START_S), "the gateway did not start"
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)
        assert not self._thread.is_alive(), "the gateway did not stop"

    def _main(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits in start()
            self._error = error
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        fleet = serving(self._nodes, port=self._port, per_node=self._per_node) if self._nodes else _serving_nothing()
        async with fleet as address:
            self.address, self._port = address, int(address.rsplit(":", 1)[1])
            ready.set()
            await self._end.wait()


@contextlib.asynccontextmanager
async def _serving_nothing() -> AsyncGenerator[str]:
    """A gateway that has just been started and has heard of nobody."""
    store = await open_store("sqlite::memory:")
    await store.commit(Batch(source=SourceRow(node="alpha", mesh="new", as_of_ms=now_ms())))
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    gateway = Gateway(store, None, settings_of(port))
    async with serve(gateway, listener), asyncio.TaskGroup() as tasks:
        feed = tasks.create_task(gateway.run(), name="gateway-feed")
        yield f"http://127.0.0.1:{port}"
        feed.cancel()
    await store.close()


@contextlib.contextmanager
def served(nodes: int, *, per_node: int = 5) -> Generator[Served]:
    house = Served(nodes, per_node=per_node)
    house.start()
    try:
        yield house
    finally:
        house.stop()


def chromium_path() -> str:
    """ "" where there is none."""
    return shutil.which("chromium") or ""


def launched(playwright: Playwright) -> Browser:
    """Drawing by software only: what a screen without a GPU gets."""
    return playwright.chromium.launch(
        executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    )


class Sight:
    """One page and all that went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self._address = page, address
        self.errors: list[str] = []
        page.set_default_timeout(ANSWER_MS)
        page.add_init_script(_GATHER)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        page.on("response", lambda got: got.status >= 400 and self.errors.append(f"{got.status} {got.url}"))

    def open(self, path: str = "", *, token: bool = False) -> "Sight":
        """The first time loads the page; afterwards only the address changes, as when a person goes on."""
        there = f"{self._address}/#/{path}" + (f"&token={TOKEN}" if token else "")
        if self.page.url.startswith(self._address):
            self.page.evaluate("hash => { location.hash = hash }", f"#/{path}")
        else:
            self.page.goto(there)
        self.settle()
        return self

    def settle(self) -> None:
        """Until the view has its heading and its data, or says that it has not."""
        self.page.wait_for_selector("h1")
        self.until("!document.querySelector('.waiting')")

    def until(self, condition: str) -> None:
        """Playwright's own waiting needs eval, which our policy refuses; asking again and again does not."""
        deadline_s = time.monotonic() + ANSWER_MS / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline_s, f"it never became true: {condition}"
            self.page.wait_for_timeout(_ASK_AGAIN_MS)

    def violations(self) -> list[str]:
        return self.page.evaluate("window.violations")

    def overflow_px(self) -> int:
        """How much wider than the window the page is."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"console {message.type}: {message.text}")


@contextlib.contextmanager
def sight(
    browser: Browser, address: str, *, width: int = 1280, height: int = 900, dark: bool = False, lax: bool = False
) -> Generator[Sight]:
    """A fresh page, as of a person who was never here. ``lax``: without our policy, for the tester's own scripts."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", bypass_csp=lax
    )
    try:
        yield Sight(context.new_page(), address)
    finally:
        context.close()
