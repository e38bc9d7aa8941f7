"""One browser and one gateway for all tests of the page."""

from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.house import ANSWER_MS, PAGE, Served, chromium_path, launched, served
from tests.order import longest_first

LONGEST = ("test_views", "test_views_facts", "test_use", "test_views_asking")

expect.set_options(timeout=ANSWER_MS)  # a deadline: what comes is seen as soon as it comes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items, Path(__file__).parent, LONGEST)


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    if not chromium_path():
        pytest.skip("there is no chromium on this machine: make browser installs it")
    assert (PAGE / "vendor" / "preact.js").exists(), "the page's libraries are missing: make setup"
    with sync_playwright() as playwright:
        found = launched(playwright)
        yield found
        found.close()


@pytest.fixture(scope="session")
def gateway() -> Generator[Served]:
    """160 nodes that live."""
    with served(160) as house:
        yield house
