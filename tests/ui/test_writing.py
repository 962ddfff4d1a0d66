"""Writing for visitors without a browser: frames, what they carry, addresses, continuing, copying, bad input."""

import contextlib
import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from charlstm.config import SampleConfig
from charlstm.errors import CharLSTMError, ConfigError, VocabularyError
from charlstm.generation.holds import Hold
from charlstm.generation.stream import TextChunk
from charlstm.language_model import LanguageModel
from charlstm.ui import generation
from charlstm.ui.generation import (
    PROGRAM,
    SETTINGS,
    VISITOR,
    ActiveRequests,
    GenerationRequest,
    Update,
    generate,
    parse_link,
    prompt_note,
)
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import TextBuilder, parse_page, text_of
from charlstm.ui.text_comparison import mark_copied, score_text

MODEL = "python-stdlib"  # its text is there on the machine that it was trained on, and a part of it everywhere


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> ModelRegistry:
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(repository / "checkpoints" / MODEL, root / MODEL)
    return ModelRegistry(root)


def make_request(prompt: str = "def ", page: Any = None, **values: Any) -> GenerationRequest:
    return GenerationRequest.of(MODEL, prompt, {**SampleConfig().model_dump(), **values}, page)


def frames(registry: ModelRegistry, asked: GenerationRequest) -> list[Update]:
    return list(generate(registry, asked, ActiveRequests(), lambda: False))


def texts(frame: Update) -> list[str]:
    return [text_of(text) for text in frame.page["texts"]]


def test_frames_only_ever_grow_and_the_last_one_is_the_whole_text(registry: ModelRegistry) -> None:
    sent = frames(registry, make_request(num_chars=6000, num_samples=2, seed=3))
    model = registry.load(MODEL)
    assert texts(sent[-1]) == model.generate_samples("def ", SampleConfig(num_chars=6000, num_samples=2, seed=3))
    assert len(sent) > 2
    assert [frame.page["is_writing"] for frame in sent] == [True] * (len(sent) - 1) + [False]
    for earlier, later in itertools.pairwise(sent):
        assert later.page["id"] == earlier.page["id"]
        for before, after in zip(earlier.page["texts"], later.page["texts"], strict=True):
            for name in before:
                assert "".join(after[name]).startswith("".join(before[name]))
                assert all(len(piece) <= 4096 * 10 for piece in after[name])
    json.dumps(sent[-1].page)


def test_a_page_tells_each_characters_surprise_and_alternatives() -> None:
    growing = TextBuilder("1", "x", 1)
    growing.add(TextChunk("a\n", (0.04, 2.345), 0, ("ab", "\n "), ((0.961, 0.039), (0.5, 0.25))))
    growing.add(TextChunk("😀", (99.0,), 0, ("a😀",), ((1.0, 0.0),)))
    (grown,) = growing.page()["texts"]
    assert grown["text"] == ["a\n😀"]
    assert [(ord(code) - 33) / 10 for code in grown["surprise"][0]] == [0.0, 2.3, 9.3]
    assert grown["likeliest"] == ["ab\n a😀"]
    codes = [ord(code) - 33 for code in grown["odds"][0]]
    shares = [(90 * high + low) / 8099 for high, low in zip(codes[::2], codes[1::2], strict=True)]
    assert shares == pytest.approx([0.961, 0.039, 0.5, 0.25, 1.0, 0.0], abs=1e-4)


def test_what_was_sent_before_does_not_change_when_more_is_added() -> None:
    growing = TextBuilder("1", "", 1)
    growing.add(TextChunk("ab", (0.0, 0.0), 0, ("xy", "xy"), ((0.5, 0.5),) * 2))
    before = growing.page()
    copy = json.loads(json.dumps(before))
    growing.add(TextChunk("c" * 5000, (0.0,) * 5000, 0, ("xy",) * 5000, ((0.5, 0.5),) * 5000))
    assert before == copy
    assert [len(piece) for piece in growing.page()["texts"][0]["text"]] == [4096, 906]


def test_halves_of_characters_do_not_travel() -> None:
    growing = TextBuilder("1", "a\ud800b", 1)
    growing.add(TextChunk("\udfff", (0.0,), 0, ("\ud800",), ((1.0,),)))
    json.dumps(growing.page(), ensure_ascii=False).encode()
    assert growing.page()["given"] == "a?b"


@pytest.mark.parametrize("num_samples", [1, 3])
def test_a_continued_page_is_the_page_that_was_written_at_once(registry: ModelRegistry, num_samples: int) -> None:
    whole = frames(registry, make_request(num_chars=120, num_samples=num_samples, seed=9))[-1]
    begun = frames(registry, make_request(num_chars=50, num_samples=num_samples, seed=9))[-1]
    sent_back = json.loads(json.dumps(begun.page))
    on = frames(registry, make_request("what is in the form now", sent_back, num_chars=70, seed=9))[-1]
    assert texts(on) == texts(whole)
    assert on.page["texts"] == whole.page["texts"]
    assert on.page["id"] == begun.page["id"]
    assert dict(parse_qsl(on.page["link"])) == dict(parse_qsl(whole.page["link"]))


@pytest.mark.parametrize(
    "page", [{}, [], "text", {"texts": []}, {"texts": [{}], "given": "", "id": "", "width": 1}, {"texts": None}]
)
def test_a_page_that_is_none_can_not_be_continued(registry: ModelRegistry, page: Any) -> None:
    with pytest.raises(CharLSTMError, match="no text here"):
        frames(registry, make_request(page=page))
    with pytest.raises(CharLSTMError, match="no text here"):
        mark_copied(registry, MODEL, page)


def test_a_forged_page_is_refused_and_a_true_one_is_read() -> None:
    growing = TextBuilder("1", "", 1)
    growing.add(TextChunk("ab", (0.0, 0.0), 0, ("xy", "xy"), ((0.5, 0.5),) * 2))
    page = growing.page()
    assert parse_page(page, 10) == ["ab"]
    assert parse_page(page, 1) is None
    forged = (
        {"width": -1},
        {"width": 10**9},
        {"given": 3},
        {"id": None},
        {"texts": [{**page["texts"][0], "odds": []}]},
    )
    for changed in forged:
        assert parse_page({**page, **changed}, 10) is None
    assert parse_page({**page, "texts": [{**page["texts"][0], "text": [1, 2]}]}, 10) is None


def test_writing_stops_when_it_is_asked_to(registry: ModelRegistry) -> None:
    sent: list[Update] = []
    for frame in generate(registry, make_request(num_chars=0), ActiveRequests(), lambda: len(sent) >= 2):
        sent.append(frame)
        assert len(sent) < 5
    assert texts(sent[-1])[0].startswith(texts(sent[0])[0])
    assert not sent[-1].page["is_writing"]


def test_without_an_end_a_page_is_filled_and_says_so(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MOST_CHARS", 300)
    last = frames(registry, make_request(num_chars=0))[-1]
    assert 300 <= len(texts(last)[0]) < 2000
    assert "A page holds 300 characters" in last.note


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_long_text_goes_to_a_browser_no_faster_than_it_draws_and_to_a_program_as_fast_as_it_is_written(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "_UNTHROTTLED_CHARS", 100)
    slept = []
    for audience in (PROGRAM, VISITOR):
        monkeypatch.setattr(generation, "time", clock := Clock())
        *_, last = generate(registry, make_request(num_chars=600), ActiveRequests(), lambda: False, audience)
        assert len(texts(last)[0]) == 600
        slept.append(clock.now)
    assert slept == [0, pytest.approx(500 / VISITOR.per_second)]


def test_who_waits_for_a_browser_hears_a_stop(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_UNTHROTTLED_CHARS", 0)
    monkeypatch.setattr(generation, "time", clock := Clock())
    slow = VISITOR._replace(per_second=0.001)
    *_, last = generate(registry, make_request(num_chars=0), ActiveRequests(), lambda: clock.now >= 1, slow)
    assert 1 <= clock.now < 1.1
    assert not last.page["is_writing"]


def test_frames_come_more_rarely_in_a_crowd_and_in_a_long_text_but_often_enough_to_notice_who_left() -> None:
    active_requests = ActiveRequests()
    alone = [active_requests.frame_seconds(num_chars) for num_chars in (0, 100_000, 1_000_000)]
    assert alone == sorted(set(alone))
    with contextlib.ExitStack() as crowd:
        for _ in range(64):
            crowd.enter_context(active_requests.register())
        assert alone[0] < active_requests.frame_seconds(0) <= active_requests.frame_seconds(1_000_000) <= 0.5
    assert active_requests.number == 0


# The empty prompt ----------------------------------------------------------------------------------------------------


def with_beginnings(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, *beginnings: str) -> LanguageModel:
    """The model of `registry`, which from now on knows these beginnings of lines."""
    model = registry.load(MODEL)
    assert model.provenance is not None
    provenance = model.provenance.model_copy(update={"beginnings": beginnings})
    knowing = dataclasses.replace(model, provenance=provenance)
    monkeypatch.setattr(registry, "load", lambda _: knowing)
    return knowing


def test_an_empty_prompt_is_how_most_lines_begin_that_the_model_knows(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_beginnings(registry, monkeypatch, "class ", "def ")
    last = frames(registry, make_request("", num_chars=40))[-1]
    assert last.page["given"] == "class "
    assert "begins with 'class '" in last.note
    assert texts(last) == [model.generate("class ", SampleConfig(num_chars=40))]
    assert dict(parse_qsl(last.page["link"]))["prompt"] == "class "
    on = frames(registry, make_request("", json.loads(json.dumps(last.page)), num_chars=30))[-1]
    assert texts(on) == [model.generate("class ", SampleConfig(num_chars=70))]


def test_an_empty_prompt_is_a_new_line_where_nothing_else_is_known(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_beginnings(registry, monkeypatch)
    monkeypatch.setattr(registry, "corpus", lambda _: None)
    last = frames(registry, make_request("", num_chars=40))[-1]
    assert "begins a new line" in last.note
    assert texts(last) == [model.generate("\n", SampleConfig(num_chars=40))]
    assert dict(parse_qsl(last.page["link"]))["prompt"] == "\n"


# Addresses -----------------------------------------------------------------------------------------------------------


def test_an_address_asks_for_what_it_was_made_of() -> None:
    asked = make_request("a&b=c %\n漢", num_chars=77, temperature=0.35, top_p=0.9, stop="\n\n", no_repeat=12, seed=5)
    linked = parse_link(dict(parse_qsl(asked.link(), keep_blank_values=True)))
    assert linked
    model, prompt, values, hold, _ = linked
    assert (model, prompt, SampleConfig(**values), hold) == (MODEL, asked.prompt, asked.config, "")
    assert set(values) == set(SETTINGS)
    held = GenerationRequest.of(MODEL, "a", {}, hold="710=3.10, 0:4 = -2")
    assert (parse_link(dict(parse_qsl(held.link()))) or "....")[3] == "710=3.1,4=-2"
    assert parse_link({"hold": "4=1"}) == (None, "", SampleConfig().model_dump(), "4=1", None)


def test_held_units_are_held_and_named_in_the_address_also_when_it_goes_on(registry: ModelRegistry) -> None:
    asked = GenerationRequest.of(MODEL, "def ", {"num_chars": 60}, hold="401=6")
    model, holds = registry.load(MODEL), (Hold(401, 6.0),)
    last = frames(registry, asked)[-1]
    assert texts(last) == [model.generate("def ", SampleConfig(num_chars=60), holds)]
    assert dict(parse_qsl(last.page["link"]))["hold"] == "401=6"
    longer = frames(registry, GenerationRequest.of(MODEL, "", {"num_chars": 40}, last.page, "401=6"))[-1]
    assert texts(longer) == [model.generate("def ", SampleConfig(num_chars=100), holds)]
    assert texts(longer) != [model.generate("def ", SampleConfig(num_chars=100))]
    with pytest.raises(ConfigError, match="no unit 768"):
        frames(registry, GenerationRequest.of(MODEL, "def ", {}, hold="768=1"))


def test_an_address_without_wishes_asks_for_nothing_and_a_wrong_one_is_refused() -> None:
    assert parse_link({"__theme": "dark"}) is None
    for query in ({"seed": "x"}, {"hold": "one"}, {"temperature": "9"}, {"num_chars": "-1"}, {"top_p": "nan"}):
        with pytest.raises(ConfigError, match=next(iter(query))):
            parse_link(query)


def test_a_prompt_too_long_for_an_address_has_none() -> None:
    assert make_request("x" * 7000).link() == ""


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "values", "said"),
    [
        ("x" * 1_000_001, {}, "1,000,001 characters; at most 100,000"),
        ("x", {"num_chars": -1}, "num_chars is -1"),
        ("x", {"num_chars": 10**30}, "num_chars is"),
        ("x", {"num_chars": 10**6, "num_samples": 8}, "more than the 1,000,000"),
        ("x", {"temperature": float("nan")}, "temperature is nan"),
        ("x", {"seed": None}, "seed is None"),
        (None, {}, "must be texts"),
        (["x"], {}, "must be texts"),
    ],
)
def test_what_can_not_be_written_is_refused_in_a_sentence(prompt: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        make_request(prompt, **values)
    assert len(str(raised.value)) < 300


def test_characters_that_were_replaced_are_named(registry: ModelRegistry) -> None:
    vocabulary = registry.load(MODEL).vocabulary
    assert prompt_note("def ", vocabulary) == ""
    assert prompt_note("\u00a0x", vocabulary) == "" or "as ' '" in prompt_note("\u00a0x", vocabulary)
    with pytest.raises(VocabularyError, match=r"U\+13000"):
        prompt_note("\U00013000", vocabulary)


# Copying and scoring -------------------------------------------------------------------------------------------------


def test_what_was_copied_is_marked_and_said(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    from charlstm.corpus import Corpus

    growing = TextBuilder("1", "given", 2)
    for number, text in enumerate(("zz import os\n?", "...")):
        figures = ((0.5,),) * len(text)
        growing.add(TextChunk(text, (0.0,) * len(text), number, ("x",) * len(text), figures))
    monkeypatch.setattr(registry, "corpus", lambda _: Corpus("a text", "first\nimport os\nlast"))
    page, said = mark_copied(registry, MODEL, growing.page())
    assert page["copied"] == [[3, 13], [0, 0]]
    assert "1 of 2: Not copied: the longest passage found in the training text has 10 characters: “import os”" in said
    monkeypatch.setattr(registry, "corpus", lambda _: Corpus("a text", "import os\n" * 6))
    whole = TextBuilder("2", "", 1)
    whole.add(TextChunk("import os\n" * 6, (0.0,) * 60, 0, ("x",) * 60, ((0.5,),) * 60))
    assert mark_copied(registry, MODEL, whole.page())[1].startswith(
        "Partly copied: a passage of 60 characters (100% of"
    )
    monkeypatch.setattr(registry, "corpus", lambda _: None)
    with pytest.raises(CharLSTMError, match="not at hand"):
        mark_copied(registry, MODEL, growing.page())


def test_the_corpus_of_a_model_is_known_by_its_hash(tmp_path: Path, registry: ModelRegistry, repository: Path) -> None:
    shutil.copytree(repository / "checkpoints" / MODEL, tmp_path / MODEL)
    (tmp_path / MODEL / "corpus.txt").write_text("another text", encoding="utf-8")
    assert ModelRegistry(tmp_path).corpus(MODEL) is None
    origin = registry.load(MODEL).provenance
    found = registry.corpus(MODEL)
    assert found is None or (origin is not None and found.sha256 == origin.corpus_sha256)


def test_a_scored_text_becomes_a_page_with_its_figures(registry: ModelRegistry) -> None:
    growing, figures, surprises = score_text(registry, MODEL, "import os\n")
    assert text_of(growing.page()["texts"][0]) == "import os\n"
    assert figures["nats"] == pytest.approx(sum(surprises) / 10)
    assert figures["nats"] == pytest.approx(registry.load(MODEL).score("import os\n").nats)
    for bad in ("x" * 20_001, "", None, 3):
        with pytest.raises(CharLSTMError):
            score_text(registry, MODEL, bad)


def test_while_a_crowd_arrives_those_who_write_leave_the_server_to_those_who_wait(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds_of_a_text(num_others: int, have_begun: bool, is_over: Callable[[], bool] = lambda: False) -> float:
        monkeypatch.setattr(generation, "time", clock := Clock())
        active_requests = ActiveRequests()
        with ExitStack() as crowd:
            for _ in range(num_others):
                has_begun = crowd.enter_context(active_requests.register())
                if have_begun:
                    has_begun()
            list(generate(registry, make_request(num_chars=200), active_requests, is_over, PROGRAM))
        return clock.now

    few, many = generation._SMOOTH_REQUESTS - 1, generation._SMOOTH_REQUESTS
    assert seconds_of_a_text(few, have_begun=False) == 0
    assert seconds_of_a_text(many, have_begun=True) == 0
    assert seconds_of_a_text(many, have_begun=False) == pytest.approx(generation._MAX_WAIT_SECONDS, rel=0.1)
    assert seconds_of_a_text(many, False, lambda: True) == 0, "one that is stopped waits for nobody"


def test_who_leaves_before_the_first_characters_is_not_waited_for() -> None:
    active_requests = ActiveRequests()
    with ExitStack() as crowd:
        for _ in range(generation._SMOOTH_REQUESTS + 1):
            crowd.enter_context(active_requests.register())()
        assert not active_requests.is_arriving
        with active_requests.register():
            assert active_requests.is_arriving
        assert not active_requests.is_arriving
