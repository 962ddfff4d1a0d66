"""The page, driven as a visitor drives it, in a real browser."""

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, expect

from charlstm.runs.manager import RunManager

from conftest import App, free_port  # isort: skip  tests/ui/conftest.py

pytestmark = pytest.mark.browser

_TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40


def _write(page: Page) -> None:
    page.get_by_role("button", name="Write", exact=True).click()


def _open_train(page: Page) -> None:
    page.get_by_role("tab", name="Train").click()
    expect(page.get_by_role("button", name="Start training")).to_be_visible()
    expect(page.get_by_role("combobox", name="Run")).not_to_have_value("")  # the page has looked at the runs
    expect(page.locator("#run-state b")).to_be_visible()


def _paste(page: Page, text: str) -> None:
    page.get_by_label("pasted text", exact=True).check()
    page.get_by_label("Pasted text", exact=True).fill(text)


def _start(page: Page, minutes: str) -> None:
    page.get_by_label("Training time").fill(minutes)
    page.get_by_role("button", name="Start training").click()


def _start_run(page: Page, minutes: str, name: str) -> str:
    """Start, and wait until the page shows a run that was not shown before; returns its name."""
    shown = page.locator("#run-state b").inner_text()
    _start(page, minutes)
    expect(page.locator("#run-state b")).not_to_have_text(shown)
    expect(page.locator("#run-state b")).to_contain_text(name)
    return page.locator("#run-state b").inner_text()


def _text(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Text", exact=True)


def _sample(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Latest sample", exact=True)


def _state(page: Page) -> Locator:
    return page.locator("#run-state .badge")


def _stop_and_wait(page: Page) -> None:
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(_state(page)).to_contain_text("stopped")


def _step(page: Page) -> int:
    shown = re.search(r"step ([\d,]+)", page.locator("#run-state").inner_text())
    return int(shown.group(1).replace(",", "")) if shown else -1


def test_the_bundled_model_writes_at_the_first_click(page: Page) -> None:
    expect(page.get_by_role("combobox", name="Model")).to_have_value("tiny-shakespeare")
    page.get_by_role("button", name="ROMEO:").click()
    expect(page.get_by_label("Prompt")).to_have_value("ROMEO:")
    _write(page)
    expect(page.locator("#generate-rate")).to_contain_text("500 characters")
    text = _text(page).inner_text()
    assert text.startswith("ROMEO:")
    assert len(text) == len("ROMEO:") + 500
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()


def _write_to_the_end(page: Page, num_chars: int) -> str:
    """Write another number of characters than before, so that the end is told from the last one's."""
    page.get_by_label("Length").fill(str(num_chars))
    _write(page)
    expect(page.locator("#generate-rate")).to_contain_text(f"{num_chars} characters · ")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    return _text(page).inner_text()


def test_the_same_seed_writes_the_same_text(page: Page) -> None:
    page.get_by_role("button", name="More").click()
    page.get_by_label("A new seed for each text").uncheck()
    page.get_by_role("spinbutton", name="Seed").fill("7")
    shorter = _write_to_the_end(page, 300)
    longer = _write_to_the_end(page, 400)
    assert longer.startswith(shorter[:290])  # white space at the very end is not shown


def test_the_seed_that_was_used_is_shown_and_writes_the_text_again(page: Page) -> None:
    page.get_by_role("button", name="More").click()
    seed = page.get_by_role("spinbutton", name="Seed")
    shorter = _write_to_the_end(page, 300)
    expect(seed).not_to_have_value("1")
    used = seed.input_value()
    page.get_by_label("A new seed for each text").uncheck()
    longer = _write_to_the_end(page, 400)
    assert longer.startswith(shorter[:290])
    assert seed.input_value() == used


def test_stop_ends_the_writing_keeps_the_text_and_can_be_used_again(page: Page) -> None:
    page.get_by_label("Length").fill("1000000")
    kept = ""
    for _ in range(3):
        _write(page)
        expect(_text(page)).not_to_have_text(kept, use_inner_text=True)
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
        kept = _text(page).inner_text()
        assert 0 < len(kept) < 1_000_000


def test_an_unknown_character_in_the_prompt_is_named(page: Page) -> None:
    page.get_by_label("Prompt").fill("東京")
    _write(page)
    expect(page.locator("#generate-problem")).to_contain_text("U+6771")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()


def test_a_text_that_is_too_short_is_refused_with_the_length_it_needs(page: Page) -> None:
    _open_train(page)
    _paste(page, "short")
    _start(page, "1")
    expect(page.locator("#train-problem")).to_contain_text("need at least 11")


def test_a_run_is_watched_reloaded_stopped_and_resumed(page: Page) -> None:
    _open_train(page)
    _paste(page, _TEXT)
    name = _start_run(page, "10", "pasted-text")
    expect(_state(page)).to_contain_text("training", timeout=60_000)
    expect(_sample(page)).not_to_have_text("")
    for _ in range(3):
        before = _step(page)
        page.reload(wait_until="load")
        _open_train(page)
        expect(page.get_by_role("combobox", name="Run")).to_have_value(re.compile(name))
        expect(_sample(page)).not_to_have_text("")
        expect(page.locator("#run-state .figures")).to_contain_text("nats per character (")
        expect(page.locator(".legend")).to_contain_text("validation")
        expect(page.locator("#house")).to_contain_text(f"training {name}")
        expect(page.get_by_role("button", name="Stop", exact=True)).to_be_enabled()
        assert _step(page) >= before
    _stop_and_wait(page)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_disabled()
    stopped_at = _step(page)
    page.get_by_role("button", name="Resume").click()
    expect(_state(page)).to_contain_text("training", timeout=60_000)
    page.wait_for_function(
        "step => Number((document.querySelector('#run-state').innerText.match(/step ([\\d,]+)/) || [0, '0'])[1]"
        ".replaceAll(',', '')) > step",
        arg=stopped_at,
    )
    _stop_and_wait(page)


def test_the_app_is_killed_and_started_again_while_a_run_goes_on(page: Page, app: App) -> None:
    _open_train(page)
    _paste(page, _TEXT)
    name = _start_run(page, "10", "pasted-text")
    expect(_state(page)).to_contain_text("training", timeout=60_000)
    app.kill()
    run = RunManager(app.checkpoints_dir).active()
    assert run is not None
    assert run.name == name
    assert run.status == "running"
    app.start()
    page.reload(wait_until="load")
    _open_train(page)
    expect(_state(page)).to_contain_text("training")
    assert page.locator("#run-state b").inner_text() == name
    expect(_sample(page)).not_to_have_text("")
    _stop_and_wait(page)


def test_a_finished_run_can_be_written_with_at_once(page: Page) -> None:
    _open_train(page)
    _paste(page, _TEXT)
    name = _start_run(page, "0.03", "pasted-text")
    expect(_state(page)).to_contain_text("completed", timeout=60_000)
    page.get_by_role("button", name="Write with it").click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value(name)
    expect(page.get_by_text("learned from pasted text")).to_be_visible()
    _write(page)
    expect(page.locator("#generate-rate")).to_contain_text("500 characters")
    assert set(_text(page).inner_text()) <= set(_TEXT)


def test_a_model_made_meanwhile_is_offered_when_the_tab_is_opened(page: Page, app: App) -> None:
    _open_train(page)
    shutil.copytree(app.checkpoints_dir / "tiny-shakespeare", app.checkpoints_dir / "brought-by-hand")
    page.get_by_role("tab", name="Generate").click()
    page.get_by_role("combobox", name="Model").click()
    expect(page.get_by_role("option", name="brought-by-hand")).to_be_visible()


def test_a_page_that_shows_no_run_finds_the_one_another_visitor_starts(browser: Browser, tmp_path: Path) -> None:
    app = App(tmp_path / "checkpoints", free_port())
    app.start()
    watcher, starter = browser.new_context().new_page(), browser.new_context().new_page()
    for page in (watcher, starter):
        page.goto(app.url, wait_until="load")
        page.get_by_role("tab", name="Train").click()
        expect(page.get_by_role("button", name="Start training")).to_be_visible()
    expect(watcher.locator("#run-state")).to_contain_text("No run yet")
    _paste(starter, _TEXT)
    _start(starter, "0.03")
    expect(_state(watcher)).to_contain_text("completed", timeout=60_000)
    expect(_sample(watcher)).not_to_have_text("")
    for page in (watcher, starter):
        page.context.close()
    app.kill()


def test_pasted_text_is_checked_as_a_file_is(page: Page) -> None:
    _open_train(page)
    _paste(page, "   ")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#train-problem")).to_contain_text("The text is empty")


def test_markup_in_texts_appears_as_itself_and_never_acts(page: Page) -> None:
    dialogs: list[Dialog] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    hostile = '<img src=x onerror="alert(1)"> ${alert(2)} {{alert(3)}} <script>alert(4)</script>\n'
    _open_train(page)
    page.get_by_label("a file of mine", exact=True).check()
    page.locator("input[type=file]").set_input_files(
        {"name": "a${alert(5)}<b>.txt", "mimeType": "text/plain", "buffer": (hostile * 60).encode()}
    )
    expect(page.locator("#corpus-facts")).to_contain_text("distinct; the rarest")
    _start_run(page, "0.03", "alert")
    expect(_state(page)).to_contain_text("completed", timeout=60_000)
    sample = _sample(page).inner_text()
    assert set(sample) <= set(hostile)
    assert not dialogs
    assert page.locator("#run-state img, #corpus-facts img").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_scrolls_sideways(browser: Browser, app: App, theme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    page = context.new_page()
    page.goto(f"{app.url}?__theme={theme}", wait_until="load")
    for tab in ("Generate", "Train"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("button", name="Write" if tab == "Generate" else "Start training")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_every_control_has_an_accessible_name(page: Page) -> None:
    unnamed = """() => [...document.querySelectorAll('button, input, textarea, select, progress')]
        .filter(e => e.checkVisibility() && e.type !== 'hidden')
        .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length
                       || e.innerText?.trim() || e.title))
        .map(e => e.outerHTML.slice(0, 200))"""
    for tab in ("Generate", "Train"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("button", name="Write" if tab == "Generate" else "Start training")).to_be_visible()
        assert page.evaluate(unnamed) == []


def test_the_page_asks_no_other_host_for_anything(context: BrowserContext, app: App) -> None:
    hosts: set[str] = set()
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page = context.new_page()
    page.goto(app.url, wait_until="load")
    _open_train(page)
    expect(page.locator("canvas, svg.marks").first).to_be_visible()
    assert hosts - {"", f"127.0.0.1:{app.port}"} == set()
