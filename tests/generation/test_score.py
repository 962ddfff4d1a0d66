"""Scoring a text, against the evaluation of the same characters and a softmax written out."""

import math

import numpy as np
import pytest
import torch
from kernel_marks import needs_compiler

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.errors import VocabularyError
from charlstm.evaluation import evaluate_stateful
from charlstm.kernel import decoder

TEXT = "the quick brown fox jumps over the lazy dog. " * 3


@pytest.fixture(params=[pytest.param(True, marks=needs_compiler), False], ids=["compiled", "PyTorch"])
def known(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """A small model, by the compiled steps and without."""
    if not request.param:
        monkeypatch.setattr(decoder, "is_available", lambda *_: False)
    return LanguageModel.create(Vocabulary.from_text(f"\n{TEXT}"), ModelConfig(hidden_size=20, num_layers=2), seed=3)


def test_a_score_is_the_loss_of_the_text_after_a_line_end(known: LanguageModel) -> None:
    found = known.score(TEXT, num_likeliest=4)
    expected = evaluate_stateful(known.model, known.vocabulary.encode(f"\n{TEXT}"))
    assert found.num_chars == expected.num_chars == len(TEXT)
    assert found.nats == pytest.approx(expected.nats, abs=1e-5)
    assert found.bpc == pytest.approx(expected.nats / math.log(2), abs=1e-5)
    assert found.perplexity == pytest.approx(math.exp(expected.nats), rel=1e-4)
    ids = torch.from_numpy(known.vocabulary.encode(f"\n{TEXT}").astype(np.int64))
    with torch.no_grad():
        shares = known.model(ids[None])[0][0, :-1].softmax(dim=-1)
    surprises = -shares.gather(1, ids[1:, None])[:, 0].log()
    assert found.chunk.surprises == pytest.approx(surprises.tolist(), abs=1e-4)
    best = shares.topk(4)
    assert ["".join(known.vocabulary.characters[each] for each in row) for row in best.indices] == list(
        found.chunk.likeliest
    )
    np.testing.assert_allclose(np.array(found.chunk.probabilities), best.values, atol=1e-5)


def test_a_text_from_windows_is_scored_as_it_would_have_been_learned(known: LanguageModel) -> None:
    assert known.score("\ufeffthe cat\r\nthe dog\r") == known.score("the cat\nthe dog\n")


def test_what_can_not_be_scored_is_said(known: LanguageModel) -> None:
    with pytest.raises(VocabularyError, match="no text"):
        known.score("")
    with pytest.raises(VocabularyError, match="U\\+6F22"):
        known.score("漢")


def test_of_bytes_a_score_is_per_character() -> None:
    known = LanguageModel.create(Vocabulary.from_text("", "bytes"), ModelConfig(level="bytes", hidden_size=16), seed=3)
    found = known.score("aé漢😀")
    bytewise = evaluate_stateful(known.model, known.vocabulary.encode("\naé漢😀"))
    assert (found.num_chars, bytewise.num_chars) == (4, 10)
    assert found.nats == pytest.approx(bytewise.nats * 10 / 4, abs=1e-5)
    assert found.chunk.text == "aé漢😀"
