"""Look inside in a browser: units held while two texts are written, and one step of the cell in numbers."""

from pathlib import Path
from urllib.parse import parse_qs

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_app import App
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = pytest.mark.browser

_FAKE = Path(__file__).parents[1] / "support" / "fake_inside.js"
_LAST = "name => fake.asked.filter(([each]) => each === name).at(-1)[1]"


def _open(page: Page, screen: str) -> None:
    """Open a screen of the tab's scripts on a server whose answers are known."""
    expect(page.get_by_role("tab", name="Look inside")).to_be_visible()
    page.add_script_tag(path=_FAKE)
    page.evaluate("openInside()")
    page.get_by_role("tab", name=screen).click()


def _slide(slider: Locator, value: float) -> None:
    slider.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def test_a_held_unit_writes_another_text_with_the_same_dice_and_is_measured_beside_others(page: Page) -> None:
    _open(page, "Hold it")
    plain, held = (page.get_by_role("region", name=f"The text {each}") for each in ("of the network", "with units held"))
    text = page.evaluate("fake.text")
    expect(page.get_by_role("button", name="As if always: this is a vowel")).to_have_attribute("aria-pressed", "true")
    expect(plain).to_have_text("so " + text[:600], use_inner_text=False)
    parting = text.index("on", 30)
    expect(page.locator(".hold-verdict")).to_have_text(f"The same for {parting} characters, then they part.")
    expect(plain.locator("mark")).to_have_text("o")
    expect(held.locator("mark")).to_have_text("O")
    assert page.evaluate("document.querySelector('.hold-page b')") is None
    asked = page.evaluate("fake.asked.filter(([name]) => name === 'inside_hold').map(([, request]) => request)")
    assert [(each["holds"], each["num_chars"]) for each in asked[-2:]] == [([[0, 3, 2]], 120), ([[0, 3, 2]], 600)]
    assert len({(each["seed"], each["temperature"]) for each in asked}) == 1

    words, slider = page.locator(".meter-words"), page.get_by_label("Value of unit 3")
    expect(words).to_contain_text("chance of a vowel next is 50 % instead of 30 %")
    expect(words).to_contain_text("None of 20 random units held the same way does that")
    _slide(slider, 0.2)
    expect(words).to_contain_text("so this shows nothing")
    assert page.evaluate(_LAST, "inside_hold")["holds"] == [[0, 3, 0.2]]
    page.get_by_role("button", name="silenced").click()
    expect(page.get_by_role("heading", name="With unit 3 at 0.00")).to_be_visible()
    page.get_by_role("button", name="free").click()
    expect(words).to_contain_text("Nothing is held")
    expect(page.locator(".hold-verdict")).to_contain_text("characters differs.")

    page.get_by_role("button", name="As if never: this is a vowel").click()
    page.get_by_label("Unit to hold").select_option("by its number")
    page.get_by_label("Number of the unit").fill("40")
    page.get_by_role("button", name="Hold", exact=True).click()
    unknown = page.get_by_label("Value of unit 40")
    assert (unknown.get_attribute("min"), unknown.get_attribute("max")) == ("-4", "4")
    _slide(unknown, -1.5)
    expect(page.get_by_role("heading", name="With unit 3 at −1.00, unit 40 at −1.50")).to_be_visible()
    page.wait_for_function("fake.asked.at(-1)[0] === 'inside_meter' && fake.asked.at(-1)[1].value === -1.5")
    link = parse_qs((page.get_by_role("link", name="Go on in Write").get_attribute("href") or "").removeprefix("?"))
    assert (link["hold"], link["model"], link["prompt"]) == (["3=-1,40=-1.5"], ["fake"], ["so "])
    page.get_by_role("button", name="Prove it").click()
    expect(page.locator(".proof-told")).to_contain_text("Shown for: vowels.")
    expect(page.locator(".proof tbody tr").first).to_contain_text("0.11 (0.09 to 0.13)")
    for unit in (50, 51, 52):
        page.get_by_label("Number of the unit").fill(str(unit))
        page.get_by_role("button", name="Hold", exact=True).click()
    expect(page.get_by_label("Unit to hold")).to_be_hidden()  # five are the most
    assert len(page.evaluate(_LAST, "inside_hold")["holds"]) == 5


def test_a_step_of_the_cell_is_told_in_five_stages_with_numbers_that_add_up(page: Page) -> None:
    _open(page, "The cell, explained")
    cell, formula = page.locator("#inside-cell"), page.locator(".cell-formula")
    expect(formula).to_have_text("kept = forget × old = 0.500 × 2.000 = 1.000")
    cell.get_by_role("button", name="1 Forget").focus()
    expected = ("0.250, of 0", "0.250 × (−0.400) = −0.100", "1.000 + (−0.100) = 0.900", "0.500 × 0.716 = 0.358")
    for number, words in enumerate(expected, 51):
        page.keyboard.press("ArrowRight")
        expect(formula).to_contain_text(words)
        expect(page.locator(".cell-code a")).to_have_attribute("href", f"https://example.org/cell.py#L{number}")
    expect(cell.get_by_role("button", name="5 Show")).to_be_focused()
    expect(page.locator(".cell-part.is-lit")).to_contain_text("output gate")
    expect(page.locator(".cell-stuck")).to_contain_text("a chance of 10 % instead of 37 %")
    expect(page.locator(".carry-words")).to_contain_text("From the 3rd character on it is the other way round")
    _slide(page.get_by_label("Forget gate of this unit"), 0.2)
    expect(cell).to_contain_text("It would remember 0.30 instead of 0.90, and show 0.15 instead of 0.36.")
    page.locator(".cell-part", has_text="new content").click()
    expect(page.locator(".cell-sentence")).to_contain_text("What it would like to add is −0.40")
    cell.get_by_label("Unit", exact=True).select_option("late (unit 9)")
    page.wait_for_function("fake.asked.some(([name, request]) => name === 'inside_cell' && request.unit === 9)")
    expect(cell.get_by_role("button", name="as it is")).to_be_disabled()


def test_both_screens_move_before_the_first_click_fit_a_phone_and_satisfy_axe(browser: Browser, app: App) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{app.url}?__theme=dark", wait_until="load")
    _open(page, "Hold it")
    moving = {"Hold it": ".hold-sheet:last-child .hold-page", "The cell, explained": ".cell-sentence"}
    for screen, place in moving.items():
        page.get_by_role("tab", name=screen).click()
        expect(page.locator(place)).not_to_be_empty()
        page.wait_for_function(
            "([place, before]) => document.querySelector(place).textContent !== before",
            arg=[place, page.locator(place).text_content()],
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        found = Axe().run(page, ".inside").response["violations"]
        worst = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
        assert worst == []
    context.close()
