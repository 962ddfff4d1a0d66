"""Where a run's text comes from, and what the worker says when text or folder fail it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlstm.corpus import (
    DESCRIPTIONS,
    HELD_BYTES,
    Corpus,
    Report,
    absolute,
    is_address,
    open_corpus,
    open_file,
)
from charlstm.errors import CharLSTMError, CorpusError
from charlstm.runs.moved import keep_place, require_text
from charlstm.runs.parts import header_of
from charlstm.runs.store import RunFolder

_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "could not create a memory",
    "bad_alloc",
)


def check_text_is_the_same(corpus: Corpus, facts: Mapping[str, Any]) -> None:
    """Raise `CorpusError` unless `corpus` is what the run with these saved facts began with."""
    if facts.get("corpus_sha256") != corpus.sha256:
        raise CorpusError(
            f"{corpus.name} is not the text this run began with; bring that text back, name its new place with "
            "--corpus, or start a new run."
        )


def told(error: Exception, folder: RunFolder) -> str:
    """What the records say of an error: one sentence, without the path of the folder of models."""
    if isinstance(error, OSError):
        return unwritable(error)
    if is_out_of_memory(error):
        return "the memory of this machine did not suffice; lower batch_size, seq_len or hidden_size."
    if isinstance(error, CharLSTMError):
        return str(error).replace(f"{folder.path.parent}{os.sep}", "")
    return f"an unexpected error ended the run: {type(error).__name__}; its log says more."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was no memory: PyTorch has a class for that of GPUs only, and words elsewhere."""
    said = str(error).lower()
    is_torchs = isinstance(error, RuntimeError) and any(words in said for words in _OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or is_torchs


def unwritable(error: OSError) -> str:
    """What a folder that can't be written is told with."""
    return f"the run's folder can't be written ({error.strerror or error}); free it up and resume the run."


def corpus_of(folder: RunFolder, report: Report | None = None) -> Corpus:
    """The text that a run learns from: its own copy, or the corpus of its settings."""
    train = folder.settings().train
    if folder.corpus_file.exists():
        return open_file(folder.corpus_file, "utf-8", name=train.corpus, report=report)
    require_text(folder)
    return open_corpus(train.corpus, train.encoding, report)


def moved_text(folder: RunFolder, place: str, report: Report | None = None) -> Corpus:
    """The text of a run, from the file or corpus `place`, which the run's settings name from then on.

    Raises `CorpusError` unless it is the text that the run began with.
    """
    corpus = open_corpus(place, folder.settings().train.encoding, report, shown=place)
    _check_against_state(corpus, folder)
    if place not in DESCRIPTIONS:
        place = corpus.name if is_address(place) else absolute(place)
    keep_place(folder, place)
    return corpus


def check_before_resuming(folder: RunFolder) -> None:
    """Raise `CorpusError` where a page can tell soon that a run can't go on; of a large text its worker finds out."""
    require_text(folder)
    place = folder.corpus_file if folder.corpus_file.exists() else Path(folder.settings().train.corpus)
    if place.is_file() and place.stat().st_size <= HELD_BYTES:
        _check_against_state(corpus_of(folder), folder)


def _check_against_state(corpus: Corpus, folder: RunFolder) -> None:
    if folder.has_state:
        check_text_is_the_same(corpus, header_of(folder.state_file).get("training_state") or {})
