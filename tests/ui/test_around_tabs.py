"""What stands around the tabs: theme, explanations, How it works, keys, messages, and what a link to the page shows."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio.routes import templates
from page_app import App
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from visitors import VIEWPORT, visitor

from charlstm.ui.how_it_works import passages
from charlstm.ui.link_preview import preview_png, replace_tags

pytestmark = pytest.mark.browser

_RING = """() => {
  const focused = document.activeElement, label = focused.closest('label') || focused;
  if (focused === document.body || focused.matches('dialog')) return null;
  const has = [focused, label].some((each) => parseFloat(getComputedStyle(each).outlineWidth) >= 2);
  return has || focused.outerHTML.slice(0, 200);
}"""
# Stops of an open dialog without one: once the keyboard was used, what a script focuses has its ring too.
_RINGS = f"""() => [...document.querySelectorAll('dialog[open] *')].filter((each) => {{
  if (each.tabIndex < 0 || !each.checkVisibility()) return false;
  each.focus();
  return document.activeElement === each && ({_RING})() !== true;
}}).map((each) => each.outerHTML.slice(0, 200))"""
_SMALL = """() => [...document.querySelectorAll('button, select, input, summary, textarea')]
  .filter((each) => each.checkVisibility() && each.getClientRects().length && !each.matches('.bars-row:disabled'))
  .map((each) => (['checkbox', 'radio'].includes(each.type) && each.closest('label')) || each)
  .filter((each) => Math.min(each.getBoundingClientRect().width, each.getBoundingClientRect().height) < 43.5)
  .map((each) => each.outerHTML.slice(0, 120))"""
_TERMS = (
    "nats perplexity validation temperature pass five-gram seed top-p top-k dropout real-words parameters learning-rate"
)


@pytest.fixture(scope="module")
def page(profile: BrowserContext, app: App) -> Iterator[Page]:
    """One page for all of them, which moves."""
    with visitor(profile) as context:
        page = context.new_page()
        page.emulate_media(reduced_motion="no-preference")
        page.goto(app.url, wait_until="load")
        yield page


def _serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


@contextmanager
def _settings(page: Page) -> Iterator[None]:
    """The dialog of a run's settings, open."""
    page.get_by_role("button", name="Advanced").press("Enter")  # a click misses while the form still moves
    expect(page.locator("#sheet-dialog").get_by_label("Hidden size")).to_be_visible()
    yield
    page.get_by_role("button", name="Done").click()


def test_a_link_shows_our_title_and_picture_and_nothing_of_gradio(app: App) -> None:
    hostile = '"><script>alert(1)</script>'
    with urlopen(f"{app.url}?prompt={quote(hostile)}") as answer:
        head = answer.read().decode().split("window.gradio_config")[0]
    tags = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[^"]*)" content="([^"]*)"', head))
    assert tags["og:image"] == f"{app.url}charlstm/preview.png"
    assert tags["og:title"].startswith("“&#34;&gt;&lt;script&gt;")
    assert "gibberish" in tags["og:description"]
    assert not [value for value in tags.values() if "gradio" in value.lower()]
    assert head.count('property="og:title"') == head.count("<title>") == 1
    with urlopen(tags["og:image"]) as answer:
        data = answer.read()
    assert Image.open(io.BytesIO(data)).size == (1200, 630)
    assert len(data) < 60_000
    assert data == preview_png()
    with urlopen(f"{app.url}?run=shakespeare-quick") as answer:
        head = answer.read().decode().split("window.gradio_config")[0]
    tags = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[^"]*)" content="([^"]*)"', head))
    assert tags["og:title"] == "“Shakespeare, quick”: a small network learns to write"
    assert tags["og:description"].startswith("In 1 min: from 65 equally likely letters to about 4 (perplexity 4.2);")
    with urlopen(tags["og:image"]) as answer:
        own = answer.read()
    assert Image.open(io.BytesIO(own)).size == (1200, 630)
    assert own != data
    with urlopen(f"{app.url}charlstm/preview.png?run={quote(hostile)}") as answer:
        assert answer.read() == data


def test_a_link_names_the_public_address_behind_a_path() -> None:
    template = templates.env.from_string(replace_tags("<head></head>"))
    asked = type("Request", (), {"query_params": {}})
    shown = template.render(config={"root": "https://example.org/letters"}, request=asked)
    assert 'content="https://example.org/letters/charlstm/preview.png"' in shown


def test_each_passage_of_code_is_what_its_lines_hold(repository: object) -> None:
    assert [each.part for each in passages()] == ["letters", "cell", "guess", "loss", "update"]
    for each in passages():
        lines = (repository / each.file).read_text(encoding="utf-8").split("\n")  # type: ignore[operator]
        shown = lines[each.first_line - 1 : each.last_line]
        assert [line.strip() for line in shown] == [line.strip() for line in each.code.split("\n")]


def test_every_term_is_explained_with_an_example_beside_its_button(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("charlstm.modelFacts")
    examples = page.evaluate("charlstm.modelFacts()")
    assert examples["name"] == "tiny-shakespeare"
    for term in _TERMS.split():
        facts = {"words": {"percent": 90, "real": 360, "count": 400}} if term == "real-words" else {}
        page.evaluate("([t, f]) => document.querySelector('#top nav').append(charlstm.infoButton(t, f))", [term, facts])
        button, bubble = page.locator(f"#top nav [data-info={term}]"), page.locator(".info-bubble")
        button.press("Enter")  # with a mouse they are opened elsewhere, and it takes longer
        expect(bubble.locator(".info-example")).to_have_text(re.compile(r"\d"))
        assert button.get_attribute("aria-expanded") == "true"
        box = bubble.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        page.keyboard.press("Escape")
        expect(bubble).to_have_count(0)
        expect(button).to_be_focused()
        button.evaluate("button => button.remove()")
    page.set_viewport_size({"width": 1280, "height": 800})


def test_the_theme_is_kept_and_how_it_works_shows_five_pictures_with_their_code(page: Page) -> None:
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("body")).to_have_class(re.compile("dark"))
    page.reload(wait_until="load")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    expect(page.locator("body")).to_have_class(re.compile("dark"))
    page.get_by_role("button", name="How it works").click()
    dialog = page.get_by_role("dialog", name="How it works")
    expect(dialog.get_by_role("img")).to_have_count(5)
    dialog.get_by_text("The lines that do it").first.click()
    expect(dialog.get_by_text("def encode(self, text: str)")).to_be_visible()
    assert _serious(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("body")).not_to_have_class(re.compile("dark"))


def test_keys_work_and_are_left_to_whoever_types(page: Page) -> None:
    keys = page.get_by_role("dialog", name="Keyboard shortcuts")
    page.get_by_label("Prompt").fill("")
    page.get_by_label("Prompt").press("?")
    assert page.get_by_label("Prompt").input_value() == "?"
    assert keys.count() == 0
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Prompt").fill("ROMEO:")
    page.get_by_label("Prompt").press("Control+Enter")
    expect(page.locator("#text .reader-text").first).to_contain_text("ROMEO:")


def test_a_message_can_be_acted_on_and_dismissed(page: Page) -> None:
    page.evaluate("void charlstm.toast('<b>gone</b>', { action: 'Undo', onAction: () => { window.undone = true; } })")
    toast = page.get_by_role("status").filter(has_text="<b>gone</b>")
    toast.get_by_role("button", name="Undo").click()
    assert page.evaluate("window.undone") is True
    expect(page.locator(".toast")).to_have_count(0)
    page.evaluate("charlstm.toast('first'); void charlstm.toast('second', { seconds: 0 })")
    expect(page.locator(".toast")).to_have_text(re.compile("second"))
    page.get_by_role("button", name="Dismiss this message").press("Enter")
    expect(page.locator(".toast")).to_have_count(0)


def test_title_and_icon_tell_of_a_run(page: Page) -> None:
    icon = "document.querySelector('link[rel=icon]').href"
    idle = page.evaluate(icon)
    show = (
        """house => { charlstm.store.sections.house = house; document.dispatchEvent(new Event('visibilitychange')); }"""
    )
    page.evaluate(show, {"run": "mine", "status": "running", "sign": "●", "text": "", "fraction": 0.62})
    assert page.title() == "● 62 % · mine: charlstm"
    assert page.evaluate(icon) != idle
    page.evaluate(show, {"run": None, "status": "idle", "sign": "○", "text": "idle"})
    assert (page.title(), page.evaluate(icon)) == ("charlstm", idle)


def test_targets_are_large_on_touch(page: Page) -> None:
    phone = page.context.new_cdp_session(page)
    phone.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    phone.send("Emulation.setDeviceMetricsOverride", size)
    assert page.evaluate("matchMedia('(pointer: coarse)').matches && innerWidth === 390")
    for tab, control in (("Write", "Write"), ("Train", "Start"), ("Share", "Publish")):
        page.get_by_role("tab", name=tab).click()
        if tab == "Train":  # a run that is there stands before the form
            fold = page.get_by_role("button", name="New run", exact=True)
            expect(fold.or_(page.locator("#start")).first).to_be_visible()
            if fold.is_visible():
                fold.click()
        expect(page.get_by_role("button", name=control, exact=True)).to_be_visible()
        assert page.evaluate(_SMALL) == []
    page.get_by_role("tab", name="Train").click()
    with _settings(page):
        assert page.evaluate(_SMALL) == []
    phone.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    phone.send("Emulation.clearDeviceMetricsOverride")
    phone.detach()
    page.set_viewport_size(VIEWPORT)  # type: ignore[arg-type]


def test_every_stop_of_the_tab_key_has_a_ring_and_the_view_of_the_api_reports_no_error(page: Page) -> None:
    for tab in ("Write", "Train", "Share"):
        page.get_by_role("tab", name=tab).click()
        page.locator(".top-link").first.focus()
        for _ in range(60):
            page.keyboard.press("Tab")
            ring = page.evaluate(_RING)
            if ring is None:
                break
            assert ring is True
    page.get_by_role("tab", name="Train").click()
    with _settings(page):
        page.keyboard.press("Tab")
        assert page.evaluate(_RINGS) == []
    refused: list[str] = []
    page.on("response", lambda response: refused.append(response.url) if response.status >= 400 else None)
    page.get_by_role("button", name="Use via API or MCP").click()
    expect(page.get_by_text("Choose one of the following ways")).to_be_visible()
    page.wait_for_load_state("load")
    assert refused == []


def test_a_link_to_a_run_that_is_gone_says_so_and_stays(blank: Page, app: App) -> None:
    page = blank
    page.goto(f"{app.url}#run=gone", wait_until="load")
    expect(page.get_by_role("status").filter(has_text="The run “gone” of this link is not here")).to_be_visible()
    expect(page.locator("#run-state b")).not_to_be_empty()  # another run is shown
    assert page.url.endswith("#run=gone")
