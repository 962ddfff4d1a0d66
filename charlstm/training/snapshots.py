"""Snapshots of a run's network while it learns, on a logarithmic clock: steps 0, 1, 2, 3, 4, 6, 8, 11, 16 ..., 2^(k/2).

    <run>/snapshots/STEP.safetensors    weights in 16 bits; the header holds step, seconds of the run and a SHA-256

They hold the weights that the run writes with (their average, where it keeps one), are for looking at, and go on from
nowhere. float16 changes the loss least: *measured* by 0.0000003 and 0.0000013 nats a character on the bundled models,
against 0.000004 and 0.000017 with bfloat16, which stands in where a weight is beyond float16.
"""

import contextlib
import re
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from charlstm.checkpoint import load_training_state, read_facts, save_training_state
from charlstm.errors import CheckpointError
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM
from charlstm.model_paths import SNAPSHOTS
from charlstm.training.trainer import Trainer

MOST_BYTES = 40_000_000  # of all snapshots of a run
# Of the run's planned time, at most, is spent on them: of this thread's own, else a busy machine would leave few.
_SHARE = 0.002
_FREE_SECONDS = 0.1  # or this, in a run of less than 50 s
_TENSOR_BYTES = 256  # of the header, for each tensor; generous
_PIECE = 1 << 14  # numbers
_LARGEST = torch.finfo(torch.bfloat16).max
_NAME = re.compile(r"(\d{1,12})\.safetensors")


class Snapshot(NamedTuple):
    """One snapshot on disk."""

    step: int
    seconds: float  # of the run
    path: Path


def list_snapshots(folder: Path) -> list[Snapshot]:
    """Return the snapshots of the run in `folder`, the earliest first, without any whose header can't be read."""
    found = []
    for step, path in _files(folder).items():
        with contextlib.suppress(CheckpointError, KeyError, TypeError, ValueError):
            found.append(Snapshot(step, float(read_facts(path)["seconds"]), path))
    return sorted(found)


@torch.inference_mode(False)
def load_snapshot(path: Path, like: LanguageModel) -> LanguageModel:
    """Return the network of a snapshot, in float32, with the vocabulary and settings of `like`, a model of its run.

    Raises `CheckpointError` if the file is damaged or belongs to a network of another size.
    """
    try:
        tensors, _ = load_training_state(path)
    except CheckpointError:
        raise CheckpointError(f"snapshot {path.stem} can't be read; choose another age of the network.") from None
    expected = {name: tensor.shape for name, tensor in like.model.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise CheckpointError(f"snapshot {path.stem} is of a network of another size; choose another age of this one.")
    model = CharLSTM(len(like.vocabulary), like.model.config, device="meta")
    model.assign_weights({name: tensor.float() for name, tensor in tensors.items()})
    return LanguageModel(model.eval(), like.vocabulary)


class SnapshotTaker:
    """Takes the snapshots of the run in `folder`: reads the trainer, and changes nothing of it.

    Where there is neither room on disk nor time for one, there is none; training goes on.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._next = 0  # the step that is due next
        self._seconds_spent = self._seconds_last = 0.0

    def begin(self, trainer: Trainer) -> None:
        """Begin or go on at the trainer's step: what a killed run left of later ones goes, and this one is taken."""
        self.discard_after(trainer.step)
        for left in (self._folder / SNAPSHOTS).glob(".*.tmp"):
            _remove(left)
        if trainer.step not in _files(self._folder):
            self.take(trainer)

    def discard_after(self, step: int) -> None:
        """Remove the snapshots of later steps, which the run takes anew."""
        self._next = step_of(_index_from(step))
        for later, path in _files(self._folder).items():
            if later > step:
                _remove(path)

    def take(self, trainer: Trainer) -> None:
        """Take a snapshot if one is due at the trainer's step."""
        if trainer.step < self._next:
            return
        index = _index_from(trainer.step)
        is_due = step_of(index) == trainer.step
        self._next = step_of(index + 1 if is_due else index)
        if not is_due or not self._has_time(trainer):
            return
        began = time.thread_time()
        model = trainer.language_model.model
        most = self._most_bytes // (2 * model.num_parameters + _TENSOR_BYTES * (len(model.state_dict()) + 1))
        stride = _stride(index, most)
        if not stride or index % stride:
            return
        with contextlib.suppress(OSError):
            self._thin_out(stride)
            self._write(trainer, model)
        self._seconds_last = time.thread_time() - began
        self._seconds_spent += self._seconds_last

    def _has_time(self, trainer: Trainer) -> bool:
        part = trainer.course.part_seconds
        planned = part + (trainer.elapsed_seconds - part) / (trainer.fraction or 1.0)
        return self._seconds_spent + self._seconds_last <= max(_FREE_SECONDS, _SHARE * planned)

    def _thin_out(self, stride: int) -> None:
        for step, path in _files(self._folder).items():
            if _index_from(step) % stride:
                _remove(path)

    def _write(self, trainer: Trainer, model: CharLSTM) -> None:
        tensors = _in_16_bits(model.state_dict())
        if tensors is not None:
            place = self._folder / SNAPSHOTS
            place.mkdir(exist_ok=True)  # but not a folder for it: a run that was deleted stays so
            facts = {"step": trainer.step, "seconds": round(trainer.elapsed_seconds, 3)}
            save_training_state(place / f"{trainer.step}.safetensors", tensors, facts, is_durable=False)


def step_of(index: int) -> int:
    """Return the step of snapshot `index`: 0, 1, 2, 3, 4, 6, 8, 11, 16 ..."""
    return index if index < 2 else round(2 ** (index / 2))


def _index_from(step: int) -> int:
    """Return the index of the first snapshot that is due at `step` or later."""
    index = 2 * step.bit_length()
    while index and step_of(index - 1) >= step:
        index -= 1
    return index


def _stride(index: int, most: int) -> int:
    """Return of how many indices up to `index` one is kept so that there are `most` at most, a power of 2; 0: none."""
    stride = 1
    while most and index // stride >= most:
        stride *= 2
    return stride if most else 0


def _in_16_bits(weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Return copies of `weights`, or `None` if any is NaN or infinite."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    largest = 0.0
    for tensor in whole.values():
        low, high = float(tensor.numpy().min()), float(tensor.numpy().max())
        if not -_LARGEST <= low <= high <= _LARGEST:  # NaN, if any number is that
            return None
        largest = max(largest, -low, high)
    dtype = torch.float16 if largest <= torch.finfo(torch.float16).max else torch.bfloat16
    return {name: _round(tensor, dtype) for name, tensor in whole.items()}


def _round(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy of a tensor, made in pieces that PyTorch works on alone: threads wait for each other."""
    copied = torch.empty(tensor.shape, dtype=dtype)
    for to, piece in zip(torch.split(copied.view(-1), _PIECE), torch.split(tensor.view(-1), _PIECE), strict=True):
        to.copy_(piece)
    return copied


def _files(folder: Path) -> dict[int, Path]:
    """Return the files of a run's snapshots by their steps."""
    with contextlib.suppress(OSError):  # there are none
        named = [(_NAME.fullmatch(path.name), path) for path in (folder / SNAPSHOTS).iterdir()]
        return {int(name[1]): path for name, path in named if name}
    return {}


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # somebody reads it, or was faster
        path.unlink()
