"""The pixels of the grid, in a real browser: what it draws quickly must be what it would draw slowly."""

import pytest
from playwright.sync_api import Browser

from tests.browser.house import Served, sight

pytestmark = pytest.mark.browser
_SETUP = """
    const { cellAt, boxOf, fitting, layout, LEVELS, neighbour, paint } = await import("./parts/cells.js");
    const { Stamps, palette } = await import("./parts/stamps.js");
    const states = ["ready", "suspect", "unreachable", "down", "left"];
    const cellOf = (_, at) => [`n${at}`, states[at % 5], (at * 7) % 101, at % 3];
    const cellsOf = (count) => Array.from({ length: count }, cellOf);
    const regions = [["", cellsOf(3)], ["berlin", cellsOf(170)], ["oslo", cellsOf(61)], ["empty", []]];
    const pen = document.createElement("canvas").getContext("2d");
"""
_SCROLLED = (
    "async () => {"
    + _SETUP
    + """
    const made = layout(regions, 600, LEVELS[9], { ratio: 1.5 });
    const stamps = new Stamps(made.cell.width, made.cell.height, palette());
    const [quick, slow] = [pen.createImageData(made.width, 160), pen.createImageData(made.width, 160)];
    let before = null;
    const wrong = [];
    for (const top of [0, 7, 7, 31, 300, 140, 139, 2, 0, 159, 160]) {
        paint(quick, made, stamps, top, () => false, before);
        paint(slow, made, stamps, top, () => false);
        if (quick.data.some((value, at) => value !== slow.data[at])) wrong.push(top);
        before = top;
    }
    const stale = pen.createImageData(made.width, 160);
    paint(stale, made, stamps, 50, () => false, 45); // a lie about what was drawn before: it must show
    paint(slow, made, stamps, 50, () => false);
    return { wrong, lie: stale.data.some((value, at) => value !== slow.data[at]) };
}"""
)
_FOUND = (
    "async () => {"
    + _SETUP
    + """
    const wrong = [];
    for (let level = 0; level < LEVELS.length; level++) {
        const made = layout(regions, 380, LEVELS[level], { ratio: 2 });
        for (const block of made.blocks) for (let at = 0; at < block.cells.length; at++) {
            const { x, y, width, height } = boxOf(made, { block, at });
            const [first, last] = [cellAt(made, x, y), cellAt(made, x + width - 1, y + height - 1)];
            const same = [first, last].every((one) => one?.block === block && one.at === at);
            if (!same || x + width > made.width || y + height > made.height)
                wrong.push(`${level} ${block.name} ${at}`);
        }
    }
    return wrong.slice(0, 5);
}"""
)
_SHAPES = (
    "async () => {"
    + _SETUP
    + """
    const stamps = new Stamps(9, 9, palette());
    const ground = stamps.colours.groundWord;
    const shapeOf = (state) => [...stamps.of(["n", state, 50, 0], false)].map((word) => (word === ground ? "." : "#"))
        .join("").match(/.{9}/g).join("\\n");
    const tones = (state) => new Set(stamps.of(["n", state, 50, 0], false)).size;
    return Object.fromEntries(states.map((state) => [state, [shapeOf(state), tones(state)]]));
}"""
)


def test_a_scrolled_window_is_drawn_as_if_it_were_drawn_anew(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        found = seen.open("grid").page.evaluate(_SCROLLED)
    assert found["wrong"] == []
    assert found["lie"], "the comparison would not notice a wrong strip"


def test_the_cell_under_a_point_is_the_one_drawn_there(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        assert seen.open("grid").page.evaluate(_FOUND) == []


def test_states_differ_in_shape_not_only_in_colour(browser: Browser, gateway: Served) -> None:
    with sight(browser, gateway.address) as seen:
        shapes = seen.open("grid").page.evaluate(_SHAPES)
    told = {state: (shape, tones) for state, (shape, tones) in shapes.items()}
    assert len(set(told.values())) == 5
    assert told["ready"][0].count(".") == 0 and told["down"][1] == 2  # a full square; a cross on its own ground
    assert told["unreachable"][0].splitlines()[4][3:6] == "..."
