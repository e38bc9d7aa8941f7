"""Every view, at every width, without an error, a refusal of our own policy, or something that sticks out."""

import json

import pytest
from playwright.sync_api import Browser

from tests.browser.addresses import addresses
from tests.browser.house import PAGE, Served, Sight, sight

pytestmark = pytest.mark.browser
VIEWS = addresses(160)
WIDTHS = {360: 780, 1280: 900, 3840: 2160}
AXE = PAGE / "node_modules" / "axe-core" / "axe.min.js"
# Rows are all alike: five of each table and list are looked at.
_RUN_AXE = """async () => {
    const some = { exclude: [["tbody tr:nth-child(n+6)"], ["li.event:nth-child(n+6)"], ["li.region:nth-child(n+4)"]] };
    const found = await axe.run(some, { resultTypes: ["violations"] });
    const shown = (nodes) => nodes.slice(0, 3).map((node) => node.html.slice(0, 160));
    return found.violations.map(({ id, impact, nodes }) => [id, impact, shown(nodes)]);
}"""


def faults(seen: Sight, view: str) -> list[str]:
    """What is wrong with a page that was opened."""
    found = [f"{view}: {error}" for error in seen.errors]
    found += [f"{view}: policy: {violation}" for violation in seen.violations()]
    if (over := seen.overflow_px()) > 0:
        found.append(f"{view}: {over} pixels stick out at the right")
    found += [f"{view}: says {text!r}" for text in seen.page.locator(".problem").all_inner_texts()]
    return found


def grave(seen: Sight) -> list[str]:
    """What axe-core finds serious or critical."""
    if not seen.page.evaluate("'axe' in window"):
        seen.page.evaluate(AXE.read_text())
    return [json.dumps(one) for one in seen.page.evaluate(_RUN_AXE) if one[1] in ("serious", "critical")]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_loads_without_a_fault(browser: Browser, gateway: Served, width: int) -> None:
    found: list[str] = []
    with sight(browser, gateway.address, width=width, height=WIDTHS[width]) as seen:
        for view, path in VIEWS.items():
            seen.open(path)
            found += faults(seen, view)
            seen.errors.clear()
    assert not found, "\n".join(found)


def test_every_view_loads_by_its_own_address(browser: Browser, gateway: Served) -> None:
    found: list[str] = []
    with sight(browser, gateway.address) as seen:
        for view, path in VIEWS.items():
            seen.page.goto("about:blank")
            seen.open(path)
            found += faults(seen, view)
            seen.errors.clear()
            if "meshnode" not in seen.page.title():
                found.append(f"{view}: its tab is called {seen.page.title()!r}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)], ids=["narrow-dark", "wide-light"])
def test_axe_finds_nothing_serious(browser: Browser, gateway: Served, width: int, dark: bool) -> None:
    found: list[str] = []
    with sight(browser, gateway.address, width=width, height=WIDTHS[width], dark=dark, lax=True) as seen:
        for view, path in VIEWS.items():
            found += [f"{view}: {one}" for one in grave(seen.open(path))]
    assert not found, "\n".join(found)


def test_the_checks_find_what_is_planted(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address, lax=True) as seen:
        seen.open("nodes")
        seen.page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<button></button>')")
        assert any("button-name" in one for one in grave(seen))
    with sight(browser, gateway.address) as seen:
        seen.open("nodes")
        plant = "document.querySelector('main').insertAdjacentHTML('beforeend', '<p style=\"width: 9999px\">wide</p>')"
        seen.page.evaluate(plant)
        assert any("style-src" in one for one in faults(seen, "nodes"))
        seen.page.evaluate("document.querySelector('main').lastChild.style.width = '9999px'")
        seen.page.evaluate("console.error('planted')")
        seen.page.evaluate("fetch('api/v1/planted').then((response) => response.status)")
        found = faults(seen, "nodes")
        assert any("stick out" in one for one in found)
        assert any("planted" in one and "console" in one for one in found)
        assert any(one.startswith("nodes: 404") for one in found)


def test_what_is_served_asks_for_nothing_that_is_missing(browser: Browser, gateway: Served) -> None:
    """Comments that name source maps would make a browser ask for them as soon as its tools are open."""
    texts = [path.read_text() for path in (PAGE / "vendor").glob("*.js")]
    assert len(texts) == 6
    assert not [text for text in texts if "sourceMappingURL" in text]
    assert not [path.name for path in PAGE.glob("*/*.js") if "://" in path.read_text() and "vendor" not in path.parts]


def test_the_first_view_waits_for_no_chain_of_modules(browser: Browser, gateway: Served) -> None:
    """All modules of the overview are named in the page's head, and nothing that it does not load."""
    with sight(browser, gateway.address) as seen:
        seen.open("overview")
        names = "performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname.slice(1))"
        loaded = {name for name in seen.page.evaluate(names) if name.endswith(".js")} - {"app.js"}
        named = seen.page.locator("link[rel=modulepreload]").evaluate_all(
            "all => all.map((one) => one.getAttribute('href'))"
        )
        assert loaded == set(named)
        used = seen.page.evaluate("[...document.querySelectorAll('link[rel=modulepreload]')].length")
        assert used == len(set(named))
        assert not [text for text in seen.errors if "preload" in text]
