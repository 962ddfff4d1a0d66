"""The device, dtype and optimizer of a run, and the state from which a window starts."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.optim.adamw import adamw

from charlstm.config import Device, LayerRates, Precision, TrainConfig
from charlstm.corpus.batches import to_device
from charlstm.environment import is_zero_gpu
from charlstm.errors import ConfigError
from charlstm.kernel import lstm as kernel
from charlstm.model import CharLSTM, State

_Item = TypeVar("_Item")
_EPSILON = 1e-8  # as in PyTorch
_KEYS = {"step", "exp_avg", "exp_avg_sq"}

# Extra resets per stream in the first steps, beyond the configured share: a short run has few windows to learn from,
# and in a long one they cost nothing (docs/results.md, "The state that writing starts from").
_EARLY_RESETS = 20


def resolve_device(wanted: Device) -> torch.device:
    """Return the device that `wanted` selects on this machine; raise `ConfigError` if there is none."""
    has_gpu = torch.cuda.is_available() and not is_zero_gpu()  # ZeroGPU shows a GPU that background processes lack
    if wanted == "cuda" and not has_gpu:
        raise ConfigError("device is cuda and this machine has no CUDA GPU to train on; choose cpu or auto.")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device is mps and this machine has no GPU of Apple's to train on; choose cpu or auto.")
    if wanted == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    return torch.device(wanted)


def resolve_dtype(wanted: Precision, device: torch.device, hidden_size: int) -> torch.dtype:
    """Return the dtype that `wanted` selects on `device`.

    `auto` selects bfloat16 only where it is faster: on a GPU that supports it, and on processors with bfloat16
    instructions through the compiled kernel.
    """
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    is_fast = device.type == "cpu" and kernel.is_available(torch.bfloat16, hidden_size)
    return torch.bfloat16 if is_fast else torch.float32


def resolve_weight_dtype(wanted: Precision, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype to which the compiled kernel rounds recurrent weights where it trains in `dtype`."""
    return kernel.fastest_weight_dtype() if wanted == "auto" and dtype == torch.float32 else dtype


def _rate_of(name: str) -> float:
    """Return the multiple of the learning rate with which a parameter learns best (`layer_rates`)."""
    if name.startswith("head.weight"):
        return 4.0
    if "bias" in name:
        return 2.0
    return {"lstm.weight_ih_l0": 0.5, "embedding.weight": 1.0}.get(name, 1.4)


class AdamW:
    """AdamW (Loshchilov and Hutter 2019) with PyTorch's fused update, which decays weight matrices only.

    Fused, as small steps are bound by the number of operations. PyTorch's own class imports its compiler when it is
    made: of the time from *Start* to the first step that was a quarter (*measured*: 1.3 s of 4.6).
    """

    def __init__(
        self, model: CharLSTM, weight_decay: float, betas: tuple[float, float], layer_rates: LayerRates = "equal"
    ) -> None:
        named = dict(model.named_parameters())
        matrices = [parameter for parameter in named.values() if parameter.dim() > 1]
        vectors = [parameter for parameter in named.values() if parameter.dim() <= 1]
        self.parameters = [*matrices, *vectors]  # in the order of a saved state
        self._groups: dict[tuple[float, float], list[Tensor]] = {}  # by multiple of the rate, and decay
        for name, parameter in named.items():
            rate = _rate_of(name) if layer_rates == "tuned" else 1.0
            # The update multiplies it by the group's rate: weights shrink alike whatever that is.
            decay = weight_decay / rate if parameter.dim() > 1 else 0.0
            self._groups.setdefault((rate, decay), []).append(parameter)
        self._betas = betas
        self.state: dict[Tensor, dict[str, Tensor]] = {}  # of each parameter, from the first update on

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update every parameter by its gradient."""
        for parameter in self.parameters:
            if parameter not in self.state:
                self.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        for (rate, weight_decay), parameters in self._groups.items():
            states = [self.state[parameter] for parameter in parameters]
            adamw(
                parameters,
                [parameter.grad for parameter in parameters if parameter.grad is not None],
                [each["exp_avg"] for each in states],
                [each["exp_avg_sq"] for each in states],
                [],
                [each["step"] for each in states],
                fused=True,
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=learning_rate * rate,
                weight_decay=weight_decay,
                eps=_EPSILON,
                maximize=False,
            )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state by names `optimizer.<parameter>.<key>`; nothing before the first update."""
        found = {index: self.state.get(parameter, {}) for index, parameter in enumerate(self.parameters)}
        return {f"optimizer.{index}.{key}": tensor for index, entry in found.items() for key, tensor in entry.items()}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Load what `state_dict` returned, from among `tensors`; raise `ValueError` if it belongs to another model."""
        state: dict[Tensor, dict[str, Tensor]] = {}
        for name, tensor in strip_prefix("optimizer.", tensors).items():
            index, key = name.split(".")
            if not int(index) < len(self.parameters):
                raise ValueError(f"there is no parameter {index}")
            parameter = self.parameters[int(index)]
            if tensor.dim() and tensor.shape != parameter.shape:
                raise ValueError(f"the moments of parameter {index} have another shape")
            # A copy, as an update changes it in place.
            state.setdefault(parameter, {})[key] = tensor.to(parameter.device, torch.float32, copy=True)
        if any(set(entry) != _KEYS for entry in state.values()) or (state and len(state) < len(self.parameters)):
            raise ValueError("moments are missing")
        self.state = state


def reset_streams(carried: State | None, config: TrainConfig, step: int, share: slice) -> State | None:
    """Return the carried state, each (L, B, H), with a few streams of this process's `share` set to zero.

    Sampling starts from the zero state. A network that sees it only where its streams begin has not learned to continue
    from it: *measured* after 574 steps of preset `minute`, 23 of 24 texts after `ROMEO:` were endless capitals, and
    none with some windows reset (docs/results.md, "The state that writing starts from"). The choice of streams
    depends on (seed, step) alone, so a resumed or distributed run resets the same ones.
    """
    if carried is None or not config.state_reset:
        return carried
    draws = np.random.default_rng((config.seed, step)).random(config.batch_size)
    keeps = draws[share] >= max(config.state_reset, min(0.5, _EARLY_RESETS / (step + 1)))
    if keeps.all():
        return carried
    keep = torch.from_numpy(keeps.astype(np.float32)).view(1, -1, 1)
    h, c = carried
    keep = to_device(keep, h.device)
    return h * keep, c * keep


def clip(gradient: Tensor, max_norm: float) -> Tensor:
    """Shorten `gradient` to `max_norm`, if that is not 0; return its norm before."""
    norm: Tensor = torch.linalg.vector_norm(gradient)
    if max_norm:
        gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


@contextlib.contextmanager
def seed_random(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch inside the block from `seed` and `step` alone, so that no generator state need be saved.

    The CPU's generator uses the low 32 bits only; Knuth's multiplier keeps the seeds' steps far apart there.
    """
    number = (seed * 2_654_435_761 + step) % 2**32
    is_cuda, is_mps = device.type == "cuda", device.type == "mps"
    own = torch.mps.get_rng_state() if is_mps else None
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if is_cuda else []):
        torch.default_generator.manual_seed(number)
        if is_cuda:
            torch.cuda.manual_seed(number)
        elif is_mps:
            torch.mps.manual_seed(number)
        try:
            yield
        finally:
            if own is not None:
                torch.mps.set_rng_state(own)


def with_gradients(events: Iterator[_Item]) -> Iterator[_Item]:
    """Yield `events`, computing each with gradients enabled, whatever the mode of the consumer's block."""
    while True:
        with torch.inference_mode(False), torch.enable_grad():
            try:
                event = next(events)
            except StopIteration:
                return
        yield event


def strip_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the `tensors` whose names begin with `prefix`, with the prefix removed."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_carried(
    tensors: dict[str, Tensor], expected: torch.Size, streams: slice, device: torch.device
) -> State | None:
    """Return the `streams` of a saved carried state, if there is one; raise `ValueError` for another shape."""
    if "carried.h" not in tensors:
        return None
    state = tensors["carried.h"].to(device), tensors["carried.c"].to(device)
    if any(tensor.shape != expected for tensor in state):
        raise ValueError(f"its carried state is not {'x'.join(map(str, expected))}: batch_size was another")
    return state[0][:, streams].contiguous(), state[1][:, streams].contiguous()
