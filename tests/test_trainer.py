"""The training loop against a loop a person would write, and against itself only where the claim is sameness."""

import copy
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from charlstm.checkpoint import load_training_state, save_training_state
from charlstm.config import ModelConfig, Settings, TrainConfig
from charlstm.corpus import Corpus, Split
from charlstm.errors import CheckpointError, CorpusError, TrainingDiverged
from charlstm.events import Evaluated, Event, Progress, Sampled, StepDone
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer, measured, train

NEVER = 10**6
RHYME = "the cat sat on the mat,\nthe dog sat on the log.\n" * 12  # 576 characters, 15 of them distinct
SMALL = ModelConfig(hidden_size=8)
# Its validation text reads backwards: what is learned of frequencies helps there at first, what comes after misleads.
CONTRARY = RHYME[:-58] + RHYME[-58:][::-1]


def config(**values: object) -> TrainConfig:
    """A short, quiet run without a clock: reports only at its end, unless told otherwise."""
    quiet = {"log_every": NEVER, "eval_every": NEVER, "sample_every": NEVER, "sample_chars": 5}
    return TrainConfig(**{"max_minutes": 0.0, "batch_size": 2, "seq_len": 10, "seed": 3, **quiet, **values})


def trainer_of(train_config: TrainConfig, model: ModelConfig = SMALL, text: str = RHYME) -> Trainer:
    split = Corpus("text", text).split(model, train_config)
    return Trainer(LanguageModel.create(split.vocabulary, model, train_config.seed), split, train_config)


def split_of(train_config: TrainConfig, model: ModelConfig = SMALL, text: str = RHYME) -> Split:
    return Corpus("text", text).split(model, train_config)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in trainer.language_model.model.named_parameters()}


def assert_same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def run_until(trainer: Trainer, step: int) -> list[Event]:
    events = []
    for event in trainer.run():
        events.append(event)
        if event == StepDone(step):
            break
    return events


def of(kind: type, events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


# One step, pinned ----------------------------------------------------------------------------------------------------


def test_one_step_gives_the_golden_numbers() -> None:
    settings = config(max_steps=1, log_every=1, batch_size=3, learning_rate=0.01, weight_decay=0.1, max_grad_norm=0.5)
    trainer = trainer_of(settings, ModelConfig(hidden_size=8, num_layers=2, embedding_dim=4))
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


def test_the_curve_starts_near_ln_v_and_the_smoothed_one_exactly_there() -> None:
    trainer = trainer_of(config(max_steps=1), ModelConfig(hidden_size=64))
    first = next(trainer.run())
    assert isinstance(first, Progress)
    assert first.step == 0
    assert first.train_loss == pytest.approx(math.log(len(set(RHYME))), abs=0.1)
    assert first.smooth_loss == math.log(len(set(RHYME)))
    assert (first.fraction, first.num_passes, first.elapsed_seconds) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("log_every", [1, 3])
def test_the_smoothed_loss_forgets_a_hundredth_every_step(log_every: int) -> None:
    points = of(Progress, list(trainer_of(config(max_steps=10, log_every=log_every)).run()))
    smooth, before = math.log(len(set(RHYME))), 0
    for point in points[1:]:
        assert isinstance(point, Progress)
        for _ in range(point.step - before):
            smooth = 0.99 * smooth + 0.01 * point.train_loss
        before = point.step
        assert point.smooth_loss == pytest.approx(smooth, rel=1e-12)
    assert before == 10


@torch.no_grad()
def loss_of_streams(model: LanguageModel, text: str, num_streams: int) -> float:
    """The untouched model's mean loss over `text` cut into streams, each read one character at a time from zero."""
    tokens = [model.vocabulary.characters.index(char) for char in text]
    num_targets = len(tokens) - 1
    lengths = [num_targets // num_streams + (index < num_targets % num_streams) for index in range(num_streams)]
    total, begin = 0.0, 0
    for length in lengths:
        state = model.model.initial_state(1)
        for place in range(begin, begin + length):
            logits, state = model.model(torch.tensor([[tokens[place]]]), state)
            total -= float(logits[0, 0].double().log_softmax(dim=0)[tokens[place + 1]])
        begin += length
    assert begin == num_targets
    return total / num_targets


@pytest.mark.parametrize(("batch_size", "seq_len"), [(1, 10), (3, 7), (4, 600), (5, 1)])
def test_one_pass_learns_from_every_target_once_and_weighs_each_alike(batch_size: int, seq_len: int) -> None:
    """With a learning rate too small to change a weight, a pass's mean loss is the untrained model's on the text."""
    trainer = trainer_of(config(batch_size=batch_size, seq_len=seq_len, max_passes=1, learning_rate=1e-30))
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
    model = ModelConfig(hidden_size=8, dropout=0.5)
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


# Events --------------------------------------------------------------------------------------------------------------


def test_events_come_at_0_at_every_period_and_at_the_end() -> None:
    settings = config(max_steps=11, log_every=2, eval_every=3, sample_every=4)
    events = list(trainer_of(settings).run())
    assert [event.step for event in of(Progress, events)] == [0, 2, 4, 6, 8, 10, 11]
    assert [event.step for event in of(Evaluated, events)] == [0, 3, 6, 9, 11]
    assert [event.step for event in of(Sampled, events)] == [0, 4, 8, 11]
    assert [event.step for event in of(StepDone, events)] == list(range(1, 12))


def test_an_end_on_a_period_is_reported_once() -> None:
    events = list(trainer_of(config(max_steps=6, log_every=3, eval_every=3, sample_every=3)).run())
    assert [event.step for event in of(Progress, events)] == [0, 3, 6]
    assert [event.step for event in of(Evaluated, events)] == [0, 3, 6]
    assert [event.step for event in of(Sampled, events)] == [0, 3, 6]


def test_each_steps_reports_come_before_its_step_done() -> None:
    events = list(trainer_of(config(max_steps=5, log_every=1, eval_every=1, sample_every=1)).run())
    order = [(event.step, type(event).__name__) for event in events]
    kinds = ["Progress", "Evaluated", "Sampled", "StepDone"]
    assert order == [(step, kind) for step in range(6) for kind in kinds][:3] + [
        (step, kind) for step in range(1, 6) for kind in kinds
    ]


@pytest.mark.parametrize(
    ("limits", "num_steps"), [({"max_steps": 1}, 1), ({"max_steps": 7}, 7), ({"max_passes": 0.5}, 13)]
)
def test_the_run_takes_exactly_the_planned_steps(limits: dict[str, object], num_steps: int) -> None:
    """A pass here is 26 windows: 517 targets in 2 streams, 10 at a time."""
    trainer = trainer_of(config(**limits))
    events = list(trainer.run())
    assert events[-1] == StepDone(num_steps)
    assert trainer.step == num_steps
    assert trainer.fraction == 1.0
    assert list(trainer.run()) == []


def test_samples_hold_the_prompt_and_the_asked_characters_and_differ_by_learning_alone() -> None:
    settings = config(
        max_steps=12, sample_every=6, sample_prompt="the ", sample_chars=30, sample_temperature=0.5, learning_rate=0.05
    )
    samples = of(Sampled, list(trainer_of(settings).run()))
    again = of(Sampled, list(trainer_of(settings).run()))
    assert samples == again
    for sample in samples:
        assert isinstance(sample, Sampled)
        assert sample.text.startswith("the ")
        assert len(sample.text) == 34
        assert (sample.temperature, sample.seed) == (0.5, 3)
    assert len({sample.text for sample in samples if isinstance(sample, Sampled)}) == 3


def test_the_best_validation_is_marked() -> None:
    events = list(trainer_of(config(max_steps=40, eval_every=1, learning_rate=0.02), text=CONTRARY).run())
    best = math.inf
    seen = Counter()
    for event in of(Evaluated, events):
        assert isinstance(event, Evaluated)
        assert event.is_best == (event.val_loss < best)
        best = min(best, event.val_loss)
        seen[event.is_best] += 1
    assert seen[True] > 1
    assert seen[False] > 1, "never worse: this run is too tame to show anything"


def test_validation_is_of_the_text_that_was_kept_back() -> None:
    trainer = trainer_of(config(max_steps=1))
    event = trainer.evaluate()
    assert event.method == "stateful"
    expected = loss_of_streams(trainer.language_model, RHYME[-round(0.1 * len(RHYME)) :], 1)
    assert event.val_loss == pytest.approx(expected, abs=1e-5)


def test_reports_change_no_number_of_the_training() -> None:
    """Validating and sampling at every step, or never: the same weights and the same losses, dropout included."""
    model = ModelConfig(hidden_size=8, num_layers=2, dropout=0.4)
    quiet = trainer_of(config(max_steps=20, log_every=1), model)
    quiet_losses = [event.train_loss for event in quiet.run() if isinstance(event, Progress)]
    busy = trainer_of(config(max_steps=20, log_every=1, eval_every=1, sample_every=1), model)
    busy_events = list(busy.run())
    assert [event.train_loss for event in busy_events if isinstance(event, Progress)] == quiet_losses
    assert len(of(Evaluated, busy_events)) == len(of(Sampled, busy_events)) == 21
    assert_same_weights(weights(busy), weights(quiet))


def test_a_consumer_that_draws_random_numbers_changes_nothing() -> None:
    model = ModelConfig(hidden_size=8, dropout=0.4)
    alone, disturbed = trainer_of(config(max_steps=8), model), trainer_of(config(max_steps=8), model)
    list(alone.run())
    for event in disturbed.run():
        torch.manual_seed(event.step)
        torch.rand(event.step + 1)
        disturbed.language_model.model.eval()
    assert_same_weights(weights(disturbed), weights(alone))


# Continuing ----------------------------------------------------------------------------------------------------------

REPEATED = ModelConfig(hidden_size=8, num_layers=2, dropout=0.3)


def timeless(event: Event) -> Event:
    """Without what the clock says."""
    if isinstance(event, Progress):
        return event.model_copy(update={"elapsed_seconds": 0.0, "chars_per_second": 0.0})
    if isinstance(event, Evaluated):
        return event.model_copy(update={"elapsed_seconds": 0.0})
    return event


@pytest.mark.parametrize("num_steps", [0, 1, 13, 25, 26, 27])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_some_steps_then_the_rest_equal_all_at_once(tmp_path: Path, num_steps: int, schedule: str) -> None:
    """Through the file, with dropout and 3 streams, on and off the boundaries of logs and passes (18 windows)."""
    settings = config(
        batch_size=3,
        max_steps=40,
        log_every=5,
        eval_every=7,
        sample_every=9,
        lr_schedule=schedule,
        warmup_steps=20,
        learning_rate=0.02,
        weight_decay=0.1,
    )
    straight = trainer_of(settings, REPEATED)
    expected = list(straight.run())

    first = trainer_of(settings, REPEATED)
    before = run_until(first, num_steps) if num_steps else []
    save_training_state(tmp_path / "state.safetensors", *first.state())
    second = trainer_of(settings.model_copy(update={"seed": settings.seed}), REPEATED)
    with torch.no_grad():
        for parameter in second.language_model.model.parameters():
            parameter.fill_(9.0)  # nothing of the fresh model may survive
    second.load_state(*load_training_state(tmp_path / "state.safetensors"))
    torch.manual_seed(12345)  # nor may anything hang on the global random state
    after = list(second.run())

    assert [timeless(event) for event in before + after] == [timeless(event) for event in expected]
    assert_same_weights(weights(second), weights(straight))
    assert second.best_val_loss == straight.best_val_loss


def test_a_state_is_a_copy_that_neither_trainer_changes() -> None:
    settings = config(max_steps=12)
    first = trainer_of(settings, REPEATED)
    run_until(first, 6)
    tensors, facts = first.state()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    list(first.run())
    second = trainer_of(settings, REPEATED)
    second.load_state(tensors, facts)
    list(second.run())
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[name]), name
    assert facts["step"] == 6


def test_a_state_can_be_continued_twice() -> None:
    settings = config(max_steps=12)
    first = trainer_of(settings, REPEATED)
    run_until(first, 6)
    state = first.state()
    ends = []
    for _ in range(2):
        trainer = trainer_of(settings, REPEATED)
        trainer.load_state(*state)
        list(trainer.run())
        ends.append(weights(trainer))
    assert_same_weights(*ends)


def test_a_run_that_was_left_goes_on_where_it_was() -> None:
    settings = config(max_steps=12, log_every=5)
    straight, paused = trainer_of(settings), trainer_of(settings)
    expected = [timeless(event) for event in straight.run()]
    events = run_until(paused, 7) + list(paused.run())
    assert [timeless(event) for event in events] == expected
    assert_same_weights(weights(paused), weights(straight))


@pytest.mark.parametrize(
    ("model", "text", "values"),
    [
        (ModelConfig(hidden_size=9), RHYME, {}),
        (ModelConfig(hidden_size=8, num_layers=2), RHYME, {}),
        (ModelConfig(hidden_size=8, embedding_dim=4), RHYME, {}),
        (ModelConfig(hidden_size=8), RHYME.replace("cat", "cow"), {}),
        (ModelConfig(hidden_size=8), RHYME, {"batch_size": 3}),
    ],
    ids=["other size", "other layers", "other input", "other vocabulary", "other streams"],
)
def test_the_state_of_another_model_is_refused_in_one_sentence(
    model: ModelConfig, text: str, values: dict[str, object]
) -> None:
    other = trainer_of(config(max_steps=4), SMALL)
    run_until(other, 2)
    with pytest.raises(CheckpointError, match="does not fit this run") as caught:
        trainer_of(config(max_steps=4, **values), model, text).load_state(*other.state())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["step", "elapsed_seconds", "best_val_loss", "smooth_loss", "num_targets"])
def test_a_state_that_lacks_a_fact_is_refused(missing: str) -> None:
    other = trainer_of(config(max_steps=4))
    run_until(other, 2)
    tensors, facts = other.state()
    del facts[missing]
    with pytest.raises(CheckpointError, match=missing):
        trainer_of(config(max_steps=4)).load_state(tensors, facts)


# Time ----------------------------------------------------------------------------------------------------------------


class Clock:
    """Stands still but for what the test adds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def clocked(settings: TrainConfig) -> tuple[Trainer, Clock]:
    split, clock = split_of(settings), Clock()
    return Trainer(LanguageModel.create(split.vocabulary, SMALL, settings.seed), split, settings, clock), clock


def events_at(trainer: Trainer, clock: Clock, seconds_per_step: float) -> Iterator[Event]:
    for event in trainer.run():
        yield event
        if isinstance(event, StepDone):
            clock.now += seconds_per_step


def test_a_run_limited_by_minutes_ends_at_its_limit_with_its_learning_rate_near_0() -> None:
    """A second between updates and 30 seconds: the 31st update is the first to find the time used up."""
    trainer, clock = clocked(config(max_minutes=0.5, log_every=1, learning_rate=0.01, lr_schedule="cosine"))
    events = list(events_at(trainer, clock, seconds_per_step=1.0))
    points = [event for event in events if isinstance(event, Progress)]
    assert events[-1] == StepDone(31)
    assert points[-1].elapsed_seconds == 30.0
    assert points[-1].fraction == 1.0
    assert points[1].learning_rate == 0.01
    assert points[16].learning_rate == pytest.approx(0.005, rel=0.11)
    assert points[-1].learning_rate == pytest.approx(0.01 * (1 + math.cos(math.pi * 29 / 30)) / 2, rel=1e-6)
    assert points[-1].learning_rate < 0.01 / 300
    assert of(Evaluated, events)[-1].step == of(Sampled, events)[-1].step == 31


def test_time_before_a_resume_counts_and_time_between_does_not() -> None:
    settings = config(max_minutes=0.5)
    first, clock = clocked(settings)
    for event in events_at(first, clock, seconds_per_step=1.0):
        if event == StepDone(21):
            break
    assert first.elapsed_seconds == 20.0
    second, later = clocked(settings)
    later.now = 5e6
    second.load_state(*first.state())
    assert list(events_at(second, later, seconds_per_step=1.0))[-1] == StepDone(32)
    assert second.elapsed_seconds == 30.0


def test_speed_is_characters_over_the_seconds_they_took_and_reports_cost_nothing() -> None:
    """A step learns from 2 streams of 10 characters; between two points lie 4 steps of 2 seconds."""
    trainer, clock = clocked(config(max_steps=20, log_every=4, eval_every=2, sample_every=NEVER))
    speeds = []
    for event in trainer.run():
        if isinstance(event, StepDone):
            clock.now += 2.0
        elif isinstance(event, Evaluated):
            clock.now += 500.0  # whatever validating and drawing it took
        elif isinstance(event, Progress) and event.step:
            speeds.append(event.chars_per_second)
    # The clock moves after a step here, so the first point has seen the time of 3 steps only.
    assert speeds == pytest.approx([80 / 6, 10.0, 10.0, 10.0, 10.0])


def test_speed_after_a_resume_is_of_what_was_learned_since() -> None:
    settings = config(max_steps=20, log_every=10)
    first, clock = clocked(settings)
    for event in events_at(first, clock, seconds_per_step=2.0):
        if event == StepDone(8):
            break
    second, clock = clocked(settings)
    second.load_state(*first.state())
    speeds = [event.chars_per_second for event in events_at(second, clock, 2.0) if isinstance(event, Progress)]
    # 2 steps in the time of one, as the clock moves after a step; then 10 steps in the time of 10.
    assert speeds == pytest.approx([40 / 2, 10.0])


# Divergence ----------------------------------------------------------------------------------------------------------


def assert_diverges(trainer: Trainer) -> list[Event]:
    events: list[Event] = []
    with pytest.raises(TrainingDiverged) as caught:
        events.extend(trainer.run())
    message = str(caught.value)
    assert "learning_rate" in message
    assert "\n" not in message
    assert message.endswith(".")
    assert ". " not in message
    for event in events:
        figure = getattr(event, "train_loss", getattr(event, "val_loss", 0.0))
        assert math.isfinite(figure), event
    return events


@pytest.mark.parametrize("size", [math.inf, math.nan, 1e38])
def test_weights_beyond_all_numbers_diverge(size: float) -> None:
    trainer = trainer_of(config(max_steps=50, log_every=5, learning_rate=1.0))
    with torch.no_grad():
        trainer.language_model.model.head.weight[0] = size
        trainer.language_model.model.head.weight[1] = -size
    assert_diverges(trainer)


@pytest.mark.parametrize(
    "periods", [{"log_every": 1}, {"log_every": 4}, {"eval_every": 3}, {"sample_every": 3}, {"sample_every": 7}]
)
def test_a_run_that_breaks_down_midway_says_so_at_the_next_report(periods: dict[str, object]) -> None:
    """Whichever report comes first: validating or sampling broken weights would end in another error, or in none."""
    trainer = trainer_of(config(max_steps=30, **periods))
    run_until(trainer, 2)
    with torch.no_grad():
        trainer.language_model.model.head.bias[0] = math.nan
    events = assert_diverges(trainer)
    due = math.ceil(3 / next(iter(periods.values()))) * next(iter(periods.values()))
    assert trainer.step == due
    assert events == [StepDone(step) for step in range(3, due)]


def test_a_gradient_that_spoils_the_weights_is_noticed_before_they_are_sampled() -> None:
    """The loss of that step was still a number; only the weights after it are none."""
    trainer = trainer_of(config(max_steps=30, sample_every=3))
    run_until(trainer, 2)
    trainer.language_model.model.head.bias.register_hook(lambda gradient: gradient * math.inf)
    assert assert_diverges(trainer) == []
    assert trainer.step == 3


def test_one_enormous_gradient_is_shortened_and_training_goes_on() -> None:
    """Its length overflows to infinity, yet every number in it is finite and the weights stay numbers."""
    trainer = trainer_of(config(max_steps=6, log_every=1, sample_every=1, max_grad_norm=1.0))
    run_until(trainer, 2)
    handle = trainer.language_model.model.head.bias.register_hook(lambda gradient: gradient * 1e30)
    points = []
    for event in trainer.run():
        points += [event] if isinstance(event, Progress) else []
        handle.remove()
    assert points[0].grad_norm == math.inf
    assert [math.isfinite(point.train_loss) for point in points] == [True] * 4
    assert trainer.step == 6


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
    settings = config(max_steps=40, eval_every=1, learning_rate=0.02)
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
    assert origin.split == "first 90% training, last 10% validation"
    assert origin.train_config == {**settings.model_dump(), "corpus": "text"}
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
    result = measured(language_model, tokens)
    assert result.model is language_model.model
    assert result.provenance is not None
    expected = loss_of_streams(language_model, RHYME[-58:], 1)
    assert result.provenance.val_stateful == pytest.approx(expected, abs=1e-5)
    assert result.provenance.val_windows == pytest.approx(expected, abs=1e-5)  # 58 characters are one window
    assert language_model.provenance is not None
    assert language_model.provenance.val_stateful is None
