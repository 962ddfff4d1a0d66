"""The file that a run goes on from: exact, and strict when read."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from damaged import DAMAGED
from safetensors.torch import save_file

from charlstm.checkpoint import load_training_state, save_model, save_training_state
from charlstm.config import ModelConfig
from charlstm.errors import CheckpointError
from charlstm.model import CharLSTM
from charlstm.training.schedule import ScheduleState
from charlstm.training.state_check import StateFacts
from charlstm.vocabulary import Vocabulary


def test_a_training_state_comes_back_exactly(tmp_path: Path) -> None:
    tensors = {
        "weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(1)),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "scalar": torch.tensor(0.1, dtype=torch.float64),
        "counter": torch.tensor(12345678901, dtype=torch.int64),
        "random state": torch.get_rng_state(),
    }
    facts = {"step": 10**9, "loss": 0.1 + 0.2, "nothing": None, "name": "漢😀\n", "nested": {"list": [1, 2.5, "x"]}}
    save_training_state(tmp_path / "state.safetensors", tensors, facts)
    loaded, loaded_facts = load_training_state(tmp_path / "state.safetensors")
    assert loaded_facts == facts
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor), name


def _refused_state(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_training_state(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_training_state_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "state.safetensors"
    save_training_state(path, {"weight": torch.zeros(300)}, {"step": 1})
    path.write_bytes(damage(path.read_bytes()))
    _refused_state(path)


def test_a_missing_training_state_is_refused(tmp_path: Path) -> None:
    assert "there is no" in _refused_state(tmp_path / "state.safetensors")


def test_a_model_is_no_training_state(tmp_path: Path) -> None:
    path, vocabulary = tmp_path / "model.safetensors", Vocabulary.from_text("abc")
    save_model(path, CharLSTM(len(vocabulary), ModelConfig(hidden_size=5)), vocabulary, None)
    assert "holds no training state" in _refused_state(path)


@pytest.mark.parametrize("facts", ["{", "", "[]", "null", "[" * 100_000])
def test_a_training_state_with_garbage_for_facts_is_refused(tmp_path: Path, facts: str) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"format_version": "1", "training_state": facts})
    assert "holds no training state" in _refused_state(path)


def test_a_training_state_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"format_version": "2", "training_state": "{}"})
    assert "has format '2'" in _refused_state(path)


GOOD = {"step": 4, "elapsed_seconds": 1.0, "best_val_loss": 2.0, "smooth_loss": 2.0, "num_targets": 0}
GOOD |= {"num_steps_logged": 0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("step", value) for value in (-1, 10**30, 1.5, "x", None, [], math.nan)],
        *[("elapsed_seconds", value) for value in (-0.5, 1e30, math.inf, math.nan, None)],
        *[("best_val_loss", value) for value in (-1.0, -0.02, math.inf, "x")],
        *[("asked_factor", value) for value in (-5, 0, 1e308)],
        *[("rate_factor", value) for value in (0, 2, -1)],
        *[("num_pending", 3), ("num_parts", 0), ("num_targets", -1), ("part_step", -1), ("smooth_loss", None)],
    ],
)
def test_facts_out_of_bounds_are_refused_by_name(name: str, value: object) -> None:
    assert StateFacts.read(GOOD).step == 4
    with pytest.raises(ValueError, match=f"^{name} is "):
        StateFacts.read({**GOOD, name: value})


def test_a_best_loss_that_was_read_off_just_below_zero_is_zero() -> None:
    assert StateFacts.read({**GOOD, "best_val_loss": -3.3e-10}).best_val_loss == 0


def test_a_state_of_an_earlier_version_knows_no_course_and_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"weight": torch.ones(3)}, path, metadata={"format_version": "1", "training_state": json.dumps(GOOD)})
    tensors, facts = load_training_state(path)
    assert tensors["weight"].tolist() == [1, 1, 1]
    assert StateFacts.read(facts).course == ScheduleState()
