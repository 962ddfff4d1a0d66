"""That something is learned, and `train`, which does it in one call."""

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from training_runs import (
    CONTRARY,
    RHYME,
    SMALL,
    config,
    loss_of_streams,
    timeless,
    trainer_of,
)

from charlstm.config import ModelConfig
from charlstm.corpus import Corpus
from charlstm.errors import CorpusError
from charlstm.events import Evaluated, Event
from charlstm.training import train, with_validation

# Learning ------------------------------------------------------------------------------------------------------------


def frequency_entropy(text: str) -> float:
    """Nats per character of the best guess that knows nothing but how often each character occurs."""
    counts = np.array(list(Counter(text).values()))
    return float(-(counts / counts.sum() * np.log(counts / counts.sum())).sum())


def test_a_model_learns_what_single_characters_cannot_tell(pangrams: str) -> None:
    settings = config(max_steps=150, batch_size=8, seq_len=32, learning_rate=0.02, eval_every=50)
    trainer = trainer_of(settings, ModelConfig(hidden_size=32), pangrams)
    losses = [event.val_loss for event in trainer.run() if isinstance(event, Evaluated)]
    entropy = frequency_entropy(pangrams)
    assert 2.5 < entropy < 3.5
    assert losses[0] > entropy
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < entropy / 3


def test_bytes_of_any_script_are_learned_too() -> None:
    settings = config(max_steps=80, batch_size=4, seq_len=16, learning_rate=0.05)
    trainer = trainer_of(settings, ModelConfig(hidden_size=16, level="bytes"), "漢字かな交じり文。😀\n" * 40)
    losses = [event.val_loss for event in trainer.run() if isinstance(event, Evaluated)]
    assert losses[0] == pytest.approx(math.log(256), abs=0.2)
    assert losses[-1] < losses[0] / 2


# train() -------------------------------------------------------------------------------------------------------------


def test_train_returns_the_best_model_with_its_provenance() -> None:
    """Its validation text makes the last model worse than one before."""
    settings = config(max_steps=40, eval_every=1, learning_rate=0.02, device="cpu", precision="auto")
    events: list[Event] = []
    language_model = train(CONTRARY, settings, SMALL, events.append)
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    best = min(evaluations, key=lambda event: event.val_loss)
    assert best.step not in (0, 40), "this run does not show which model was kept"
    origin = language_model.provenance
    assert origin is not None
    assert (origin.step, origin.val_loss, origin.val_method) == (best.step, best.val_loss, "stateful")
    assert origin.corpus == "text"
    assert origin.corpus_chars == len(CONTRARY) == 576
    assert origin.beginnings == Corpus("contrary", CONTRARY).beginnings
    assert origin.split == "first 90% training, last 10% validation"
    resolved = {"corpus": "text", "precision": "float32", "device": "cpu"}  # 8 units are too few for bfloat16
    assert origin.train_config == {**settings.model_dump(), **resolved}
    assert origin.training_seconds >= 0
    assert {"charlstm", "torch", "python"} <= set(origin.versions)
    assert loss_of_streams(language_model, CONTRARY[-58:], 1) == pytest.approx(best.val_loss, abs=1e-5)
    assert not language_model.model.training


def test_train_shows_every_event_of_the_run() -> None:
    settings = config(max_steps=6, log_every=2, eval_every=3, sample_every=3)
    events: list[Event] = []
    train(RHYME, settings, SMALL, events.append)
    assert [timeless(event) for event in events] == [timeless(event) for event in trainer_of(settings).run()]


def test_train_names_the_corpus_it_was_given_and_hashes_its_text() -> None:
    origin = train(Corpus("rhyme", "abcabcabc\n" * 9), config(max_steps=1), SMALL).provenance
    assert origin is not None
    assert origin.corpus == origin.train_config["corpus"] == "rhyme"
    assert origin.corpus_sha256 == "c4d433a122614f872cf843138fd2b47503d1bd42396032d79cdbc8e23cc482ec"


def test_train_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    train(RHYME, config(max_steps=2), SMALL)
    assert os.listdir(tmp_path) == []  # noqa: PTH208  the plainest question


def test_train_writes_text_of_its_corpus(pangrams: str) -> None:
    language_model = train(
        pangrams, config(max_steps=200, batch_size=8, seq_len=32, learning_rate=0.02), ModelConfig(hidden_size=48)
    )
    text = language_model.generate("the quick")
    assert " brown fox jumps over the lazy dog." in text


def test_train_refuses_a_text_too_short() -> None:
    with pytest.raises(CorpusError, match="at least"):
        train("short", config(max_steps=1, batch_size=10), SMALL)


def test_measured_adds_both_figures_and_leaves_the_weights() -> None:
    language_model = train(RHYME, config(max_steps=3), SMALL)
    tokens = language_model.vocabulary.encode(RHYME[-58:])
    result = with_validation(language_model, tokens)
    assert result.model is language_model.model
    assert result.provenance is not None
    expected = loss_of_streams(language_model, RHYME[-58:], 1)
    assert result.provenance.val_stateful == pytest.approx(expected, abs=1e-5)
    assert result.provenance.val_windows == pytest.approx(expected, abs=1e-5)  # 58 characters are one window
    assert language_model.provenance is not None
    assert language_model.provenance.val_stateful is None
