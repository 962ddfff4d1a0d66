"""One LSTM layer over a window of characters, forward and backward, faster than PyTorch's at small batches.

`lstm_layer` works with autograd; a hand-written backward pass uses `forward`, `output_loss`, `backward` and `sum_rows`.
Shapes: T = time, B = batch, H = hidden size; gates in PyTorch's order i, f, g, o.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charlstm.kernel.build import load_library
from charlstm.kernel.job_layout import (
    ADD_ROWS,
    BACKWARD,
    DROP,
    FEWEST_ITEMS,
    FORWARD,
    HEAD,
    PACK,
    PACK_FORWARD,
    AddRowsArrays,
    BackwardArrays,
    DropArrays,
    ForwardArrays,
    HeadArrays,
    PackArrays,
    Sizes,
    num_lanes,
    run,
)

_UNITS = 16  # hidden sizes must be a multiple of the longest vector
_CACHE_BYTES = 2 << 20  # *assumed*: of a core's second-level cache
_FEWEST_UNITS = 64  # for each of the threads that share a layer's: they wait for each other at every character


def is_available(dtype: torch.dtype, hidden_size: int) -> bool:
    """Return whether `lstm_layer` works on this machine, in float32 or bfloat16, for layers of this size."""
    if hidden_size % _UNITS or dtype not in (torch.float32, torch.bfloat16):
        return False  # before anything is compiled
    kernel = load_library()
    return kernel is not None and (dtype == torch.float32 or bool(kernel.has_bfloat16()))


def fastest_weight_dtype() -> torch.dtype:
    """Return the type of packed recurrent weights with which float32 is fastest here.

    Rounded to bfloat16 they take half the space, in a core's cache and on the way to it. *Measured* on a processor with
    AVX512 but not AVX512-BF16, steps of 8 streams at 1 x 384: 1.4 times as fast on one thread, 1.05 on two, which share
    the weights; of 16 streams at 1 x 768 on two 1.15.
    """
    kernel = load_library()
    return torch.bfloat16 if kernel is not None and kernel.has_mixed() else torch.float32


def lstm_layer(
    inputs: Tensor, rows: Tensor | None, weight_hh: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run one layer: hidden states (T, B, H) of every character, and the state after the last, detached.

    `inputs` (N, 4H) in float32 or bfloat16 is what the layer below adds to the gates, biases included; `rows` (T, B)
    int64 says which of its rows belongs to each place, so a table with one row per character will do. Without `rows`
    the inputs are (T, B, 4H), one row for each place.
    `weight_hh` (4H, H) is float32. `h` and `c` (B, H) are the state before; they get no gradient.
    Sums and cell states are float32 whatever the type.
    """
    h_all, h, c = _Recurrence.apply(inputs, rows, weight_hh, h, c)  # type: ignore[no-untyped-call]
    return h_all[1:], (h, c)


class SavedActivations(NamedTuple):
    """The activations of a window that its backward pass needs."""

    rows: Tensor  # (T, B)
    weight_hh: Tensor  # (4H, H)
    h: Tensor  # (T + 1, B, H); the first is the initial state, here and in c
    c: Tensor  # (T + 1, B, H) float32
    gates: Tensor | None  # (T, B, 4H)


class Workspace:
    """Scratch tensors by name, shape and type: the same ones at each call, because fresh ones cost page faults.

    *Measured*: 1,100 faults and a tenth of the time of a step of 1 x 384 with 8 streams.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[int, ...], torch.dtype], Tensor] = {}

    def __call__(self, name: str, *shape: int, dtype: torch.dtype) -> Tensor:
        """Return a tensor with whatever it held before."""
        key = (name, shape, dtype)
        if key not in self._kept:
            self._kept[key] = torch.empty(shape, dtype=dtype, device="cpu")
        return self._kept[key]


def forward(
    inputs: Tensor,
    rows: Tensor,
    weight_hh: Tensor,
    h: Tensor,
    c: Tensor,
    memory: Workspace | None = None,
    is_kept: bool = True,
    bias: Tensor | None = None,
    weight_dtype: torch.dtype | None = None,
    packed: Tensor | None = None,
) -> SavedActivations:
    """Compute `lstm_layer` without autograd, keeping what the backward pass needs if `is_kept`.

    `bias` (4H) float32 is added to the gates of every place, where it is not in the inputs. The recurrent weights are
    rounded to `weight_dtype`, by default the type of the inputs; `packed` are those of `pack_recurrent`, if it did so
    before.
    """
    memory = memory or Workspace()
    inputs, rows, weight_hh = inputs.contiguous(), rows.contiguous(), weight_hh.contiguous()
    (steps, batch), size, dtype = rows.shape, weight_hh.shape[1], inputs.dtype
    if packed is None:
        packed = pack_recurrent(weight_hh, memory("packed", 4 * size * size, dtype=weight_dtype or dtype))
    trace = SavedActivations(
        rows,
        weight_hh,
        memory("h", steps + 1, batch, size, dtype=dtype),
        memory("c", steps + 1, batch, size, dtype=torch.float32),
        memory("gates", steps, batch, 4 * size, dtype=dtype) if is_kept else None,
    )
    trace.h[0], trace.c[0] = h, c
    arrays = ForwardArrays(packed, inputs, rows, trace.h, trace.c, trace.gates, bias)
    _run_sequence(FORWARD, Sizes(steps, batch, size), size // num_lanes(), arrays, memory)
    return trace


def pack_recurrent(weight_hh: Tensor, packed: Tensor) -> Tensor:
    """Arrange recurrent weights (4H, H) float32, contiguous, for `forward` in `packed` (4 H H,), and return that."""
    size = weight_hh.shape[1]
    run(PACK_FORWARD, Sizes(0, 0, size), size // num_lanes(), PackArrays(weight_hh, packed))
    return packed


def backward(
    trace: SavedActivations,
    dhidden: Tensor,
    memory: Workspace | None = None,
    weight_dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute the gradients (T, B, 4H) of what came into the gates, from those (T, B, H) of the hidden states.

    The state after the window gets none: it is detached there, which is what truncates back-propagation.
    """
    memory = memory or Workspace()
    (steps, batch), size = trace.rows.shape, trace.weight_hh.shape[1]
    assert trace.gates is not None
    dtype = trace.gates.dtype
    packed = memory("packed", 4 * size * size, dtype=weight_dtype or dtype)
    dgates = memory("dgates", steps, batch, 4 * size, dtype=dtype)
    dc = memory("dc", batch, size, dtype=torch.float32)
    sizes = Sizes(steps, batch, size)
    num_tiles = _pack(trace.weight_hh, packed, _num_owners(batch, size, packed.dtype))
    arrays = BackwardArrays(packed, dhidden.contiguous(), trace.gates, trace.c, dc, dgates)
    _run_sequence(BACKWARD, sizes, num_tiles, arrays, memory)
    return dgates


def sum_rows(rows: Tensor | None, dgates: Tensor, num_rows: int, memory: Workspace | None = None) -> Tensor:
    """Sum places (T, B) by row into (num_rows, 4H) float32; without `rows`, all of them into the first.

    *Measured*: of 8,192 places of 4 x 512 in bfloat16 `torch.sum` takes six times as long.
    """
    memory = memory or Workspace()
    steps, batch, width = dgates.shape
    sums = memory("row sums", num_rows, width, dtype=torch.float32).zero_()
    run(ADD_ROWS, Sizes(steps, batch, width // 4), width // num_lanes(), AddRowsArrays(rows, dgates, sums))
    return sums


def output_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float, memory: Workspace | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the output layer and its loss: summed nats, and the gradients of `scale` times that sum.

    hidden (N, H) in float32 or bfloat16; weight (V, H), bias (V) float32; targets (N) int64, below 0 where there is
    none. Returns the nats, the gradients (N, V) of the logits and (N, H) of the hidden states.
    """
    memory = memory or Workspace()
    (num_places, size), dtype, vocab = hidden.shape, hidden.dtype, len(weight)
    width = (
        -(-vocab // num_lanes()) * num_lanes()
    )  # filled up to whole vectors: with no weight, and next to no probability
    wide = memory("head", width, size, dtype=torch.float32)
    wide[:vocab], wide[vocab:] = weight, 0.0
    biases = memory("head bias", width, dtype=torch.float32)
    biases[:vocab], biases[vocab:] = bias, -1e30
    to_logits, to_hidden = (memory(name, width * size, dtype=dtype) for name in ("to logits", "to hidden"))
    _pack(memory("head, turned", size, width, dtype=torch.float32).copy_(wide.t()), to_logits)
    _pack(wide, to_hidden)
    logits = memory("logits", num_places, width, dtype=torch.float32)
    nats = memory("nats", num_places, 2, dtype=torch.float32)
    dlogits = memory("dlogits", num_places, width, dtype=dtype)
    dhidden = memory("dhidden", num_places, size, dtype=dtype)
    arrays = HeadArrays(hidden, to_logits, to_hidden, biases, targets, logits, dlogits, dhidden, nats)
    run(HEAD, Sizes(num_places, 1, size, width, scale), num_places, arrays)
    return nats[:, 0].log().add_(nats[:, 1]).sum(), dlogits[:, :vocab], dhidden


def drop_weights(source: Tensor, target: Tensor, share: float, seed: int) -> Tensor:
    """Drop a `share`, a multiple of 1/256, of the numbers in `source` and scale the rest up; returns `target`.

    Which are dropped follows from the 64 bits of `seed` alone. Both float32 and contiguous, of the same shape, a
    multiple of 64 numbers; they may be the same tensor.
    """
    threshold = round(256 * share)
    sizes = Sizes(0, 0, 0, scale=256 / (256 - threshold), seed=seed, threshold=threshold)
    run(DROP, sizes, source.numel() // 64, DropArrays(source, target))
    return target


def _pack(matrix: Tensor, packed: Tensor, num_owners: int = 0) -> int:
    """Arrange a matrix (K, N) for products with rows of K numbers; return the number of tiles."""
    height, width = matrix.shape
    num_vectors = width // num_lanes()
    num_tiles = -(-num_vectors // 4)
    if num_owners:
        num_tiles = min(-(-num_tiles // num_owners) * num_owners, num_vectors)
    run(PACK, Sizes(0, 0, width, height), num_tiles, PackArrays(matrix, packed), num_tiles)
    return num_tiles


def _num_owners(batch: int, size: int, dtype: torch.dtype) -> int:
    """Return how many threads share the hidden units of every step, or 0 where each takes streams of its own.

    They share them where there are too few streams for all, as the weights would be read anew for every few, and where
    the weights don't fit a core's own cache, while a share of them may. *Measured* on 2 threads, streams over units in
    time: 1.2 to 1.5 for 4 and fewer streams of 256 and 512 units, 0.9 to 1.0 for 8 (bfloat16); in float32, whole steps
    of 8 streams of 256, 320, 384 and 448 units 0.9, 1.1, 1.2 to 1.5 and 1.35, of 16 of 512 and 768 units 1.6 and 1.6,
    of 64 of 512 units 1.2. Not measured: more threads, and weights beyond the cache in bfloat16.
    """
    threads = torch.get_num_threads()
    owners = min(threads, size // _FEWEST_UNITS)
    are_few, are_large = batch < FEWEST_ITEMS * threads, 4 * size * size * dtype.itemsize > _CACHE_BYTES
    return owners if owners > 1 and (are_few or (are_large and owners == threads)) else 0


def _run_sequence(
    task: int, sizes: Sizes, num_tiles: int, arrays: ForwardArrays | BackwardArrays, memory: Workspace
) -> None:
    owners = _num_owners(sizes.B, sizes.H, arrays.packed.dtype)
    turns = memory("turns", sizes.T, owners + 1, 16, dtype=torch.int32).zero_() if owners else None
    run(task, sizes, owners or sizes.B, arrays, num_tiles, turns)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, rows: Tensor | None, weight_hh: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.num_rows = None if rows is None else len(inputs)
        if rows is None:
            rows = torch.arange(inputs.shape[0] * inputs.shape[1], device="cpu").view(inputs.shape[:2])
        is_kept = any(ctx.needs_input_grad)
        trace = forward(inputs, rows, weight_hh, h, c, is_kept=is_kept)
        ctx.save_for_backward(*trace)
        # Copies: a view of the output would have its gradient, and one window's graph would hang on the next.
        last = trace.h[-1].to(torch.float32, copy=True), trace.c[-1].clone()
        ctx.mark_non_differentiable(*last)
        # All of it: a slice would be a view of what is saved, and keep itself alive, and every window with it.
        return trace.h, *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_all: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        trace = SavedActivations(*ctx.saved_tensors)
        dgates = backward(trace, dh_all[1:])
        dweight = (dgates.flatten(0, 1).t() @ trace.h[:-1].flatten(0, 1)).to(trace.weight_hh.dtype)
        dinputs = dgates if ctx.num_rows is None else None
        if ctx.needs_input_grad[0] and ctx.num_rows is not None:
            dinputs = sum_rows(trace.rows, dgates, ctx.num_rows).to(dgates.dtype)
        return dinputs, None, dweight, None, None
