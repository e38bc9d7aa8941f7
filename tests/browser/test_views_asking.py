"""Requests: asked with care, followed until they are applied; nothing can be asked by accident or without a token."""

from collections.abc import Generator

import msgspec
import pytest
from playwright.sync_api import Browser, Dialog, expect

from cloud_gateway.model.batch import Batch
from tests.browser.house import Sight, sight
from tests.browser.known import LONG, MARKUP, Known, known
from tests.gateway.api_kit import TOKEN, now_ms

pytestmark = pytest.mark.browser
EVERY = ("nodes/{long}", "agents", "agents/{long}", "instances", "instances/{long}/0", "skills", "clusters",
         "clusters/AgentCluster/default/line3", "events", "journal/beta", "conflicts", "commands", "commands/c0ffee",
         "nodes/beta")  # fmt: skip


@pytest.fixture(scope="module")
def house() -> Generator[Known]:
    with known() as found:
        yield found


def move(house: Known, verb: str, **changes: object) -> None:
    row = next(row for row in house.commands() if row.verb == verb)
    house.commit(Batch(rows={"commands": [msgspec.structs.replace(row, changed_ms=now_ms(), **changes)]}))


def test_a_drain_is_asked_and_followed_until_it_is_applied(browser: Browser, house: Known) -> None:
    with sight(browser, house.address) as seen:
        seen.open("", token=True)
        seen.open("nodes/beta")
        seen.page.get_by_role("button", name="Drain …").click()
        dialog = seen.page.get_by_role("dialog", name="Drain beta?")
        expect(dialog).to_contain_text("Its 3 agents move to other nodes, each after its successor has its state.")
        dialog.get_by_role("button", name="Drain", exact=True).click()
        followed = seen.page.locator(".followed")
        expect(followed).to_contain_text("drain beta")
        expect(followed.locator("[aria-current=step]")).to_contain_text("queued")
        assert [row.body for row in house.commands() if row.verb == "drain"] == [{"node": "beta"}]
        move(house, "drain", state="accepted", answer="kept by beta", attempts=1)
        expect(followed.locator("[aria-current=step]")).to_contain_text("accepted")
        expect(followed).to_contain_text("kept by beta")
        move(house, "drain", state="applied", answer="all of it has moved")
        expect(followed.locator(".timeline-step.is-done")).to_have_count(3)
        followed.get_by_role("link", name="all requests").click()
        expect(seen.page.locator("tbody tr").first).to_contain_text("drain beta")


def test_without_a_token_nothing_is_asked_and_it_says_how_to_get_one(browser: Browser, house: Known) -> None:
    with sight(browser, house.address) as seen:
        seen.open("nodes/beta")
        before = len(house.commands())
        seen.page.get_by_role("button", name="Drain …").click()
        dialog = seen.page.get_by_role("dialog")
        expect(dialog).to_contain_text("meshnode gateway prints it once")
        expect(dialog.get_by_role("button", name="Drain", exact=True)).to_have_count(0)
        dialog.get_by_label("Token").fill("wrong-token-of-nobody")
        dialog.get_by_role("button", name="Use this token").click()
        dialog.get_by_role("button", name="Drain", exact=True).click()
        expect(dialog.locator(".problem")).to_be_visible()
        assert len(house.commands()) == before
        dialog.get_by_label("Token").fill(TOKEN)
        dialog.get_by_role("button", name="Use this token").click()
        seen.page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        assert len(house.commands()) == before


def test_a_failed_request_says_why(browser: Browser, house: Known) -> None:
    with sight(browser, house.address) as seen:
        seen.open("commands/c0ffee")
        expect(seen.page.locator(".followed-answer")).to_have_text(f"no node is called {MARKUP}")
        expect(seen.page.locator(".timeline-step.is-failed")).to_contain_text("it will not be tried again")


def test_scaling_and_applying_are_checked_before_they_are_asked(browser: Browser, house: Known) -> None:
    with sight(browser, house.address) as seen:
        seen.open("", token=True)
        seen.open("clusters/AgentCluster/default/line3")
        seen.page.get_by_label("Replicas").fill("many")
        expect(seen.page.get_by_role("button", name="Scale …")).to_be_disabled()
        seen.page.get_by_label("Replicas").fill("6")
        seen.page.get_by_role("button", name="Scale …").click()
        seen.page.get_by_role("dialog").get_by_role("button", name="Scale", exact=True).click()
        expect(seen.page.locator(".followed")).to_contain_text("scale cluster/default/line3, agent words, to 6")
        asked = next(row for row in house.commands() if row.verb == "scale")
        assert asked.body == {"name": "cluster/default/line3", "replicas": 6, "agent": "words"}
        move(house, "scale", state="failed", answer="words: not more than 5 fit")
        expect(seen.page.locator(".followed-answer")).to_have_text("words: not more than 5 fit")


def test_the_manifest_box_reads_json_and_says_what_is_wrong(browser: Browser, house: Known) -> None:
    with sight(browser, house.address) as seen:
        seen.open("", token=True)
        seen.open("commands")
        box, ask = seen.page.get_by_label("Manifest, as JSON"), seen.page.get_by_role("button", name="Apply …")
        for text, wrong in (
            ("kind: Agent", "This looks like YAML."),
            ('{"kind": }', "Not JSON:"),
            ("[1]", "A manifest is one JSON object."),
            ('{"kind": "Pod"}', "kind: must be Agent or AgentCluster."),
            ('{"kind": "Agent"}', "metadata.name: is missing."),
        ):
            box.fill(text)
            expect(seen.page.locator(".apply-box .field-note")).to_contain_text(wrong)
            expect(ask).to_be_disabled()
        box.fill('{"apiVersion": "v1", "kind": "Agent", "metadata": {"name": "tiny"}, "spec": {}}')
        ask.click()
        dialog = seen.page.get_by_role("dialog", name="Apply Agent tiny?")
        expect(dialog).to_contain_text("The document Agent default/tiny is created")
        dialog.get_by_role("button", name="Apply", exact=True).click()
        expect(seen.page.locator(".followed")).to_contain_text("apply Agent tiny")


def test_markup_stays_text_and_long_names_do_not_break_a_narrow_page(browser: Browser, house: Known) -> None:
    with sight(browser, house.address, width=360, height=780) as seen:
        alerts: list[str] = []

        def told(dialog: Dialog) -> None:
            alerts.append(dialog.message)

        seen.page.on("dialog", told)
        found: list[str] = []
        for path in EVERY:
            seen.open(path.format(long=LONG))
            found += [f"{path}: {one}" for one in broken(seen)]
        assert not found, "\n".join(found)
        assert not alerts


def broken(seen: Sight) -> list[str]:
    """What foreign text has done to the page."""
    found = [f"{seen.overflow_px()} pixels stick out"] if seen.overflow_px() > 0 else []
    found += [f"policy: {one}" for one in seen.violations()]
    if seen.page.evaluate("Boolean(window.broken) || Boolean(document.querySelector('main img, main b b'))"):
        found.append("markup became elements")
    return [*found, *(error for error in seen.errors)]


def test_the_check_for_broken_pages_finds_what_is_planted(browser: Browser, house: Known) -> None:
    with sight(browser, house.address, width=360, height=780) as seen:
        seen.open("conflicts")
        seen.page.evaluate("text => { document.querySelector('.conflict').innerHTML = text }", MARKUP)
        assert any("markup" in one for one in broken(seen))
        seen.page.evaluate("document.querySelector('main').style.width = '900px'")
        assert any("stick out" in one for one in broken(seen))
