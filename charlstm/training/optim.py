"""What a run computes with: the device, the type of number, the optimiser, and the state a window starts from."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from charlstm.config import Device, Precision, TrainConfig
from charlstm.environment import is_zero_gpu
from charlstm.errors import ConfigError
from charlstm.kernel import lstm as kernel
from charlstm.model import CharLSTM, State

_Item = TypeVar("_Item")

# Windows of each stream that are reset in the first steps, beyond the share: a short run has few windows to learn from,
# and in a long one they cost nothing (docs/results.md, "The state that writing starts from").
_EARLY_RESETS = 20


def resolve_device(wanted: Device) -> torch.device:
    """Return the device that `wanted` means on this machine; raise `ConfigError` where there is none."""
    has_gpu = torch.cuda.is_available() and not is_zero_gpu()  # which shows a GPU that background processes lack
    if wanted == "cuda" and not has_gpu:
        raise ConfigError("device is cuda and this machine has no CUDA GPU to train on; choose cpu or auto.")
    return torch.device("cuda" if has_gpu and wanted != "cpu" else "cpu")


def resolve_dtype(wanted: Precision, device: torch.device, hidden_size: int) -> torch.dtype:
    """Return the dtype that `wanted` means on `device`.

    `auto` takes bfloat16 only where it pays: on a GPU that has it, and on processors with its instructions through
    the compiled recurrence.
    """
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if kernel.is_available(torch.bfloat16, hidden_size) else torch.float32


def make_optimizer(model: CharLSTM, weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """Make a fused AdamW, since small steps are bound by the number of operations; only matrices decay."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=betas, fused=True)


def reset_streams(carried: State | None, config: TrainConfig, step: int, share: slice) -> State | None:
    """Return the carried state, each (L, B, H), with a few streams of this process's `share` set to zero.

    Writing starts from the zero state. A network that meets it only where its streams begin has not learned to go on
    from it: *measured* after 574 steps of preset `minute`, 23 of 24 texts after `ROMEO:` were capitals for ever, and
    none with some windows reset (docs/results.md, "The state that writing starts from"). Which streams follows
    from (seed, step) alone, so a resumed run, and one of several processes, resets the same ones.
    """
    if carried is None or not config.state_reset:
        return carried
    draws = np.random.default_rng((config.seed, step)).random(config.batch_size)
    keeps = draws[share] >= max(config.state_reset, min(0.5, _EARLY_RESETS / (step + 1)))
    if keeps.all():
        return carried
    keep = torch.from_numpy(keeps.astype(np.float32)).view(1, -1, 1)
    h, c = carried
    if h.device.type != "cpu":
        keep = keep.pin_memory().to(h.device, non_blocking=True)
    return h * keep, c * keep


@contextlib.contextmanager
def seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Seed random numbers from these alone inside the block: no generator's state is kept or disturbed.

    The CPU's generator heeds the low 32 bits only; Knuth's multiplier keeps the seeds' steps far apart there.
    """
    number = (seed * 2_654_435_761 + step) % 2**32
    is_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if is_cuda else []):
        torch.default_generator.manual_seed(number)
        if is_cuda:
            torch.cuda.manual_seed(number)
        yield


def with_gradients(events: Iterator[_Item]) -> Iterator[_Item]:
    """Yield `events`, each computed with gradients enabled, whatever the consumer's block says of them."""
    while True:
        with torch.inference_mode(False), torch.enable_grad():
            try:
                event = next(events)
            except StopIteration:
                return
        yield event


def strip_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return those of `tensors` whose names begin with `prefix`, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_entries(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return an optimiser's state by parameter, out of tensors called `optimizer.<parameter>.<what>`."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in strip_prefix("optimizer.", tensors).items():
        index, key = name.split(".")
        entries.setdefault(int(index), {})[key] = tensor.clone()  # the optimiser keeps and changes what it is given
    return entries


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put a saved state's moments into `optimizer`; raises `ValueError` if they are those of another model."""
    entries = optimizer_entries(tensors)
    groups = optimizer.state_dict()["param_groups"]
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    for index, entry in entries.items():
        if any(tensor.dim() and tensor.shape != shapes[index] for tensor in entry.values()):
            raise ValueError(f"the moments of parameter {index} have another shape")
    optimizer.load_state_dict({"state": entries, "param_groups": groups})
