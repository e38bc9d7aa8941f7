"""Pictures for the documentation and for whoever judges the page: SHOTS=docs/screenshots make test-browser

Without SHOTS they are taken into a temporary directory: that they can be taken is what is tested.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.addresses import addresses
from tests.browser.house import Served, served, sight

pytestmark = pytest.mark.browser
WIDTHS = {360: 780, 1280: 900, 3840: 2160}
# Few, when nobody looks at them; all, in light and dark, when somebody does.
BRIEFLY = ("overview",)


def test_pictures_of_the_views_are_taken(browser: Browser, gateway: Served, tmp_path: Path) -> None:
    if not (wanted := os.environ.get("SHOTS", "")):
        assert taken(browser, gateway, addresses(160), tmp_path, views=BRIEFLY, widths=(1280,)) == 2
        return
    nodes = int(os.environ.get("SHOTS_NODES", "2000"))
    with served(nodes, per_node=5) as large:
        assert taken(browser, large, addresses(nodes), Path(wanted), views=(), widths=tuple(WIDTHS)) == 14 * 3 * 2


def taken(
    browser: Browser,
    house: Served,
    where: dict[str, str],
    into: Path,
    *,
    views: tuple[str, ...],
    widths: tuple[int, ...],
) -> int:
    """How many pictures lie in ``into`` afterwards: VIEW-WIDTH-SHADE.png."""
    into.mkdir(parents=True, exist_ok=True)
    for width in widths:
        for dark in (False, True):
            with sight(browser, house.address, width=width, height=WIDTHS[width], dark=dark) as seen:
                for view in views or tuple(where):
                    seen.open(where[view])
                    seen.until("document.querySelector('.asof.is-live') !== null")
                    seen.page.screenshot(path=into / f"{view}-{width}-{'dark' if dark else 'light'}.png")
    return len(list(into.glob("*.png")))
