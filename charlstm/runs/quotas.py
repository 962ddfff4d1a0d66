"""Checks of runs against the limits of the deployment (`charlstm.environment`). Imports no torch."""

from collections.abc import Iterable, Iterator

from charlstm.config import Settings
from charlstm.environment import limits
from charlstm.errors import ConfigError, CorpusError, RunError
from charlstm.runs.run_dir import Extension, RunDir

_BYTES_OF_MB = 1e6


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
    if most and num_bytes > most * _BYTES_OF_MB:
        raise CorpusError(f"a text may have at most {most:g} MB here; choose a shorter one.")


def check_parameters(num_parameters: int) -> None:
    """Raise `ConfigError` if a model of that size exceeds the limit."""
    most = limits().max_parameters
    if most and num_parameters > most:
        raise ConfigError(
            f"a model may have at most {most:,} parameters here, not {num_parameters:,}; lower hidden_size or "
            "num_layers."
        )


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
