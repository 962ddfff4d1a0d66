"""Training on a device that is not the processor, where there is none: its tensors have a shape and a place, no values.

What mixes devices fails, and so does what reads a value back, for which a GPU would wait. What is computed is checked
elsewhere. Runs in a process of its own: PyTorch must know the device before it first follows a gradient back.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from charlstm.config import ModelConfig
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

from training_runs import RHYME, config, split_of  # isort: skip  tests/support/training_runs.py

_NAME = "elsewhere"
UNKNOWN = 77  # exit status where PyTorch knows no device that is made in Python


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


@contextmanager
def _trainer(device: torch.device, embedding_dim: int) -> Iterator[Trainer]:
    """With everything that a step can do."""
    model = ModelConfig(hidden_size=8, num_layers=2, embedding_dim=embedding_dim, dropout=0.2, weight_dropout=0.2)
    train = config(max_passes=1, batch_size=5, weight_average=0.9, max_grad_norm=1.0)  # streams of unequal lengths
    split = split_of(train, model, RHYME[:127])  # three windows, the last one short
    language_model = LanguageModel.create(split.vocabulary, model, train.seed)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in language_model.model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device=device)))
        yield Trainer(language_model, split, train)


def _a_pass(trainer: Trainer) -> None:
    trainer._began = 0.0
    with _Brought() as brought:
        for step in range(trainer._batches.windows_per_pass):
            trainer._update(trainer._batches[step])
    assert trainer.num_passes == 1
    assert brought.operations == []
    assert {each.device.type for each in trainer._model.parameters()} == {_NAME}


def _a_state(trainer: Trainer) -> None:
    with _Brought() as brought:
        tensors, _ = trainer.state_dict()
    assert brought.operations == []
    assert {name for name, each in tensors.items() if each.device.type != _NAME} <= {
        name for name in tensors if name.endswith(".step")
    }
    try:
        trainer.is_finite()
    except DataDependentOutputException:  # the report that reads values back is seen to do so
        return
    raise AssertionError("a value was read back, and nobody noticed")


def main() -> None:
    """Fails where something does not hold."""
    make = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if make is None:
        sys.exit(UNKNOWN)
    make(_NAME)
    device = torch.device(_NAME, 0)
    with (
        mock.patch("charlstm.training.optim.resolve_device", return_value=device),
        mock.patch("charlstm.training.optim.resolve_dtype", return_value=torch.bfloat16),
        mock.patch.object(nn.Module, "to", lambda module, _: module),  # it is there already
        mock.patch.object(torch, "randint", return_value=7),  # drawn on the processor: would be taken for a value
    ):
        for embedding_dim in (0, 4):
            with _trainer(device, embedding_dim) as trainer:
                _a_pass(trainer)
                _a_state(trainer)


if __name__ == "__main__":
    main()
