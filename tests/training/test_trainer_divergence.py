"""A loss that is NaN or infinite: back to the last good state once, at half the learning rate, then a sentence."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from training_runs import assert_same_weights, config, of, run_until, timeless, trainer_of, weights

from charlstm.config import ModelConfig
from charlstm.errors import TrainingDiverged
from charlstm.events import Evaluated, Event, Progress, RolledBack, Sampled, StepDone
from charlstm.training import Trainer


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
def test_weights_beyond_all_numbers_are_refused_before_anything_is_reported(size: float) -> None:
    trainer = trainer_of(config(max_steps=50, log_every=5))
    with torch.no_grad():
        trainer.language_model.model.head.weight[0] = size
        trainer.language_model.model.head.weight[1] = -size
    with pytest.raises(TrainingDiverged, match=r"^the loss is NaN or infinite before the first step: [^.\n]+\.$"):
        next(trainer.run())


def break_bias(trainer: Trainer) -> None:
    trainer._model.head.bias.data[0] = math.nan


def run_breaking(trainer: Trainer, *steps: int, broken: Callable[[Trainer], None] = break_bias) -> Iterator[Event]:
    """The run, whose weights are broken once after each of these steps; a step may be named twice."""
    left = list(steps)
    for event in trainer.run():
        yield event
        if isinstance(event, StepDone) and event.step in left:
            left.remove(event.step)
            broken(trainer)


@pytest.mark.parametrize(
    "periods", [{"log_every": 1}, {"log_every": 4}, {"eval_every": 3}, {"sample_every": 3}, {"sample_every": 7}]
)
def test_a_run_that_breaks_down_midway_goes_back_at_the_next_report(periods: dict[str, int]) -> None:
    """Whichever report comes first: validating or sampling broken weights would end in another error, or in none."""
    trainer = trainer_of(config(max_steps=30, **periods))
    events = list(run_breaking(trainer, 2))
    due = math.ceil(3 / next(iter(periods.values()))) * next(iter(periods.values()))
    assert of(RolledBack, events) == [RolledBack(step=0, diverged_step=due, rate_factor=0.5)]
    place = events.index(of(RolledBack, events)[0])
    assert [event.step for event in of(StepDone, events[:place])] == list(range(1, due))
    assert events[place - 1] == StepDone(due - 1), "nothing of the broken step was reported"
    assert [event.step for event in of(StepDone, events[place:])] == list(range(1, 31))
    assert all(math.isfinite(event.train_loss) for event in of(Progress, events))
    assert all(math.isfinite(event.val_loss) for event in of(Evaluated, events))
    assert trainer.step == 30


MANY_PARTS = ModelConfig(hidden_size=16, num_layers=2, dropout=0.3, weight_dropout=0.2)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_after_going_back_to_the_start_the_run_is_one_that_began_at_half_the_rate(schedule: str) -> None:
    """Bit for bit: weights, their average, and every figure."""
    values = {"max_steps": 30, "log_every": 5, "eval_every": 6, "sample_every": 9, "warmup_steps": 8}
    settings = config(**values, lr_schedule=schedule, learning_rate=0.02, weight_average=0.9)
    trainer = trainer_of(settings, MANY_PARTS)
    halved = trainer_of(settings.model_copy(update={"learning_rate": 0.01}), MANY_PARTS)
    expected = [unranked(event) for event in halved.run()]
    events = list(run_breaking(trainer, 13))
    rewound = RolledBack(step=0, diverged_step=15, rate_factor=0.5)
    assert of(RolledBack, events) == [rewound]
    after = [unranked(event) for event in events[events.index(rewound) + 1 :]]
    assert after == [event for event in expected if event.step > 0]
    assert_same_weights(weights(trainer), weights(halved))
    assert_same_weights(dict(trainer._model.named_parameters()), dict(halved._model.named_parameters()))


def unranked(event: Event) -> Event:
    """Without the clock, and without what is best: that is kept over a divergence."""
    event = timeless(event)
    return event.model_copy(update={"is_best": False}) if isinstance(event, Evaluated) else event


def test_the_state_gone_back_to_is_the_last_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept at a point of the curve is exactly what a saved state of that step holds."""
    monkeypatch.setattr("charlstm.training.trainer._STEPS_TO_KEEP", 8)
    settings = config(max_steps=40, log_every=5, learning_rate=0.02, weight_average=0.9)
    trainer, other = trainer_of(settings, MANY_PARTS), trainer_of(settings, MANY_PARTS)
    run_until(other, 20)
    tensors, facts = other.state_dict()
    continued = trainer_of(settings, MANY_PARTS)
    continued.load_state_dict(tensors, {**facts, "rate_factor": 0.5})
    expected = [timeless(event) for event in continued.run()]
    events = list(run_breaking(trainer, 26))
    rewound = RolledBack(step=20, diverged_step=30, rate_factor=0.5)  # kept at 10 and 20: 5, 15 and 25 come too early
    assert of(RolledBack, events) == [rewound]
    assert [timeless(event) for event in events[events.index(rewound) + 1 :]] == expected
    assert_same_weights(weights(trainer), weights(continued))
    assert expected[0].step == 21


def test_a_run_that_breaks_down_as_its_time_ends_is_validated_where_it_went_back_to() -> None:
    trainer = trainer_of(config(max_minutes=0.5, max_steps=0, log_every=1000, eval_every=1000, sample_every=1000))
    now = [0.0]
    trainer.clock = lambda: now[0]
    events: list[Event] = []
    for event in run_breaking(trainer, 28):
        events.append(event)
        now[0] += isinstance(event, StepDone)
    rewound = RolledBack(step=0, diverged_step=31, rate_factor=0.5)
    after = [type(event) for event in events[events.index(rewound) + 1 :]]
    assert after == [Sampled, Evaluated, StepDone]  # the order of step 0
    assert math.isfinite(of(Evaluated, events)[-1].val_loss)
    assert all(bool(tensor.isfinite().all()) for tensor in weights(trainer).values())


def test_the_second_time_ends_the_run_and_half_the_rate_is_kept_through_a_saved_state() -> None:
    trainer = trainer_of(config(max_steps=30, log_every=5, learning_rate=0.02, lr_schedule="constant"))
    events: list[Event] = []
    with pytest.raises(TrainingDiverged, match=r"at step 10, at half the learning rate too: lower learning_rate"):
        events.extend(run_breaking(trainer, 2, 8))
    halved = trainer_of(config(max_steps=30, log_every=5, learning_rate=0.02, lr_schedule="constant"))
    for event in run_breaking(halved, 2):
        if event == StepDone(6) and halved.course.rate_factor < 1:
            break
    resumed = trainer_of(halved.config)
    resumed.load_state_dict(*halved.state_dict())
    later: list[Event] = []
    with pytest.raises(TrainingDiverged):
        later.extend(run_breaking(resumed, 13))
    assert [(point.step, point.learning_rate) for point in of(Progress, later)] == [(10, 0.01)]
    assert len(of(RolledBack, events)) == 1
    assert of(RolledBack, later) == []


def test_weights_broken_from_the_start_of_the_run_on_end_it() -> None:
    """There is no better state to go back to."""
    trainer = trainer_of(config(max_steps=30, log_every=4))
    run_until(trainer, 2)
    break_bias(trainer)
    events = assert_diverges(trainer)
    assert [event.step for event in of(RolledBack, events)] == [2]
    assert of(Progress, events) == []


def test_a_gradient_that_spoils_the_weights_is_noticed_before_they_are_sampled() -> None:
    """The loss of that step was still a number; only the weights after it are none."""
    trainer = trainer_of(config(max_steps=30, sample_every=3))
    run_until(trainer, 2)
    trainer._model.head.bias.register_hook(lambda gradient: gradient * math.inf)
    assert assert_diverges(trainer) == [RolledBack(step=2, diverged_step=3, rate_factor=0.5)]
    assert trainer.step == 3


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0"])
@pytest.mark.parametrize("size", [8, 16])
def test_a_broken_weight_inside_a_layer_is_noticed_too(name: str, size: int) -> None:
    """In PyTorch's layer, and in the compiled one, which squashes whatever it reads."""

    def broken(trainer: Trainer) -> None:
        with torch.no_grad():
            getattr(trainer._model.lstm, name).view(-1)[0] = math.nan

    settings = config(max_steps=12, log_every=4, batch_size=8, precision="float32")
    trainer = trainer_of(settings, ModelConfig(hidden_size=size))
    events = list(run_breaking(trainer, 5, broken=broken))
    assert of(RolledBack, events) == [RolledBack(step=0, diverged_step=8, rate_factor=0.5)]


def test_what_was_best_before_the_divergence_stays_the_best() -> None:
    """Or a published model would be replaced by a worse one."""
    trainer = trainer_of(config(max_steps=60, log_every=20, eval_every=4, learning_rate=0.05, lr_schedule="constant"))
    events = list(run_breaking(trainer, 38))
    place = events.index(of(RolledBack, events)[0])
    assert min(event.val_loss for event in of(Evaluated, events[:place])) < of(Evaluated, events[place:])[0].val_loss
    best = math.inf
    for event in of(Evaluated, events):
        assert event.is_best == (event.val_loss < best)
        best = min(best, event.val_loss)


def test_a_validation_that_is_no_number_is_not_the_best_and_hides_none_after_it() -> None:
    trainer = trainer_of(config(max_steps=30))
    first = trainer.evaluate()
    bias = trainer._model.head.bias.detach().clone()
    break_bias(trainer)
    assert not trainer.evaluate().is_best
    trainer._model.head.bias.data.copy_(bias)
    assert trainer.validator.best_loss == first.val_loss


def test_a_huge_rate_without_clipping_halves_once_and_ends_in_a_sentence() -> None:
    """A weight decay of 10 at rate 1 multiplies every weight by -9 each step: float32 ends after 40 of them."""
    trainer = trainer_of(
        config(max_steps=400, log_every=5, learning_rate=1.0, weight_decay=10, max_grad_norm=0, lr_schedule="constant")
    )
    events: list[Event] = []
    with pytest.raises(TrainingDiverged, match="set max_grad_norm to 1"):
        events.extend(trainer.run())
    assert len(of(RolledBack, events)) == 1
    (rewound,) = of(RolledBack, events)
    place = events.index(rewound)
    assert {point.learning_rate for point in of(Progress, events[:place])[1:]} == {1.0}
    assert {point.learning_rate for point in of(Progress, events[place:])} == {0.5}


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
