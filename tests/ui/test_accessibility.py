"""What holds for every tab: it fits, it can be operated, it is contrasted, and it asks nobody else for anything."""

import gzip
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_app import App
from playwright.sync_api import BrowserContext, Page, expect

pytestmark = pytest.mark.browser

_UNNAMED = """() => [...document.querySelectorAll('button, input, textarea, select, progress')]
    .filter(e => e.checkVisibility() && e.type !== 'hidden')
    .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length
                   || e.innerText?.trim() || e.title))
    .map(e => e.outerHTML.slice(0, 200))"""

_LAYOUT_SHIFT = """window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: 'layout-shift', buffered: true })"""


def _open(page: Page, tab: str) -> None:
    """Open the tab, and wait for what belongs there."""
    page.get_by_role("tab", name=tab).click()
    if tab == "Write":
        expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    elif tab == "Train":
        expect(page.locator("#start")).to_be_visible()
        expect(page.locator(".chart-line").first).to_be_attached()
    else:
        expect(page.get_by_label("Model to publish")).to_have_value("tiny-shakespeare")
        page.get_by_label("Name on the Hub").fill(f"owner/{'long-' * 17}name")
        page.get_by_role("button", name="Show what will be sent").click()
        expect(page.locator("#publish-files")).to_contain_text("model.safetensors")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_scrolls_sideways_all_controls_have_names_axe_agrees_and_no_other_host_is_asked(
    context: BrowserContext, app: App, theme: Literal["light", "dark"]
) -> None:
    hosts: set[str] = set()
    page = context.new_page()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.emulate_media(color_scheme=theme, reduced_motion="no-preference")
    page.goto(f"{app.url}?__theme={theme}", wait_until="load")
    for tab in ("Write", "Share", "Train"):
        page.set_viewport_size({"width": 1280, "height": 800})
        _open(page, tab)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
        assert page.evaluate(_UNNAMED) == []
    page.get_by_text("Learning rate, gradient, speed").click()
    page.get_by_role("button", name="Advanced").click()
    expect(page.get_by_label("Hidden size")).to_be_visible()
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert hosts - {"", f"127.0.0.1:{app.port}"} == set()


def test_the_page_comes_in_a_third_of_its_bytes_to_whoever_can_unpack_it(app: App) -> None:
    with urlopen(Request(app.url, headers={"Accept-Encoding": "gzip"})) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        packed = answer.read()
    with urlopen(app.url) as answer:
        plain = answer.read()
    assert len(packed) < len(plain) / 3
    assert gzip.decompress(packed) == plain


def test_arriving_moves_nothing_and_takes_80_requests_and_400_kilobytes(context: BrowserContext, app: App) -> None:
    """Until the first text writes itself: the layout shift, the requests to the app, and what came over the line."""
    page = context.new_page()
    page.set_viewport_size({"width": 1366, "height": 768})
    page.add_init_script(_LAYOUT_SHIFT)
    received: list[float] = []
    network = context.new_cdp_session(page)
    network.on("Network.loadingFinished", lambda done: received.append(done["encodedDataLength"]))
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(app.url)
    page.wait_for_function("document.querySelector('#text .reader-text')?.textContent.length > 100")
    assert page.evaluate("shift") < 0.05
    assert len([url for url in asked if url.startswith("http")]) <= 80
    assert 200_000 < sum(received) <= 400_000
