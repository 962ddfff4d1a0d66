"""What comes next after a text that changes key by key: the same as from the start, in one step a key."""

import math
from pathlib import Path

import numpy as np
import pytest

from charlstm import LanguageModel
from charlstm.config import SampleConfig
from charlstm.errors import VocabularyError
from charlstm.generation import engine, prediction
from charlstm.generation.prediction import LONGEST_READ, Predictor
from charlstm.kernel import decoder
from charlstm.ui.models import ModelRegistry
from charlstm.ui.next_letter import predict_next


@pytest.fixture(scope="module")
def known(repository: Path) -> LanguageModel:
    return LanguageModel.load(repository / "checkpoints" / "tiny-shakespeare")


@pytest.mark.parametrize("is_compiled", [True, False])
def test_typed_key_by_key_it_is_what_it_is_from_the_start(
    known: LanguageModel, monkeypatch: pytest.MonkeyPatch, is_compiled: bool
) -> None:
    if not is_compiled:
        monkeypatch.setattr(decoder, "is_available", lambda *_: False)
    predictor = Predictor()
    for text in ("", "R", "RO", "ROM", "ROME", "ROM", "ROMa", "ROMaO:\nWhat"):
        found = predictor.predict(known.model, known.vocabulary, text, 65)
        ids = known.vocabulary.encode(text or "\n").astype(np.int32)
        piece = engine.start_session(known.model, [ids], SampleConfig()).follow(ids[None, -1:], 65)
        assert found.characters == tuple(known.vocabulary.characters[each] for each in piece.likeliest[0, 0])
        assert np.exp(found.logs) == pytest.approx(piece.probabilities[0, 0], abs=1e-6)
        assert sum(map(math.exp, found.logs)) == pytest.approx(1, abs=1e-4)
        assert found.rest == 0


def test_a_key_costs_a_step_and_a_long_text_only_its_end(known: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def start(model: object, beginnings: list[np.ndarray], config: SampleConfig) -> object:
        started.append(len(beginnings[0]))
        return engine.start_session(model, beginnings, config)  # type: ignore[arg-type]

    monkeypatch.setattr(prediction, "start_session", start)
    predictor, text = Predictor(), "To be, or not to be. " * 200
    for length in range(3000, 3040):
        found = predictor.predict(known.model, known.vocabulary, text[:length], 5)
    assert len(started) == 2  # where the beginning of what is read moves on
    assert max(started) <= LONGEST_READ
    assert len(found.characters) == 5
    assert found.rest == pytest.approx(1 - sum(map(math.exp, found.logs)), abs=1e-4)
    with pytest.raises(VocabularyError):
        predictor.predict(known.model, known.vocabulary, "漢", 5)


def test_whatever_the_page_is_asked_it_answers(repository: Path) -> None:
    registry, predictor = ModelRegistry(repository / "checkpoints"), Predictor()
    answer = predict_next(registry, predictor, {"model": "tiny-shakespeare", "prompt": "ROMEO"})
    assert answer["characters"][0] == ":"
    assert len(answer["characters"]) == len(answer["logs"]) == 65
    for values in (
        None,
        [],
        {"prompt": 3},
        {"prompt": "x" * 100_001},
        {"prompt": "漢"},
        {"model": "../x", "prompt": ""},
    ):
        assert predict_next(registry, predictor, values)["problem"].endswith(".")
