"""Each view of one thing says its facts, word for word, and says them anew when they change."""

import re
from collections.abc import Generator

import msgspec
import pytest
from playwright.sync_api import Browser, Locator, expect

from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import EventRow
from tests.browser.house import Sight, sight
from tests.browser.known import BETA, MARKUP, Known, event, known, nodes, units, wish
from tests.gateway.api_kit import now_ms

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def house() -> Generator[Known]:
    with known() as found:
        yield found


@pytest.fixture
def seen(browser: Browser, house: Known) -> Generator[Sight]:
    with sight(browser, house.address, width=1440) as found:
        yield found
        assert not found.violations()
        assert not found.page.evaluate("window.broken")


def facts(seen: Sight) -> dict[str, str]:
    pairs = seen.page.locator(".facts > div").evaluate_all(
        "all => all.map((one) => [...one.children].map((c) => c.innerText))"
    )
    return dict(pairs)


def section(seen: Sight, title: str) -> Locator:
    return seen.page.locator(".section", has=seen.page.get_by_role("heading", name=title, exact=True))


def late(number: int, text: str) -> EventRow:
    """One more event of beta's journal as it goes on."""
    return event(number, text, at_ms=now_ms(), boot=1, life=2)


def test_a_node_shows_its_state_machine_journal_and_what_runs_there(seen: Sight) -> None:
    seen.open("nodes/beta")
    expect(seen.page.locator("h1")).to_have_text("beta")
    expect(seen.page.locator(".view-sub .badge")).to_have_text("ready")
    expect(section(seen, "Journal")).to_contain_text("event 2, boot 1")
    told = facts(seen)
    assert told["Processor"] == "Cortex-A78, 8 cores, aarch64"
    assert told["Memory"] == "16 GiB"
    assert told["Accelerator"] == "1 with 8 GiB"
    assert told["Path"] == "direct, 11 ms"
    assert told["Temperature"] == "61 °C"
    assert told["Behind"] == "7 events"
    assert told["Missing"] == "40 events in 2 gaps"
    expect(seen.page.locator(".labels li")).to_have_text(["siteplant-7"])
    rows = section(seen, "Runs here").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("words/1")
    expect(rows.nth(0)).to_contain_text("ended with exit code 3")
    expect(rows.nth(1)).to_contain_text("replicated(1)")
    expect(section(seen, "Latest events").locator(".event-text").first).to_have_text("scaled to 5")


def test_a_node_that_is_lost_says_why_and_since_when(seen: Sight) -> None:
    seen.open("nodes/gamma")
    expect(seen.page.locator(".view-sub")).to_contain_text("unreachable")
    expect(seen.page.locator(".view-sub")).to_contain_text("silent on 3 of 3 links")
    expect(seen.page.locator(".view-sub .age.is-old")).to_have_text("3 min ago")
    expect(section(seen, "Neighbours")).to_contain_text("It has no links")


def test_charts_say_their_numbers_and_their_gaps(seen: Sight) -> None:
    seen.open("nodes/beta")
    said = seen.page.locator(".chart-plot").first
    expect(said).to_have_attribute(
        "aria-label", "Processor, last 1 hour: from 21 % to 79 %, mean 51 %, last 21 %. 1 gap without measurements."
    )
    expect(said.locator("canvas")).to_be_visible()
    said.focus()
    seen.page.keyboard.press("ArrowLeft")
    expect(seen.page.locator(".chart-reading b").first).to_have_text("21 %")
    seen.page.keyboard.press("ArrowLeft")
    expect(seen.page.locator(".chart-reading b").first).to_have_text("22 %")
    seen.page.get_by_role("button", name="24h").click()
    seen.until("location.hash.endsWith('?span=24h')")
    expect(said).to_have_attribute("aria-label", re.compile("^Processor, last 24 hours: from "))


def test_neighbours_are_a_picture_a_list_and_ways_to_them(seen: Sight) -> None:
    seen.open("nodes/beta")
    dots = seen.page.locator("a.graph-dot")
    expect(dots).to_have_count(3)
    expect(seen.page.locator("a.graph-dot .state-unreachable")).to_have_count(1)
    names = dots.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert "gamma, oslo, unreachable, 42 ms" in names
    assert "delta, paris, down, 1.4 ms, linked for another reason than gossip" in names
    dots.first.focus()
    seen.page.keyboard.press("End")
    expect(seen.page.locator(".graph-said")).to_contain_text("delta, paris, down")
    seen.page.get_by_text("As a list").click()
    rows = seen.page.get_by_role("table", name="Neighbours").locator("tbody tr")
    expect(rows).to_have_count(3)
    dots.last.focus()
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("h1")).to_have_text("delta")


def test_a_node_changes_while_one_looks(seen: Sight, house: Known) -> None:
    seen.open("nodes/beta")
    before = nodes(now_ms())[0]
    house.commit(Batch(rows={"nodes": [msgspec.structs.replace(before, state="suspect", reason="late twice")]}))
    expect(seen.page.locator(".view-sub")).to_contain_text("late twice")
    house.commit(Batch(rows={"nodes": [before]}))
    expect(seen.page.locator(".view-sub .badge")).to_have_text("ready")


def test_agents_are_grouped_and_their_units_stand_by_region(seen: Sight) -> None:
    seen.open("agents?q=words")
    cells = seen.page.locator("tbody tr").first
    expect(cells).to_contain_text("2 of 3")
    seen.open("agents/words")
    expect(seen.page.locator(".view-sub")).to_contain_text("2 of 3 units running, 1 in trouble, on 2 nodes")
    groups = seen.page.locator(".group-head b")
    expect(groups).to_have_text(["oslo", "paris"])
    assert facts(seen)["Newest version"] == "44"
    assert facts(seen)["Only on one disk"] == "words/0"
    expect(section(seen, "Skills")).to_contain_text("1 of 2 offers can be called")


def test_a_unit_on_both_sides_of_a_cut_is_shown_twice_with_what_decides(seen: Sight, house: Known) -> None:
    seen.open("instances/words/0")
    runs = seen.page.locator(".run")
    expect(runs).to_have_count(2)
    expect(runs.nth(0)).to_contain_text("3@gamma")
    expect(runs.nth(0)).to_contain_text("highest epoch")
    expect(runs.nth(0)).to_contain_text("none: only this disk has it")
    expect(runs.nth(1)).to_contain_text("2@beta")
    expect(seen.page.locator(".note")).to_contain_text("the higher epoch goes on (3@gamma)")
    expect(seen.page.locator(".conflict")).to_contain_text("total")
    expect(section(seen, "Events").locator(".event-text").first).to_have_text("words/0: claimed in epoch 2")
    gone = units(now_ms())[0]
    house.commit(Batch(gone={"instances": [("words/0", "beta")]}))
    expect(runs).to_have_count(1)
    house.commit(Batch(rows={"instances": [gone]}))
    expect(runs).to_have_count(2)


def test_a_document_shows_what_is_pending_and_why(seen: Sight, house: Known) -> None:
    seen.open("clusters")
    row = seen.page.locator("tbody tr", has_text="line3")
    expect(row).to_contain_text("3 of 5")
    expect(row).to_contain_text("no node with gpu_mem>=48Gi is ready")
    row.locator("a.row-link").click()
    expect(seen.page.locator("h1")).to_have_text("line3")
    expect(seen.page.get_by_role("img", name="line3: 3 running, 2 pending")).to_be_visible()
    pending = seen.page.locator(".conditions li", has_text="Pending")
    expect(pending).to_contain_text("yes")
    expect(pending).to_contain_text("2 of words wait")
    expect(seen.page.locator(".tree.is-root").last).to_contain_text("replicas 4")
    at_ms = now_ms()
    house.commit(Batch(rows={"wishes": [wish(at_ms, running=5, pending=0, reason="")]}))
    expect(seen.page.locator(".view-sub")).to_contain_text("5 of 5 running")
    house.commit(Batch(rows={"wishes": [wish(at_ms)]}))
    expect(seen.page.locator(".view-sub")).to_contain_text("3 of 5 running, 2 pending")


def test_conflicts_show_all_values_what_decides_and_what_to_do(seen: Sight) -> None:
    seen.open("conflicts")
    cards = seen.page.locator(".conflict")
    expect(cards).to_have_count(2)
    document = cards.filter(has_text="AgentCluster default/line3")
    values = document.locator(".conflict-value")
    expect(values).to_have_count(2)
    expect(values.nth(0)).to_contain_text("in force")
    expect(values.nth(0)).to_contain_text("written by beta")
    expect(values.nth(1)).to_contain_text("n 5")
    expect(document).to_contain_text("meshnode apply -f FILE")
    state = cards.filter(has_text="words/0")
    expect(state.locator(".conflict-value").nth(1)).to_contain_text(MARKUP)
    expect(state).to_contain_text("@agent.merge")
    expect(state.get_by_role("link", name="words/0")).to_have_attribute("href", "#/instances/words/0")


def test_skills_are_ranked_and_say_why_others_would_not_be_called(seen: Sight) -> None:
    seen.open("skills?skill=words.*")
    found = seen.page.get_by_role("list", name="Offers, ranked").locator("> li")
    expect(found).to_have_count(2)
    expect(found.nth(0).locator(".signature")).to_have_text(
        'words.count(text: string, kind?: "words" | "letters" = "words") → {count: integer}'
    )
    expect(found.nth(0).locator(".offer-rank")).to_have_text("1")
    expect(found.nth(1)).to_contain_text("the node is unreachable")
    expect(found.nth(1).locator(".offer-rank")).to_have_text("\u2013")
    found.nth(0).get_by_text("Schema", exact=True).click()
    expect(found.nth(0).get_by_role("table", name="Arguments")).to_contain_text("what to count in")


def test_constraints_are_explained_and_so_is_what_they_leave_out(seen: Sight) -> None:
    seen.open("skills?skill=words.*")
    where = seen.page.get_by_label("Constraints on the node")
    where.fill("gpu_mem>=lots")
    expect(seen.page.get_by_role("alert")).to_have_text("“lots” is no number: write one like 4, 500m or 2Gi")
    where.fill("gpu_mem>=2Gi, region!=lagos")
    expect(seen.page.locator("#where-hint")).to_have_text("The node must have gpu_mem >= 2Gi and region != lagos.")
    left_out = seen.page.get_by_role("list", name="Left out").locator("> li")
    expect(left_out).to_have_count(1)
    expect(left_out).to_contain_text("gpu_mem is 1073741824, less than 2Gi")
    expect(left_out).to_contain_text("gamma")
    seen.until("location.hash.includes('where=gpu_mem%3E%3D2Gi')")


def test_a_journal_shows_its_gaps_where_they_are(seen: Sight, house: Known) -> None:
    seen.open("journal/beta")
    lines = seen.page.locator(".journal > li")
    expect(seen.page.locator(".journal-gap b")).to_have_text([
        "40 events are missing here: dropped by the node to stay in its budget",
        "7 events are missing here: the gateway does not know why",
        "Events are missing here, nobody knows how many: its disk was lost before they were read",
    ])  # fmt: skip
    expect(lines.nth(0)).to_contain_text("1\u201340")
    expect(lines.nth(1)).to_contain_text("boot 6")
    expect(lines.nth(2)).to_contain_text("words/0: is running: pid 4321")
    expect(lines.nth(4)).to_contain_text("43\u201349")
    expect(seen.page.locator(".journal-mark.is-life")).to_contain_text("began anew here: life 2")
    house.commit(Batch(events=[late(3, "told just now")]))
    expect(lines.last).to_contain_text("told just now")


def test_events_follow_the_feed_can_be_paused_and_are_filtered_by_address(seen: Sight, house: Known) -> None:
    seen.open("events?node=beta&q=tail")
    expect(seen.page.locator(".empty")).to_contain_text("No event fits")
    house.commit(Batch(events=[late(201, "tail one"), late(202, "another")]))
    expect(seen.page.locator(".event-text")).to_have_text(["tail one"])
    seen.page.keyboard.press("p")
    house.commit(Batch(events=[late(203, "tail two")]))
    expect(seen.page.get_by_role("status").filter(has_text="waiting")).to_have_text("1 new event waiting")
    expect(seen.page.locator(".event-text")).to_have_count(1)
    seen.page.get_by_role("button", name="Go on").click()
    expect(seen.page.locator(".event-text")).to_have_text(["tail two", "tail one"])
    seen.page.locator(".event-subject a").first.click()
    expect(seen.page.locator("h1")).to_have_text("words")


def test_what_is_not_known_says_so_and_appears_when_it_is(seen: Sight, house: Known) -> None:
    seen.open("nodes/omega")
    expect(seen.page.locator(".empty-title")).to_have_text("The node omega is not known here")
    seen.errors.clear()
    omega = msgspec.structs.replace(nodes(now_ms())[0], node_id="f5" * 32, name="omega")
    house.commit(Batch(rows={"nodes": [omega]}))
    expect(seen.page.locator(".view-sub .badge")).to_have_text("ready")
    house.commit(Batch(gone={"nodes": [(omega.node_id,)]}))
    expect(seen.page.locator(".view-sub")).to_contain_text("It has left the list of nodes since.")
    assert omega.node_id != BETA
