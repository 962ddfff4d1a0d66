"""Token-by-token decoding in C: the Python side of `decoder.inc.c`.

`Network` holds a model's weights the way a step reads them, `Texts` the states of some texts that grow side by side.
Shapes: B = texts, T = characters, V = vocabulary size, L = layers, H = hidden size, P = H rounded up to 16.
"""

import ctypes
import itertools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlstm.config import REPEAT_WINDOW, SampleConfig
from charlstm.kernel.build import load_library

_UNITS = 16  # P is a multiple of the longest vector
_MAX_LAYERS = 8
_LARGEST_TABLE = 1 << 25  # numbers, 128 MB
_FEWEST_ROWS = 6  # texts for which a thread of its own pays: as many as share one reading of the weights
_QUANTA = 127  # steps of a hidden state from 0 to 1

# Weight (4H, K), above the first layer K = 2H, that of the layer below first; bias (4H,).
Layer = tuple[Tensor, Tensor]


class _Network(ctypes.Structure):
    """`Network` in decoder.inc.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("is_int8", "V", "H", "L")),
        ("table", ctypes.c_void_p),
        *((name, ctypes.c_void_p * _MAX_LAYERS) for name in ("weights", "biases", "scales", "offsets")),
        ("head", ctypes.c_void_p),
        ("head_bias", ctypes.c_void_p),
    )


class _Writing(ctypes.Structure):
    """`Writing` in decoder.inc.c."""

    _fields_ = (
        ("network", ctypes.POINTER(_Network)),
        *((name, ctypes.c_int32) for name in ("B", "T", "is_reading", "has_logits", "is_given")),
        *((name, ctypes.c_int32) for name in ("window", "no_repeat", "top_k", "num_likeliest")),
        ("temperature", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("positions", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("history", "h", "c", "held", "hidden", "cells")),
        *((name, ctypes.c_void_p) for name in ("inputs", "logits", "allowed", "shares", "ranked")),
        *((name, ctypes.c_void_p) for name in ("surprises", "likeliest", "probabilities")),
    )


class DecodedTokens(NamedTuple):
    """Tokens written, with the model's own probabilities there (temperature 1, no filter)."""

    ids: NDArray[np.int32]  # (B, T)
    surprises: NDArray[np.float32]  # (B, T) nats
    likeliest: NDArray[np.int32]  # (B, T, n) characters, the likeliest first
    probabilities: NDArray[np.float32]  # (B, T, n)
    leanings: NDArray[np.float32] | None = None  # (B, T) nats by which the second of two models wanted them more


def is_available(vocab_size: int, hidden_size: int, num_layers: int) -> bool:
    """Return whether the kernel is compiled and a table with a row for each character is affordable."""
    is_small = vocab_size * 4 * _pad(hidden_size) <= _LARGEST_TABLE and num_layers <= _MAX_LAYERS
    return is_small and load_library() is not None


def has_int8() -> bool:
    """Return whether the processor multiplies 8-bit integers (AVX512-VNNI)."""
    kernel = load_library()
    return kernel is not None and bool(kernel.step_has_int8())


class RecordedStates(NamedTuple):
    """States after each character that was read."""

    cells: NDArray[np.float32]  # (B, T, L, H)
    hidden: NDArray[np.float32]  # (B, T, L, H)


class PackedWeights:
    """Weights in the order in which a step reads them; immutable, shared by any number of texts and threads."""

    def __init__(
        self, table: Tensor, layers: Sequence[Layer], head: Layer, scales: Sequence[Tensor] | None = None
    ) -> None:
        """`table` (V, 4H) is what each character gives the gates of the first layer, its biases included.

        The bias of the first layer is not looked at. With `scales`, (4H,) of each layer, weights of layers are int8 and
        stand for their product with them, and hidden states are rounded to 255 steps from -1 to 1.
        """
        size, vocab_size = layers[0][0].shape[1], len(table)
        self.hidden_size, self.num_layers, self.vocab_size = size, len(layers), vocab_size
        self.is_int8 = scales is not None
        self.padded_size = _pad(size)
        self._kept: list[Tensor] = []  # the structure holds addresses only
        self._c = _Network(self.is_int8, vocab_size, self.padded_size, len(layers))
        self._c.table = self._address(_pad_gates(table))
        for index, (weight, bias) in enumerate(layers):
            self._c.biases[index] = self._address(_pad_gates(bias[None])[0])
            padded = torch.cat(
                [_pad_columns(part, self.padded_size) for part in torch.split(weight, size, dim=1)], dim=1
            )
            self._add(index, _pad_gates(padded.t()).t(), None if scales is None else scales[index])
        weight, bias = head
        blocks = -(-vocab_size // lanes())
        padded = torch.zeros(blocks * lanes(), self.padded_size, dtype=torch.float32, device="cpu")
        padded[:vocab_size, :size] = weight
        self._c.head = self._address(padded.view(blocks, lanes(), self.padded_size).transpose(1, 2))
        self._c.head_bias = self._address(torch.nn.functional.pad(bias, (0, blocks * lanes() - vocab_size)))

    def _add(self, index: int, weight: Tensor, scale: Tensor | None) -> None:
        """Add `weight` (4P, K) of a layer, and the `scale` (4H,) of its rows."""
        group = 1
        if scale is not None:
            self._c.scales[index] = self._address(_pad_gates(scale[None] / _QUANTA)[0])
            self._c.offsets[index] = self._address((-128 * weight.sum(dim=1)).to(torch.int32))
            group = 4
        gates, columns = 4, weight.shape[1]
        tiles = weight.reshape(gates, self.padded_size // lanes(), lanes(), columns // group, group)
        self._c.weights[index] = self._address(tiles.permute(1, 3, 0, 2, 4))

    def _address(self, tensor: Tensor) -> int:
        self._kept.append(tensor.detach().clone(memory_format=torch.contiguous_format))
        return self._kept[-1].data_ptr()

    @property
    def structure(self) -> _Network:
        """The structure that C reads; valid as long as this object lives."""
        return self._c


class DecoderState:
    """Texts that a network writes side by side; none depends on the others in any bit."""

    def __init__(self, network: PackedWeights, num_texts: int = 1) -> None:
        self._network, self.num_texts = network, num_texts
        shape = (network.num_layers, num_texts, network.padded_size)
        self._h, self._c = (torch.zeros(shape, dtype=torch.float32, device="cpu") for _ in "hc")
        self._history = np.full((num_texts, REPEAT_WINDOW), -1, np.int32)
        number = torch.uint8 if network.is_int8 else torch.float32
        self._inputs = torch.empty((network.num_layers, num_texts, 2 * network.padded_size), dtype=number, device="cpu")
        width = -(-network.vocab_size // lanes()) * lanes()
        self._logits = torch.empty(3, num_texts, width, dtype=torch.float32, device="cpu")
        self._ranked = torch.empty(num_texts, network.vocab_size, 2, dtype=torch.float32, device="cpu")
        self._held: Tensor | None = None  # (L, P), infinity for a unit that is free

    @classmethod
    def after(
        cls,
        network: PackedWeights,
        ids: NDArray[np.int32],
        num_texts: int = 1,
        held: Mapping[tuple[int, int], float] = MappingProxyType({}),
        held_from: int | None = None,
    ) -> "DecoderState":
        """Make `num_texts` texts that all begin with `ids` (N,), N at least 1, each a character of the vocabulary.

        Units (layer, unit) in `held` keep that cell state after each character from place `held_from` of `ids` on, by
        default the last, which is the first that is read when they go on.
        """
        text = cls(network)
        free = len(ids) - 1 if not held or held_from is None else min(held_from, len(ids) - 1)
        text._read(ids[:free])
        text._hold(held)
        text._read(ids[free:-1])
        text._history[0, -len(ids) :] = ids[-REPEAT_WINDOW:]
        return text if num_texts == 1 else cls.together([text] * num_texts)

    def _hold(self, held: Mapping[tuple[int, int], float]) -> None:
        if held:
            self._held = torch.full(self._c[:, 0].shape, math.inf, dtype=torch.float32, device="cpu")
            for place, value in held.items():
                self._held[place] = value

    @classmethod
    def together(cls, texts: Sequence["DecoderState"]) -> "DecoderState":
        """Return all of `texts` as one; all hold the same units, if any."""
        whole = cls(texts[0]._network, sum(each.num_texts for each in texts))
        whole._held = texts[0]._held  # never written to again
        whole._h, whole._c = (torch.cat([getattr(each, name) for each in texts], dim=1) for name in ("_h", "_c"))
        whole._history = np.concatenate([each._history for each in texts])
        return whole

    def _read(self, ids: NDArray[np.int32]) -> None:
        ids = np.ascontiguousarray(ids, np.int32)
        job = self._job(len(ids))
        job.is_reading, job.history = True, ids.ctypes.data
        self._run(job)

    def write(
        self, config: SampleConfig, num_chars: int, positions: int | Sequence[int], num_likeliest: int = 0
    ) -> DecodedTokens:
        """Write the next `num_chars` of every text after the `positions`, (B,) or one for all, written so far.

        Text number b draws what (seed, b, position) say. Lengths and the like in `config` are not looked at.
        """
        places = np.broadcast_to(np.asarray(positions, np.int64), self.num_texts).copy()
        job, written = self._begin(np.zeros((self.num_texts, num_chars), np.int32), num_likeliest)
        job.no_repeat, job.top_k = config.no_repeat, config.top_k
        job.temperature, job.top_p, job.seed = config.temperature, config.top_p, config.seed
        job.positions = places.ctypes.data
        self._run(job)
        self._remember(written)
        return written

    def follow(self, ids: NDArray[np.int32], num_likeliest: int = 0) -> DecodedTokens:
        """Score `ids` (B, T) as if they had been written."""
        job, written = self._begin(ids, num_likeliest)
        job.is_given = True
        self._run(job)
        self._remember(written)
        return written

    def record(self, ids: NDArray[np.int32]) -> RecordedStates:
        """Read `ids` (B, T) without predicting anything; return the states after each."""
        network, ids = self._network, np.ascontiguousarray(ids, np.int32)
        shape = (*ids.shape, network.num_layers, network.padded_size)
        states = RecordedStates(np.empty(shape, np.float32), np.empty(shape, np.float32))
        job = self._job(ids.shape[1])
        job.is_reading, job.history = True, ids.ctypes.data
        job.cells, job.hidden = states.cells.ctypes.data, states.hidden.ctypes.data
        self._run(job)
        return RecordedStates(*(each[..., : network.hidden_size] for each in states))

    def put(self, cells: NDArray[np.float32], hidden: NDArray[np.float32]) -> None:
        """Put all texts into the states (L, H), as if they had come to them by what they have read."""
        for ours, given in ((self._c, cells), (self._h, hidden)):
            ours[..., : self._network.hidden_size] = torch.from_numpy(given)[:, None]

    def next_logits(self) -> NDArray[np.float32]:
        """Read the last character of every text; return the logits (B, V) of what follows.

        `accept` is to be called before anything else reads on.
        """
        last = np.ascontiguousarray(self._history[:, -1:])
        job = self._job(1)
        job.is_reading, job.has_logits, job.history = True, True, last.ctypes.data
        self._run(job)
        return self._logits[0, :, : self._network.vocab_size].numpy().copy()

    def accept(self, ids: NDArray[np.int32]) -> None:
        """Add `ids` (B,) to the texts: what was chosen by the logits."""
        self._history = np.concatenate([self._history[:, 1:], ids[:, None].astype(np.int32)], axis=1)

    def copy(self) -> "DecoderState":
        """Return these texts as they are now, which go on by themselves."""
        return DecoderState.together([self])

    def _begin(self, ids: NDArray[np.int32], num_likeliest: int) -> tuple[_Writing, DecodedTokens]:
        num_likeliest = min(num_likeliest, self._network.vocab_size)
        history = np.concatenate([self._history, ids], axis=1, dtype=np.int32)
        written = DecodedTokens(
            history[:, REPEAT_WINDOW:],
            np.empty(ids.shape, np.float32),
            np.empty((*ids.shape, num_likeliest), np.int32),
            np.empty((*ids.shape, num_likeliest), np.float32),
        )
        job = self._job(ids.shape[1])
        job.window, job.num_likeliest, job.history = REPEAT_WINDOW, num_likeliest, history.ctypes.data
        job.surprises = written.surprises.ctypes.data
        job.likeliest, job.probabilities = written.likeliest.ctypes.data, written.probabilities.ctypes.data
        return job, written

    def _remember(self, written: DecodedTokens) -> None:
        self._history = np.concatenate([self._history, written.ids], axis=1)[
            :, -REPEAT_WINDOW:
        ].copy()  # no view: it is small

    def _job(self, num_chars: int) -> _Writing:
        job = _Writing(ctypes.pointer(self._network.structure), self.num_texts, num_chars)
        job.h, job.c, job.inputs = self._h.data_ptr(), self._c.data_ptr(), self._inputs.data_ptr()
        job.held = None if self._held is None else self._held.data_ptr()
        job.logits, job.allowed, job.shares = (each.data_ptr() for each in self._logits)
        job.ranked = self._ranked.data_ptr()
        return job

    def _run(self, job: _Writing) -> None:
        kernel = load_library()
        assert kernel is not None
        parts = max(1, min(torch.get_num_threads(), self.num_texts // _FEWEST_ROWS))
        edges = [self.num_texts * part // parts for part in range(parts + 1)]
        helping = [
            _pool().submit(kernel.step_rows, ctypes.byref(job), first, last)
            for first, last in itertools.pairwise(edges[1:])
        ]
        kernel.step_rows(ctypes.byref(job), 0, edges[1])
        for each in helping:
            each.result()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="charlstm-step")


@lru_cache(maxsize=1)
def lanes() -> int:
    """Return how many numbers a vector of this processor holds."""
    kernel = load_library()
    assert kernel is not None
    return int(kernel.lanes())


def _pad(size: int) -> int:
    return -(-size // _UNITS) * _UNITS


def _pad_columns(weight: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(weight, (0, size - weight.shape[1]))


def _pad_gates(rows: Tensor) -> Tensor:
    """Pad (N, 4H) to (N, 4P) with zeros after each gate's units."""
    gates = rows.view(len(rows), 4, -1)
    return _pad_columns(gates.flatten(0, 1), _pad(gates.shape[2])).view(len(rows), -1)
