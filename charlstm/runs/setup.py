"""Preparation of a worker before its first step: planned settings, text, weights and trainer."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charlstm.config import Settings
from charlstm.corpus import (
    DATASETS,
    Corpus,
    OnBytes,
    Split,
    absolute,
    is_address,
    open_corpus,
    open_file,
)
from charlstm.corpus.corpus import HELD_BYTES
from charlstm.corpus.ngram import Cancelled, compute_baselines
from charlstm.errors import CharLSTMError, CorpusError
from charlstm.evaluation import evaluate_quickly
from charlstm.events import Baselines
from charlstm.kernel.build import is_built
from charlstm.language_model import LanguageModel
from charlstm.places import BUNDLED, BUNDLED_MODELS
from charlstm.runs.continuation import SHORT_CHARS, RunPlan, read_model_header, require_text, save_corpus_path
from charlstm.runs.event_log import EventWriter
from charlstm.runs.quotas import available_bytes, check_memory, check_parameters, num_parameters
from charlstm.runs.run_dir import RunDir
from charlstm.training import Trainer
from charlstm.training.autotune import autotune
from charlstm.training.distributed import DistributedTrainer, World
from charlstm.training.optim import resolve_device


def remove_leftovers(folder: RunDir) -> None:
    """Remove the run's queue ticket and the temporary files of killed workers."""
    folder.ticket_file.unlink(missing_ok=True)
    for left in (*folder.path.glob(".*.safetensors.*.tmp"), *folder.state_file.parent.glob(".*.tmp")):
        left.unlink(missing_ok=True)


def build_trainer(
    folder: RunDir,
    settings: Settings,
    corpus: Corpus,
    world: World,
    report: OnBytes | None = None,
) -> tuple[Split, Trainer, tuple[str, ...]]:
    """Return text, trainer, and the characters that are new to the run's parent model, if it has one."""
    start, seed = None, settings.train.seed
    new: tuple[str, ...] = ()
    if folder.parent_file.exists():
        parent = LanguageModel.load(folder.parent_file)
        start, new = parent.with_characters((char for char, _ in corpus.frequencies), settings.model, seed)
    split = corpus.split(settings.model, settings.train, start.vocabulary if start else None, report=report)
    check_parameters(num_parameters(settings.model, len(split.vocabulary)))
    if resolve_device(settings.train.device).type == "cpu":
        check_memory(settings, len(split.vocabulary), corpus.num_chars, available_bytes())
    language_model = start or LanguageModel.create(split.vocabulary, settings.model, seed)
    if world.size > 1:
        trainer: Trainer = DistributedTrainer(language_model, split, settings.train, world=world)
    else:
        trainer = Trainer(language_model, split, settings.train)
    return split, trainer, new


def preparation_stages(plan: RunPlan) -> tuple[str, ...]:
    """Return the stages that a worker goes through before it trains, for its answer."""
    compiling = () if is_built() else ("compiling",)
    choosing = ("choosing",) if plan.settings.train.plan == "on" else ()
    return (*compiling, "reading", *choosing, "building")


def begin_extension(trainer: Trainer, num_parts: int) -> bool:
    """Begin an extension added since the run was saved, if any; return whether there was one."""
    is_extended = trainer.course.num_parts < num_parts
    if is_extended:
        trainer.begin_extension(num_parts)
    return is_extended


def resolve_autotune(folder: RunDir, plan: RunPlan, corpus: Corpus) -> tuple[RunPlan, tuple[str, ...]]:
    """Choose the settings that a run leaves open and save them for when it resumes; return the plan and notes."""
    if plan.settings.train.plan == "off":
        return plan, ()
    settings, note = autotune(plan.settings, corpus)
    folder.save_settings(settings)
    advice = advise_parent(corpus) if settings.model.level == "chars" else ""
    return replace(plan, settings=settings), tuple(filter(None, (note, advice)))


_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "could not create a memory",
    "bad_alloc",
)


def check_text_is_the_same(corpus: Corpus, facts: Mapping[str, Any]) -> None:
    """Raise `CorpusError` unless `corpus` is the text that these facts of a saved state name."""
    if facts.get("corpus_sha256") != corpus.sha256:
        raise CorpusError(
            f"{corpus.name} is not the text this run began with; bring that text back, name its new place with "
            "--corpus, or start a new run."
        )


def describe_error(error: Exception, folder: RunDir) -> str:
    """Return the error as one sentence for the records, without the path of the checkpoints directory."""
    if isinstance(error, OSError):
        return describe_write_error(error)
    if is_out_of_memory(error):
        return "the memory of this machine did not suffice; lower batch_size, seq_len or hidden_size."
    if isinstance(error, CharLSTMError):
        return str(error).replace(f"{folder.path.parent}{os.sep}", "")
    return f"an unexpected error ended the run: {type(error).__name__}; its log says more."


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; off the GPU, PyTorch says so only in the message of a `RuntimeError`."""
    message = str(error).lower()
    is_torchs = isinstance(error, RuntimeError) and any(words in message for words in _OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or is_torchs


def describe_write_error(error: OSError) -> str:
    """Return the message for a run directory that can't be written."""
    return f"the run's folder can't be written ({error.strerror or error}); free it up and resume the run."


def load_corpus(folder: RunDir, settings: Settings, report: OnBytes | None = None) -> Corpus:
    """Open the run's training text: its own copy, or the corpus in its settings."""
    train = settings.train
    if folder.corpus_file.exists():
        return open_file(folder.corpus_file, "utf-8", name=train.corpus, report=report)
    require_text(folder, train.corpus)
    return open_corpus(train.corpus, train.encoding, report)


def open_moved_corpus(folder: RunDir, place: str, report: OnBytes | None = None) -> Corpus:
    """Open the run's text at its new location `place`, a file or corpus, and save that in the run's settings.

    Raises `CorpusError` unless it is the text that the run began with.
    """
    corpus = open_corpus(place, folder.settings().train.encoding, report, shown=place)
    _check_against_state(corpus, folder)
    if place not in DATASETS:
        place = corpus.name if is_address(place) else absolute(place)
    save_corpus_path(folder, place)
    return corpus


def check_before_resuming(folder: RunDir) -> None:
    """Raise `CorpusError` if the text is missing or changed; a large text is compared by the worker, not here."""
    settings = folder.settings()
    require_text(folder, settings.train.corpus)
    place = folder.corpus_file if folder.corpus_file.exists() else Path(settings.train.corpus)
    if place.is_file() and place.stat().st_size <= HELD_BYTES:
        _check_against_state(load_corpus(folder, settings), folder)


def _check_against_state(corpus: Corpus, folder: RunDir) -> None:
    if folder.has_state:
        check_text_is_the_same(corpus, read_model_header(folder.state_file).get("training_state") or {})


_LOOK_SECONDS = 0.1
_LAST_IN_LINE = 19  # as `nice` counts


class BaselineThread:
    """A context manager whose thread records `Baselines` once per run; if cut short, the next worker starts over."""

    def __init__(self, folder: RunDir, split: Split, log: EventWriter) -> None:
        self._split, self._log = split, log
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        if b'"kind":"references"' not in folder.events_file.read_bytes():
            self._thread = threading.Thread(target=self._find, name="references", daemon=True)

    def __enter__(self) -> "BaselineThread":
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self.wait()

    def wait(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait until the baselines are recorded or no longer wanted."""
        while self._thread and self._thread.is_alive() and is_wanted():
            self._thread.join(_LOOK_SECONDS)

    def _find(self) -> None:
        if sys.platform == "linux":  # only there has a thread its own priority
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST_IN_LINE)
        began = time.monotonic()
        with contextlib.suppress(Cancelled, OSError):  # the training thread reports a full disk
            found = compute_baselines(self._split, lambda: not self._is_over.is_set())
            self._log.append(Baselines(step=0, seconds=round(time.monotonic() - began, 2), **found._asdict()))


# Of the letters' entropy: *measured*, from a model at 0.58 and 0.41 of it a run came lower than from nothing, in one
# minute; from one at 0.84, and in another language above 1, it did not (docs/results.md).
_KNOWN_LANGUAGE = 2 / 3
_KNOWN_SHARE = 0.9  # of the text, in characters that the model has seen


def advise_parent(corpus: Corpus) -> str:
    """Return advice to start from the bundled model that a short text surprises least, in a sentence.

    Empty for a longer text, and where none of the models tells much more of it than its letters' frequencies do.
    """
    if corpus.num_chars >= SHORT_CHARS:
        return ""
    counts = np.array([count for _, count in corpus.frequencies], dtype=np.float64)
    entropy = -float((counts / counts.sum() * np.log(counts / counts.sum())).sum())
    least, best = _KNOWN_LANGUAGE * entropy, ""
    for name in BUNDLED:
        loss = _loss_of(name, corpus)
        least, best = (loss, name) if loss < least else (least, best)
    if not best:
        return ""
    return (
        f"{corpus.num_chars:,} characters are few: a run that begins with the model {best}, which can write already, "
        "comes to a lower loss."
    )


def _loss_of(name: str, corpus: Corpus) -> float:
    """Return a bundled model's nats per character on the text, infinite if there is none or it knows too little."""
    try:
        bundled = LanguageModel.load(BUNDLED_MODELS / name)
    except CharLSTMError:
        return float("inf")
    known = {*bundled.vocabulary.characters}
    if sum(count for char, count in corpus.frequencies if char in known) < _KNOWN_SHARE * corpus.num_chars:
        return float("inf")
    characters = (char for char, _ in corpus.frequencies)
    extended, _ = bundled.with_characters(characters, bundled.model.config, seed=1)
    text = "".join(corpus.pieces())
    return evaluate_quickly(extended.model, extended.vocabulary.encode(text)).nats
