"""Jobs of the compiled kernel: what it is given, in its own layout, and the threads that work on it."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from charlstm.cpus import available_cpus
from charlstm.environment import OMP_NUM_THREADS
from charlstm.kernel.build import load_library

FEWEST_ITEMS = 4  # streams (or tiles) in a part: the weights are read once for all of them
PACK_FORWARD, PACK, FORWARD, BACKWARD, ADD_ROWS, HEAD, DROP = range(7)
_FLOAT, _BFLOAT16, _MIXED = range(3)


class Job(ctypes.Structure):
    """What the kernel is given: `Job` in kernel.c."""

    _fields_ = (
        ("task", ctypes.c_int32),
        ("numbers", ctypes.c_int32),
        ("num_parts", ctypes.c_int32),
        ("num_items", ctypes.c_int32),
        ("T", ctypes.c_int32),
        ("B", ctypes.c_int32),
        ("H", ctypes.c_int32),
        ("V", ctypes.c_int32),
        ("taken", ctypes.c_int32),
        ("num_tiles", ctypes.c_int32),
        ("num_owners", ctypes.c_int32),
        ("turns", ctypes.c_void_p),
        ("scale", ctypes.c_float),
        ("seed", ctypes.c_uint32 * 2),
        ("threshold", ctypes.c_uint32),
        ("arrays", ctypes.c_void_p * 9),
    )


class PackArrays(NamedTuple):
    """Arrays of the tasks `PACK_FORWARD` and `PACK`, in the order of `enum PackArray` of kernel.c; others likewise."""

    matrix: Tensor
    packed: Tensor


class ForwardArrays(NamedTuple):
    """Arrays of the task `FORWARD`."""

    packed: Tensor
    inputs: Tensor
    rows: Tensor
    h: Tensor
    c: Tensor
    gates: Tensor | None
    bias: Tensor | None


class BackwardArrays(NamedTuple):
    """Arrays of the task `BACKWARD`."""

    packed: Tensor
    dh: Tensor
    gates: Tensor
    c: Tensor
    dc: Tensor
    dgates: Tensor


class AddRowsArrays(NamedTuple):
    """Arrays of the task `ADD_ROWS`."""

    rows: Tensor | None
    dgates: Tensor
    sums: Tensor


class HeadArrays(NamedTuple):
    """Arrays of the task `HEAD`."""

    hidden: Tensor
    to_logits: Tensor
    to_hidden: Tensor
    bias: Tensor
    targets: Tensor
    logits: Tensor
    dlogits: Tensor
    dhidden: Tensor
    nats: Tensor


class DropArrays(NamedTuple):
    """Arrays of the task `DROP`."""

    source: Tensor
    target: Tensor


class Sizes(NamedTuple):
    """The sizes in `Job`, as far as a task needs them."""

    T: int
    B: int
    H: int
    V: int = 0
    scale: float = 1.0
    seed: int = 0  # 64 bits
    threshold: int = 0


def num_lanes() -> int:
    """Return how many float32 numbers a vector of the compiled kernel holds."""
    kernel = load_library()
    assert kernel is not None
    return int(kernel.lanes())


def run(
    task: int,
    sizes: Sizes,
    num_items: int,
    arrays: tuple[Tensor | None, ...],
    num_tiles: int = 0,
    turns: Tensor | None = None,
) -> None:
    """Run `num_items` independent items on as many threads as PyTorch uses; the assignment changes no bit.

    With `turns` (T, owners + 1, 16), zeros, they share the tiles of every step instead, an item for each thread.
    """
    kernel = load_library()
    assert kernel is not None
    threads = min(torch.get_num_threads(), num_items)
    pointers = [tensor.data_ptr() if tensor is not None else None for tensor in arrays]
    # More parts than threads, so that a core that others use as well does not hold everyone up.
    num_parts = threads * max(1, min(num_items // FEWEST_ITEMS // threads, 2))
    job = Job(
        task,
        _numbers(kernel, task, arrays),
        num_parts,
        num_items,
        sizes.T,
        sizes.B,
        sizes.H,
        sizes.V,
        scale=sizes.scale,
    )
    job.num_tiles = num_tiles
    if turns is not None:
        job.turns, job.num_owners = turns.data_ptr(), threads
    job.seed[:], job.threshold = divmod(sizes.seed, 2**32), sizes.threshold
    job.arrays[: len(arrays)] = pointers
    if threads == 1:
        kernel.run_job(ctypes.byref(job))
    else:
        team()(kernel, job, threads)


def _numbers(kernel: ctypes.CDLL, task: int, arrays: tuple[Tensor | None, ...]) -> int:
    """Return which of `enum Numbers` in kernel.c the arrays are of."""
    types = [None if tensor is None else tensor.dtype for tensor in arrays]
    if torch.bfloat16 not in types:
        return _FLOAT
    if task in (PACK_FORWARD, PACK):  # both read float and pack alike
        return _BFLOAT16 if kernel.has_bfloat16() else _MIXED
    return _MIXED if task in (FORWARD, BACKWARD) and types[1] == torch.float32 else _BFLOAT16


@lru_cache(maxsize=1)
def team() -> Callable[[ctypes.CDLL, Job, int], None]:
    """Return what runs a job on threads: PyTorch's own OpenMP team where its library is found, else Python's threads.

    *Measured*: a second team beside PyTorch's, whose idle threads spin, takes 1.5 times as long on 2 cores.
    """
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    if not found:
        return python_threads()
    parallel = ctypes.CDLL(str(found[0])).GOMP_parallel

    def work(kernel: ctypes.CDLL, job: Job, threads: int) -> None:
        parallel(ctypes.cast(kernel.run_job, ctypes.c_void_p), ctypes.byref(job), threads, 0)

    return work


def python_threads() -> Callable[[ctypes.CDLL, Job, int], None]:
    """Return what runs a job on threads of Python's."""
    pool = ThreadPoolExecutor(thread_name_prefix="charlstm-kernel")

    def work(kernel: ctypes.CDLL, job: Job, threads: int) -> None:
        helping = [pool.submit(kernel.run_job, ctypes.byref(job)) for _ in range(threads - 1)]
        kernel.run_job(ctypes.byref(job))
        for each in helping:
            each.result()

    return work


def limit_torch_threads() -> None:
    """Limit PyTorch's threads to the available CPUs, unless `OMP_NUM_THREADS` says how many.

    PyTorch starts a thread for every CPU it sees. Where a container gets the time of 2 CPUs out of 16, threads that
    wait for each other spend that time waiting. *Measured*: with the time of one CPU a step of `minute` takes 1.5 times
    as long with two threads as with one. Raises `ConfigError` for one that is not a number.
    """
    if not OMP_NUM_THREADS.read():
        torch.set_num_threads(min(torch.get_num_threads(), available_cpus()))
