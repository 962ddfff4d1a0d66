"""Data-parallel training: `torchrun --nproc-per-node 2 -m charlstm train ...`.

Each process trains on its share of the streams, and an all-reduce sums the gradients, so that all take the same step.
Rank 0 also writes, validates and reports. Only this module uses `torch.distributed`; a single process never loads it.
"""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from charlstm.config import TrainConfig
from charlstm.corpus import Split
from charlstm.environment import (
    LOCAL_RANK,
    LOCAL_WORLD_SIZE,
    RANK,
    TORCHELASTIC_RESTART_COUNT,
    TORCHELASTIC_RUN_ID,
    WORLD_SIZE,
)
from charlstm.errors import ConfigError, DistributedError
from charlstm.language_model import LanguageModel
from charlstm.model import State
from charlstm.training.trainer import Trainer

# The other ranks wait while rank 0 validates, samples and saves. If a process dies, a closed connection or torchrun
# ends the wait at once, so the timeout need not be short.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them; in a single process every method is a no-op.

    Methods marked *collective* must be called by all processes in the same order. They raise `DistributedError` if a
    process is gone.
    """

    rank: int = 0
    size: int = 1
    job: str = ""  # the same in every process of a torchrun job, also after restarts; empty without torchrun
    num_restarts: int = 0  # times that torchrun has restarted the processes because one died

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "World":
        """Return the world that torchrun describes, else a single process."""
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
        """Whether this process is rank 0, which writes, validates and reports."""
        return self.rank == 0

    def shard(self, num_streams: int) -> slice:
        """Return this process's streams, shared out evenly; raise `ConfigError` if a process would have none."""
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
        """Leave the world (*collective*), or at once on an error, which the other processes notice."""
        if self.size > 1 and kind is None:
            with contextlib.suppress(DistributedError):  # the work is done
                self.barrier()
            torch.distributed.destroy_process_group()

    def barrier(self) -> None:
        """Wait for all processes (*collective*)."""
        if self.size > 1:
            self.all_reduce_sum_([torch.zeros(1, dtype=torch.float32, device="cpu")])

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Run the block (*collective*) in rank 0 first, so that it downloads or compiles for the others."""
        if not self.is_rank_zero:
            self.barrier()
        yield
        if self.is_rank_zero:
            self.barrier()

    @torch.no_grad()
    def all_reduce_sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each float32 tensor by its sum over all processes (*collective*), bit-identical everywhere.

        Tensors on one device are sent in one message: with small models the number of messages dominates the cost.
        """
        if self.size == 1:
            return
        for device in dict.fromkeys(tensor.device for tensor in tensors):  # the same order in all processes
            here = [tensor for tensor in tensors if tensor.device == device]
            bucket = torch.cat([tensor.reshape(-1) for tensor in here])
            with _in_touch():
                torch.distributed.all_reduce(bucket)
            parts = torch.split(bucket, [tensor.numel() for tensor in here])
            torch._foreach_copy_(here, [part.view_as(tensor) for part, tensor in zip(parts, here, strict=True)])

    def broadcast_state(
        self, tensors: Mapping[str, Tensor] | None = None, facts: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Broadcast rank 0's tensors, received on the CPU, and JSON facts (*collective*)."""
        given = {name: tensor.detach().cpu().contiguous() for name, tensor in (tensors or {}).items()}
        layout = {name: (list(tensor.shape), str(tensor.dtype)) for name, tensor in given.items()}
        layout, received_facts = self.broadcast_object([layout, dict(facts or {})])
        if not self.is_rank_zero:
            types = {name: getattr(torch, dtype.removeprefix("torch.")) for name, (_, dtype) in layout.items()}
            given = {name: torch.empty(shape, dtype=types[name], device="cpu") for name, (shape, _) in layout.items()}
        for tensor in given.values():
            self._broadcast_(tensor)
        return given, received_facts

    def broadcast_object(self, value: Any) -> Any:
        """Broadcast rank 0's JSON value (*collective*)."""
        if self.size == 1:
            return value
        text = bytearray(json.dumps(value).encode())  # JSON rather than pickle, which could run code
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


class DistributedTrainer(Trainer):
    """A trainer in one of the several processes of `world`."""

    def __init__(
        self,
        language_model: LanguageModel,
        split: Split,
        config: TrainConfig,
        clock: Callable[[], float] | None = None,
        world: World = SINGLE_PROCESS,
    ) -> None:
        if config.device == "mps":
            raise ConfigError("several processes can't train together on mps; choose cpu, or start one process alone.")
        self.world = world
        self._is_reporter = world.is_rank_zero
        self._requests = self._agreed = (False, False)  # stop, save
        self._next_factor = 0.0  # of the learning rate, for the next message to the others; 0 for none
        super().__init__(language_model, split, config, clock)
        self._model.shard = (self._streams, config.batch_size)

    def set_lr_factor(self, factor: float) -> None:
        """Multiply the planned learning rate by `factor` in all processes, from the update after the next."""
        self._next_factor = factor

    def agree_on(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether to stop and whether to save after this step.

        Requests travel with the next step's gradients, so that all processes act on them after the same step.
        """
        agreed = self._agreed
        self._requests = stop and not agreed[0], save and not agreed[1]
        return agreed

    def _own_streams(self) -> slice:
        return self.world.shard(self.config.batch_size)

    def _sync(self, nats: Tensor) -> Tensor:
        """Sum the gradient and `nats` over all processes; the same message carries requests and rank 0's times."""
        seconds = self.clock() - self._began if self.world.is_rank_zero else 0.0
        factor, self._next_factor = self._next_factor, 0.0
        sampling = self.samples.sampling_seconds if self.world.is_rank_zero else 0.0
        # split, as one float32 would round a long time
        sent = [*self._requests, factor, sampling, seconds // 1, seconds % 1]
        message = torch.tensor(sent, dtype=torch.float32, device="cpu")
        total = nats.clone()
        self.world.all_reduce_sum_([self._gradient, total, message])
        stops, saves, factor, self.samples.sampling_seconds, whole, rest = message.tolist()
        self._agreed, self.elapsed_seconds = (stops > 0, saves > 0), whole + rest
        self.course.asked_factor = factor or self.course.asked_factor
        return total

    def _sum_over_processes(self, tensors: Sequence[Tensor]) -> None:
        self.world.all_reduce_sum_(tensors)

    def _measure_time(self) -> None:
        """Do nothing: the time arrived with the gradients."""

    def _gather_carried(self, carried: State) -> State:
        whole = self._model.initial_state(self.config.batch_size)
        for every, own in zip(whole, carried, strict=True):
            every[:, self._streams] = own
        self.world.all_reduce_sum_(whole)
        return whole


@contextlib.contextmanager
def _in_touch() -> Iterator[None]:
    try:
        yield
    except RuntimeError:
        raise DistributedError(
            "another process of the group has ended early; what it said tells why, and the run can be resumed."
        ) from None


def _join(world: World) -> None:
    """Join the process group; each process gets a GPU if there are enough of them, else they share."""
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
