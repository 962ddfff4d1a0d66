"""Both figures of a model's quality against loops over single characters, summed in double precision here."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.evaluation import Loss, evaluate_batched, evaluate_stateful, evaluate_windows
from charlstm.model import CharLSTM
from charlstm.vocabulary import Tokens

VOCAB_SIZE = 9


def make(scale: float = 3.0, **settings: object) -> CharLSTM:
    """A random model with weights large enough to heed what it reads."""
    torch.manual_seed(21)
    forgetting = {"hidden_size": 6, "forget_bias": 3.0, "recurrent_init": "uniform"}  # what is 256 characters back
    model = CharLSTM(VOCAB_SIZE, ModelConfig(**{**forgetting, **settings}))
    with torch.no_grad():
        for parameter in filter(lambda each: each.dim() > 1, model.parameters()):
            parameter.mul_(scale)
    return model


def some_tokens(length: int, seed: int = 8) -> Tokens:
    return np.random.default_rng(seed).integers(VOCAB_SIZE, size=length).astype(np.uint8)


@torch.no_grad()
def character_by_character(model: CharLSTM, tokens: Tokens, restart_every: int | None = None) -> list[float]:
    """-log p of each character after the first, in double precision, the state set to zero at every restart."""
    config, weights = model.config, {name: each.double().numpy() for name, each in model.state_dict().items()}
    assert config.num_layers == 1
    assert config.embedding_dim == 0
    size, losses = config.hidden_size, []
    h, c = np.zeros(size), np.zeros(size)
    for place, (token, target) in enumerate(pairwise(tokens)):
        if restart_every and place % restart_every == 0:
            h, c = np.zeros(size), np.zeros(size)
        gates = weights["lstm.weight_ih_l0"][:, token] + weights["lstm.weight_hh_l0"] @ h
        gates = gates + weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]
        i, f, g, o = np.split(gates, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        logits = weights["head.weight"] @ h + weights["head.bias"]
        losses.append(float(np.log(np.exp(logits).sum()) - logits[target]))
    return losses


def mean(losses: list[float]) -> float:
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("length", [2, 3, 256, 1000, 4097, 4098, 6000])
def test_stateful_is_the_mean_over_every_character_with_the_state_carried(length: int) -> None:
    """Lengths on both sides of the 4,096 characters that are read at once."""
    model, tokens = make(), some_tokens(length)
    loss = evaluate_stateful(model, tokens)
    assert loss.num_chars == length - 1
    assert loss.nats == pytest.approx(mean(character_by_character(model, tokens)), abs=2e-6)


@pytest.mark.parametrize("length", [2, 256, 257, 258, 513, 1500, 65 * 256 + 1, 66 * 256 + 100])
def test_windows_is_the_mean_over_every_character_with_the_state_dropped_every_256(length: int) -> None:
    """Lengths with and without a shorter last window, on both sides of the 64 windows that are read at once."""
    model, tokens = make(), some_tokens(length)
    loss = evaluate_windows(model, tokens)
    assert loss.num_chars == length - 1
    assert loss.nats == pytest.approx(mean(character_by_character(model, tokens, restart_every=256)), abs=2e-6)


def test_the_last_short_window_counts() -> None:
    """Only the one character after 256 others is improbable: without it the loss would be near 0."""
    model = CharLSTM(2, ModelConfig(hidden_size=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.head.bias[0] = 20.0  # always expects token 0, whatever it reads
    tokens = np.zeros(258, dtype=np.uint8)
    tokens[-1] = 1
    expected = (256 * math.log1p(math.exp(-20)) + math.log1p(math.exp(20))) / 257
    assert evaluate_windows(model, tokens).nats == pytest.approx(expected, rel=1e-5)
    assert evaluate_stateful(model, tokens).nats == pytest.approx(expected, rel=1e-5)


def test_the_two_figures_differ_where_the_state_matters() -> None:
    """Or else the tests above could not tell them apart."""
    model, tokens = make(), some_tokens(1500)
    difference = evaluate_stateful(model, tokens).nats - evaluate_windows(model, tokens).nats
    assert abs(difference) > 1e-4


@pytest.mark.parametrize("length", [2, 300, 1023])
def test_a_short_text_is_not_cut_into_streams(length: int) -> None:
    model, tokens = make(), some_tokens(length)
    loss, method = evaluate_batched(model, tokens)
    assert method == "stateful"
    assert loss.num_chars == length - 1
    assert loss.nats == pytest.approx(mean(character_by_character(model, tokens)), abs=2e-6)


@pytest.mark.parametrize(
    ("length", "num_streams"), [(1024, 2), (1537, 3), (3333, 6), (32 * 512 - 1, 31), (32 * 512, 32), (20_000, 32)]
)
def test_streams_come_close_to_the_stateful_figure(length: int, num_streams: int) -> None:
    """Measured for this forgetful model: off by less than 1e-6, and by 2e-4 or more if the streams began cold."""
    model, tokens = make(scale=2.0, forget_bias=1.0), some_tokens(length)
    loss, method = evaluate_batched(model, tokens)
    assert method == f"stateful, {num_streams} streams"
    assert loss.num_chars == length - 1
    assert loss.nats == pytest.approx(mean(character_by_character(model, tokens)), abs=5e-6)


def test_streams_are_exact_once_the_characters_before_are_counted() -> None:
    """Each of 3 streams by itself: 256 characters read for the state alone, then its own third is predicted."""
    model, tokens = make(forget_bias=5.0), some_tokens(1537)
    expected: list[float] = character_by_character(model, tokens[:513])
    for begin in (512, 1024):
        expected += character_by_character(model, tokens[begin - 256 : begin + 513])[256:]
    assert len(expected) == 1536
    loss, _ = evaluate_batched(model, tokens)
    assert loss.nats == pytest.approx(mean(expected), abs=2e-6)


def test_an_untrained_model_loses_about_ln_v() -> None:
    model, tokens = make(scale=0.01), some_tokens(2000)
    assert evaluate_stateful(model, tokens).nats == pytest.approx(math.log(VOCAB_SIZE), abs=0.1)


def test_bits_are_nats_over_ln_2() -> None:
    assert Loss(1.5, 10).bpc == pytest.approx(1.5 / 0.6931471805599453, rel=1e-12)


Evaluate = Callable[[CharLSTM, Tokens], object]
EVALUATIONS = pytest.mark.parametrize("evaluate", [evaluate_stateful, evaluate_windows, evaluate_batched])


@EVALUATIONS
@pytest.mark.parametrize("is_training", [True, False])
def test_evaluation_touches_neither_mode_nor_gradients_nor_random_numbers(
    evaluate: Evaluate, is_training: bool
) -> None:
    model = make(dropout=0.5).train(is_training)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(7)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  must not be used
    evaluate(model, some_tokens(2000))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert model.training == model.lstm.training == is_training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert not torch.is_inference_mode_enabled()


@EVALUATIONS
def test_gradients_that_wait_for_their_update_survive_an_evaluation(evaluate: Evaluate) -> None:
    model = make()
    model(torch.tensor([[1, 2, 3]]))[0].sum().backward()
    before = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    evaluate(model, some_tokens(2000))
    assert len(before) == 6
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, before[name]), name


@EVALUATIONS
def test_dropout_plays_no_part(evaluate: Evaluate) -> None:
    model, tokens = make(dropout=0.9), some_tokens(2000)
    assert evaluate(model.train(), tokens) == evaluate(model.eval(), tokens)


@EVALUATIONS
def test_the_order_of_evaluations_makes_no_difference(evaluate: Evaluate) -> None:
    model, tokens = make(), some_tokens(3000)
    first = evaluate(model, tokens)
    evaluate(model, some_tokens(2500, seed=9))
    assert evaluate(model, tokens) == first
