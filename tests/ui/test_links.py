"""The address of what is shown can be copied, also where the browser does not show it or offers no clipboard."""

from collections.abc import Iterator

import pytest
from page_app import App
from playwright.sync_api import BrowserContext, Error, Page, expect
from visitors import visitor

pytestmark = pytest.mark.browser
_NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"  # as over plain http
_LISTEN = """
window.copied = [];
document.addEventListener('copy', (event) => window.copied.push(event.target.value), true);
"""


@pytest.fixture(scope="module")
def page(profile: BrowserContext) -> Iterator[Page]:
    """One page for all of them, without a clipboard."""
    with visitor(profile) as context:
        page = context.new_page()
        page.add_init_script(_NO_CLIPBOARD + ";" + _LISTEN)
        yield page


def _copied(page: Page) -> str:
    page.wait_for_function("window.copied.length > 0")
    return str(page.evaluate("window.copied[0]"))


def _text(page: Page) -> str:
    return str(page.locator("#text .reader-text").first.text_content())


def test_the_link_to_a_text_writes_it_again(page: Page, app: App) -> None:
    page.goto(app.url, wait_until="load")
    link = page.get_by_role("button", name="Copy a link that writes Text again")
    expect(page.locator("#generate-rate")).to_contain_text("500 characters")  # written on arrival
    page.get_by_label("Length").fill("60")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator("#generate-rate")).to_contain_text("60 characters")
    link.click()
    expect(link).to_have_text("Copied")
    address = _copied(page)
    assert address.startswith(f"{app.url.rstrip('/')}/?")
    text = _text(page)
    page.get_by_role("tab", name="Train").click()
    page.goto(address, wait_until="load")
    expect(page.get_by_role("tab", name="Write")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#generate-rate")).to_contain_text("60 characters")
    assert _text(page) == text


def test_a_link_may_hold_units_until_they_are_let_go(page: Page, app: App) -> None:
    query = "model=tiny-shakespeare&prompt=ROMEO%3A&num_chars=60&seed=1"
    page.goto(f"{app.url}?{query}&hold=710%3D3.1%2C169%3D-1.5", wait_until="load")
    written = page.locator("#generate-rate")
    expect(written).to_contain_text("60 characters")
    chips = page.locator("#held button")
    expect(chips).to_have_text(["unit 710 held at 3.1 ×", "unit 169 held at −1.5 ×"])
    held = _text(page)
    assert "hold=710%3D3.1%2C169%3D-1.5" in page.url
    chips.first.click()
    expect(chips).to_have_text(["unit 169 held at −1.5 ×"])
    chips.first.click()
    expect(page.locator("#held")).to_be_hidden()
    page.get_by_role("button", name="Same again").click()
    page.wait_for_function("!location.search.includes('hold')")
    expect(written).to_contain_text("60 characters")
    assert _text(page) != held
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("button", name="tiny-shakespeare", exact=True).click()
    page.wait_for_function("location.search.includes('prompt=') && location.hash === '#run=tiny-shakespeare'")
    page.route(app.url + "**", lambda route: route.abort())  # as while the app starts again
    expect(page.locator("#status-line")).to_contain_text("no answer from the app")
    with pytest.raises(Error):
        page.reload()
    page.unroute_all()
    page.reload(wait_until="load")
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")


def test_the_link_to_a_run_shows_it(page: Page, app: App) -> None:
    page.goto(f"{app.url}?run=shakespeare-quick", wait_until="load")
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#run-state b")).to_have_text("Shakespeare, quick")
    page.get_by_role("button", name="tiny-shakespeare", exact=True).click()
    page.wait_for_function("location.search === '' && location.hash === '#run=tiny-shakespeare'")
    expect(page.locator("#run-state b")).to_have_text("tiny-shakespeare")
    page.get_by_role("button", name="Copy link", exact=True).click()
    assert _copied(page) == f"{app.url.rstrip('/')}/?run=tiny-shakespeare"
