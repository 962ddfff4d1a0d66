"""What holds for every tab: it fits, it can be operated, it is contrasted, and it asks nobody else for anything."""

import gzip
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
# Controls whose words would be too pale if they were disabled, which axe does not look at.
_PALE_IF_DISABLED = """() => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const over = ([...top], base) => [0, 1, 2].map(i => (top[i] * top[3] + base[i] * (255 - top[3])) / 255);
  const linear = value => (value / 255 <= 0.04045 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  const contrast = control => {
    const around = [];
    for (let each = control; each; each = each.parentElement) around.unshift(getComputedStyle(each));
    const ground = around.reduce((base, style) => over(rgba(style.backgroundColor), base), [255, 255, 255]);
    const [r, g, b, a] = rgba(getComputedStyle(control).color);
    const words = over([r, g, b, around.reduce((alpha, style) => alpha * style.opacity, a)], ground);
    const pair = [luminance(words), luminance(ground)];
    return Math.max(...pair) / Math.min(...pair);
  };
  return [...document.querySelectorAll('button, select, textarea, input')].filter(control => {
    if (!control.getClientRects().length || /hidden|checkbox|radio|range|file/.test(control.type)) return false;
    const before = control.disabled;
    control.disabled = true;
    const isPale = contrast(control) < 4.5;
    control.disabled = before;
    return isPale;
  }).map(control => control.outerHTML.slice(0, 200));
}"""

_LAYOUT_SHIFT = """window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: 'layout-shift', buffered: true })"""


def _open(page: Page, tab: str) -> None:
    """Open the tab, and wait for what belongs there."""
    page.get_by_role("tab", name=tab).click()
    if tab == "Write":
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Read this first").click()
        expect(page.get_by_role("button", name="Remember it")).to_be_disabled()
        expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    elif tab == "Look inside":
        caret = page.locator("#inside-mind .inside-caret")  # reads before the first click
        expect(caret).to_be_visible()
        before = caret.get_attribute("style")
        expect(caret).not_to_have_attribute("style", str(before))
        page.get_by_role("button", name="Stop reading").click()
        expect(page.get_by_role("button", name="Read the text letter by letter")).to_be_visible()
    elif tab == "Train":
        expect(page.locator("#start")).to_be_visible()
        expect(page.locator(".chart-line").first).to_be_attached()
        page.get_by_text("Learning rate, gradient, speed").click()
    else:
        expect(page.get_by_label("Model to publish")).to_have_value("tiny-shakespeare")
        page.get_by_label("Name on the Hub").fill(f"owner/{'long-' * 17}name")
        page.get_by_role("button", name="Show what will be sent").click()
        expect(page.locator("#publish-files")).to_contain_text("model.safetensors")


def _faults(page: Page, place: str | None = None, *rules: str) -> list[str]:
    """What axe finds in a part of the page, by some rules or all, and what would be too pale if it were disabled."""
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = Axe().run(page, place, options).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    told = [f"{each['id']}: {node['html'][:200]}" for each in serious for node in each["nodes"]]
    return [*told, *page.evaluate(_PALE_IF_DISABLED)]


def _faults_by_day_and_night(page: Page, place: str | None = None) -> list[str]:
    """Everything in light colours, and in dark ones what depends on colours."""
    by_day = _faults(page, place)
    page.evaluate("charlstm.theme.setDark(true)")
    by_night = _faults(page, place, "color-contrast", "link-in-text-block")
    page.evaluate("charlstm.theme.setDark(false)")
    return [*by_day, *(f"in the dark: {fault}" for fault in by_night)]


def test_nothing_scrolls_sideways_all_controls_have_names_axe_agrees_by_day_and_night_and_no_other_host_is_asked(
    blank: Page, app: App
) -> None:
    hosts: set[str] = set()
    page = blank
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    page.goto(app.url, wait_until="load")
    page.add_style_tag(content="* { transition: none !important }")  # colours are looked at as they will be
    for tab in ("Write", "Look inside", "Share", "Train"):
        page.set_viewport_size({"width": 1280, "height": 800})
        _open(page, tab)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
        assert page.evaluate(_UNNAMED) == []
        assert _faults_by_day_and_night(page) == []
    page.get_by_role("button", name="Advanced").click()
    expect(page.get_by_label("Hidden size")).to_be_visible()
    assert _faults_by_day_and_night(page, "#sheet-dialog") == []
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
    files = [
        url for url in asked if url.startswith("http") and "component_server" not in url
    ]  # but for what is asked by the clock
    assert len(files) <= 80
    assert 200_000 < sum(received) <= 400_000
