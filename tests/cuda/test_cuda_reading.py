"""A trained network on a GPU writes and measures what it does on the processor."""

import copy

import pytest
import torch
from torch import Tensor
from training_runs import RHYME, config, run_until, trainer_of

from charlstm.config import ModelConfig, SampleConfig
from charlstm.evaluation import evaluate_batched, evaluate_quickly, evaluate_stateful, evaluate_windows
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM

pytestmark = pytest.mark.usefixtures("exact")
MODEL = ModelConfig(hidden_size=32, num_layers=2, embedding_dim=8)
LENGTH = 60


@pytest.fixture(scope="module")
def learned() -> LanguageModel:
    """After 150 steps on the processor."""
    settings = config(max_steps=150, device="cpu", batch_size=8, seq_len=16, learning_rate=0.01)
    trainer = trainer_of(settings, MODEL)
    run_until(trainer, 150)
    return trainer.language_model


def moved(learned: LanguageModel, device: str) -> LanguageModel:
    return LanguageModel(copy.deepcopy(learned.model).to(device), learned.vocabulary)


def in_float64(learned: LanguageModel) -> CharLSTM:
    return copy.deepcopy(learned.model).double().eval()


@torch.no_grad()
def likeliest(model: CharLSTM, ids: list[int], length: int) -> tuple[list[int], float]:
    """The greedy continuation, all of it read anew for every character, and the narrowest choice in it, in logits."""
    narrowest = float("inf")
    for _ in range(length):
        logits: Tensor = model(torch.tensor([ids]))[0][0, -1]
        first, second = logits.topk(2).values.tolist()
        narrowest = min(narrowest, first - second)
        ids = [*ids, int(logits.argmax())]
    return ids[-length:], narrowest


def test_the_likeliest_text_is_the_processors(device: str, learned: LanguageModel) -> None:
    """Logits differ by some 1e-6 between devices, which tips no choice here."""
    characters = learned.vocabulary.characters
    expected, narrowest = likeliest(in_float64(learned), [characters.index(char) for char in "the "], LENGTH)
    assert narrowest > 1e-3
    written = moved(learned, device).generate("the ", SampleConfig(temperature=0, num_chars=LENGTH))
    assert written.removeprefix("the ") == "".join(characters[each] for each in expected)
    assert len(set(expected)) > 5


def test_evaluation_gives_the_processors_figures(device: str, learned: LanguageModel) -> None:
    """Against float64: float32 and a GPU's exponentials move a logit by some 1e-6, either way; figures are means."""
    tokens, exact = learned.vocabulary.encode(RHYME), in_float64(learned)
    model = moved(learned, device).model
    assert evaluate_stateful(model, tokens).nats == pytest.approx(evaluate_stateful(exact, tokens).nats, rel=2e-5)
    assert evaluate_windows(model, tokens).nats == pytest.approx(evaluate_windows(exact, tokens).nats, rel=2e-5)
    assert evaluate_quickly(model, tokens).nats == pytest.approx(evaluate_quickly(exact, tokens).nats, rel=2e-5)
    long = learned.vocabulary.encode(RHYME * 2)  # for two streams
    (loss, method), (expected, _) = evaluate_batched(model, long), evaluate_batched(exact, long)
    assert method == "stateful, 2 streams"
    assert loss.nats == pytest.approx(expected.nats, rel=2e-5)
    assert loss.nats < 1.5, "something was learned"
