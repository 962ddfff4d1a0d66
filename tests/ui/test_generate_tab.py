"""Writing and looking into what was written, by keyboard alone, in a real browser."""

import pytest
from page_app import REPOSITORY, App
from playwright.sync_api import BrowserContext, Dialog, Locator, Page, expect

from charlstm import LanguageModel, SampleConfig

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


def open_linked(context: BrowserContext, app: App, query: str, length: int) -> Page:
    """A page that writes by itself, once it has written so much."""
    page = context.new_page()
    page.goto(f"{app.url}?{query}", wait_until="load")
    page.wait_for_function(
        "length => (document.querySelector('#text .reader-text')?.textContent || '').length >= length", arg=length
    )
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    return page


@pytest.fixture(scope="module")
def known() -> LanguageModel:
    return LanguageModel.load(REPOSITORY / "checkpoints" / MODEL)


def test_by_keyboard_a_text_is_looked_into_branched_and_continued(
    context: BrowserContext, app: App, known: LanguageModel
) -> None:
    """An address writes its text; arrows walk through it, Enter opens the likeliest, one of them goes on from there."""
    page = open_linked(context, app, f"model={MODEL}&prompt=ROMEO%3A&num_chars=150&seed=5", 156)
    text = known.generate("ROMEO:", SampleConfig(num_chars=150, seed=5))
    assert written(page) == text
    expect(page.locator("#generate-rate")).to_contain_text("seed 5")
    page.get_by_label("Show surprise in Text").press("Space")
    expect(page.locator("#text .reader-legend")).to_be_visible()
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
    expect(card_of(page)).to_contain_text("came as a surprise of")
    expect(card_of(page).get_by_role("button")).to_have_count(5)
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.choice") == likeliest[1]
    page.keyboard.press("Enter")
    prompt = f"ROMEO:{text[:place]}{likeliest[1]}"
    expect(page.get_by_label("Prompt")).to_have_value(prompt)
    page.wait_for_function(
        "([prompt, length]) => document.querySelector('#text b').textContent === prompt"
        " && document.querySelector('#text .reader-text').textContent.length === length",
        arg=[prompt, len(prompt) + 150],
    )
    branch = known.generate(prompt, SampleConfig(num_chars=300, seed=5))
    assert written(page) == branch[:150]
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    page.get_by_role("button", name="Continue").press("Enter")
    page.wait_for_function(
        "length => document.querySelector('#text .reader-text').textContent.length === length",
        arg=len(prompt) + 300,
    )
    assert written(page) == branch
    page.wait_for_url("**num_chars=300**")
    page.get_by_role("button", name="Copied from the corpus?").press("Enter")
    expect(page.locator("#copied")).not_to_be_empty()


def test_markup_from_an_address_appears_as_itself(context: BrowserContext, app: App) -> None:
    dialogs: list[Dialog] = []
    context.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    page = context.new_page()
    hostile = "%3Cimg src=x onerror=alert(1)%3E${alert(2)}{{alert(3)}}%3Cscript%3Ealert(4)%3C/script%3E"
    page.goto(f"{app.url}?prompt={hostile}&seed=1&num_chars=20", wait_until="load")
    expect(page.locator("#generate-problem")).to_contain_text("never seen")
    page.goto(f"{app.url}?seed={hostile}", wait_until="load")
    expect(page.locator("#generate-problem")).to_contain_text("</script>")
    assert page.locator("#generate-problem img, #generate-problem script, #text img, #text script").count() == 0
    assert not dialogs


def test_several_texts_stand_below_each_other_and_two_models_side_by_side(
    context: BrowserContext, app: App, known: LanguageModel
) -> None:
    page = open_linked(context, app, f"model={MODEL}&prompt=A&num_chars=60&num_samples=3&seed=2", 61)
    texts = known.generate_samples("A", SampleConfig(num_chars=60, num_samples=3, seed=2))
    page.wait_for_function("() => document.querySelectorAll('#text .reader-text').length === 3")
    assert [written(page, number) for number in range(3)] == texts
    page.get_by_role("button", name="Score your own text, or compare two models").click()
    page.get_by_label("Your text").fill("To be, or not to be")
    page.get_by_role("button", name="Score this text").click()
    figures = known.score("To be, or not to be")
    expect(page.locator("#view-line-0")).to_contain_text(
        f"{figures.nats:.3f} nats per character ({figures.bpc:.3f} bits)"
    )
    expect(page.locator("#view-line-0")).to_contain_text(f"perplexity {figures.perplexity:.2f}")
    page.get_by_role("button", name="Write with both").click()
    expect(page.locator("#compare-problem")).to_contain_text("Choose a second model")
