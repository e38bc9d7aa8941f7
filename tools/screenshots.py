"""The pictures of the handbook, of a made-up fleet, by the browser of the tests: ``python -m tools.screenshots``."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import sync_playwright

from meshnode.model.commands import JsonObject
from tests.browser.addresses import addresses
from tests.browser.house import chromium_path, launched, served, sight

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
BYTES_MAX = 250 * 1024
_NODES, _PER_NODE = 2_000, 5
_LIVE = "document.querySelector('.asof.is-live') !== null"


class Shot(NamedTuple):
    """One picture: of which view, how large, light or dark."""

    name: str
    view: str
    width: int
    height: int
    dark: bool = False


SHOTS = (
    Shot("overview", "overview", 1280, 800),
    Shot("grid", "grid", 1280, 800, dark=True),
    Shot("node", "node", 1280, 900),
    Shot("phone", "overview", 360, 780),
)


def main() -> int:
    if not chromium_path():
        sys.stderr.write("error: chromium is not on this machine\n -> make browser\n")
        return 3
    FOLDER.mkdir(parents=True, exist_ok=True)
    with served(_NODES, per_node=_PER_NODE) as house, sync_playwright() as playwright:
        where = {**addresses(_NODES), "node": f"nodes/{_talkative(house.address)}"}
        browser = launched(playwright)
        for shot in SHOTS:
            with sight(browser, house.address, width=shot.width, height=shot.height, dark=shot.dark) as seen:
                seen.open(where[shot.view])
                seen.until(_LIVE)
                path = FOLDER / f"{shot.name}.png"
                seen.page.screenshot(path=path)
            sys.stdout.write(f"{path.relative_to(FOLDER.parents[1])}  {path.stat().st_size // 1024} KiB\n")
        browser.close()
    return 0


def _talkative(address: str) -> str:
    """A node that something happened on."""
    with urllib.request.urlopen(f"{address}/api/v1/events?limit=1") as answer:  # noqa: S310 - our own address
        page: JsonObject = json.load(answer)
    return page["items"][0]["node"]


if __name__ == "__main__":
    sys.exit(main())
