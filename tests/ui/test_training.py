"""Training, as a visitor sees it and steers it, in a real browser, among strangers."""

import contextlib
import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_app import App, end_workers
from playwright.sync_api import Browser, Dialog, Locator, Page, expect
from waiting import wait_until

from charlstm.data_folders import BUNDLED
from charlstm.runs.manager import RunManager

pytestmark = pytest.mark.browser

_TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
_WATCHED = 60_000  # milliseconds for what a run does on a busy machine


def _open(page: Page) -> None:
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#start")).to_be_visible()
    expect(page.locator("#run-state .badge")).to_be_visible()


def _state(page: Page) -> Locator:
    return page.locator("#run-state .badge")


def _button(page: Page, name: str) -> Locator:
    return page.locator("#stage").get_by_role("button", name=name, exact=True)


def _advanced(page: Page, **values: str) -> None:
    """Fill fields of the sheet of settings, and close it."""
    page.get_by_role("button", name="Advanced").press("Enter")  # a click misses while the form still moves
    for label, value in values.items():
        page.locator("#sheet-dialog").get_by_label(re.compile(label.replace("_", " "))).fill(value)
    page.get_by_role("button", name="Done").click()


def _choose_text(page: Page, name: str) -> None:
    page.get_by_role("combobox", name="Text to learn").click()
    page.get_by_role("option", name=name).click()


def _fill(page: Page, text: str, steps: int) -> None:
    """The form of a small run on `text`."""
    _choose_text(page, "Paste text")
    page.get_by_role("textbox", name="Pasted text").fill(text)
    page.get_by_label("Stop after (min)").fill("0")
    values = {"Steps_between_samples": "100", "Steps_between_points": "10"}
    _advanced(page, Hidden_size="24", Stop_after_steps=str(steps), **values)


def _start(page: Page, app: App) -> str:
    """Start, and wait until the page shows the new run, also one that waits; returns its id, which becomes its name."""
    shown = page.evaluate("window.charlstm.store.shown")
    waits = page.locator("#start").inner_text() == "Add to queue"
    page.locator("#start").press("Enter")
    if waits:
        page.locator("#train-notice").get_by_role("button", name="Show it").click()
    page.wait_for_function("shown => window.charlstm.store.shown !== shown", arg=shown)
    run = str(page.evaluate("window.charlstm.store.shown"))
    RunManager(app.checkpoints_dir).rename(run, run)
    expect(page.locator("#run-state b")).to_have_text(run)
    return run


def _stop(page: Page) -> None:
    _button(page, "Stop").click()
    expect(_state(page)).to_contain_text("stopped", timeout=_WATCHED)


def _step(page: Page) -> int:
    shown = re.search(r"step ([\d,]+)", page.locator("#run-state").inner_text())
    return int(shown.group(1).replace(",", "")) if shown else -1


def _answer(page: Page, button: str, **values: str) -> None:
    """Fill the dialog that is open and send it."""
    dialog = page.get_by_role("dialog")
    for label, value in values.items():
        dialog.get_by_label(label.replace("_", " ")).fill(value)
    dialog.get_by_role("button", name=button).click()


def test_two_clicks_start_a_run_that_is_paused_slowed_saved_stopped_and_found_again(page: Page) -> None:
    page.get_by_role("tab", name="Train").click()
    page.locator("#start").click()
    expect(_state(page)).to_contain_text("training", timeout=_WATCHED)
    name = page.locator("#run-state b").inner_text()
    assert re.fullmatch(r"(Shakespeare|Python's reference), quick, \d\d:\d\d", name)  # the one that is at hand
    expect(page.locator("#stage")).to_be_in_viewport(ratio=0.5)  # the page has scrolled there
    expect(page.locator("#start")).to_have_text("Add to queue")
    expect(page.locator("#form-marks")).to_contain_text(f"A new run starts when {name} is done")
    expect(page.locator("#status-line")).to_contain_text(f"training {name}")
    expect(page.get_by_label("Sample text")).not_to_be_empty()
    _button(page, "Pause").click()
    expect(_state(page)).to_contain_text("paused", timeout=_WATCHED)
    page.get_by_label("Learning-rate factor").fill("0.5")
    _button(page, "Set").click()
    expect(page.locator(".chart .chart-mark.is-rate").first).to_be_attached()
    _button(page, "Continue").click()
    expect(_state(page)).to_contain_text("training", timeout=_WATCHED)
    _button(page, "Save now").click()
    page.wait_for_function("window.charlstm.store.sections.marks.some(({ kind }) => kind === 'saved')")
    before = _step(page)
    page.reload(wait_until="load")
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#run-state b")).to_have_text(name)
    assert _step(page) >= before
    expect(page.get_by_label("Learning-rate factor")).to_have_value("0.5")
    page.locator(".chart").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".chart-tip").first).to_contain_text("learning rate")
    _stop(page)
    expect(_button(page, "Pause")).to_be_hidden()
    expect(_button(page, "Resume")).to_be_enabled()


def test_a_wrong_value_is_refused_beside_its_field_and_what_was_chosen_survives_a_reload(page: Page, app: App) -> None:
    _open(page)
    runs = len(RunManager(app.checkpoints_dir).runs())
    for _ in range(5):  # what the browser kept of the tests before may come only now, and take the place of the choice
        page.get_by_label("As in the blog post", exact=True).press("Space")
        with contextlib.suppress(AssertionError):
            expect(page.locator("#preset-facts")).to_contain_text("PyTorch is great", timeout=3000)
            break
    expect(page.get_by_label("As in the blog post", exact=True)).to_be_checked()
    expect(page.get_by_label("Stop after (min)")).to_be_hidden()
    _advanced(page, Hidden_size="99999", Seed="7")
    expect(page.locator("#preset")).to_contain_text("Blog post, changed")
    expect(page.locator("#preset-facts")).to_contain_text("Hidden size 99,999 instead of 250, Seed 7 instead of 1")
    page.locator("#start").click()
    expect(page.locator("#train-problem")).to_contain_text("Hidden size: enter a number from 1 to 4,096.")
    page.locator("#train-problem").get_by_role("button").click()
    field = page.locator("#field-hidden_size")
    field.get_by_role("button", name="Reset Hidden size to 250").click()
    expect(page.locator("#train-problem")).to_have_text("")
    page.get_by_label("Hidden size").fill("99999")
    page.get_by_role("button", name="Done").click()
    page.reload(wait_until="load")
    _open(page)
    expect(page.get_by_label("Blog post, changed", exact=True)).to_be_checked()
    page.get_by_role("button", name="Advanced").press("Enter")
    expect(field).to_contain_text("Enter a number from 1 to 4,096.")
    expect(field).to_contain_text("Preset: 250")
    expect(page.get_by_label("Hidden size")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Find a setting").fill("window fresh")
    expect(page.get_by_label("Windows from a fresh state")).to_be_visible()
    expect(field).to_be_hidden()
    page.get_by_label("Find a setting").fill("")
    field.get_by_role("button", name="Reset Hidden size to 250").click()
    expect(page.get_by_label("Hidden size")).to_have_value("250")
    expect(page.get_by_text("1 changed")).to_be_visible()
    page.get_by_role("button", name="Reset all").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("1")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("7")
    expect(page.get_by_text("1 changed")).to_be_visible()
    page.get_by_role("button", name="Reset all").press("Enter")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    expect(page.get_by_label("Find a setting")).to_be_focused()
    page.get_by_label("Learning-rate schedule").click()
    page.locator("ul [role=option]").last.click()  # a change that fires no input event
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    page.get_by_label("Learning-rate schedule").focus()
    page.keyboard.press("Escape")  # closes the list of that field
    expect(page.locator("[role=option]")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Advanced")).to_be_focused()
    _choose_text(page, "Paste text")
    page.locator("#start").click()
    expect(page.locator("#train-problem")).to_contain_text("The text is empty")
    page.get_by_role("textbox", name="Pasted text").fill("ab")
    expect(page.locator("#train-problem")).to_have_text("")
    page.locator("#start").click()
    expect(page.locator("#train-problem")).to_contain_text("need at least 4")
    assert len(RunManager(app.checkpoints_dir).runs()) == runs
    page.get_by_role("combobox", name="Text to learn").focus()
    page.keyboard.press("Tab")
    expect(page.locator("[role=option]")).to_have_count(0)


def _posted(url: str, value: object) -> tuple[int, str]:
    request = urllib.request.Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def _process_of(name: str) -> int:
    """The process that trains run `name`, which is the one that writes its log."""
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if output.readlink().parts[-2:] == (name, "worker.log"):
                return int(output.parts[2])
    raise AssertionError(f"no process trains {name}")


def test_a_run_is_downloaded_used_again_deleted_brought_back_trained_longer_begun_from_and_written_with(
    page: Page, app: App
) -> None:
    _open(page)
    _fill(page, _TEXT, steps=300)
    _advanced(page, Seed="77")
    name = _start(page, app)
    expect(_state(page)).to_contain_text("completed", timeout=_WATCHED)
    step = _step(page)

    page.get_by_role("checkbox", name="Compare tiny-shakespeare").first.check()
    expect(page.locator("#stage")).to_contain_text("Runs on other texts are left out")
    with page.expect_download() as download:
        _button(page, "Download the model").click()
    assert download.value.path().read_bytes() == (app.checkpoints_dir / name / "model.safetensors").read_bytes()
    _advanced(page, Seed="1")
    _button(page, "New run with these settings").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("77")
    _button(page, "Delete").click()
    expect(page.locator("#stage")).to_contain_text(f"{name} was deleted.")
    assert not (app.checkpoints_dir / name).exists()
    page.get_by_text("Deleted runs", exact=True).click()
    page.get_by_role("button", name=f"Restore {name}").click()
    expect(page.locator("#run-state b")).to_have_text(name)
    assert (app.checkpoints_dir / name / "model.safetensors").exists()

    _button(page, "Train longer").click()
    _answer(page, "Train longer", Minutes_more="0.02")
    expect(_state(page)).to_contain_text(re.compile("starting|training"))
    expect(_state(page)).to_contain_text("completed", timeout=_WATCHED)
    assert _step(page) > step
    _button(page, "Teach it another text").click()
    expect(page.locator("#train-notice")).to_contain_text(f"{name} will go on learning")
    expect(page.locator("#train-problem")).to_have_text("")
    expect(page.get_by_role("combobox", name="Text to learn")).to_have_value("")
    expect(page.locator("#preset-facts")).to_contain_text(f"It begins with {name}")
    _fill(page, "THE DOG!\n" * 100, steps=50)
    second = _start(page, app)
    expect(_state(page)).to_contain_text("completed", timeout=_WATCHED)
    expect(page.locator("#stage")).to_contain_text("! D E G H O T")  # new to the model of a fox
    # Until the model writes, the text of another one is not taken for its own.
    assert _button(page, "Write with it").evaluate(
        "button => { button.click(); return document.querySelector('#write-tab').matches('.is-waiting'); }"
    )
    expect(page.get_by_role("combobox", name="Model")).to_have_value(second)
    expect(page.locator("#write-tab")).not_to_have_class(re.compile("is-waiting"))
    expect(page.locator("#text")).to_be_in_viewport(ratio=0.99)  # the stage was far down
    expect(page.locator("#text .reader")).to_be_focused()


def test_a_second_run_waits_its_turn_while_the_app_is_killed_and_then_the_first_which_only_its_starter_may_steer(
    page: Page, browser: Browser, app: App
) -> None:
    _open(page)
    _fill(page, _TEXT, steps=10**9)
    first = _start(page, app)
    expect(_state(page)).to_contain_text("training", timeout=_WATCHED)
    _advanced(page, Stop_after_steps="50")
    second = _start(page, app)
    expect(page.locator("#run-state")).to_contain_text(f"starts when {first} is done")
    _look_and_guess_as_a_stranger(browser, app, first)

    page.get_by_role("button", name=first, exact=True).click()
    expect(page.locator("#run-state b")).to_have_text(first)
    writing = _write_without_end(browser, app)
    app.kill()
    expect(page.locator("#status-line")).to_contain_text("no answer from the app")
    expect(writing.get_by_role("button", name="Write", exact=True)).to_be_visible()
    writing.context.close()
    run = RunManager(app.checkpoints_dir).active()
    assert run is not None
    assert (run.name, run.status) == (first, "running")
    app.start()
    expect(page.locator("#status-line")).to_contain_text(f"training {first}", timeout=_WATCHED)
    expect(page.locator("#run-state b")).to_have_text(first)

    _button(page, "Save now").click()
    wait_until(run.folder.state_file.exists)
    os.kill(_process_of(first), signal.SIGKILL)
    expect(_state(page)).to_contain_text("interrupted", timeout=_WATCHED)
    page.get_by_role("button", name=second, exact=True).click()
    expect(_state(page)).to_contain_text("completed", timeout=_WATCHED)
    page.get_by_role("button", name=first, exact=True).click()
    _button(page, "Resume").click()
    expect(_state(page)).to_contain_text("training", timeout=_WATCHED)
    _stop(page)


def _write_without_end(browser: Browser, app: App) -> Page:
    """Another visitor's page, on which a text is being written."""
    page = browser.new_context(reduced_motion="reduce").new_page()
    page.goto(app.url, wait_until="load")
    expect(page.locator("#generate-rate")).to_contain_text("500 characters")  # written on arrival
    page.get_by_label("Length").fill("1000000")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    text = "window.charlstm.text.page()"
    page.wait_for_function(f"{text}.is_writing && {text}.texts[0].text.length > 1")
    return page


def _look_and_guess_as_a_stranger(browser: Browser, app: App, name: str) -> None:
    """Another visitor sees the run and may write with it, but not steer it, not by forged calls either."""
    stranger = browser.new_context().new_page()
    stranger.goto(f"{app.url}#run={name}", wait_until="load")
    expect(stranger.locator("#run-state b")).to_have_text(name)
    expect(stranger.get_by_label("Sample text")).not_to_be_empty()
    expect(_button(stranger, "Write with it")).to_be_visible()
    expect(_button(stranger, "Stop")).to_be_hidden()
    with urllib.request.urlopen(f"{app.url}config") as answer:
        components = json.load(answer)["components"]
    status_line = next(each["id"] for each in components if each["props"].get("elem_id") == "status-line")
    for function, status in (("act", 200), ("cache", 404), ("_act", 404)):
        asked = {"run": name, "action": "stop", "visitor": "a guess"}
        call = {"session_hash": "x", "component_id": status_line, "fn_name": function, "data": asked}
        assert _posted(f"{app.url}gradio_api/component_server/", call)[0] == status
    assert RunManager(app.checkpoints_dir).active() is not None
    stranger.context.close()


@pytest.fixture
def without_runs(app: App, tmp_path: Path) -> Iterator[None]:
    """All runs but those that come with the app are elsewhere meanwhile."""
    end_workers(app.checkpoints_dir)
    folders = [path for path in app.checkpoints_dir.iterdir() if path.is_dir() and not path.name.startswith(".")]
    folders = [folder for folder in folders if folder.name not in BUNDLED]
    for folder in folders:
        folder.rename(tmp_path / folder.name)
    yield
    end_workers(app.checkpoints_dir)
    for folder in folders:
        (tmp_path / folder.name).rename(folder)


@pytest.mark.usefixtures("without_runs")
def test_a_page_without_runs_finds_the_one_another_visitor_starts_and_markup_never_acts(
    page: Page, browser: Browser, app: App
) -> None:
    watcher, starter = page, browser.new_context().new_page()
    starter.goto(app.url, wait_until="load")
    dialogs: list[Dialog] = []
    for each in (watcher, starter):
        each.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
        each.get_by_role("tab", name="Train").click()
        expect(each.locator("#run-state")).to_contain_text("recorded, not yours")
    for preset, name in (("Quick", "Shakespeare, quick"), ("Best", "tiny-shakespeare"), ("Auto", "Shakespeare, quick")):
        watcher.locator("#preset").get_by_label(re.compile(preset)).press("Space")
        expect(watcher.locator("#run-state b")).to_have_text(name)
        expect(watcher.locator("#run-state")).to_contain_text(f"preset {'Best' if preset == 'Best' else 'Quick'}")
        if preset != "Auto":
            watcher.get_by_role("button", name="Play").click()  # which keeps this run, until another preset is chosen
    expect(watcher.locator("#runs")).not_to_contain_text("Shakespeare, quick")
    hostile = '<img src=x onerror="alert(1)"> ${alert(2)} {{alert(3)}} <script>alert(4)</script>\n'
    _choose_text(starter, "Upload a file")
    starter.locator("input[type=file]").set_input_files(
        {"name": "a${alert(5)}<b>.txt", "mimeType": "text/plain", "buffer": (hostile * 60).encode()}
    )
    expect(starter.locator("#corpus-facts")).to_contain_text("different; the last")
    starter.get_by_label("Stop after (min)").fill("0.02")
    _advanced(starter, Hidden_size="24")
    starter.locator("#start").click()
    expect(_state(watcher)).to_contain_text("completed", timeout=_WATCHED)
    assert set(watcher.get_by_label("Sample text").inner_text()) <= set(hostile)
    assert not dialogs
    assert starter.locator("#stage img, #corpus-facts img, #runs img").count() == 0
    starter.context.close()
