"""One LSTM layer over a window of characters, forward and backward, faster than a library's at small batches.

`recurrence` is the one function; `is_available` says whether this machine has it for a type of number.
Shapes: T = time, B = batch, H = hidden size; gates in PyTorch's order i, f, g, o.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charlstm.kernel.build import library

_UNITS = 16  # hidden sizes must be a multiple of the longest vector
_FEWEST_ITEMS = 4  # streams (or tiles) in a part: the weights are read once for all of them
_PACK_FORWARD, _PACK_BACKWARD, _FORWARD, _BACKWARD, _ADD_ROWS = range(5)


class _Job(ctypes.Structure):
    """`Job` in lstm.c."""

    _fields_ = (
        ("task", ctypes.c_int32),
        ("is_bfloat16", ctypes.c_int32),
        ("num_parts", ctypes.c_int32),
        ("num_items", ctypes.c_int32),
        ("T", ctypes.c_int32),
        ("B", ctypes.c_int32),
        ("H", ctypes.c_int32),
        ("taken", ctypes.c_int32),
        ("arrays", ctypes.c_void_p * 6),
    )


def is_available(dtype: torch.dtype, hidden_size: int) -> bool:
    """Whether `recurrence` works on this machine, in float32 or bfloat16, for layers of this size."""
    if hidden_size % _UNITS or dtype not in (torch.float32, torch.bfloat16):
        return False  # before anything is compiled
    kernel = library()
    return kernel is not None and (dtype == torch.float32 or bool(kernel.has_bfloat16()))


def recurrence(
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


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, rows: Tensor | None, weight_hh: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.num_rows = None if rows is None else len(inputs)
        if rows is None:
            rows = torch.arange(inputs.shape[0] * inputs.shape[1]).view(inputs.shape[:2])
        (steps, batch), size, dtype = rows.shape, weight_hh.shape[1], inputs.dtype
        inputs, rows, weight_hh = inputs.contiguous(), rows.contiguous(), weight_hh.contiguous()
        packed = torch.empty(4 * size * size, dtype=dtype)
        h_all = torch.empty(steps + 1, batch, size, dtype=dtype)
        c_all = torch.empty(steps + 1, batch, size)
        h_all[0], c_all[0] = h, c
        gates = torch.empty(steps, batch, 4 * size, dtype=dtype) if any(ctx.needs_input_grad) else None
        shape = (steps, batch, size)
        _run(_PACK_FORWARD, shape, size // _lanes(), (weight_hh, packed))
        _run(_FORWARD, shape, batch, (packed, inputs, rows, h_all, c_all, gates))
        ctx.save_for_backward(rows, weight_hh, h_all, c_all, gates)
        # Copies: a view of the output would have its gradient, and one window's graph would hang on the next.
        last = h_all[steps].to(torch.float32, copy=True), c_all[steps].clone()
        ctx.mark_non_differentiable(*last)
        # All of it: a slice would be a view of what is saved, and keep itself alive, and every window with it.
        return h_all, *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_all: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight_hh, h_all, c_all, gates = ctx.saved_tensors
        (steps, batch), size = rows.shape, weight_hh.shape[1]
        shape = (steps, batch, size)
        dtype, dhidden = gates.dtype, dh_all[1:].contiguous()
        packed, dgates, dc = (
            torch.empty(4 * size * size, dtype=dtype),
            torch.empty_like(gates),
            torch.empty(batch, size),
        )
        wide, narrow = divmod(size // _lanes(), 4)
        _run(_PACK_BACKWARD, shape, wide + narrow, (weight_hh, packed))
        _run(_BACKWARD, shape, batch, (packed, dhidden, gates, c_all, dc, dgates))
        dgates = dgates.view(steps * batch, 4 * size)
        dweight = (dgates.t() @ h_all[:-1].view(steps * batch, size)).to(weight_hh.dtype)
        dinputs = dgates.view_as(gates) if ctx.num_rows is None else None
        if ctx.needs_input_grad[0] and ctx.num_rows is not None:
            sums = torch.zeros(ctx.num_rows, 4 * size)
            _run(_ADD_ROWS, shape, 4 * size // _lanes(), (rows, dgates, sums))
            dinputs = sums.to(dtype)
        return dinputs, None, dweight, None, None


def _lanes() -> int:
    kernel = library()
    assert kernel is not None
    return int(kernel.lanes())


def _run(task: int, shape: tuple[int, int, int], num_items: int, arrays: tuple[Tensor | None, ...]) -> None:
    """Let as many threads as PyTorch uses work off `num_items` independent items; which takes which changes no bit."""
    kernel = library()
    assert kernel is not None
    threads = min(torch.get_num_threads(), num_items)
    pointers = [tensor.data_ptr() if tensor is not None else None for tensor in arrays]
    is_bfloat16 = any(tensor is not None and tensor.dtype == torch.bfloat16 for tensor in arrays)
    # More parts than threads, so that a core that others use as well does not hold everyone up.
    num_parts = max(threads, min(num_items // _FEWEST_ITEMS, 4 * threads))
    job = _Job(task, is_bfloat16, num_parts, num_items, *shape, 0, (ctypes.c_void_p * 6)(*pointers))
    if threads == 1:
        kernel.work(ctypes.byref(job))
    else:
        _team()(kernel, job, threads)


@lru_cache(maxsize=1)
def _team() -> Callable[[ctypes.CDLL, _Job, int], None]:
    """How threads are had: PyTorch's own OpenMP team where its library is found, else Python's threads.

    *Measured*: a second team beside PyTorch's, whose idle threads spin, takes 1.5 times as long on 2 cores.
    """
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    if not found:
        return _python_threads()
    parallel = ctypes.CDLL(str(found[0])).GOMP_parallel

    def run(kernel: ctypes.CDLL, job: _Job, threads: int) -> None:
        parallel(ctypes.cast(kernel.work, ctypes.c_void_p), ctypes.byref(job), threads, 0)

    return run


def _python_threads() -> Callable[[ctypes.CDLL, _Job, int], None]:
    pool = ThreadPoolExecutor(thread_name_prefix="charlstm-kernel")

    def run(kernel: ctypes.CDLL, job: _Job, threads: int) -> None:
        helping = [pool.submit(kernel.work, ctypes.byref(job)) for _ in range(threads - 1)]
        kernel.work(ctypes.byref(job))
        for each in helping:
            each.result()

    return run
