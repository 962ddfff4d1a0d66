"""The page, driven as a visitor drives it, in a real browser."""

import shutil
from collections.abc import Iterator

import pytest
from page_app import App, end_workers
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(opened: Page, app: App) -> Iterator[Page]:
    """One visitor's page for all of them, as the one before left it."""
    yield opened
    end_workers(app.checkpoints_dir)


def _write(page: Page) -> None:
    page.get_by_role("button", name="Write", exact=True).click()


def _text(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Text", exact=True)


def test_the_bundled_model_writes_at_the_first_click(page: Page) -> None:
    expect(page.get_by_role("combobox", name="Model")).to_have_value("tiny-shakespeare")
    page.get_by_role("button", name="ROMEO:").click()
    expect(page.get_by_label("Prompt")).to_have_value("ROMEO:")
    expect(page.locator("#generate-rate")).to_contain_text("500 characters")  # of the text that stood there on arrival
    page.get_by_label("Length").fill("501")
    _write(page)
    expect(page.locator("#generate-rate")).to_contain_text("501 characters")
    text = _text(page).inner_text()
    assert text.startswith("ROMEO:")
    assert len(text) == len("ROMEO:") + 501
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()


def test_stop_ends_the_writing_keeps_the_text_and_can_be_used_again(page: Page) -> None:
    page.get_by_label("Length").fill("1000000")
    kept = _text(page).inner_text() if _text(page).is_visible() else ""
    for _ in range(2):
        _write(page)
        expect(_text(page)).not_to_have_text(kept, use_inner_text=True)
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
        kept = _text(page).inner_text()
        assert 0 < len(kept) < 1_000_000


def _write_to_the_end(page: Page, num_chars: int) -> str:
    """Write another number of characters than before, so that the end is told from the last one's."""
    page.get_by_label("Length").fill(str(num_chars))
    _write(page)
    expect(page.locator("#generate-rate")).to_contain_text(f"{num_chars} characters in ")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    return _text(page).inner_text()


def test_the_seed_that_was_used_is_shown_and_writes_the_text_again_and_another_another(page: Page) -> None:
    page.get_by_role("button", name="More ▼").click()
    seed = page.get_by_role("spinbutton", name="Seed")
    shorter = _write_to_the_end(page, 300)
    expect(seed).not_to_have_value("1")
    used = seed.input_value()
    page.get_by_label("A new seed for each text").uncheck()
    longer = _write_to_the_end(page, 400)
    assert longer.startswith(shorter[:290])  # white space at the very end is not shown
    assert seed.input_value() == used
    seed.fill(str(int(used) + 1))
    assert not _write_to_the_end(page, 310).startswith(shorter[:290])
    assert seed.input_value() == str(int(used) + 1)


def test_an_unknown_character_in_the_prompt_is_named(page: Page) -> None:
    page.get_by_label("Prompt").fill("東京")
    _write(page)
    expect(page.locator("#generate-problem")).to_contain_text("U+6771")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()


def test_a_model_made_meanwhile_is_offered_when_the_tab_is_opened(page: Page, app: App) -> None:
    page.get_by_role("group", name="First time here?").get_by_role("button", name="Teach one your own text").click()
    expect(page.get_by_role("combobox", name="Text to learn")).to_be_focused()
    shutil.copytree(app.checkpoints_dir / "tiny-shakespeare", app.checkpoints_dir / "brought-by-hand")
    page.get_by_role("tab", name="Write").click()
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="brought-by-hand").click()
    for term in ("top-k", "temperature"):
        page.locator(f"#{term} .info-button").click()
        expect(page.locator(".info-example")).to_contain_text("Example, brought-by-hand: After")
