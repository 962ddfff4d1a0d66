"""Training on a device that is not the processor, where there is none: its tensors have a shape and a place, no values.

What mixes devices fails, and so does what reads a value back, for which a GPU would wait. What is computed is checked
elsewhere.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from charlstm.config import ModelConfig
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

from training_runs import RHYME, config, split_of  # isort: skip  tests/training_runs.py

_NAME = "elsewhere"
_REGISTER = "_setup_privateuseone_for_python_backend"
pytestmark = [
    pytest.mark.skipif(not hasattr(backend_registration, _REGISTER), reason="a torch without devices made in Python"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),  # PyTorch's own deepcopy
]


class _Brought(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What was copied from the device to the processor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        places = {each.device.type for each in args if isinstance(each, Tensor)}
        if isinstance(made, Tensor) and made.device.type == "cpu" and _NAME in places:
            self.operations.append(str(function))
        return made


@pytest.fixture(scope="module")
def device() -> torch.device:
    """A device of this process's own."""
    getattr(backend_registration, _REGISTER)(_NAME)
    return torch.device(_NAME, 0)


@pytest.fixture(params=["one hot", "embedding"])
def trainer(device: torch.device, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Trainer]:
    """With everything that a step can do."""
    monkeypatch.setattr("charlstm.training.trainer.chosen_device", lambda _: device)
    monkeypatch.setattr("charlstm.training.trainer.chosen_dtype", lambda *_: torch.bfloat16)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(nn.Module, "to", lambda module, _: module)  # it is there already
    monkeypatch.setattr(torch, "randint", lambda *_: 7)  # drawn on the processor: PyTorch would take it for a value
    embedding_dim = 4 if request.param == "embedding" else 0
    model = ModelConfig(hidden_size=8, num_layers=2, embedding_dim=embedding_dim, dropout=0.2, weight_dropout=0.2)
    train = config(max_passes=1, batch_size=5, weight_average=0.9, max_grad_norm=1.0)  # streams of unequal lengths
    split = split_of(train, model, RHYME)
    language_model = LanguageModel.create(split.vocabulary, model, train.seed)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in language_model.model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device=device)))
        yield Trainer(language_model, split, train)


def test_the_updates_of_a_pass_mix_no_devices_and_wait_for_no_value(trainer: Trainer) -> None:
    trainer._began = 0.0
    with _Brought() as brought:
        for step in range(trainer._batches.windows_per_pass):
            trainer._update(trainer._batches[step])
    assert trainer.num_passes == 1
    assert brought.operations == []
    assert {each.device.type for each in trainer._model.parameters()} == {_NAME}


def test_a_state_is_copied_where_it_is_and_only_a_report_waits_for_values(trainer: Trainer) -> None:
    trainer._began = 0.0
    trainer._update(trainer._batches[0])
    with _Brought() as brought:
        tensors, _ = trainer.state()
    assert brought.operations == []
    assert {name for name, each in tensors.items() if each.device.type != _NAME} <= {
        name for name in tensors if name.endswith(".step")
    }
    with pytest.raises(DataDependentOutputException):
        trainer.is_finite()
