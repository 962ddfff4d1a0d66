"""Two models on the page: the slider while they write, addresses, going on, forged values; and once in a browser."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from page_app import App
from playwright.sync_api import Page, Route, expect

from charlstm.config import ModelConfig, SampleConfig
from charlstm.errors import CheckpointError, ConfigError
from charlstm.generation.mixing import MOST_STEPS, Crossfade
from charlstm.language_model import LanguageModel
from charlstm.ui import generation
from charlstm.ui.crossfader import Mix, continue_mix, parse_mix, read_mix, write_mix
from charlstm.ui.generation import VISITOR, ActiveRequests, GenerationRequest, Update, generate, parse_link
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import TextBuilder, parse_page, text_of
from charlstm.vocabulary import Vocabulary

LETTERS, SIGNS = Vocabulary.from_text("\n abc"), Vocabulary.from_text("\n@")


def make(vocabulary: Vocabulary) -> LanguageModel:
    made = LanguageModel.create(vocabulary, ModelConfig(hidden_size=8, num_layers=1, level=vocabulary.level), 3)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.mul_(4.0)
    return made


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    root = tmp_path_factory.mktemp("models")
    for name, vocabulary in (("letters", LETTERS), ("signs", SIGNS), ("bytes", Vocabulary.from_text("", "bytes"))):
        make(vocabulary).save(root / name)
    return ModelRegistry(root)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(generation, "time", clock)
    return clock


def request(mix: Mix | None, page: Any = None, **values: Any) -> GenerationRequest:
    return GenerationRequest.of("letters", "a\n", {**SampleConfig().model_dump(), **values}, page, mix=mix)


def last(registry: ModelRegistry, asked: GenerationRequest) -> Update:
    return [*generate(registry, asked, ActiveRequests(), lambda: False)][-1]


def text(frame: Update) -> str:
    return text_of(frame.page["texts"][0])


def test_the_slider_acts_within_a_third_of_a_second_on_a_text_that_is_read(
    registry: ModelRegistry, clock: Clock
) -> None:
    active, mix, turned_at = ActiveRequests(), Mix("signs", Crossfade(0.0), is_paced=True), -1.0
    for frame in generate(registry, request(mix, num_chars=400), active, lambda: False, VISITOR):
        assert len(text(frame)) <= 80 * clock.now + 20
        if turned_at < 0 and clock.now > 2:
            turned_at = clock.now
            assert active.mixes.turn({"id": frame.page["id"], "share": 1, "is_fast": False}) == {"is_heard": True}
    written = text(frame)
    place = int(str(mix.fade).split(",")[1].split(":")[0])
    assert place - 80 * turned_at <= 0.3 * 80
    assert "@" not in written[:place]
    assert set(written[place:]) <= set("\n@")
    assert clock.now > 4.5
    assert active.mixes.turn({"id": frame.page["id"], "share": 0}) == {"is_heard": False}  # it is over
    again = parse_link(dict(parse_qsl(frame.page["link"])))
    assert again
    assert again.mix
    assert text(last(registry, request(again.mix, num_chars=400))) == written
    assert clock.now < 10  # nobody reads along with that one


def test_a_text_that_nobody_watches_is_not_held_up(registry: ModelRegistry, clock: Clock) -> None:
    active, mix = ActiveRequests(), Mix("signs", Crossfade(0.5), is_paced=True)
    for frame in generate(registry, request(mix, num_chars=2000), active, lambda: False, VISITOR):
        active.mixes.turn({"id": frame.page["id"], "share": 0.5, "is_fast": True})
    assert len(text(frame)) == 2000
    assert clock.now < 1


def test_any_number_is_a_share_and_an_address_tells_no_more_changes_than_it_can_be_read_with() -> None:
    for number, share in ((1 / 3, 0.333), (1e-7, 0.0), (1, 1.0)):
        mix = parse_mix("signs", number)
        assert mix
        assert mix.fade.at(0) == share
    for forged in (True, None, float("nan"), -0.1, [0.5]):
        with pytest.raises(ConfigError):
            parse_mix("signs", forged)
    fade = Crossfade(0.5)
    for place in range(1, MOST_STEPS + 1):
        if place == MOST_STEPS:
            assert parse_link(dict(parse_qsl(request(Mix("signs", fade)).link())))
        fade.turn(place % 2)
        fade.settle(place)
    assert request(Mix("signs", fade)).link() == ""


def test_each_letter_tells_which_model_wanted_it_more(registry: ModelRegistry) -> None:
    page = last(registry, request(parse_mix("signs", 0.5), num_chars=300)).page
    (grown,) = page["texts"]
    leanings = [ord(code) - 33 - 46 for piece in grown["leaning"] for code in piece]
    for char, leaning in zip("".join(grown["text"]), leanings, strict=True):
        assert leaning == {"@": 47}.get(char, leaning if char in "\n " else -46)
    assert page["mixed"] == ["letters", "signs"]
    assert parse_page(page, 300) == ["".join(grown["text"])]
    for forged in ([3], ["MM"], "M", None):
        assert parse_page({**page, "texts": [{**grown, "leaning": forged}]}, 300) is None


def test_a_text_goes_on_as_it_was_mixed_and_one_of_one_model_is_mixed_from_there(registry: ModelRegistry) -> None:
    begun = last(registry, request(parse_mix("signs", "0.2,20:0.9"), num_chars=60)).page
    closed = continue_mix(begun, None, 60)
    assert closed
    assert str(closed.fade) == "0.2,20:0.9"
    moved = continue_mix(begun, parse_mix("signs", 1), 60)
    longer = last(registry, request(moved, begun, num_chars=40))
    assert set(text(longer)[60:]) <= set("\n@")
    assert dict(parse_qsl(longer.page["link"])) | {"seed": "1"} == {
        "model": "letters",
        "prompt": "a\n",
        "num_chars": "100",
        "seed": "1",
        "mix": "signs",
        "share": "0.2,20:0.9,60:1",
    }
    plain = last(registry, request(None, num_chars=30)).page
    alone = text_of(plain["texts"][0])
    mixed = last(registry, request(continue_mix(plain, parse_mix("signs", 1), 30), plain, num_chars=20))
    assert text(mixed)[:30] == alone
    assert set(text(mixed)[30:]) <= set("\n@")
    assert "".join(mixed.page["texts"][0]["leaning"])[:30] == chr(33 + 46) * 30
    assert dict(parse_qsl(mixed.page["link"]))["share"] == "0,30:1"


def test_a_page_kept_by_a_browser_before_there_were_two_models_goes_on(registry: ModelRegistry) -> None:
    old: Any = last(registry, request(None, num_chars=30)).page
    del old["texts"][0]["leaning"], old["mixed"]
    assert len(text(last(registry, request(None, old, num_chars=20)))) == 50
    assert TextBuilder("1").page()["mixed"] == []


def test_bytes_do_not_mix_with_characters_and_a_lost_model_is_named(registry: ModelRegistry) -> None:
    with pytest.raises(ConfigError, match="a model that writes bytes can't be mixed with one that writes characters"):
        last(registry, request(parse_mix("bytes", 0.5)))
    with pytest.raises(CheckpointError, match="no longer there"):
        last(registry, request(parse_mix("../letters", 0.5)))


def test_what_the_browser_sends_of_a_mix_is_checked() -> None:
    for value in (None, "", 3, "{", "[1]", "3", json.dumps({"other": ""}), "x" * 20_000):
        assert read_mix(value) is None
    wish = read_mix('{"other": "signs", "share": "0.25", "is_fast": true}')
    assert wish
    assert (wish.other, str(wish.fade), wish.is_paced) == ("signs", "0.25", False)
    read_again = read_mix(write_mix(wish))
    assert read_again
    assert (read_again.query(), read_again.is_paced) == ({"mix": "signs", "share": "0.25"}, True)
    for wrong in (
        {"other": 3},
        {"other": "a", "share": "2"},
        {"other": "a", "share": None},
        {"other": "a", "share": {}},
    ):
        with pytest.raises(ConfigError):
            read_mix(json.dumps(wrong))
    with pytest.raises(ConfigError):
        parse_link({"mix": "signs", "share": "x"})
    mixes, mix = ActiveRequests().mixes, Mix("signs", Crossfade())
    with mixes.register("1", mix):
        for forged in (
            None,
            [],
            {},
            {"id": "2", "share": 1},
            {"id": "1", "share": "1"},
            {"id": "1", "share": 7},
        ):
            assert mixes.turn(forged)["is_heard"] is False
        assert mixes.turn({"id": "1", "is_fast": False}) == {"is_heard": True}  # of its pace alone
        mix.fade.settle(0)
        assert (str(mix.fade), mix.is_paced) == ("0.5", True)
        assert mixes.turn({"id": "1", "share": 1}) == {"is_heard": True}


# In a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(blank: Page, app: App) -> Iterator[Page]:
    """A page beside a second model that writes signs alone, shown at reading pace."""
    saved = make(SIGNS).save(app.checkpoints_dir / "signs")
    blank.emulate_media(reduced_motion="no-preference")
    yield blank
    saved.unlink()
    saved.parent.rmdir()


def _hold(route: Route, asked: list[Route]) -> None:
    if "mixable_models" in (route.request.post_data or ""):
        asked.append(route)
    else:
        route.continue_()


@pytest.mark.browser
def test_two_models_write_and_the_slider_is_heard(page: Page, app: App) -> None:
    page.goto(f"{app.url}?model=tiny-shakespeare&prompt=ROMEO%3A&num_chars=0&seed=3", wait_until="load")
    letters = page.locator("#text .reader-text").first
    expect(letters).to_have_text(re.compile(".{20}", re.DOTALL))
    assert (
        page.evaluate("performance.getEntriesByType('resource').filter((each) => /crossfader/.test(each.name))") == []
    )
    fold, slider = page.get_by_role("button", name="Mix two models"), page.get_by_label("Share of the second model")
    page.get_by_role("button", name="Stop").click()
    asked: list[Route] = []
    page.route("**/component_server/", lambda route: _hold(route, asked))
    with page.expect_request(lambda request: "mixable_models" in (request.post_data or "")):
        fold.click()
        page.get_by_role("button", name="Another").click()  # before the page knows a second model
    expect(page.get_by_role("button", name="Another")).to_have_attribute("aria-busy", "true")
    while not asked:  # the request is told before its handler has it
        page.wait_for_timeout(10)
    asked[0].continue_()
    page.unroute_all()
    page.wait_for_function("charlstm.text.page().mixed.length === 2")
    expect(page.get_by_label("Second model", exact=True).first).to_have_value("signs")
    slider.press("Home")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Same again").click()
    legend = page.locator(".mix-legend")
    expect(legend).to_have_attribute("aria-label", re.compile("tiny-shakespeare wanted a letter.*signs wanted it"))
    expect(page.get_by_text("Both write now.")).to_be_visible()
    page.wait_for_function("charlstm.text.page().texts[0].text.join('').length > 80")
    assert "@" not in str(letters.text_content())
    slider.press("End")
    expect(letters).to_contain_text(re.compile("@{3}"))
    theirs = letters.locator(".m6", has_text="@")  # a new line has no box
    expect(theirs.first).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#stop-writing")).to_be_hidden()
    theirs.last.click()
    expect(page.locator("#text .reader-card")).to_contain_text("signs wanted it at least 90 times as much.")
    assert [
        each["id"] for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")
    ] == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    fold.click()  # closed: the model writes alone
    expect(slider).to_be_hidden()
    page.get_by_role("button", name="Another").click()
    expect(legend).to_have_count(0)
    assert page.evaluate("charlstm.text.page().mixed") == []
    page.get_by_role("button", name="Stop").click()


@pytest.mark.browser
def test_the_address_of_a_mixed_text_writes_it_again_and_markup_in_it_stays_text(page: Page, app: App) -> None:
    query = "model=tiny-shakespeare&prompt=ROMEO%3A&num_chars=40&seed=3&mix=signs&share=0,20:1"
    page.goto(f"{app.url}?{query}", wait_until="load")
    expect(page.locator("#text .reader-text")).to_contain_text(re.compile("[@\\n]{20}$"))
    expect(page.get_by_label("Share of the second model")).to_be_visible()
    assert page.evaluate("new URLSearchParams(location.search).get('share')") == "0,20:1"
    page.goto(f"{app.url}?seed=1&mix=%3Cimg+src%3Dx+onerror%3Dhacked%3D1%3E", wait_until="load")
    expect(page.locator("#generate-problem")).to_contain_text("no longer there")
    assert page.evaluate("typeof hacked") == "undefined"
