"""What holds for every tab: it fits, it can be operated, it is contrasted, and it asks nobody else for anything."""

import gzip
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from conftest import REPOSITORY, App  # isort: skip  tests/ui/conftest.py

pytestmark = pytest.mark.browser

_UNNAMED = """() => [...document.querySelectorAll('button, input, textarea, select, progress')]
    .filter(e => e.checkVisibility() && e.type !== 'hidden')
    .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length
                   || e.innerText?.trim() || e.title))
    .map(e => e.outerHTML.slice(0, 200))"""

# When the page asked the browser for a frame.
_COUNTED_FRAMES = """
window.native = window.requestAnimationFrame; window.asked = []; window.opened = performance.now();
window.requestAnimationFrame = (call) => { asked.push(performance.now()); return native.call(window, call); };
"""


def _open(page: Page, tab: str) -> None:
    """Open the tab, and wait for what belongs there."""
    page.get_by_role("tab", name=tab).click()
    if tab == "Generate":
        expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    elif tab == "Train":
        expect(page.get_by_role("button", name="Start training")).to_be_visible()
        expect(page.locator(".chart-line").first).to_be_attached()
    else:
        expect(page.get_by_label("Model to publish")).to_have_value("tiny-shakespeare")
        page.get_by_label("Name on the Hub").fill(f"owner/{'long-' * 17}name")
        page.get_by_role("button", name="Show what will be sent").click()
        expect(page.locator("#publish-files")).to_contain_text("model.safetensors")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_scrolls_sideways_all_controls_have_names_axe_agrees_and_no_other_host_is_asked(
    browser: Browser, app: App, theme: str
) -> None:
    context = browser.new_context(color_scheme=theme)
    hosts: set[str] = set()
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page = context.new_page()
    page.goto(f"{app.url}?__theme={theme}", wait_until="load")
    for tab in ("Generate", "Hub", "Train"):
        page.set_viewport_size({"width": 1280, "height": 800})
        _open(page, tab)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
        assert page.evaluate(_UNNAMED) == []
    page.get_by_role("button", name="Advanced").click()
    page.get_by_text("Learning rate, gradient, speed").click()
    expect(page.get_by_label("Hidden size")).to_be_visible()
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert hosts - {"", f"127.0.0.1:{app.port}"} == set()
    context.close()


def test_the_page_comes_in_a_third_of_its_bytes_to_whoever_can_unpack_it(app: App) -> None:
    with urlopen(Request(app.url, headers={"Accept-Encoding": "gzip"})) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        packed = answer.read()
    with urlopen(app.url) as answer:
        plain = answer.read()
    assert len(packed) < len(plain) / 3
    assert gzip.decompress(packed) == plain


def test_a_page_that_nobody_touches_draws_a_frame_a_second_and_every_one_again_once_it_is_touched(
    browser: Browser, app: App
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(_COUNTED_FRAMES)
    page.goto(app.url, wait_until="load")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    calm = "performance.now() - opened > 4000 && "
    page.wait_for_function(calm + "asked.filter(at => performance.now() - at < 1000).length <= 3")
    for touched in ("page.keyboard", "page.mouse"):
        page.evaluate("asked.length = 0")
        if touched == "page.keyboard":
            page.keyboard.press("Tab")
        else:
            page.mouse.move(200, 200)
        page.wait_for_function("asked.filter(at => performance.now() - at < 1000).length >= 20")
    context.close()


def test_what_waits_for_a_frame_can_be_taken_back_and_one_that_fails_keeps_no_other_from_coming(
    browser: Browser,
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.clock.install(time=0)
    page.set_content("<p>nothing</p>")
    page.add_script_tag(path=str(REPOSITORY / "charlstm" / "ui" / "static" / "frames.js"))
    page.clock.run_for(10_000)
    page.evaluate("""() => {
        window.seen = [];
        requestAnimationFrame(() => { throw new Error('of this test'); });
        const taken = requestAnimationFrame(() => seen.push('taken back'));
        requestAnimationFrame(() => { seen.push('drawn'); cancelAnimationFrame(later); });
        const later = requestAnimationFrame(() => seen.push('taken back by one before it'));
        cancelAnimationFrame(taken);
    }""")
    page.clock.run_for(500)
    assert page.evaluate("seen") == []
    page.clock.run_for(1000)
    assert page.evaluate("seen") == ["drawn"]
    context.close()
