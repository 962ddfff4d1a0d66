"""Two models side by side: the same prompt and seed, and the same text."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from charlstm.config import SampleConfig
from charlstm.ui.generation import SETTINGS, ActiveRequests
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import text_of
from charlstm.ui.text_comparison import NO_MODEL, _Comparison, compare_scores

FIRST, SECOND = "tiny-shakespeare", "python-stdlib"


@pytest.fixture(scope="module")
def registry(repository: Path) -> ModelRegistry:
    return ModelRegistry(repository / "checkpoints")


@pytest.fixture(scope="module")
def side(registry: ModelRegistry) -> _Comparison:
    return _Comparison(registry, ActiveRequests())


def values(**changed: Any) -> list[Any]:
    asked = {**SampleConfig(num_chars=80, seed=3).model_dump(), **changed}
    return [asked[name] for name in SETTINGS]


def test_two_models_continue_the_same_prompt_with_the_same_seed(registry: ModelRegistry, side: _Comparison) -> None:
    *_, (_, first, second, problem) = side.write(SECOND, FIRST, "def ", *values())
    for name, page in ((FIRST, first), (SECOND, second)):
        expected = registry.load(name).generate("def ", SampleConfig(num_chars=80, seed=3))
        assert [text_of(text) for text in page["texts"]] == [expected]
        assert page["title"] == name
        assert page["caption"].startswith("80 characters in ")
        assert "seed 3" in page["caption"]
        assert not page["can_branch"]
    assert problem == ""


def test_two_models_score_the_same_text_and_the_winner_is_named(registry: ModelRegistry, side: _Comparison) -> None:
    text = "import os\n"
    _, first, second, said, problem = side.score(FIRST, SECOND, text)
    scores = {}
    for name, update in ((FIRST, first), (SECOND, second)):
        page, figures = update["value"], registry.load(name).score(text)
        scores[name] = figures.nats
        assert text_of(page["texts"][0]) == text
        assert page["title"] == name
        assert f"among {figures.perplexity:.1f} letters" in page["caption"]
        assert f"{figures.nats:.3f} nats per character ({figures.bpc:.3f} bits)" in page["caption"]
    assert problem == ""
    assert said == compare_scores(scores)
    assert said.startswith(f"{SECOND} gives each letter")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"a": 1.217, "b": 1.952}, "a gives each letter twice the chance (1.217 against 1.952 nats)."),
        ({"a": 1.952, "b": 1.077}, "b gives each letter 2.4 times the chance (1.077 against 1.952 nats)."),
        ({"a": 1.217, "b": 1.22}, "Both expect this text about equally (1.217 against 1.220 nats)."),
        ({"a": 1.217}, ""),
    ],
)
def test_the_verdict_is_a_sentence(scores: dict[str, float], said: str) -> None:
    assert compare_scores(scores) == said


def test_what_can_not_be_compared_is_said_and_clears_nothing(side: _Comparison) -> None:
    *_, (*kept, problem) = side.write(NO_MODEL, FIRST, "def ", *values())
    assert "Choose a second model" in problem
    assert kept == [gr.skip()] * 3
    *_, (*_, problem) = side.write(SECOND, FIRST, "def ", *values(num_chars=0))
    assert "set a length" in problem
    *kept, problem = side.score(FIRST, "gone", "text")
    assert "no longer there" in problem
    assert kept == [gr.skip()] * 4
