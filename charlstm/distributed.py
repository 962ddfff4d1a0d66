"""Several processes that train as one: `torchrun --nproc-per-node 2 -m charlstm train ...`.

Each takes a share of the streams; what they find is added up, so all make the same step. The first one also writes,
validates and reports. The only module that knows `torch.distributed`; a process on its own never loads it.
"""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from charlstm.environment import (
    LOCAL_RANK,
    LOCAL_WORLD_SIZE,
    RANK,
    TORCHELASTIC_RESTART_COUNT,
    TORCHELASTIC_RUN_ID,
    WORLD_SIZE,
)
from charlstm.errors import ConfigError, DistributedError

# The others wait while the first one validates, samples and saves. Whoever waits in vain is told at once by a closed
# connection, or ended by torchrun, so nothing depends on this.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees it; alone, every method does nothing.

    Methods that say *all* must be called by all of them, in the same order. They raise `DistributedError` when a
    process is no longer there.
    """

    rank: int = 0
    size: int = 1
    job: str = ""  # the same for every process of a torchrun, restarted or not; empty without one
    num_restarts: int = 0  # how often torchrun has started this job's processes anew because one of them died

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "World":
        """What torchrun says of itself, else a process on its own."""
        job = TORCHELASTIC_RUN_ID.text(environment)
        if not job:
            return SINGLE_PROCESS
        # Ids of runs may repeat ("none" is the default), a living torchrun's process id does not.
        origin = f"{job} {socket.gethostname()} {os.getppid()}"
        return cls(
            rank=int(RANK.read(environment)),
            size=int(WORLD_SIZE.read(environment)),
            job=hashlib.sha256(origin.encode()).hexdigest()[:16],
            num_restarts=int(TORCHELASTIC_RESTART_COUNT.read(environment)),
        )

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process is the one that writes, validates and reports."""
        return self.rank == 0

    def shard(self, num_streams: int) -> slice:
        """The streams of this process; shares differ by one at most. Raises `ConfigError` if some would have none."""
        if self.size > num_streams:
            raise ConfigError(
                f"{self.size} processes can't share {num_streams} streams; start at most {num_streams}, or raise "
                "batch_size."
            )
        return slice(self.rank * num_streams // self.size, (self.rank + 1) * num_streams // self.size)

    def __enter__(self) -> "World":
        if self.size > 1:
            _join(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """*All* leave together; who leaves because of an error leaves at once, which the others notice."""
        if self.size > 1 and kind is None:
            with contextlib.suppress(DistributedError):  # all is done
                self.barrier()
            torch.distributed.destroy_process_group()

    def barrier(self) -> None:
        """Wait until *all* are here."""
        if self.size > 1:
            self.all_reduce_sum_([torch.zeros(1, dtype=torch.float32, device="cpu")])

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """*All* pass through the block, the first process before the others: it downloads or compiles for them."""
        if not self.is_rank_zero:
            self.barrier()
        yield
        if self.is_rank_zero:
            self.barrier()

    @torch.no_grad()
    def all_reduce_sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each float32 tensor by its sum over *all* processes, the same bits everywhere.

        What lies on one device travels in one piece: with small models it is the number of messages that costs.
        """
        if self.size == 1:
            return
        for device in dict.fromkeys(tensor.device for tensor in tensors):  # in the same order everywhere
            here = [tensor for tensor in tensors if tensor.device == device]
            bucket = torch.cat([tensor.reshape(-1) for tensor in here])
            with _in_touch():
                torch.distributed.all_reduce(bucket)
            parts = torch.split(bucket, [tensor.numel() for tensor in here])
            torch._foreach_copy_(here, [part.view_as(tensor) for part, tensor in zip(parts, here, strict=True)])

    def broadcast_state(
        self, tensors: Mapping[str, Tensor] | None = None, facts: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What the first process gives, for *all*: tensors, here on the CPU, and JSON facts."""
        given = {name: tensor.detach().cpu().contiguous() for name, tensor in (tensors or {}).items()}
        layout = {name: (list(tensor.shape), str(tensor.dtype)) for name, tensor in given.items()}
        layout, told = self.broadcast_object([layout, dict(facts or {})])
        if not self.is_rank_zero:
            types = {name: getattr(torch, dtype.removeprefix("torch.")) for name, (_, dtype) in layout.items()}
            given = {name: torch.empty(shape, dtype=types[name], device="cpu") for name, (shape, _) in layout.items()}
        for tensor in given.values():
            self._broadcast_(tensor)
        return given, told

    def broadcast_object(self, value: Any) -> Any:
        """What the first process gives, in JSON, for *all*."""
        if self.size == 1:
            return value
        text = bytearray(json.dumps(value).encode())  # not pickled: nothing here is
        length = torch.tensor([len(text)], device="cpu")
        self._broadcast_(length)
        if self.is_rank_zero:
            data = torch.frombuffer(text, dtype=torch.uint8)
        else:
            data = torch.empty(int(length), dtype=torch.uint8, device="cpu")
        self._broadcast_(data)
        return json.loads(bytes(data.tolist()))

    def _broadcast_(self, tensor: Tensor) -> None:
        if self.size > 1:
            with _in_touch():
                torch.distributed.broadcast(tensor, src=0)


SINGLE_PROCESS = World()


@contextlib.contextmanager
def _in_touch() -> Iterator[None]:
    try:
        yield
    except RuntimeError:
        raise DistributedError(
            "another process of the group has ended early; what it said tells why, and the run can be resumed."
        ) from None


def _join(world: World) -> None:
    """Meet the others. One GPU each if there are enough of them, else they are shared."""
    import torch.distributed

    backend = "gloo"
    if torch.cuda.is_available():
        num_gpus = torch.cuda.device_count()
        torch.cuda.set_device(int(LOCAL_RANK.read()) % num_gpus)
        if int(LOCAL_WORLD_SIZE.read()) <= num_gpus and torch.distributed.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"  # what is agreed on the CPU does not wait for the GPU
    with _in_touch():
        store, _, _ = next(torch.distributed.rendezvous("env://", world.rank, world.size))  # type: ignore[attr-defined]
        # torchrun keeps what was stored before a restart, the addresses of the dead among it
        store = torch.distributed.PrefixStore(f"restart_{world.num_restarts}", store)  # type: ignore[attr-defined]
        torch.distributed.init_process_group(
            backend, timeout=_PATIENCE, store=store, rank=world.rank, world_size=world.size
        )
