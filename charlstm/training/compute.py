"""What a run computes with: the device, the type of number, and the optimiser."""

import torch
from torch import Tensor

from charlstm import kernel
from charlstm.config import Device, Precision
from charlstm.errors import ConfigError
from charlstm.model import CharLSTM


def chosen_device(wanted: Device) -> torch.device:
    """The device that `wanted` means on this machine; raises `ConfigError` where there is none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda and this machine has no CUDA GPU; choose cpu or auto.")
    is_cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if is_cuda else "cpu")


def chosen_dtype(wanted: Precision, device: torch.device, hidden_size: int) -> torch.dtype:
    """The type of number that `wanted` means there.

    `auto` takes bfloat16 only where it pays: on a GPU that has it, and on processors with its instructions through
    the compiled recurrence.
    """
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if kernel.is_available(torch.bfloat16, hidden_size) else torch.float32


def adamw(model: CharLSTM, weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """Decay shrinks the weight matrices only; fused, because small steps are bound by the number of operations."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=betas, fused=True)


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of `tensors` whose names begin with `prefix`, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_entries(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """An optimiser's state by parameter, out of tensors called `optimizer.<parameter>.<what>`."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in under("optimizer.", tensors).items():
        index, key = name.split(".")
        entries.setdefault(int(index), {})[key] = tensor.clone()  # the optimiser keeps and changes what it is given
    return entries
