"""The training loop against a loop a person would write."""

import copy
import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training_runs import (
    NEVER,
    RHYME,
    config,
    loss_of_streams,
    of,
    split_of,
    trainer_of,
    weights,
)

from charlstm.config import ModelConfig, Settings
from charlstm.events import Progress, StepDone
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

# One step, pinned ----------------------------------------------------------------------------------------------------


def test_one_step_gives_the_golden_numbers() -> None:
    settings = config(max_steps=1, log_every=1, batch_size=3, learning_rate=0.01, weight_decay=0.1, max_grad_norm=0.5)
    network = ModelConfig(hidden_size=8, num_layers=2, embedding_dim=4, recurrent_init="uniform")
    trainer = trainer_of(settings, network)
    _, progress = of(Progress, list(trainer.run()))
    assert isinstance(progress, Progress)
    found = {
        "loss": progress.train_loss,
        "grad_norm": progress.grad_norm,
        "sum of weights": sum(float(each.double().sum()) for each in weights(trainer).values()),
        "sum of their sizes": sum(float(each.double().abs().sum()) for each in weights(trainer).values()),
    }
    golden = {
        "loss": 2.800638,
        "grad_norm": 0.3416832,
        "sum of weights": 29.61679,
        "sum of their sizes": 260.9975,
    }
    assert found == pytest.approx(golden, rel=1e-4), (
        "one training step no longer gives the numbers it gave: if you changed the maths on purpose, replace the "
        f"numbers by {found} and say so in the changelog; if not, something changed it for you."
    )


# The post's loop -----------------------------------------------------------------------------------------------------


BLOG = {"hidden_size": 12, "seq_len": 15, "max_passes": 0, "log_every": 1, "eval_every": NEVER, "sample_every": NEVER}


class PlainRun(NamedTuple):
    losses: list[float]
    gradients: list[dict[str, Tensor]]
    weights: dict[str, Tensor]


def plain_loop(start: LanguageModel, tokens: list[int], seq_len: int, num_steps: int, resets: bool = True) -> PlainRun:
    """Min-char-rnn in PyTorch as a blog post of 2020 would have it: one stream, one-hot input, Adam."""
    vocab_size = len(start.vocabulary)
    lstm = nn.LSTM(vocab_size, start.model.config.hidden_size)  # time first, a batch of one
    linear = nn.Linear(start.model.config.hidden_size, vocab_size)
    lstm.load_state_dict(start.model.lstm.state_dict())
    linear.load_state_dict(start.model.head.state_dict())
    names = [f"lstm.{name}" for name, _ in lstm.named_parameters()] + ["head.weight", "head.bias"]
    parameters = dict(zip(names, [*lstm.parameters(), *linear.parameters()], strict=True))
    optimizer = torch.optim.Adam(parameters.values(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    hidden, position, losses, gradients = None, 0, [], []
    for _ in range(num_steps):
        if position + 1 >= len(tokens):
            position = 0
            hidden = None if resets else hidden
        inputs = torch.tensor(tokens[position : position + seq_len])
        targets = torch.tensor(tokens[position + 1 : position + seq_len + 1])
        inputs = inputs[: len(targets)]
        outputs, hidden = lstm(functional.one_hot(inputs, vocab_size).float().unsqueeze(1), hidden)
        hidden = (hidden[0].detach(), hidden[1].detach())
        loss = criterion(linear(outputs.squeeze(1)), targets)
        optimizer.zero_grad()
        loss.backward()
        gradients.append({name: each.grad.clone() for name, each in parameters.items() if each.grad is not None})
        optimizer.step()
        losses.append(loss.item())
        position += seq_len
    return PlainRun(losses, gradients, {name: each.detach().clone() for name, each in parameters.items()})


def blog_trainer(max_steps: int) -> Trainer:
    settings = Settings.preset("blog", **{**BLOG, "max_steps": max_steps})
    assert settings.train.batch_size == 1
    return trainer_of(settings.train, settings.model)


def train_tokens() -> list[int]:
    """The first 90 % of the text, encoded by hand."""
    characters = sorted(set(RHYME))
    return [characters.index(char) for char in RHYME[: len(RHYME) - round(0.1 * len(RHYME))]]


def test_the_first_steps_loss_and_gradient_are_a_plain_loops() -> None:
    trainer = blog_trainer(1)
    plain = plain_loop(trainer.language_model, train_tokens(), 15, 1)
    untrained, first = of(Progress, list(trainer.run()))
    assert isinstance(first, Progress)
    assert isinstance(untrained, Progress)
    assert first.train_loss == pytest.approx(plain.losses[0], rel=1e-6)
    assert untrained.train_loss == pytest.approx(plain.losses[0], rel=1e-6)
    for name, parameter in trainer.language_model.model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain.gradients[0][name], rtol=1e-4, atol=1e-7, msg=name)
    norm = math.sqrt(sum(float((each.double() ** 2).sum()) for each in plain.gradients[0].values()))
    assert first.grad_norm == pytest.approx(norm, rel=1e-5)


def test_five_steps_follow_a_plain_loop_closely() -> None:
    trainer = blog_trainer(5)
    plain = plain_loop(trainer.language_model, train_tokens(), 15, 5)
    points = [event for event in trainer.run() if isinstance(event, Progress)][1:]
    assert [point.train_loss for point in points] == pytest.approx(plain.losses, rel=1e-4)
    for name, tensor in weights(trainer).items():
        torch.testing.assert_close(tensor, plain.weights[name], rtol=1e-3, atol=2e-4, msg=name)


def test_a_second_pass_starts_from_zero_and_its_last_window_is_the_short_one() -> None:
    """518 characters are 34 windows of 15 targets and one of 7; 40 steps reach into the second pass."""
    trainer = blog_trainer(40)
    tokens = train_tokens()
    assert (len(tokens) - 1) % 15 == 7
    plain = plain_loop(trainer.language_model, tokens, 15, 40)
    careless = plain_loop(trainer.language_model, tokens, 15, 40, resets=False)
    losses = [event.train_loss for event in trainer.run() if isinstance(event, Progress)][1:]
    assert losses == pytest.approx(plain.losses, abs=2e-3)
    assert abs(careless.losses[35] - plain.losses[35]) > 0.02, "the reset makes no difference, so this proves nothing"


# What the losses mean ------------------------------------------------------------------------------------------------


def test_the_curve_starts_near_ln_v_and_the_smoothed_one_with_it() -> None:
    trainer = trainer_of(config(max_steps=1), ModelConfig(hidden_size=64))
    first = next(trainer.run())
    assert isinstance(first, Progress)
    assert first.step == 0
    assert first.train_loss == pytest.approx(math.log(len(set(RHYME))), abs=0.1)
    assert first.smooth_loss == first.train_loss
    assert (first.fraction, first.num_passes, first.elapsed_seconds) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("log_every", [1, 3])
def test_the_smoothed_loss_is_a_mean_that_forgets_a_hundredth_every_step(log_every: int) -> None:
    """Of measured losses alone: the weights of those so far are made to sum to 1."""
    points = of(Progress, list(trainer_of(config(max_steps=10, log_every=log_every)).run()))
    losses: list[float] = []
    for point in points[1:]:
        assert isinstance(point, Progress)
        losses += [point.train_loss] * (point.step - len(losses))
        shares = [0.99 ** (len(losses) - 1 - index) for index in range(len(losses))]
        mean = sum(share * loss for share, loss in zip(shares, losses, strict=True)) / sum(shares)
        assert point.smooth_loss == pytest.approx(mean, rel=1e-12)
    assert len(losses) == 10


@pytest.mark.parametrize(("batch_size", "seq_len"), [(1, 10), (3, 7), (4, 600), (5, 1)])
def test_one_pass_learns_from_every_target_once_and_weighs_each_alike(batch_size: int, seq_len: int) -> None:
    """With a learning rate too small to change a weight, a pass's mean loss is the untrained model's on the text."""
    still = {"learning_rate": 1e-30, "state_reset": 0.0}
    trainer = trainer_of(config(batch_size=batch_size, seq_len=seq_len, max_passes=1, **still))
    model = copy.deepcopy(trainer.language_model)
    train_text = RHYME[: len(RHYME) - round(0.1 * len(RHYME))]
    events = list(trainer.run())
    last = of(Progress, events)[-1]
    assert isinstance(last, Progress)
    assert last.train_loss == pytest.approx(loss_of_streams(model, train_text, batch_size), abs=1e-5)
    assert last.num_passes == 1.0
    longest = math.ceil((len(train_text) - 1) / batch_size)
    assert last.step == len(of(StepDone, events)) == math.ceil(longest / seq_len)


def test_the_gradient_is_of_the_mean_over_targets_where_one_stream_is_shorter() -> None:
    """517 targets in streams of 259 and 258, in one window: the place that holds no character weighs nothing."""
    trainer = trainer_of(config(max_steps=1, seq_len=600, max_grad_norm=0))
    model = copy.deepcopy(trainer.language_model.model)
    list(trainer.run())
    tokens = torch.tensor(train_tokens())
    assert len(tokens) - 1 == 259 + 258
    loss = torch.zeros(())
    for stream in (tokens[:260], tokens[259:]):
        logits, _ = model(stream[None, :-1])
        loss = loss + functional.cross_entropy(logits[0], stream[1:], reduction="sum")
    (loss / 517).backward()
    for (name, parameter), expected in zip(
        trainer.language_model.model.named_parameters(), model.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-7, msg=name)


def test_dropout_drops_other_activations_at_every_step_and_with_another_seed() -> None:
    """The same window and, with so small a learning rate, the same weights: only what is dropped differs."""
    model = ModelConfig(hidden_size=64, dropout=0.5)
    settings = config(max_steps=10, seq_len=600, batch_size=1, log_every=1, learning_rate=1e-30)
    losses = []
    for seed in (3, 4):
        trainer = Trainer(trainer_of(settings, model).language_model, split_of(settings, model), settings)
        trainer.config = settings.model_copy(update={"seed": seed})
        losses += [event.train_loss for event in trainer.run() if isinstance(event, Progress) and event.step]
    assert len(set(losses)) == len(losses) == 20


def test_gradients_are_shortened_to_max_grad_norm_but_reported_whole() -> None:
    def gradient(max_grad_norm: float) -> tuple[float, float]:
        trainer = trainer_of(config(max_steps=1, max_grad_norm=max_grad_norm))
        last = of(Progress, list(trainer.run()))[-1]
        assert isinstance(last, Progress)
        squares = (
            float((each.grad**2).sum()) for each in trainer.language_model.model.parameters() if each.grad is not None
        )
        return math.sqrt(sum(squares)), last.grad_norm

    free, reported = gradient(0.0)
    assert reported == pytest.approx(free, rel=1e-5)
    assert free > 0.01
    assert gradient(0.01) == (pytest.approx(0.01, rel=1e-3), pytest.approx(free, rel=1e-5))
    assert gradient(1e6) == (pytest.approx(free, rel=1e-5), pytest.approx(free, rel=1e-5))


def test_weight_decay_shrinks_matrices_and_leaves_biases() -> None:
    """AdamW takes learning_rate * weight_decay of each matrix, whatever the gradient."""
    starts = weights(trainer_of(config(max_steps=1)))
    ends = []
    for weight_decay in (0.0, 0.5):
        trainer = trainer_of(config(max_steps=1, weight_decay=weight_decay, learning_rate=0.02, lr_schedule="constant"))
        list(trainer.run())
        ends.append(weights(trainer))
    for name, start in starts.items():
        expected = -0.02 * 0.5 * start if start.dim() == 2 else torch.zeros_like(start)
        torch.testing.assert_close(ends[1][name] - ends[0][name], expected, rtol=1e-3, atol=1e-7, msg=name)


def test_the_reported_learning_rate_is_the_one_of_the_schedule() -> None:
    settings = config(max_steps=8, log_every=1, learning_rate=0.01, lr_schedule="cosine", warmup_steps=4)
    rates = [event.learning_rate for event in trainer_of(settings).run() if isinstance(event, Progress)]
    by_hand = [0.01 * min(1, (done + 1) / 4) * (1 + math.cos(math.pi * done / 8)) / 2 for done in range(8)]
    assert rates == pytest.approx([0.0, *by_hand], rel=1e-9)
