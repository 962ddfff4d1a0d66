"""What the limits of the place (`charlstm.hosting`) mean for a run. Starts without torch."""

from collections.abc import Iterable, Iterator

from charlstm.config import Settings
from charlstm.errors import ConfigError, CorpusError
from charlstm.hosting import limits

_BYTES_OF_MB = 1e6


def allowed(settings: Settings) -> Settings:
    """`settings` as they may run here: one without a time limit gets the longest; raises `ConfigError` for more."""
    most = limits().max_minutes
    if not most:
        return settings
    asked = settings.train.max_minutes
    if asked > most:
        raise ConfigError(f"a run may train for at most {most:g} minutes here, not {asked:g}; choose fewer.")
    train = settings.train.model_copy(update={"max_minutes": asked or most})
    return settings.model_copy(update={"train": train})


def bounded(text: str | Iterable[str]) -> Iterator[str]:
    """The pieces of `text`; raises `CorpusError` as soon as they are more than may be learned here."""
    num_bytes = 0
    for piece in [text] if isinstance(text, str) else text:
        num_bytes += len(piece.encode("utf-8", "surrogatepass"))
        check_text(num_bytes)
        yield piece


def check_text(num_bytes: int) -> None:
    """Raise `CorpusError` if a text of that size is more than may be learned here."""
    most = limits().max_corpus_mb
    if most and num_bytes > most * _BYTES_OF_MB:
        raise CorpusError(f"a text may have at most {most:g} MB here; choose a shorter one.")


def check_parameters(num_parameters: int) -> None:
    """Raise `ConfigError` if a model of that size is more than may be trained here."""
    most = limits().max_parameters
    if most and num_parameters > most:
        raise ConfigError(
            f"a model may have at most {most:,} parameters here, not {num_parameters:,}; lower hidden_size or "
            "num_layers."
        )
