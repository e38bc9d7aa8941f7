"""What a person does with the page: look, narrow down, go on by keys, come back to a saved address, lose the line."""

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.house import Served, served, sight
from tests.gateway.api_kit import TOKEN, now_ms
from tests.gateway.fleet import Fleet

pytestmark = pytest.mark.browser
FLEET = Fleet(160, per_node=5, now_ms=now_ms())


def test_a_row_that_changes_is_shown_and_lit_without_asking_again(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        seen.open("nodes?sort=-proof_ms")
        asked: list[str] = []
        seen.page.on("request", lambda request: asked.append(request.url))
        expect(seen.page.locator("tr.is-new-0, tr.is-new-1").first).to_be_visible()
        assert not [url for url in asked if "/nodes/" in url]


def test_figures_of_the_overview_follow_the_feed(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        seen.open("overview")
        events = seen.page.locator(".figure", has_text="Events kept").locator(".figure-value")
        before = events.inner_text()
        expect(events).not_to_have_text(before)
        expect(seen.page.locator(".asof")).to_contain_text("Live")


def test_a_filter_is_an_address(browser: Browser, gateway: Served) -> None:
    region = FLEET.nodes[3].region
    with sight(browser, gateway.address) as seen:
        seen.open("nodes")
        seen.page.locator(".facet", has_text="Region").get_by_role("button").click()
        seen.page.get_by_role("checkbox", name=region).check()
        seen.page.keyboard.press("Escape")
        seen.page.get_by_label("Find in nodes").fill("0")
        seen.page.get_by_role("button", name="CPU").click()
        seen.until("location.hash.includes('q=0') && location.hash.includes('sort=')")
        saved = seen.page.url
    with sight(browser, gateway.address) as again:
        again.page.goto(saved)
        again.settle()
        cells = again.page.locator("tbody tr td:nth-child(3)")
        expect(cells.first).to_have_text(region)
        assert set(cells.all_inner_texts()) == {region}
        assert again.page.get_by_label("Find in nodes").input_value() == "0"
        assert again.page.locator("th[aria-sort='descending']").inner_text() == "CPU"


def test_the_page_goes_on_by_keys_alone(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        press = seen.open("overview").page.keyboard.press
        press("g")
        press("n")
        expect(seen.page.locator("h1")).to_have_text("Nodes")
        seen.settle()
        press("/")
        expect(seen.page.get_by_label("Find in nodes")).to_be_focused()
        seen.page.keyboard.type("gjk?")  # letters are letters while one types
        expect(seen.page.get_by_label("Find in nodes")).to_have_value("gjk?")
        expect(seen.page.get_by_text("Nothing fits this filter")).to_be_visible()
        press("Escape")
        press("Escape")
        expect(seen.page.locator("tbody tr").nth(2)).to_be_visible()
        press("j")
        press("j")
        press("k")
        press("j")
        expect(seen.page.locator("tbody tr").nth(1).locator("a")).to_be_focused()
        name = seen.page.locator("tbody tr").nth(1).locator("a").inner_text()
        press("Enter")
        expect(seen.page.locator("h1")).to_have_text(name)
        press("?")
        expect(seen.page.get_by_role("dialog")).to_contain_text("light or dark")
        press("Escape")
        expect(seen.page.get_by_role("dialog")).to_be_hidden()


def test_pages_follow_by_scrolling_and_rows_are_not_told_twice(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        seen.open("nodes")
        rows = seen.page.locator("tbody tr")
        expect(rows).to_have_count(50)
        for shown in (100, 150, 160):
            seen.page.locator(".list-end").scroll_into_view_if_needed()
            expect(rows).to_have_count(shown)
        names = seen.page.locator("tbody .row-link").all_inner_texts()
        assert sorted(names) == sorted({node.name for node in FLEET.nodes})


def test_a_cell_of_the_grid_tells_and_opens_its_node(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        seen.open("grid")
        canvas = seen.page.locator(".plane-canvas")
        canvas.hover(position={"x": 12, "y": 32})
        first = min(node.name for node in FLEET.nodes)
        expect(seen.page.locator(".tip")).to_contain_text(first)
        seen.page.keyboard.press("/")
        seen.page.keyboard.press("ArrowRight")
        second = sorted(node.name for node in FLEET.nodes)[1]
        expect(seen.page.locator(".tip")).to_contain_text(second)
        seen.page.keyboard.press("Enter")
        expect(seen.page.locator("h1")).to_have_text(second)


def test_larger_cells_are_panned_over_and_still_tell_the_right_node(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address, height=500) as seen:
        seen.open("grid?region=amsterdam&region=berlin&region=chicago&region=denver")
        for _ in range(15):
            seen.page.keyboard.press("+")
        expect(seen.page.get_by_role("button", name="Larger cells")).to_be_disabled()
        canvas, pointed = seen.page.locator(".plane-canvas"), seen.page.locator(".tip strong")
        canvas.hover(position={"x": 30, "y": 150})
        above = pointed.inner_text()
        seen.page.mouse.wheel(0, 45)  # one row of cells
        seen.until("document.querySelector('.plane').scrollTop === 45")
        canvas.hover(position={"x": 31, "y": 150})
        below = pointed.inner_text()
        names = sorted(node.name for node in FLEET.nodes if node.region == "amsterdam")
        assert names.index(below) == names.index(above) + 1


def test_the_legend_of_the_grid_counts_and_narrows(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        seen.open("grid")
        counts = [int(text) for text in seen.page.locator(".legend-item strong").all_inner_texts()]
        assert sum(counts) == len(FLEET.nodes)
        seen.page.get_by_role("button", name=re.compile("^ready")).click()
        seen.until("location.hash.includes('state=ready')")
        seen.page.get_by_role("link", name="As a table").click()
        expect(seen.page.locator("h1")).to_have_text("Nodes")
        seen.settle()
        expect(seen.page.locator("tbody .badge").first).to_have_text("ready")


def test_the_menu_folds_on_a_narrow_screen(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address, width=360, height=780) as seen:
        seen.open("overview")
        ways = seen.page.get_by_role("navigation", name="Views")
        expect(ways).to_be_hidden()
        seen.page.get_by_role("button", name="Menu").click()
        ways.get_by_role("link", name="Skills").click()
        expect(seen.page.locator("h1")).to_have_text("Skills")
        expect(ways).to_be_hidden()


def test_the_choice_of_shade_is_remembered(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        seen.open("overview")
        assert seen.page.evaluate("document.documentElement.dataset.theme") == "light"
        seen.page.keyboard.press("t")
        seen.page.keyboard.press("t")
        seen.page.reload()
        seen.settle()
        assert seen.page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_token_leaves_the_address(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        seen.page.goto(f"{gateway.address}/#token={TOKEN}")
        seen.settle()
        assert TOKEN not in seen.page.url
        assert seen.page.evaluate("sessionStorage.getItem('meshnode-token')") == TOKEN
        assert not seen.errors


def test_a_lost_gateway_is_said_and_comes_back_by_itself(browser: Browser) -> None:
    with served(12) as house, sight(browser, house.address) as seen:
        badge = seen.open("nodes").page.locator(".asof")
        expect(badge).to_contain_text("Live")
        house.stop()
        expect(badge).to_contain_text("Reconnecting")
        expect(seen.page.locator(".banner")).to_contain_text("Shown as of")
        expect(seen.page.locator("tbody tr")).to_have_count(12)
        house.start()
        expect(badge).to_contain_text("Live")
        expect(seen.page.locator(".banner")).to_be_hidden()


def test_an_empty_fleet_says_what_to_do(browser: Browser) -> None:
    with served(0) as house, sight(browser, house.address) as seen:
        seen.open("overview")
        expect(seen.page.locator(".empty")).to_contain_text("meshnode")
        seen.open("nodes")
        expect(seen.page.locator(".empty")).to_contain_text("meshnode join")
        assert not seen.errors
