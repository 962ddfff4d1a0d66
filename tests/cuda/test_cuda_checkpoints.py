"""What is written on one device is read on another, bit for bit."""

from pathlib import Path

import pytest
import torch
from training_runs import NEVER, assert_same_weights, config, run_until, trainer_of, weights

from charlstm.checkpoint import load_training_state, save_training_state
from charlstm.config import ModelConfig
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

MODEL = ModelConfig(hidden_size=24, num_layers=2, embedding_dim=6, dropout=0.2, weight_dropout=0.2)
STEPS = 7


def trained_on(device: str, seed: int = 3) -> Trainer:
    """After a few steps, so that nothing is left at its first value."""
    settings = config(max_steps=NEVER, device=device, weight_average=0.9, batch_size=8, seed=seed)
    trainer = trainer_of(settings, MODEL)
    run_until(trainer, STEPS)
    return trainer


def on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each.cpu() for name, each in tensors.items()}


@pytest.mark.parametrize("is_back", [False, True], ids=["to the processor", "from the processor"])
def test_a_model_is_the_same_bits_on_another_device(device: str, is_back: bool, tmp_path: Path) -> None:
    source, target = ("cpu", device) if is_back else (device, "cpu")
    trainer = trained_on(source)
    assert trainer.device.type == source
    read = LanguageModel.load(trainer.language_model.save(tmp_path))
    read.model.to(target)
    assert {each.device.type for each in read.model.parameters()} == {target}
    assert_same_weights(on_cpu(dict(read.model.named_parameters())), on_cpu(weights(trainer)))


@pytest.mark.parametrize("is_back", [False, True], ids=["to the processor", "from the processor"])
def test_a_training_state_is_the_same_bits_on_another_device_and_goes_on_there(
    device: str, is_back: bool, tmp_path: Path
) -> None:
    source, target = ("cpu", device) if is_back else (device, "cpu")
    saved = trained_on(source).state_dict()
    save_training_state(tmp_path / "state.safetensors", *saved)
    other = trained_on(target, seed=4)
    assert not torch.equal(other.state_dict()[0]["model.head.weight"].cpu(), saved[0]["model.head.weight"].cpu())
    other.load_state_dict(*load_training_state(tmp_path / "state.safetensors"))
    tensors, facts = other.state_dict()
    assert facts == saved[1]
    assert_same_weights(on_cpu(tensors), on_cpu(saved[0]))
    assert {each.device.type for each in tensors.values()} == {target}
    run_until(other, STEPS + 2)
    assert other.step == STEPS + 2
    assert other.is_finite()
