"""Two models side by side: the same prompt and seed, and the same text."""

from pathlib import Path
from typing import Any

import pytest

from charlstm.config import SampleConfig
from charlstm.ui.compare import NO_MODEL, _Comparison
from charlstm.ui.generation import SETTINGS, ActiveRequests
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import text_of

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
    *_, (first, second, first_line, second_line, problem) = side.write(SECOND, FIRST, "def ", *values())
    for name, page, line in ((FIRST, first, first_line), (SECOND, second, second_line)):
        expected = registry.load(name).generate("def ", SampleConfig(num_chars=80, seed=3))
        assert [text_of(text) for text in page["texts"]] == [expected]
        assert line.startswith(f"{name}: 80 characters")
        assert "seed 3" in line
        assert not page["can_branch"]
    assert problem == ""


def test_two_models_score_the_same_text(registry: ModelRegistry, side: _Comparison) -> None:
    text = "import os\n"
    first, second, *lines, problem = side.score(FIRST, SECOND, text)
    for name, page, line in zip((FIRST, SECOND), (first, second), lines, strict=True):
        figures = registry.load(name).score(text)
        assert text_of(page["texts"][0]) == text
        assert line.startswith(f"{name}: {figures.nats:.3f} nats per character ({figures.bpc:.3f} bits)")
        assert f"perplexity {figures.perplexity:.2f}" in line
    assert problem == ""
    assert lines[0] != lines[1]


def test_what_can_not_be_compared_is_said(side: _Comparison) -> None:
    *_, (*_, problem) = side.write(NO_MODEL, FIRST, "def ", *values())
    assert "Choose a second model" in problem
    *_, (*_, problem) = side.write(SECOND, FIRST, "def ", *values(num_chars=0))
    assert "set a length" in problem
    *_, problem = side.score(FIRST, "gone", "text")
    assert "no longer there" in problem
