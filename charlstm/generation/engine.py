"""Texts that a model writes side by side: by the compiled steps where this machine has them, else by PyTorch.

Shapes: B = texts, N = characters read, V = vocabulary size.
"""

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlstm.config import SampleConfig
from charlstm.generation.holds import Hold, resolve_holds
from charlstm.generation.quantization import is_quantized, quantize_weights
from charlstm.generation.sampling import SteppedTexts
from charlstm.kernel import decoder
from charlstm.kernel.decoder import DecodedTokens, PackedWeights
from charlstm.model import CharLSTM, HeldUnits, State, evaluating

_READ_AT_ONCE = 4096  # characters of a prompt: bounds the memory a long one takes


class DecodeSession(Protocol):
    """Texts of one model; each is the same whatever others are written beside it."""

    num_texts: int

    def write(
        self, config: SampleConfig, num_chars: int, positions: int | Sequence[int], num_likeliest: int = 0
    ) -> DecodedTokens:
        """Write the next `num_chars` of every text after the `positions`, (B,) or one for all, written so far."""
        ...

    def follow(self, ids: NDArray[np.int32], num_likeliest: int = 0) -> DecodedTokens:
        """Score `ids` (B, T) as if they had been written."""
        ...

    def next_logits(self) -> NDArray[np.float32]:
        """Read the last character of every text; return the logits (B, V) of what follows. `accept` is called next."""
        ...

    def accept(self, ids: NDArray[np.int32]) -> None:
        """Add `ids` (B,) to the texts: what was chosen by the logits."""
        ...

    def copy(self) -> "DecodeSession":
        """Return a session that goes on from here by itself."""
        ...


class SessionStart(NamedTuple):
    """How a session starts: the arguments of `start_session` after the model."""

    beginnings: Sequence[NDArray[np.int32]]
    config: SampleConfig
    holds: Sequence[Hold] = ()
    held_from: int | None = None
    rounded: bool = False


def start_session(
    model: CharLSTM,
    beginnings: Sequence[NDArray[np.int32]],
    config: SampleConfig,
    holds: Sequence[Hold] = (),
    held_from: int | None = None,
    rounded: bool = False,
) -> DecodeSession:
    """Start a session of texts that begin with `beginnings`, each (N,) ids, N at least 1.

    Units in `holds` are held after each character from place `held_from` of every beginning on, by default its last:
    the first character that is written feels them. Raises `ConfigError` for units that the model lacks.

    At temperature 0 the arithmetic is float32, so that the likeliest is exactly the model's. Otherwise the weights of
    all but small models are rounded (`quantization.py`) where the processor has instructions for that: *measured* on
    20,000 characters of validation, the two bundled models then predict 0.0002 nats better and 0.0001 worse. With
    `rounded` they are in any case, as an exported page has them.
    """
    config_ = model.config
    held = resolve_holds(holds, config_)
    can = decoder.is_available(model.vocab_size, config_.hidden_size, config_.num_layers)
    if model.device.type != "cpu" or not can:
        return _TorchTexts(model, beginnings, held, held_from)
    is_exact = config.temperature == 0 or config.top_k == 1
    is_int8 = True if rounded and is_quantized(model) else False if is_exact else None
    network = pack_weights(model, is_int8)
    if all(each is beginnings[0] for each in beginnings):
        return decoder.DecoderState.after(network, beginnings[0], len(beginnings), held, held_from)
    return decoder.DecoderState.together(
        [decoder.DecoderState.after(network, each, 1, held, held_from) for each in beginnings]
    )


@dataclass
class _Known:
    """Packed weights of a model, valid while its weights are `version`."""

    version: object = None
    gains: bool = False  # from 8 bits
    networks: dict[bool, PackedWeights] = field(default_factory=dict)


_known: "weakref.WeakKeyDictionary[CharLSTM, _Known]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@torch.no_grad()
def pack_weights(model: CharLSTM, is_int8: bool | None = None) -> PackedWeights:
    """Pack the present weights of `model` in the order of a step, in 8 bits (`None`: if it gains from them).

    They are kept until they change.
    """
    version = tuple(map(_sums, model.parameters()))
    with _lock:
        known = _known.get(model)
        if known is None or known.version != version:
            known = _known[model] = _Known(version, decoder.has_int8() and is_quantized(model))
        is_int8 = known.gains if is_int8 is None else is_int8
        if is_int8 not in known.networks:
            known.networks[is_int8] = _pack_rounded(model) if is_int8 else _pack(model)
        return known.networks[is_int8]


def _sums(weight: Tensor) -> tuple[int, int]:
    """Sum the bits of `weight`: PyTorch's own count of changes misses those by a fused optimizer.

    Two numbers at a time, which takes 0.2 ms for 2.6 M weights where one at a time took 3 ms.
    """
    bits = weight.detach().contiguous().view(-1).view(torch.int32).numpy()
    pairs = bits.size // 2 * 2
    return int(bits[:pairs].view(np.int64).sum()), int(bits[pairs:].sum())


def _pack(model: CharLSTM) -> PackedWeights:
    layers = []
    for index, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(model.lstm.all_weights):
        weight = torch.cat([weight_ih, weight_hh], dim=1) if index else weight_hh
        layers.append((weight, bias_ih + bias_hh))
    return PackedWeights(model.input_gate_table(), layers, (model.head.weight, model.head.bias))


def _pack_rounded(model: CharLSTM) -> PackedWeights:
    rounded = quantize_weights(model)
    layers = [
        (torch.from_numpy(each.weights), torch.from_numpy(bias))
        for each, bias in zip(rounded.layers, rounded.biases, strict=True)
    ]
    head = torch.from_numpy(rounded.head).float(), torch.from_numpy(rounded.head_bias)
    scales = [torch.from_numpy(each.scales) for each in rounded.layers]
    return PackedWeights(torch.from_numpy(rounded.gate_table()), layers, head, scales)


def place_held_units(model: CharLSTM, held: Mapping[tuple[int, int], float]) -> HeldUnits:
    """Return for each layer with held units their numbers and values, as `CharLSTM.step` takes them."""
    by_layer: dict[int, dict[int, float]] = {}
    for (layer, unit), value in held.items():
        by_layer.setdefault(layer, {})[unit] = value
    return {
        layer: (
            torch.tensor([*units], device=model.device),
            torch.tensor([*units.values()], device=model.device, dtype=torch.float32),
        )
        for layer, units in by_layer.items()
    }


class _TorchTexts(SteppedTexts):
    """The same by `CharLSTM.step`, one text after another: in a batch PyTorch sums in another order."""

    def __init__(
        self,
        model: CharLSTM,
        beginnings: Sequence[NDArray[np.int32]],
        held: Mapping[tuple[int, int], float],
        held_from: int | None,
    ) -> None:
        super().__init__(beginnings)
        self._model, self._held = model, place_held_units(model, held)
        self._states: list[State] = []
        with evaluating(model):
            for index, each in enumerate(beginnings):
                is_same = index > 0 and each is beginnings[index - 1]
                self._states.append(self._states[-1] if is_same else self._read(each[:-1], held_from))

    def _read(self, ids: NDArray[np.int32], held_from: int | None) -> State:
        state = self._model.initial_state(1)
        free = len(ids) if held_from is None or not self._held else held_from
        for window in torch.split(self._tokens(ids[:free])[None], _READ_AT_ONCE, dim=1):
            if window.numel():
                _, state = self._model(window, state)
        for token in self._tokens(ids[free:]):
            _, state = self._model.step(token[None], state, self._held)
        return state

    def _tokens(self, ids: NDArray[np.int32]) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self._model.device)

    def next_logits(self) -> NDArray[np.float32]:
        """Return the logits (B, V) after the last character of every text, and advance the states."""
        rows, states = list[NDArray[np.float32]](), list[State]()
        with torch.inference_mode():
            for history, state in zip(self._histories, self._states, strict=True):
                logits, after = self._model.step(self._tokens(history[-1:]), state, self._held)
                rows.append(logits[0].float().cpu().numpy())
                states.append(after)
        self._states = states
        return np.stack(rows)
