"""The stage of a run, in a real browser, on a run whose records were written by hand."""

import base64
import csv
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from page_app import App
from playwright.sync_api import BrowserContext, Download, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from records import STARTED, append, lines
from visitors import VIEWPORT, store, visitor
from waiting import wait_until

from charlstm.config import Settings
from charlstm.runs.access import token_hash
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

pytestmark = pytest.mark.browser

_VISITOR = "ab" * 24
_OPENING = "Before we proceed\nROMEO:\n"
_LAST = 2000  # steps, 50 of them a second
_SAMPLED = (0, 8, 64, 512, _LAST)
_SIZES = """() => {
  window.sizes = {};  // in pixels, by what is written on a canvas
  const { fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillText = function (text, ...more) {
    window.sizes[text] = parseFloat(this.font.match(/[\\d.]+px/)[0]);
    return fillText.call(this, text, ...more);
  };
}"""
_CHANGE = """(sections) => {
  const { store } = window.charlstm;
  for (const [name, change] of Object.entries(sections)) {
    store.sections[name] = Array.isArray(change) ? change : { ...store.sections[name], ...change };
  }
  store.notify(new Set(Object.keys(sections)));
}"""  # as if the app had sent it
_STAGES = (
    "starting the trainer", "compiling the kernel for this processor", "reading the text", "building the network",
    "the untrained model writes", "the untrained model is measured",
)  # fmt: skip
_VIDEO = """async (data) => {
  const video = document.createElement('video');
  video.muted = true;
  video.src = URL.createObjectURL(new Blob([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))]));
  await new Promise((resolve) => { video.onloadedmetadata = resolve; });
  video.currentTime = 1e9;  // a recording has no length of its own until its end was looked for
  await new Promise((resolve) => { video.onseeked = resolve; });
  return [video.videoWidth, video.videoHeight, video.currentTime];
}"""


def _loss(step: int) -> float:
    return 1.5 + 2.67 / (1 + step / 100)


def _records() -> Iterator[dict[str, object]]:
    yield {**STARTED, "num_train_chars": 900, "num_val_chars": 100, "num_distinct": 65}
    yield {"kind": "references", "step": 0, "uniform": math.log(65), "frequencies": 3.35, "fivegram": 1.58} | {
        "method": "counted",
        "num_train_chars": 900,
        "num_val_chars": 100,
        "seconds": 0.1,
    }
    for step in range(0, _LAST + 1, 100):
        yield {
            "kind": "progress",
            "step": step,
            "train_loss": _loss(step),
            "smooth_loss": _loss(step) + 0.01,
            "learning_rate": 0.005,
            "grad_norm": 1.0,
            "num_passes": step / 500,
            "chars_per_second": 25600.0,
            "elapsed_seconds": step / 50,
            "fraction": step / _LAST,
        }
        if step in (0, 1000, _LAST):
            yield {
                "kind": "evaluated",
                "step": step,
                "val_loss": _loss(step) + 0.1,
                "method": "all",
                "is_best": True,
                "elapsed_seconds": step / 50,
            }
        for sampled in _SAMPLED:
            if step - 100 < sampled <= step or (step == 0 and sampled == 0):
                yield {
                    "kind": "sampled",
                    "step": sampled,
                    "text": f"{_OPENING}written at {sampled} " + "<b>words</b> " * 20,
                    "temperature": 1.0,
                    "seed": 1,
                    "prompt_chars": len(_OPENING),
                    "elapsed_seconds": sampled / 50,
                    "quick_loss": 3.1249 if sampled == 64 else None,
                    "num_words": 400,
                    "num_real_words": 100,
                }
    yield {
        "kind": "finished",
        "step": _LAST,
        "reason": "completed",
        "elapsed_seconds": 40.0,
        "val_stateful": _loss(_LAST) + 0.1,
    }


@pytest.fixture(scope="module")
def run(app: App) -> Iterator[RunDir]:
    """A completed run of the visitor's."""
    folder = RunStore(app.checkpoints_dir).create(Settings.preset("minute"), "by-hand")
    (folder.path / "owner").write_text(token_hash(_VISITOR), encoding="utf-8")
    append(folder, lines(*_records()))
    yield folder
    shutil.rmtree(folder.path, ignore_errors=True)


@pytest.fixture(scope="module")
def stage(profile: BrowserContext, app: App, run: RunDir) -> Iterator[Page]:
    """The visitor's page, which shows that run; one for all of them, as the one before left it."""
    with visitor(profile) as context:
        page = context.pages[0]
        store(page, app.url, "charlstm-visitor", _VISITOR)
        page.goto(f"{app.url}#run={run.name}", wait_until="load")
        expect(page.locator("#run-state b")).to_have_text(run.name)
        yield page


def _saved(page: Page, name: str) -> Download:
    menu, item = page.locator("#stage .files"), page.get_by_role("button", name=name)
    with page.expect_download() as download:
        for _ in range(10):  # the panel of a page that was just opened may be made anew, with its menu closed
            if menu.get_attribute("open") is None:
                menu.locator("summary").press("Enter")
            with suppress(PlaywrightTimeout):
                item.click(timeout=3_000)
                break
    return download.value


def test_curve_and_samples_share_an_axis_and_a_cursor(stage: Page) -> None:
    slider, origin, text = (
        stage.get_by_role("slider", name="Sample"),
        stage.locator(".origin"),
        stage.get_by_label("Sample text"),
    )
    expect(slider).to_have_attribute("aria-valuemax", str(len(_SAMPLED)))
    expect(slider).to_be_in_viewport(ratio=0.8)  # beside Start, without scrolling
    star, dots = stage.locator(".chart-star").bounding_box(), stage.locator(".chart-dot").bounding_box()
    assert star is not None
    assert dots is not None
    last = dots["y"] + dots["height"] - 2.4  # the lowest dot's middle
    assert star["y"] + star["height"] / 2 == pytest.approx(last, abs=3), "on the curve"
    expect(text.locator("b")).to_have_text("ROMEO:\n")  # only the last line of the opening, in bold
    expect(text).to_contain_text(f"written at {_LAST} <b>words</b>")
    slider.press("Home")
    expect(origin).to_contain_text("step 0 · 0:00")
    playhead = stage.locator(".chart-playhead").first
    width = stage.locator(".chart svg").first.bounding_box()["width"]  # type: ignore[index]
    assert float(playhead.get_attribute("x1") or 0) == pytest.approx(46, abs=0.5)
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    expect(origin).to_contain_text("step 512 · 0:10")
    share = (float(playhead.get_attribute("x1") or 0) - 46) / (width - 46 - 138)
    assert share == pytest.approx(512 / _LAST, abs=0.01)
    box = stage.locator(".chart svg").first.bounding_box()
    assert box is not None
    stage.mouse.move(box["x"] + 46 + 0.03 * (box["width"] - 184), box["y"] + 80)  # step 60: the sample at 64 is nearest
    expect(origin).to_have_text("step 64 · 0:01 · quick estimate 3.12 nats")
    expect(stage.locator(".chart-tip")).to_contain_text("learning rate 0.005")
    stage.mouse.move(box["x"] + 100, box["y"] - 300)
    expect(origin).to_contain_text("step 512 ·")
    stage.get_by_role("button", name="Play").click()
    expect(origin).to_contain_text(f"step {_LAST:,}")  # it ends with the last one


def test_the_run_is_taken_away_as_film_picture_values_and_settings(stage: Page) -> None:
    picture = Path(_saved(stage, "Chart as PNG").path()).read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(picture[16:20], "big") > 1000
    drawing = Path(_saved(stage, "Chart as SVG").path()).read_text(encoding="utf-8")
    assert "5-gram 1.58" in drawing
    rows = list(csv.DictReader(Path(_saved(stage, "Values as CSV").path()).read_text(encoding="utf-8").splitlines()))
    assert [float(row["training"]) for row in rows if row["step"] == "500"] == [pytest.approx(_loss(500), rel=1e-4)]
    settings = json.loads(Path(_saved(stage, "Settings as JSON").path()).read_text(encoding="utf-8"))
    assert Settings.from_flat(settings) == Settings.preset("minute")
    stage.evaluate(_SIZES)
    with stage.expect_download() as download:
        stage.get_by_role("button", name="Save the film").click()
    film = Path(download.value.path()).read_bytes()
    assert len(film) < 3_000_000
    width, height, seconds = stage.evaluate(_VIDEO, base64.b64encode(film).decode())
    assert (width, height) == (1080, 1080)
    assert 10 <= seconds <= 20
    sizes, said = stage.evaluate("[window.sizes, window.charlstm.store.sections.state]")
    for sentence in (said["facts"], said["summary"]):
        lines = [line for line, size in sizes.items() if size == 26 and line in sentence]
        assert "".join(lines) == sentence  # 26 of 1080 pixels are read in a feed as well


def _explain(stage: Page, term: str, said: str) -> None:
    """Open the explanation of a term, again if the panel was drawn anew meanwhile, and close it."""

    def is_said() -> int:
        if not stage.locator(".info-bubble").count():
            stage.evaluate("term => document.querySelector(`#stage [data-info=${term}]`)?.click()", term)
        return stage.locator(".info-example", has_text=said).count()

    wait_until(is_said)
    stage.keyboard.press("Escape")


def test_on_a_phone_the_run_comes_first_and_the_form_is_a_line_above_it_that_keeps_what_was_filled_in(
    stage: Page,
) -> None:
    fold, minutes = stage.get_by_role("button", name="New run", exact=True), stage.get_by_label("Stop after (min)")
    expect(fold).to_be_hidden()
    minutes.fill("7")
    stage.set_viewport_size({"width": 390, "height": 844})
    expect(minutes).to_be_hidden()
    expect(stage.locator("#run-state")).to_be_in_viewport(ratio=1)
    fold.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    expect(minutes).to_have_value("7")
    fold.press("Enter")
    expect(minutes).to_be_hidden()
    tab = stage.get_by_role("tab", name="Train")
    tops = []
    for status in ("idle", "running"):
        house = {"run": "by-hand", "status": status, "sign": "●", "text": "training by-hand " * 9}
        stage.evaluate(_CHANGE, {"house": house})
        tops.append(tab.bounding_box())
    assert tops[0] == tops[1], "a run that starts moves nothing"
    stage.evaluate(_CHANGE, {"house": {"run": None, "status": "idle", "sign": "○", "text": "idle"}})
    ended, sample = stage.evaluate("charlstm.store.sections.state"), stage.get_by_label("Sample text")
    end = "In 59 min 59 s: from 65 equally likely letters to about 4 (perplexity 4.2); better than a 5-gram; no words"
    prepared = {"status": "starting", "preparation": [{"text": "reading the text", "state": "now"}], "summary": ""}
    running, completed = {**prepared, "status": "running", "preparation": []}, {**ended, "summary": end}
    tops = []
    for state in (prepared, running, completed, {**completed, "summary": ""}, ended):
        stage.evaluate(_CHANGE, {"state": state})
        tops.append(sample.bounding_box()["y"])  # type: ignore[index]
    assert tops == pytest.approx(tops[:1] * 5, abs=0.1), "nor does one that ends"
    stage.set_viewport_size({"width": 1280, "height": 800})
    minutes.fill("1")


def test_lists_bars_and_early_curves_fit_into_their_places_and_explanations_are_of_this_run(stage: Page) -> None:
    for term, said in (("five-gram", "1.58 nats, this model 1.73"), ("learning-rate", "at most 0.005 here")):
        _explain(stage, term, said)
    stage.get_by_text("Learning rate, gradient, speed").click()
    for each in stage.locator(".small-charts .chart-grid").all():
        expect(each.locator("line").nth(2)).to_be_attached()  # with one label the curve has no measure
    name = stage.evaluate("window.charlstm.store.shown")
    name_button = stage.get_by_role("button", name="by-hand", exact=True)
    row, bar = stage.locator("#runs tr", has=name_button), stage.locator("#runs tr progress:visible")
    rows = [{"text": text, "state": "next", "detail": "1,115,394 characters"} for text in _STAGES]
    lines = {each: {"steps": [0, 8], "values": [4.18, 4.06]} for each in ("training", "smoothed", "validation")}
    lines = {**stage.evaluate("name => charlstm.store.sections[`curves/${name}`].lines", name), **lines}
    changes = {"status": "running", "fraction": 0.5, "changes": "Hidden size 512 · Dropout 0.25 · 5 more"}
    sections = {"state": {"status": "running", "preparation": rows}, f"row/{name}": changes}
    sections["house"] = {"run": name, "status": "running", "sign": "●", "text": "training " + "a long name " * 20}
    stage.evaluate(_CHANGE, {**sections, f"curves/{name}": {"lines": lines}, "refs": []})
    assert stage.locator(".preparation").evaluate("list => list.scrollWidth <= list.clientWidth"), "none is cut off"
    labels = stage.locator(".chart-grid").first.locator("text[text-anchor=end]").all_text_contents()
    losses = [float(label) for label in labels if label]
    assert max(losses) - min(losses) >= 0.5, "0.12 nats of chance do not fill the chart"
    sentence = stage.locator(".top-words p")
    for width, height in ((1280, 800), (768, 1024), (390, 844)):
        stage.set_viewport_size({"width": width, "height": height})
        box, cell = bar.bounding_box(), row.locator("[data-title=State]").bounding_box()
        assert box is not None
        assert cell is not None
        assert sentence.evaluate(
            "p => p.checkVisibility({ visibilityProperty: true }) && p.scrollWidth <= p.clientWidth"
        )
        assert cell["x"] <= box["x"]
        assert box["x"] + box["width"] <= cell["x"] + cell["width"]
    notes = stage.locator("#stage p.notes").last
    for status, said in (("running", "the run goes on"), ("queued", "it will begin by itself"), ("paused", "")):
        stage.evaluate(_CHANGE, {"state": {"status": status}})
        assert ("You may close this page" in notes.inner_text()) == bool(said)
        expect(notes).to_contain_text(said)
    stage.get_by_role("button", name="tiny-shakespeare", exact=True).click()
    about = row.locator(".run-about")
    expect(about).to_contain_text("Shakespeare · Jan 1")
    expect(row).not_to_have_class("is-shown")
    assert about.evaluate("about => about.offsetHeight") < 30, "one line"
    assert "5 more" in (about.get_attribute("title") or "")
    star = row.get_by_role("button", name="List by-hand first")
    expect(star).to_be_visible()
    stage.evaluate(_CHANGE, {f"row/{name}": {"may": False, "may_star": False}})  # as strangers get it
    expect(star).to_be_hidden()
    row.get_by_label("More about by-hand", exact=True).click()
    assert row.locator(".menu-items button:visible").all_text_contents() == ["Copy link"]


def test_axes_focus_units_and_smoothing_follow_the_choice(stage: Page) -> None:
    stage.set_viewport_size(VIEWPORT)  # type: ignore[arg-type]
    stage.get_by_role("button", name="by-hand", exact=True).click()
    stage.reload(wait_until="load")  # what the test before has invented is gone
    names = stage.locator(".chart-names")
    expect(stage.locator(".chart-cut")).to_have_text("4.3 ↑")  # the validation of the untrained model
    expect(names.first).to_contain_text("5-gram 1.58")
    stage.get_by_text("Axes, smoothing").click()
    stage.get_by_label("Vertical").select_option("all")
    expect(stage.locator(".chart-cut")).to_have_count(0)
    expect(names.first).to_contain_text("guessing 4.17")
    stage.get_by_label("Unit").select_option("bits")
    expect(names.first).to_contain_text(f"guessing {math.log2(65):.2f}")
    stage.get_by_label("Unit").select_option("nats")
    stage.get_by_label("Smoothing").fill("0.5")
    mean, weight = 0.0, 0.0
    for step in range(0, _LAST + 1, 100):
        mean, weight = 0.5 * mean + 0.5 * _loss(step), 0.5 * weight + 0.5
    expect(stage.locator(".legend").first).to_contain_text(f"training, smoothed {mean / weight:.2f}")
    stage.get_by_label("Horizontal").select_option("log")
    expect(stage.locator(".chart-grid").first).to_contain_text("1,000")
    stage.get_by_role("checkbox", name="Compare tiny-shakespeare").check()
    expect(stage.locator(".chart-line[class*=run-colour]")).to_have_count(4)  # of two runs, two each
    expect(names.first).to_contain_text(f"{_loss(_LAST) + 0.1:.2f} by-hand")  # at the line's end
    differing = stage.get_by_role("table", name="Settings that differ").get_by_role("row")
    expect(differing.first).to_have_text("Setting by-hand tiny-shakespeare")
    expect(differing.filter(has_text="Hidden size")).to_have_text("Hidden size384768")
    expect(differing.filter(has_text="Seed")).to_have_count(0)  # is the same
    scroller = stage.get_by_role("region", name="Settings of the compared runs")
    scroller.focus()
    expect(scroller).to_be_focused()  # so that it scrolls by keyboard
    key = stage.get_by_role("checkbox", name="Compare by-hand").locator("xpath=following-sibling::i")
    colour = (key.get_attribute("class") or "").split()[-1]
    stage.reload(wait_until="load")
    expect(stage.locator(f".chart-line.{colour}")).to_have_count(2)


def test_a_second_click_deletes_no_other_run_and_undo_brings_the_run_back(stage: Page, run: RunDir) -> None:
    button = stage.locator("#stage").get_by_role("button", name="Delete", exact=True)
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box is not None
    place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    stage.mouse.click(*place)
    expect(stage.locator("#stage")).to_contain_text("by-hand was deleted.")
    assert not run.path.exists()
    stage.mouse.click(*place)
    expect(stage.get_by_role("button", name="tiny-shakespeare", exact=True)).to_be_visible()
    stage.locator("#stage").get_by_role("button", name="Undo").click()
    expect(stage.locator("#run-state b")).to_have_text("by-hand")
    assert run.events_file.exists()
    menu = stage.locator("#runs").get_by_label("More about by-hand", exact=True)
    menu.click()
    menu.locator("xpath=..").get_by_role("button", name="Rename").click()
    stage.get_by_role("dialog").get_by_label("Name").fill("<i>aaa</i>")
    stage.get_by_role("dialog").get_by_role("button", name="Rename").click()
    stage.get_by_role("button", name="Name", exact=True).click()
    expect(stage.locator("#runs tbody tr").first).to_contain_text("<i>aaa</i>")  # sorted by name
    expect(stage.locator("#run-state b")).to_have_text("<i>aaa</i>")
    stage.locator("#stage").get_by_role("button", name="Note", exact=True).click()
    stage.get_by_role("dialog").get_by_label("One line").fill("<i>best</i> so far")
    stage.get_by_role("dialog").get_by_role("button", name="Keep").click()
    expect(stage.locator("#run-state")).to_contain_text("“<i>best</i> so far”")
    heading = stage.locator("#runs [data-by=name]")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    heading.get_by_role("button").click()
    expect(heading).not_to_have_attribute("aria-sort", "descending")
    newest = RunStore(run.path.parent).create(Settings.preset("minute"), "newest")
    rows = stage.locator("#runs tbody tr")
    expect(rows.first).to_contain_text("newest")
    stage.get_by_role("button", name="List <i>aaa</i> first").click()
    expect(rows.first).to_contain_text("“<i>best</i> so far”")
    shutil.rmtree(newest.path)
