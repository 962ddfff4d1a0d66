"""What the program around this package has made of PyTorch's defaults changes nothing, and is left as it is."""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from training_runs import RHYME, config, of, run_until, split_of, timeless

from charlstm import LanguageModel, SampleConfig
from charlstm.checkpoint import load_training_state, save_training_state
from charlstm.config import ModelConfig
from charlstm.evaluation import final_validation
from charlstm.events import Evaluated, Progress
from charlstm.training import Trainer, train

MODELS = {
    "compiled": ModelConfig(hidden_size=16, embedding_dim=3, dropout=0.3, weight_dropout=0.2),
    "by PyTorch": ModelConfig(hidden_size=6, num_layers=2, dropout=0.3),
}
TRAIN = config(max_steps=12, log_every=3, eval_every=6, sample_every=6, batch_size=8, seq_len=8, weight_average=0.9)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


WORLDS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: default_device("meta"),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "deterministic": deterministic,
}


def story(model: ModelConfig, place: Path) -> list[object]:
    """What comes of training, saving, resuming, loading, measuring and writing."""
    heard: list[object] = []
    trained = train(RHYME, TRAIN, model, on_event=lambda event: heard.append(timeless(event)))
    split = split_of(TRAIN, model)
    first = Trainer(LanguageModel.create(split.vocabulary, model, TRAIN.seed), split, TRAIN)
    run_until(first, 5)
    save_training_state(place / "state.safetensors", *first.state_dict())
    second = Trainer(LanguageModel.create(split.vocabulary, model, 99), split, TRAIN)
    second.load_state_dict(*load_training_state(place / "state.safetensors"))
    heard += [timeless(event) for event in of(Progress | Evaluated, list(second.run()))]
    trained.save(place / "model.safetensors")
    loaded = LanguageModel.load(place / "model.safetensors")
    for each in (trained, loaded, second.language_model):
        heard += [each.generate("the cat", SampleConfig(num_chars=20, seed=2)), each.score("the dog sat").nats]
        heard += [hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest() for weight in each.model.parameters()]
        heard.append({weight.dtype for weight in each.model.parameters()})
    heard.append(final_validation(loaded.model, split.validation))
    return heard


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    return {name: story(model, tmp_path_factory.mktemp("plain")) for name, model in MODELS.items()}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", MODELS)
def test_everything_is_as_otherwise(name: str, world: str, plain: dict[str, list[object]], tmp_path: Path) -> None:
    with WORLDS[world]():
        found = story(MODELS[name], tmp_path)
    assert found == plain[name]


@pytest.mark.parametrize("name", MODELS)
def test_nobodys_random_numbers_are_disturbed(name: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    story(MODELS[name], tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_defaults_stay_as_the_caller_set_them(tmp_path: Path) -> None:
    with default_dtype(torch.float64):
        story(MODELS["compiled"], tmp_path)
        assert torch.get_default_dtype() == torch.float64
        assert torch.is_grad_enabled()


def test_to_load_and_to_write_no_compiler_of_pytorchs_is_imported(repository: Path) -> None:
    """It takes 1 to 2.8 seconds, and with PyTorch 2.11 fails for a user whom nobody has entered into passwd."""
    program = (
        "import sys; from charlstm import LanguageModel, SampleConfig; "
        "LanguageModel.load('checkpoints/tiny-shakespeare').generate('ROMEO:', SampleConfig(num_chars=9)); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    environment = {**os.environ, "CHARLSTM_KERNEL": "off"}  # which need not be compiled for this
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=repository, env=environment, check=False, timeout=100).returncode == 0
