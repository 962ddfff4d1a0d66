"""Writing and looking into what was written, by keyboard alone, in a real browser."""

import math
import re

import pytest
from page_app import REPOSITORY, App
from playwright.sync_api import BrowserContext, Dialog, Locator, Page, expect

from charlstm import LanguageModel, SampleConfig
from charlstm.generation.prediction import Predictor

pytestmark = pytest.mark.browser
MODEL = "tiny-shakespeare"


def text_of(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Text", exact=True)


def card_of(page: Page) -> Locator:
    return page.locator("#text .reader-card")


def written(page: Page, number: int = 0) -> str:
    """What the model wrote, to the character; the document's own text, as layout drops spaces."""
    return str(
        page.evaluate(
            "number => [...document.querySelectorAll('#text .reader-text')[number]"
            ".querySelectorAll('span')].map(span => span.textContent).join('')",
            number,
        )
    )


_SHOWS = """text => [...document.querySelectorAll('#text .reader-text span')]
    .map(span => span.textContent).join('') === text"""


def open_linked(page: Page, app: App, query: str, length: int) -> None:
    """Have the page write by itself, until it has written so much."""
    page.goto(f"{app.url}?{query}", wait_until="load")
    page.wait_for_function(
        "length => (document.querySelector('#text .reader-text')?.textContent || '').length >= length", arg=length
    )
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()


@pytest.fixture(scope="module")
def known() -> LanguageModel:
    return LanguageModel.load(REPOSITORY / "checkpoints" / MODEL)


@pytest.fixture
def page(opened: Page) -> Page:
    """One visitor's page for the bars, as the one before left it."""
    return opened


def test_by_keyboard_a_text_is_looked_into_branched_and_continued(blank: Page, app: App, known: LanguageModel) -> None:
    """An address writes its text; arrows walk through it, Enter opens the likeliest, one of them goes on from there."""
    page = blank
    open_linked(page, app, f"model={MODEL}&prompt=ROMEO%3A&num_chars=150&seed=5", 156)
    text = known.generate("ROMEO:", SampleConfig(num_chars=150, seed=5))
    assert written(page) == text
    expect(page.locator("#generate-rate")).to_contain_text("seed 5")
    expect(page.locator("#prompt textarea")).to_have_value("ROMEO:")
    colours = page.evaluate(
        "() => new Set([...document.querySelectorAll('#text .reader-text span')]"
        ".map(span => getComputedStyle(span).backgroundColor)).size"
    )
    assert colours >= 4
    text_of(page).focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    place = 11  # the first press goes to the first character
    likeliest = known.score(f"ROMEO:{text}", 5).chunk.likeliest[6 + place]
    expect(card_of(page)).to_contain_text("had a chance of")
    expect(card_of(page).get_by_role("button")).to_have_count(5)
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.choice") == likeliest[1]
    page.keyboard.press("Enter")
    prompt = f"ROMEO:{text[:place]}{likeliest[1]}"
    page.wait_for_function(
        "([prompt, length]) => document.querySelector('#text b').textContent === prompt"
        " && document.querySelector('#text .reader-text').textContent.length === length",
        arg=[prompt, len(prompt) + 150],
    )
    branch = known.generate(prompt, SampleConfig(num_chars=300, seed=5))
    assert written(page) == branch[:150]
    expect(page.locator("#prompt textarea")).to_have_value("ROMEO:")  # the visitor's own
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    page.wait_for_function(_SHOWS, arg=text)
    for shown in (branch[:150], text):
        page.go_back()
        page.wait_for_function(_SHOWS, arg=shown)
    text_of(page).focus()
    for key in ("ArrowRight", "Enter", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(undo).to_be_visible()
    page.go_back()  # undoes this branch too, so the offer to do so goes: it would leave the page
    page.wait_for_function(_SHOWS, arg=text)
    expect(undo).to_have_count(0)
    page.locator(".earlier-text").nth(1).click()
    page.wait_for_function(_SHOWS, arg=branch[:150])
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    page.get_by_role("button", name="Continue").press("Enter")
    page.wait_for_function(
        "length => document.querySelector('#text .reader-text').textContent.length === length",
        arg=len(prompt) + 300,
    )
    assert written(page) == branch
    page.wait_for_url("**num_chars=300**")
    page.get_by_role("button", name="Is it copied?").press("Enter")
    expect(page.locator("#copied")).to_contain_text(re.compile("copied|not at hand"))  # where the text is, or is not
    page.get_by_role("button", name="Another").press("Enter")
    expect(page.locator("#copied .prose")).to_be_empty()


def test_markup_from_an_address_appears_as_itself(context: BrowserContext, app: App) -> None:
    dialogs: list[Dialog] = []
    page = context.new_page()
    page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    hostile = "%3Cimg src=x onerror=alert(1)%3E${alert(2)}{{alert(3)}}%3Cscript%3Ealert(4)%3C/script%3E"
    page.goto(f"{app.url}?prompt={hostile}&seed=1&num_chars=20", wait_until="load")
    expect(page.locator("#generate-problem")).to_contain_text("never seen")
    page.goto(f"{app.url}?seed={hostile}", wait_until="load")
    expect(page.locator("#generate-problem")).to_contain_text("</script>")
    assert page.locator("#generate-problem img, #generate-problem script, #text img, #text script").count() == 0
    assert not dialogs


def test_several_texts_stand_below_each_other_and_two_models_side_by_side(
    blank: Page, app: App, known: LanguageModel
) -> None:
    page = blank
    open_linked(page, app, f"model={MODEL}&prompt=A&num_chars=60&num_samples=3&seed=2", 61)
    texts = known.generate_samples("A", SampleConfig(num_chars=60, num_samples=3, seed=2))
    page.wait_for_function("() => document.querySelectorAll('#text .reader-text').length === 3")
    assert [written(page, number) for number in range(3)] == texts
    assert page.locator("#text .reader").evaluate("text => text.scrollTop") == 0  # the first text is in view
    page.get_by_role("button", name="How surprised is the model by your text?").click()
    page.get_by_label("Your text").fill("To be, or not to be")
    page.get_by_role("button", name="Score this text").click()
    figures = known.score("To be, or not to be")
    expect(page.locator("#view-0 .reader-rate")).to_contain_text(f"among {figures.perplexity:.1f} letters")
    page.get_by_role("button", name="Write with both").click()
    expect(page.locator("#compare-problem")).to_contain_text("Choose a second model")
    expect(page.locator("#view-0 .reader-rate")).to_contain_text("letters")  # what was scored stays


def test_on_arrival_a_text_writes_itself_at_reading_pace_with_bars_and_stop_cuts_it(blank: Page, app: App) -> None:
    page = blank
    page.emulate_media(reduced_motion="no-preference")
    page.goto(app.url, wait_until="load")
    shown = (
        "() => [...document.querySelectorAll('#text .reader-text span')].map(span => span.textContent).join('').length"
    )
    page.wait_for_function(f"({shown})() >= 40")
    assert page.evaluate(shown) < 400  # the server sends all 500 at once
    expect(page.locator("#next-letter .bars-row.is-taken")).to_have_count(1)
    expect(page.locator("#generate-rate")).to_contain_text("500 characters in ")
    box = page.locator("#stop-writing").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 400
    page.locator("#stop-writing").click()
    expect(page.locator("#generate-rate")).to_contain_text("stopped after")
    length = page.evaluate(shown)
    assert 40 <= length < 500
    page.get_by_role("button", name="Continue").click()
    page.wait_for_function(f"({shown})() > {length}")
    page.locator("#text .reader").click()
    page.wait_for_function(f"({shown})() === {length} + 500")
    page.get_by_label("As fast as it can").check()
    page.get_by_label("Length").fill("-5")
    page.locator("#write").click()
    expect(page.locator("#generate-problem")).to_contain_text("Length: enter a whole number from 1 to 1,000,000")
    expect(page.locator("#length")).to_have_class(re.compile("is-wrong"))
    assert page.get_by_test_id("toast-body").count() == 0
    page.get_by_label("Length").fill("300")
    expect(page.locator("#generate-problem")).to_be_hidden()
    page.get_by_label("Length").fill("-5")
    page.locator("#write").click()
    expect(page.locator("#generate-problem")).to_be_visible()  # the same sentence again


def test_the_bars_follow_the_prompt_and_the_temperature(page: Page, known: LanguageModel) -> None:
    expect(page.locator("#generate-rate")).to_contain_text("500 characters")
    page.locator("#prompt textarea").press_sequentially("ROME")
    bars = page.locator("#next-letter .bars-row")
    first = known.model, known.vocabulary, "ROME", 65
    found = Predictor().predict(*first)
    for temperature in (0.8, 1.0):
        page.locator("#temperature input[type=number]").fill(str(temperature))
        shares = [math.exp(log / temperature) for log in found.logs]
        expect(bars.first).to_contain_text(found.characters[0])
        expect(bars.first).to_contain_text(f"{100 * shares[0] / sum(shares):.0f} %")
    bars.first.click()  # adds the letter
    expect(page.locator("#prompt textarea")).to_have_value(f"ROME{found.characters[0]}")
    page.locator("#model input").focus()  # its list closes when one goes on
    page.keyboard.press("Tab")
    expect(page.get_by_role("option")).to_have_count(0)


def test_on_a_telephone_the_bars_stand_at_the_prompt_above_its_keyboard(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    strip, prompt = page.get_by_role("group", name="Next letter after your prompt"), page.locator("#prompt textarea")
    expect(page.locator("#text .reader-text").first).to_contain_text(re.compile(r"\S"))  # or what arrives replaces it
    prompt.fill("RO")
    expect(page.get_by_text("after your prompt, at temperature")).to_be_visible()
    expect(strip).to_be_hidden()  # a mouse in a narrow window has the examples there
    page.get_by_label("Length").focus()
    finger = page.context.new_cdp_session(page)
    finger.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    prompt.fill("ROM€")
    expect(strip).to_contain_text("€")  # what is wrong with it, in place of bars
    expect(strip.get_by_role("button")).to_have_count(0)
    prompt.fill("ROME")
    expect(strip.get_by_role("button")).to_have_count(5)
    page.set_viewport_size({"width": 390, "height": 420})
    for shown in (strip, prompt):
        expect(shown).to_be_in_viewport(ratio=1)
    strip.get_by_role("button", name=re.compile("^O,")).click()  # nothing lies on it
    expect(prompt).to_have_value("ROMEO")
    expect(prompt).to_be_focused()
    page.get_by_label("Length").focus()
    expect(strip).to_be_hidden()
    finger.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    expect(page.get_by_text("0 writes until you press Stop")).to_be_visible()
    for width in (390, 1000):  # there the column is narrow too
        page.set_viewport_size({"width": width, "height": 800})
        for end in ("min-value", "max-value"):  # tame and wild
            expect(page.locator("#temperature").get_by_test_id(end)).to_be_in_viewport(ratio=1)
