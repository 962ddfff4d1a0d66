"""The cell, explained, in a browser: its formulas, what another forget gate would do, and its keys."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

_FAKE = Path(__file__).parents[1] / "support" / "fake_inside.js"
# 0.5 x 2 + 0.25 x (-0.4) = 0.9, and 0.5 x tanh(0.9) = 0.358
_STEP = """
window.insideFake = ((make) => () => {
  const fake = make(), step = { layer: 0, unit: 3, old: 2, forget: 0.5, input: 0.25, candidate: -0.4, cell: 0.9, output: 0.5, hidden: 0.3581 };
  const cell = async ({ place }) => ({ ...step, character: fake.text[place], mean: { forget: 0.4, input: 0.3, output: 0.2 }, passages: {}, fixed: null });
  return { ...fake, server: new Proxy({}, { get: (_, name) => (name === 'inside_cell' ? cell : fake.server[name]) }) };
})(window.insideFake)
"""  # noqa: E501


def test_formulas_have_the_numbers_and_a_slider_and_keys_change_what_is_looked_at(bare: Page) -> None:
    page = bare
    page.set_viewport_size({"width": 390, "height": 844})
    page.add_script_tag(path=_FAKE)
    page.evaluate(_STEP)
    page.evaluate("openInside()")
    page.get_by_role("tab", name="The cell, explained").click()
    stages = page.locator(".cell-stages li")
    expect(stages.nth(3)).to_contain_text("c = f · c′ + i · g = 0.50 · 2.00 + 0.25 · (−0.40) = 0.90")
    expect(stages.nth(4)).to_contain_text("h = o · tanh(c) = 0.50 · tanh(0.90) = 0.36")
    reel, here = (page.locator(each).bounding_box() for each in (".cell-reel", ".reel-letter[aria-pressed=true]"))
    assert reel
    assert here
    assert reel["x"] < here["x"] < reel["x"] + reel["width"]  # the letter that is read is in sight
    gate = page.get_by_label("Forget gate of this unit")
    gate.focus()
    page.keyboard.press("Home")
    cell = page.locator("#inside-cell")
    expect(cell).to_contain_text("It would remember −0.10 instead of 0.90, and show −0.05 instead of 0.36.")
    expect(stages.nth(0)).to_contain_text("f = σ(W_f · [x, h′] + b_f) = 0.00")
    cell.get_by_role("button", name="As it is").click()
    expect(stages.nth(3)).to_contain_text("= 0.90")
    stages.first.get_by_role("button").focus()
    page.keyboard.press("ArrowDown")
    expect(stages.nth(1)).to_have_class("is-lit")
    page.keyboard.press("End")
    expect(stages.nth(4).get_by_role("button")).to_be_focused()
    expect(stages.nth(4)).to_have_class("is-lit")
    page.locator(".broken-slider").scroll_into_view_if_needed()
    expect(cell).to_contain_text("A single letter has none before it to be guessed from.")  # its loss is None
    assert page.evaluate("document.documentElement.scrollWidth") == 390
