"""Checks of runs against the limits of the deployment and the memory of this machine. Imports no torch.

The estimate of memory is an upper bound: it counts what the backward pass keeps of each position of a window, what the
optimizer and rollbacks keep of each parameter, and each byte of the text. `docs/bounds.md` compares it with *measured*
peaks.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from charlstm.config import ModelConfig, Settings
from charlstm.environment import limits
from charlstm.errors import ConfigError, CorpusError, RunError
from charlstm.runs.run_dir import Extension, RunDir

_MB = 1e6  # bytes


def apply_limits(settings: Settings) -> Settings:
    """Return `settings` with the longest time allowed if they set none; raise `ConfigError` for a longer one."""
    most = limits().max_minutes
    if not most:
        return settings
    requested = settings.train.max_minutes
    if requested > most:
        raise ConfigError(f"a run may train for at most {most:g} minutes here, not {requested:g}; choose fewer.")
    train = settings.train.model_copy(update={"max_minutes": requested or most})
    return settings.model_copy(update={"train": train})


def limit_size(text: str | Iterable[str]) -> Iterator[str]:
    """Yield the pieces of `text`; raise `CorpusError` as soon as they exceed the size limit."""
    num_bytes = 0
    for piece in [text] if isinstance(text, str) else text:
        num_bytes += len(piece.encode("utf-8", "surrogatepass"))
        check_text(num_bytes)
        yield piece


def check_text(num_bytes: int) -> None:
    """Raise `CorpusError` if a text of that size exceeds the limit."""
    most = limits().max_corpus_mb
    if most and num_bytes > most * _MB:
        raise CorpusError(f"a text may have at most {most:g} MB here; choose a shorter one.")


def check_size(settings: Settings, vocab_size: int, num_chars: int, free_bytes: float | None = 0) -> None:
    """Raise `ConfigError` for a network with more parameters, or whose training takes more memory, than may be here.

    `free_bytes` are those of this machine: 0 if unknown, and `None` for a network that is trained in a GPU's memory.
    """
    number, most = num_parameters(settings.model, vocab_size), limits().max_parameters
    if most and number > most:
        raise ConfigError(
            f"a model may have at most {most:,} parameters here, not {number:,}; lower hidden_size or num_layers."
        )
    if free_bytes is not None:
        check_memory(settings, vocab_size, num_chars, free_bytes)


_SHORTEST_MINUTES = 0.01  # worth a place in the queue


def require_queue_place(waiting: Iterable[RunDir], owner: str) -> None:
    """Raise `RunError` if the `waiting` runs fill the queue, or the owner's share of it."""
    owners, bounds = [folder.owner for folder in waiting], limits()
    if bounds.max_queue and len(owners) >= bounds.max_queue:
        raise RunError(f"{len(owners)} runs wait already, as many as may here; try again when one of them has begun.")
    if bounds.max_queue_each and owner and owners.count(owner) >= bounds.max_queue_each:
        raise RunError(
            f"{bounds.max_queue_each} of your runs wait already, as many as may here; take one out of the queue first."
        )


def limit_extension(label: str, trained_seconds: float, more: Extension) -> Extension:
    """Return `more` with a time limit that keeps run `label` within its minutes here; raise `RunError` beyond them."""
    most = limits().max_minutes
    if not most:
        return more
    left = max(0.0, most - trained_seconds / 60)
    if left < _SHORTEST_MINUTES:
        raise RunError(f"{label} has trained the {most:g} minutes that a run may here; begin a new run from its model.")
    if more.minutes > left:
        raise RunError(
            f"a run may train for at most {most:g} minutes in all here, which leaves {label} {left:.3g} more, "
            f"not {more.minutes:g}; choose fewer."
        )
    return more.model_copy(update={"minutes": more.minutes or left})


_PROGRAM = 420e6  # Python, PyTorch and its threads
_OF_PARAMETER = 4 * 15  # weights, gradient, two moments, average, and two copies of those: for rollback and saving
_OF_UNIT = 4 * 14  # gates, hidden and cell states and their gradients, per position and layer
_OF_CHARACTER = 4 * 4  # logits, their gradients and the softmax's intermediates, per position
_OF_INPUT = 4 * 3  # one-hot or embedded
_OF_TEXT = 16  # the text, the file as read, its tokens, and the tables of the 5-gram model
_COUNTED_AT_MOST = 64e6  # bytes: longer texts are read from disk, or in part
_VALIDATED_PLACES = 32 * 256
_LOGITS_AT_ONCE = 1 << 24
_MOST_BYTES = {"chars": 1, "bytes": 4}  # tokens per character
_KEPT_FREE = 0.9  # of the available memory: the rest is left to others


def num_parameters(model: ModelConfig, vocab_size: int) -> int:
    """Return the number of parameters of the model."""
    size, below = model.hidden_size, model.embedding_dim or vocab_size
    layers = sum(4 * size * (inputs + size + 2) for inputs in [below, *[size] * (model.num_layers - 1)])
    return vocab_size * (model.embedding_dim + size + 1) + layers


def estimate_bytes(settings: Settings, vocab_size: int, num_chars: int) -> float:
    """Return an upper estimate, in bytes, of the memory to train on `num_chars` of `vocab_size` distinct characters."""
    model, train = settings.model, settings.train
    stream = math.ceil(num_chars * _MOST_BYTES[model.level] * (1 - train.val_fraction) / train.batch_size)
    trained = train.batch_size * min(train.seq_len + 1, stream)
    places = max(trained, _VALIDATED_PLACES)
    logits = max(trained * vocab_size, min(_VALIDATED_PLACES * vocab_size, _LOGITS_AT_ONCE))
    return (
        _PROGRAM
        + _OF_PARAMETER * num_parameters(model, vocab_size)
        + _OF_UNIT * places * model.hidden_size * model.num_layers
        + _OF_CHARACTER * logits
        + _OF_INPUT * places * (model.embedding_dim or vocab_size)
        + _OF_TEXT * min(num_chars, _COUNTED_AT_MOST)
    )


def check_memory(settings: Settings, vocab_size: int, num_chars: int, there: float = 0) -> None:
    """Raise `ConfigError` if training would exceed the memory limit here, or `there`, the free bytes (0 if unknown)."""
    needed, limit = estimate_bytes(settings, vocab_size, num_chars), limits().max_memory_mb * _MB
    most = min(filter(None, (limit, _KEPT_FREE * there)), default=0)
    if most and needed > most:
        whose = f"at most {most / _MB:,.0f} MB may be taken here" if most == limit else f"{most / _MB:,.0f} MB are free"
        train = settings.train
        raise ConfigError(
            f"this run would need about {needed / _MB:,.0f} MB of memory and {whose}: lower batch_size (now "
            f"{train.batch_size}), seq_len ({train.seq_len}) or hidden_size ({settings.model.hidden_size})."
        )


def available_bytes() -> float:
    """Return the bytes still available on this machine and in its container; 0 if unknown."""
    if sys.platform != "linux":
        return 0
    found = [_of_machine(), _of_container()]
    return min(filter(None, found), default=0)


def _of_machine() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next((1024 * float(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def _of_container() -> float:
    """Return the bytes left in the innermost control group (v1 or v2); its reclaimable cache counts as free."""
    for place, most, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            bound, taken = (float(Path(place, name).read_text(encoding="ascii")) for name in (most, used))
            facts = dict(line.split() for line in Path(place, "memory.stat").read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        return max(1.0, bound - taken + float(facts.get("inactive_file", 0)))
    return 0
