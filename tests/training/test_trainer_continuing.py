"""Going on from a saved state: the same bits as without a pause, and foreign states refused."""

import itertools
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_runs import (
    RHYME,
    SMALL,
    assert_same_weights,
    config,
    run_until,
    timeless,
    trainer_of,
    weights,
)

from charlstm.checkpoint import load_training_state, save_training_state
from charlstm.config import ModelConfig, TrainConfig
from charlstm.errors import CheckpointError
from charlstm.events import Event
from charlstm.training import Trainer

REPEATED = ModelConfig(hidden_size=8, num_layers=2, dropout=0.3)
# In the compiled recurrence where there is a compiler, in bfloat16 where the processor has it.
EVERYTHING = ModelConfig(hidden_size=16, num_layers=2, dropout=0.3, weight_dropout=0.2)


def _settings(schedule: str, kept: float) -> TrainConfig:
    return config(
        batch_size=3,
        max_steps=40,
        log_every=5,
        eval_every=7,
        sample_every=9,
        lr_schedule=schedule,
        warmup_steps=20,
        learning_rate=0.02,
        weight_decay=0.1,
        weight_average=kept,
    )


@cache
def _all_at_once(schedule: str, model: ModelConfig, kept: float) -> tuple[Trainer, list[Event]]:
    straight = trainer_of(_settings(schedule, kept), model)
    return straight, list(straight.run())


@pytest.mark.parametrize(
    ("num_steps", "schedule"),
    [*((each, "linear") for each in (0, 1, 13, 25, 26, 27)), *itertools.product((13, 26), ("cosine", "constant"))],
)
@pytest.mark.parametrize(("model", "kept"), [(REPEATED, 0.0), (EVERYTHING, 0.9)], ids=["dropout", "everything"])
def test_some_steps_then_the_rest_equal_all_at_once(
    tmp_path: Path, num_steps: int, schedule: str, model: ModelConfig, kept: float
) -> None:
    """Through the file, with dropout and 3 streams, on and off the boundaries of logs and passes (18 windows).

    Schedules differ while the rate rises (20 steps) and after it.
    """
    settings = _settings(schedule, kept)
    straight, expected = _all_at_once(schedule, model, kept)

    first = trainer_of(settings, model)
    before = run_until(first, num_steps) if num_steps else []
    save_training_state(tmp_path / "state.safetensors", *first.state_dict())
    second = trainer_of(settings.model_copy(update={"seed": settings.seed}), model)
    with torch.no_grad():
        for parameter in [*second.language_model.model.parameters(), *second._model.parameters()]:
            parameter.fill_(9.0)  # nothing of the fresh model may survive
    second.load_state_dict(*load_training_state(tmp_path / "state.safetensors"))
    torch.manual_seed(12345)  # nor may anything hang on the global random state
    after = list(second.run())

    assert [timeless(event) for event in before + after] == [timeless(event) for event in expected]
    assert_same_weights(weights(second), weights(straight))
    assert_same_weights(dict(second._model.named_parameters()), dict(straight._model.named_parameters()))
    assert second.validator.best_loss == straight.validator.best_loss
    tensors, facts = second.state_dict()
    expected_tensors, expected_facts = straight.state_dict()
    assert tensors.keys() == expected_tensors.keys()
    assert all(torch.equal(tensor, expected_tensors[name]) for name, tensor in tensors.items())
    assert {**facts, "elapsed_seconds": 0} == {**expected_facts, "elapsed_seconds": 0}


def test_a_state_is_a_copy_that_neither_trainer_changes() -> None:
    settings = config(max_steps=12)
    first = trainer_of(settings, REPEATED)
    run_until(first, 6)
    tensors, facts = first.state_dict()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    list(first.run())
    second = trainer_of(settings, REPEATED)
    second.load_state_dict(tensors, facts)
    list(second.run())
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[name]), name
    assert facts["step"] == 6


def test_a_state_can_be_continued_twice() -> None:
    settings = config(max_steps=12)
    first = trainer_of(settings, REPEATED)
    run_until(first, 6)
    state = first.state_dict()
    ends = []
    for _ in range(2):
        trainer = trainer_of(settings, REPEATED)
        trainer.load_state_dict(*state)
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
        trainer_of(config(max_steps=4, **values), model, text).load_state_dict(*other.state_dict())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["step", "elapsed_seconds", "best_val_loss", "smooth_loss", "num_targets"])
def test_a_state_that_lacks_a_fact_is_refused(missing: str) -> None:
    other = trainer_of(config(max_steps=4))
    run_until(other, 2)
    tensors, facts = other.state_dict()
    del facts[missing]
    with pytest.raises(CheckpointError, match=missing):
        trainer_of(config(max_steps=4)).load_state_dict(tensors, facts)


def changed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A state's tensors with one of them replaced, or added."""
    other = trainer_of(config(max_steps=4))
    run_until(other, 2)
    tensors, _ = other.state_dict()
    return {**tensors, name: tensor}


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("optimizer.0.exp_avg", torch.zeros(3, 5)),
        ("optimizer.0.exp_avg_sq", torch.zeros(8)),
        ("optimizer.2.exp_avg_sq", torch.zeros(9)),
        ("optimizer.99.exp_avg", torch.zeros(8)),
        ("optimizer.first.exp_avg", torch.zeros(8)),
        ("carried.h", torch.zeros(1, 3, 8)),
        ("model.head.bias", torch.zeros(3)),
    ],
)
def test_moments_and_states_of_another_shape_are_refused_in_one_sentence(name: str, tensor: Tensor) -> None:
    facts = trainer_of(config(max_steps=4)).state_dict()[1]
    with pytest.raises(CheckpointError, match="does not fit this run") as caught:
        trainer_of(config(max_steps=4)).load_state_dict(changed(name, tensor), facts)
    assert "\n" not in str(caught.value)


def test_a_state_without_an_average_is_refused_by_a_run_that_keeps_one() -> None:
    other = trainer_of(config(max_steps=4))
    run_until(other, 2)
    with pytest.raises(CheckpointError, match="does not fit this run"):
        trainer_of(config(max_steps=4, weight_average=0.9)).load_state_dict(*other.state_dict())
