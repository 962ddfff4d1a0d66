"""What the training loop reports, and when; that reporting changes nothing, and what the clock says."""

import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from training_runs import (
    CONTRARY,
    NEVER,
    RHYME,
    SMALL,
    assert_same_weights,
    config,
    loss_of_streams,
    of,
    split_of,
    timeless,
    trainer_of,
    weights,
)

from charlstm.config import ModelConfig, TrainConfig
from charlstm.events import Evaluated, Event, Progress, Sampled, StepDone
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

# Events --------------------------------------------------------------------------------------------------------------


def test_events_come_at_0_at_every_period_and_at_the_end() -> None:
    settings = config(max_steps=11, log_every=2, eval_every=3, sample_every=4)
    events = list(trainer_of(settings).run())
    assert [event.step for event in of(Progress, events)] == [0, 2, 4, 6, 8, 10, 11]
    assert [event.step for event in of(Evaluated, events)] == [0, 3, 6, 9, 11]
    assert [event.step for event in of(Sampled, events)] == [0, 3, 4, 6, 8, 9, 11]  # and at every validation
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
    first = [(0, "Progress"), (0, "Sampled"), (0, "Evaluated")]  # something to look at while that is measured
    assert order == first + [(step, kind) for step in range(1, 6) for kind in kinds]


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
    assert list(map(timeless, samples)) == list(map(timeless, again))
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
    second.load_state_dict(*first.state_dict())
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
    second.load_state_dict(*first.state_dict())
    speeds = [event.chars_per_second for event in events_at(second, clock, 2.0) if isinstance(event, Progress)]
    # 2 steps in the time of one, as the clock moves after a step; then 10 steps in the time of 10.
    assert speeds == pytest.approx([40 / 2, 10.0])
