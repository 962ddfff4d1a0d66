"""*Read this first*: what the server tells while a text is read, forged wishes; and once in a browser."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_app import App
from playwright.sync_api import Page, expect

from charlstm.config import ModelConfig, SampleConfig
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.generation.read_first import read_text
from charlstm.language_model import LanguageModel
from charlstm.ui.generation import ActiveRequests, GenerationRequest, generate
from charlstm.ui.models import ModelRegistry
from charlstm.ui.read_first import ReadingEvents, read_wish
from charlstm.ui.reading_cache import LONGEST_REMEMBERED, ReadFirst, Readings
from charlstm.ui.surprisal_text import text_of
from charlstm.vocabulary import Vocabulary

LINE = "the quick brown fox jumps over the lazy dog.\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    root = tmp_path_factory.mktemp("models")
    LanguageModel.create(Vocabulary.from_text(LINE), ModelConfig(hidden_size=8, num_layers=1), 3).save(root / "fox")
    return ModelRegistry(root)


def test_the_curve_of_a_text_tells_what_reading_it_at_once_tells(registry: ModelRegistry) -> None:
    readings, text = Readings(), LINE * 20 + "@"
    events = ReadingEvents(registry, readings)
    *begun, whole = events.progress("fox", {"id": "1", "text": text, "learn": False})
    model = registry.load("fox")
    expected = read_text(model.model, model.vocabulary, LINE * 20)
    assert whole["state"] == "done"
    assert whole["means"] == pytest.approx([expected.alone, expected.adapted], abs=1e-4)
    assert whole["num_read"] == whole["num_chars"] == len(LINE) * 20
    assert "'@'" in whole["note"]
    size = len(LINE) * 20 / len(whole["alone"])
    assert sum(whole["alone"]) / len(whole["alone"]) == pytest.approx(expected.alone, abs=0.1)
    assert 20 <= size < 22
    assert whole["adapted"][-1] < whole["alone"][-1] - 1  # it stands there twenty times
    for each in begun:
        assert each["alone"] == whole["alone"][: len(each["alone"])]
    assert readings.find(model, ReadFirst(text)) is not None


def test_a_reading_that_is_stopped_leaves_nothing(registry: ModelRegistry) -> None:
    readings = Readings()
    events = ReadingEvents(registry, readings)
    told = events.progress("fox", {"id": "7", "text": LINE * 100, "learn": False})
    next(told)
    events.stop({"id": "8"})
    events.stop({"id": "7"})
    last = [*told][-1]
    assert (last["state"], last["num_read"] < last["num_chars"]) == ("stopped", True)
    assert readings.find(registry.load("fox"), ReadFirst(LINE * 100)) is None


def test_what_can_not_be_read_is_said_in_a_sentence(registry: ModelRegistry) -> None:
    events = ReadingEvents(registry, Readings())
    for wish, sentence in (
        ({}, "A text to read first is a text"),
        ({"text": "", "learn": False}, "There is no text to read"),
        ({"text": "日本", "learn": False}, "There is no text to read"),
        ({"text": "x" * (LONGEST_REMEMBERED + 1), "learn": False}, "at most 100,000 are remembered"),
        ({"text": "x" * 20_001, "learn": True}, "at most 20,000 are learned"),
    ):
        (told,) = events.progress("fox", wish)
        assert (told["state"], sentence in told["problem"]) == ("failed", True), told
    (told,) = events.progress("nobody", {"text": "fox", "learn": False})
    assert "no longer there" in told["problem"]
    for stopped in (None, [], {}, {"id": ["x"]}):
        assert events.stop(stopped) == {}


def asked(text: str, is_learning: bool = False) -> GenerationRequest:
    values = {**SampleConfig().model_dump(), "num_chars": 40}
    return GenerationRequest.of("fox", "the ", values, read=ReadFirst(text, is_learning))


def test_writing_with_a_text_that_was_not_read_yet_reads_it_and_tells_how_far_it_is(registry: ModelRegistry) -> None:
    active = ActiveRequests()
    updates = generate(registry, asked(LINE * 300), active, lambda: False)
    told = [(update.rate, text_of(update.page["texts"][0])) for update in updates]
    assert told[0] == (f"Reading: 240 of {300 * len(LINE):,} characters", "")
    reading = read_text(registry.load("fox").model, registry.load("fox").vocabulary, LINE * 300)
    assert told[-1][1] == reading.generate("the ", SampleConfig(num_chars=40))
    again = next(generate(registry, asked(LINE * 300), active, lambda: False))
    assert not again.rate.startswith("Reading")


def test_writing_is_stopped_while_it_reads_and_leaves_its_turn_to_others(registry: ModelRegistry) -> None:
    active, is_over = ActiveRequests(), False
    begun = generate(registry, asked(LINE * 300), active, lambda: is_over)
    next(begun)
    is_over = True
    (stopped,) = begun
    assert stopped.note == "Stopped while it was reading; nothing was written."
    assert not stopped.page["is_writing"]
    left = [generate(registry, asked(f"{LINE * 300}{number}"), active, lambda: False) for number in "abcd"]
    for each in left:
        next(each)
        each.close()  # as a page does that is closed
    assert active.number == 0
    assert [*generate(registry, asked(LINE), active, lambda: False)][-1].page["is_writing"] is False


def test_so_many_texts_are_read_at_once_and_so_many_wait(registry: ModelRegistry) -> None:
    """Threads wait; who comes then is told so at once, and each that waits ends when it is stopped."""
    readings, model, is_over = Readings(), registry.load("fox"), threading.Event()
    reading = [readings.read(model, ReadFirst(f"{LINE * 300}{number}")) for number in "abcd"]
    for each in reading:
        next(each)
    begun = [threading.Event() for _ in range(8)]

    def wait(number: int) -> list[object]:
        def is_stopped() -> bool:
            begun[number].set()
            return is_over.is_set()

        return [*readings.read(model, ReadFirst(f"{LINE}{number}"), is_stopped)]

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(wait, number) for number in range(8)]
        assert all(each.wait(timeout=30) for each in begun)
        with pytest.raises(CharLSTMError, match="try again in a minute"):
            next(readings.read(model, ReadFirst(LINE)))
        is_over.set()
        assert [each.result(timeout=30) for each in waiting] == [[]] * 8
    reading[0].close()
    assert next(readings.read(model, ReadFirst(LINE)))


def test_a_wish_to_write_brings_its_text_along() -> None:
    assert read_wish("") is read_wish(None) is None
    wish = read_wish(json.dumps({"text": "fox", "learn": True, "weight": 1.5}))
    assert wish == ReadFirst("fox", is_learning=True, weight=1.5)
    for forged in (
        "{",
        "[]",
        "3",
        "x" * 1_000_000,
        '{"text": 3}',
        '{"text": "a", "weight": 9}',
        '{"text": "a", "learn": 1}',
    ):
        with pytest.raises(ConfigError):
            read_wish(forged)


@pytest.mark.browser
def test_a_text_is_read_and_written_with_and_forgotten_again(blank: Page, app: App, tmp_path: Path) -> None:
    page = blank
    page.goto(f"{app.url}?model=tiny-shakespeare&prompt=ROMEO%3A&num_chars=60&seed=3", wait_until="load")
    letters, rate = page.locator("#text .reader-text").first, page.locator("#generate-rate")
    expect(rate).to_contain_text("60 characters")
    alone = letters.text_content()
    page.get_by_role("button", name="Read this first").click()
    markup = "<img src=x onerror=hacked=1>\n\nROMEO:\nMy lord Zanzibar, good Zanzibar!\n"
    (tmp_path / "novel.txt").write_text(markup * 2000, encoding="utf-8")
    page.locator("#read-first input[type=file]").set_input_files(tmp_path / "novel.txt")
    expect(page.get_by_text("novel.txt is longer than the 100,000 characters that are read")).to_be_visible()
    page.get_by_label("Text to read first").fill(markup * 20)
    page.get_by_role("button", name="Remember it").click()
    num_known = 20 * sum(char not in "<=1>" for char in markup)
    expect(page.locator(".read-status")).to_have_text(
        re.compile(f"Remembered {num_known:,} characters.*never seen '<'")
    )
    expect(page.get_by_role("img", name="Surprise of each letter")).to_be_visible()
    page.get_by_label("How much of what was read is used").press("End")
    same = page.get_by_role("button", name="Same again")
    same.click()
    expect(rate).to_contain_text("Written after reading")
    expect(letters).to_have_text(re.compile("My lord Zanzibar"))
    expect(page.locator("#stop-writing")).to_be_hidden()
    page.locator("#text .reader").focus()
    page.keyboard.press("End")
    card = page.locator("#text .reader-card")
    expect(card).to_contain_text(re.compile(r"Your text has it after “.{3,8}”, \d+ letters from its end\."))
    context, ago = re.findall(r"“(.{3,8})”, (\d+) ", card.inner_text())[0]
    context, read = context.replace("↵", "\n"), markup * 20
    assert read[: len(read) - int(ago)].endswith(context)
    assert str(letters.text_content()).endswith(context + read[len(read) - int(ago)])
    assert [
        each["id"] for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")
    ] == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Forget it again").click()
    same.click()
    expect(rate).not_to_contain_text("Written after reading")
    expect(letters).to_have_text(str(alone))
    assert page.evaluate("typeof hacked") == "undefined"
