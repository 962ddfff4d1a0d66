"""Hold it, and The cell, explained, in a browser: what is asked of the server, and what is said of its answers."""

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

_SUPPORT = Path(__file__).parents[1] / "support"
_ASKED = "name => fake.asked.filter(([each]) => each === name).map(([, request]) => request)"


def _asked(page: Page, name: str) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = page.evaluate(_ASKED, f"inside_{name}")
    return requests


def _open(page: Page, screen: str) -> None:
    """Open a screen on a server whose answers are known."""
    for name in ("fake_inside.js", "fake_held.js"):
        page.add_script_tag(path=_SUPPORT / name)
    page.evaluate("openInside()")
    page.get_by_role("tab", name=screen).click()


def _expect_accessible(page: Page) -> None:
    found = Axe().run(page, ".inside").response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")] == []


def test_a_unit_that_acts_is_held_before_the_first_click_and_its_slider_writes_anew(bare: Page) -> None:
    page = bare
    page.emulate_media(reduced_motion="no-preference")
    _open(page, "Hold it")
    panel = page.locator("#inside-hold")
    expect(panel.get_by_role("button", name="always: this is a vowel")).to_have_attribute("aria-pressed", "true")
    expect(panel.locator(".twin.is-held .twin-mark")).to_have_text("<")  # writing goes on without a click
    assert _asked(page, "hold")[-1]["holds"] == [[0, 3, 2]]
    assert panel.locator(".twin.is-plain .twin-mark").text_content() == "a"
    assert panel.locator(".twin.is-held .twin-same").text_content() == "the dice fell alike. "
    assert page.evaluate("document.querySelector('.twin i')") is None
    expect(panel.locator(".twin-verdict")).to_contain_text("The first 21 characters are the same")
    expect(panel.locator(".meter-said")).to_contain_text(
        "14.8 % to 15.3 %. Unit 3 leaves that range here; Prove it tells"
    )
    slider = panel.get_by_label("Value of unit 3")
    slider.focus()
    page.keyboard.press("Home")
    expect(panel.locator(".twin.is-held .twin-rest")).to_contain_text("[[0,3,-1]]")
    expect(panel.locator(".meter-said")).to_contain_text("Unit 3 stays in it: this chance changes no more")
    assert slider.get_attribute("aria-valuetext") == "−1.00, this is a vowel: never"
    page.wait_for_function("fake.asked.filter(([name]) => name === 'inside_hold').at(-1)[1].num_chars === 600")
    assert [each["num_chars"] for each in _asked(page, "hold")[-2:]] == [120, 600]
    panel.get_by_role("button", name="Silenced").click()
    expect(panel.locator(".twin-note").last).to_have_text("unit 3 silenced")
    page.evaluate("charlstm.copyLink = (_, query) => { window.copied = query; }")
    panel.get_by_role("button", name="Copy a link").click()
    assert parse_qs(page.evaluate("copied"))["hold"] == ["3=0"]
    panel.get_by_role("button", name="Free").click()
    expect(panel.locator(".twin-note").last).to_have_text("nothing is held")
    expect(panel.locator(".meter")).to_be_hidden()


_SMALL = """window.insideFake = ((make) => () => {
  const fake = make();
  const small = {
    inside_units: { hidden_size: 3, units: [], nearly: [], keepers: [] },
    inside_experiment: { controls: 0 },
  };
  const answer = async (name, request) => {
    if (name === 'inside_trace' && window.isBusy) return { problem: 'Busy.' };
    return { ...await fake.server[name](request), ...small[name] };
  };
  return { ...fake, server: new Proxy({}, { get: (_, name) => (request) => answer(name, request) }) };
})(window.insideFake)"""


def test_of_a_network_of_three_units_no_fourth_is_held_and_too_few_are_there_to_compare_with(bare: Page) -> None:
    page = bare
    for name in ("fake_inside.js", "fake_held.js"):
        page.add_script_tag(path=_SUPPORT / name)
    page.add_script_tag(content=_SMALL)
    page.evaluate("openInside()")
    page.get_by_role("tab", name="Hold it").click()
    panel = page.locator("#inside-hold")
    rows, add = panel.locator(".holding-row"), panel.get_by_role("button", name="Hold another unit")
    expect(rows).to_have_count(1)
    page.evaluate("window.isBusy = true")
    add.click()
    expect(panel.locator(".holding .inside-problem")).to_have_text("Busy.")
    expect(rows).to_have_count(1)
    page.evaluate("window.isBusy = false")
    add.click()
    expect(rows).to_have_count(2)
    expect(panel.locator(".holding .inside-problem")).to_have_text("")
    panel.get_by_role("button", name="Prove it").click()
    expect(panel.locator(".experiment-verdict")).to_have_text(
        "There are too few other units to compare a set of 2 with. So nothing can be said of what they change."
    )
    add.click()
    expect(rows).to_have_count(3)
    expect(add).to_be_hidden()
    panel.get_by_role("button", name="Take unit 0 away").click()
    add.click()
    expect(rows.last).to_have_attribute("aria-label", "Unit 0")
    expect(add).to_be_hidden()


def test_up_to_five_units_are_held_an_experiment_is_told_and_other_screens_can_ask_for_a_unit(bare: Page) -> None:
    page = bare
    page.set_viewport_size({"width": 390, "height": 844})
    _open(page, "Hold it")
    panel = page.locator("#inside-hold")
    panel.get_by_role("button", name="Prove it").click()
    expect(panel.locator(".experiment-verdict")).to_contain_text("Characters in a line: 10.0 as it is, 25.5 held.")
    asked = _asked(page, "experiment")[0]
    assert len(asked.pop("visitor")) == 48
    assert asked == {"model": "fake", "age": None, "holds": [[0, 3, 2]]}
    expect(panel.locator(".experiment-hint")).to_have_text(
        "writes 20 texts with it held, 20 without, and as many with each of 20 random units"
    )
    expect(panel.locator(".experiment-table").first.locator("tbody tr")).to_have_count(1)
    expect(panel.get_by_text("1 more figures, no further than random units")).to_be_visible()
    add = panel.get_by_role("button", name="Hold another unit")
    for count in range(2, 6):
        add.click()
        expect(panel.locator(".holding-row")).to_have_count(count)
    expect(panel.locator(".meter-about")).to_have_text("About unit 3 alone")
    expect(panel.locator(".experiment-hint")).to_contain_text(
        re.compile("^unit 3, .* and unit .*: writes 20 texts with them held.* each of 15 sets of 5 random units$")
    )
    expect(add).to_be_hidden()
    expect(panel.locator(".experiment-verdict")).to_have_count(0)  # it was of what is no longer held
    page.wait_for_function("fake.asked.filter(([name]) => name === 'inside_hold').at(-1)[1].holds.length === 5")
    panel.get_by_role("button", name="Take unit 3 away").click()
    expect(panel.locator(".holding-row")).to_have_count(4)
    _expect_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("tab", name="What it keeps in mind").click()
    page.get_by_label("Unit", exact=True).fill("40")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Hold it and see").click()
    expect(panel.get_by_label("Value of unit 40")).to_be_visible()
    (held,) = _asked(page, "hold")[-1]["holds"]
    assert held[:2] == [0, 40]
    # Without a name its range is what it takes in the text: sin(place / 42) over 450 places.
    values = sorted(math.sin(place / 42) for place in range(len(page.evaluate("fake.text"))))
    assert held[2] == pytest.approx(values[round(0.995 * (len(values) - 1))], abs=0.02)
    expect(panel.locator(".meter-about")).to_be_hidden()
    page.get_by_role("tab", name="What it keeps in mind").click()
    page.get_by_label("Age of this network").fill("0")
    page.get_by_role("tab", name="Hold it").click()
    expect(page.locator(".inside-then").first).to_have_text("The network as it was after 0.7 s of training.")
    for name in ("hold", "meter", "trace"):
        page.wait_for_function(
            "name => fake.asked.some(([each, { age }]) => each === name && age === 6)", arg=f"inside_{name}"
        )


def test_the_cell_is_explained_with_the_numbers_of_a_step_which_goes_on_by_itself(bare: Page) -> None:
    page = bare
    page.emulate_media(reduced_motion="no-preference")
    page.set_viewport_size({"width": 390, "height": 844})
    _open(page, "The cell, explained")
    panel = page.locator("#inside-cell")
    stages = panel.locator(".cell-stages li")
    expect(stages.nth(0)).to_contain_text("It keeps 80 % of what it remembered: of 1.25 stay 1.00.")
    expect(stages.nth(3)).to_contain_text("1.00 − 0.20 = 0.80")
    expect(stages.nth(4)).to_contain_text("It shows 50 % of it, pressed between −1 and 1: 0.33.")
    step = panel.locator(".step").get_attribute("aria-label") or ""
    assert "keeps 0.80 of it, lets in 0.50 of the new −0.40, memory after 0.80" in step
    expect(stages.nth(1)).to_have_class("is-lit")  # without a click
    panel.get_by_role("button", name="Stop").click()
    place = _asked(page, "cell")[-1]["place"]
    panel.get_by_role("button", name="The next letter", exact=True).click()
    page.wait_for_function("place => fake.asked.at(-1)[1].place === place", arg=place + 1)
    expect(panel.get_by_role("button", name="Play")).to_be_visible()
    letter = page.evaluate("place => Array.from(fake.text)[place]", place + 1)
    assert (panel.locator(".reel-letter[aria-pressed=true]").text_content() or "").replace("\xa0", " ") == letter
    panel.locator(".reel-letter[aria-pressed=true]").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("place => fake.asked.at(-1)[1].place === place", arg=place)
    expect(panel.locator(".stage-code").first).to_be_hidden()
    page.get_by_label("Numbers").check()
    expect(panel.locator(".stage-code code").first).to_have_text("forget = <b>1</b>")
    expect(panel.locator(".stage-code a[href]")).to_have_attribute("href", "https://example.org/cell.py#L7")
    panel.locator(".broken-slider").scroll_into_view_if_needed()
    expect(panel.locator(".broken-row").nth(1)).to_contain_text("1.50 nats")
    panel.get_by_label("All forget gates held at").fill("0.9")
    page.wait_for_function("fake.asked.at(-1)[1].forget === 0.9")
    panel.locator(".carry, [aria-label='Two memories']").first.scroll_into_view_if_needed()
    expect(panel.get_by_label("Two memories")).to_contain_text("From 10 letters on it is c that disturbs more")
    _expect_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
