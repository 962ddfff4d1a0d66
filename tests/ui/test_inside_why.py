"""Why this letter?, in a browser, on the app's own model: what is shown is what the server computes."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_a_letters_reasons_are_shown_and_an_earlier_letter_can_be_left_out(page: Page) -> None:
    page.get_by_role("tab", name="Look inside").click()
    page.get_by_role("tab", name="Why this letter?").click()
    panel = page.locator("#inside-why")
    sentence = panel.locator(".why-sentence")
    expect(sentence).not_to_be_empty()
    expect(panel.locator(".why-bar")).to_have_count(5)
    shares = panel.locator(".why-share").all_text_contents()
    letters = panel.locator(".inside-letters")
    before = sentence.text_content()
    letters.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(sentence).not_to_have_text(before or "")
    expect(panel.locator(".is-target")).to_have_count(1)
    panel.get_by_role("button", name="Leave out").first.click()
    expect(panel.locator(".why-bars .why-note")).to_contain_text("The chance of")
    expect(panel.locator(".why-before").first).to_be_attached()
    assert panel.locator(".why-share").all_text_contents() != shares
    panel.get_by_label("Another character in place of").first.fill("😀")
    expect(panel.get_by_role("status").filter(has_text="never seen")).to_be_visible()
    page.get_by_label("Numbers").check()
    with page.expect_download() as download:
        panel.get_by_role("button", name="All worths as CSV").click()
    rows = download.value.path().read_text(encoding="utf-8").splitlines()
    assert rows[0] == "characters back,character,nats"
    assert 20 < len(rows) <= 101
