"""Preparation of a worker before its first step: planned settings, text, weights and trainer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlstm.config import Device, Settings
from charlstm.corpus import (
    Corpus,
    OnBytes,
    Split,
    open_corpus,
    open_file,
)
from charlstm.corpus.corpus import HELD_BYTES
from charlstm.data_folders import BUNDLED, BUNDLED_MODELS
from charlstm.environment import is_public
from charlstm.errors import CharLSTMError, ConfigError, CorpusError
from charlstm.evaluation import evaluate_quickly
from charlstm.events import Extended
from charlstm.kernel.build import is_built, load_library
from charlstm.language_model import LanguageModel
from charlstm.runs.continuation import (
    CHANGED,
    SHORT_CHARS,
    apply_extension,
    describe_extension,
    read_model_header,
    require_text,
    resume_command,
    save_corpus_path,
)
from charlstm.runs.control import RequestListener
from charlstm.runs.limits import available_bytes, check_size
from charlstm.runs.run_dir import Extension, ParentModel, RunDir
from charlstm.training import Trainer
from charlstm.training.auto_settings import choose_auto_settings
from charlstm.training.distributed import DistributedTrainer, World
from charlstm.training.optim import resolve_device


@dataclass(frozen=True)
class RunPlan:
    """The training plan of a run, read from its directory once, when its worker starts."""

    name: str
    settings: Settings  # as the run was started
    extensions: tuple[Extension, ...]
    parent: ParentModel | None
    has_own_text: bool  # pasted or uploaded

    @classmethod
    def load(cls, folder: RunDir) -> "RunPlan":
        """Read the plan of the run in `folder`; raise `RunError` if it can't be read."""
        return cls(folder.name, folder.settings(), folder.extensions(), folder.parent(), folder.corpus_file.exists())

    @property
    def num_parts(self) -> int:
        """The number of parts: the planned one and the extensions."""
        return 1 + len(self.extensions)

    @property
    def effective_settings(self) -> Settings:
        """The settings of the current part."""
        return apply_extension(self.settings, self.extensions[-1]) if self.extensions else self.settings

    def extension_event(self, position: dict[str, Any]) -> Extended:
        """Return the record of the last extension, which begins at `position` (step, seconds, passes)."""
        more, train = self.extensions[-1], self.effective_settings.train
        return Extended(
            minutes=more.minutes,
            passes=more.passes,
            steps=more.steps,
            learning_rate=train.learning_rate,
            lr_schedule=train.lr_schedule,
            command=resume_command(self.name, more),
            note=describe_extension(self.settings, more),
            **position,
        )

    def provenance_fields(self, train_config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the provenance fields that the trainer, which knows only the current part, can't fill in."""
        hidden = {"beginnings": ()} if is_public() and self.has_own_text else {}  # a model's header is public
        first = {name: getattr(self.settings.train, name) for name in CHANGED}
        return {
            **hidden,
            "train_config": {**train_config, **first},
            "more": tuple(each.model_dump() for each in self.extensions),
            "parent": self.parent.name if self.parent else None,
            "parent_sha256": self.parent.sha256 if self.parent else None,
        }


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready for its first step."""

    plan: RunPlan
    corpus: Corpus
    notes: tuple[str, ...]  # on text and plan
    split: Split
    trainer: Trainer
    new_characters: tuple[str, ...]  # to the parent model


def prepare(
    folder: RunDir, corpus: Corpus | None, listener: RequestListener, world: World, report: OnBytes | None = None
) -> PreparedRun:
    """Read the plan and the text of the run in `folder` and build its trainer; `listener` answers with each stage.

    Settings that the run leaves open are chosen now, and saved for when it resumes.
    """
    plan = RunPlan.load(folder)
    is_open = plan.settings.train.plan == "on"
    stages = [*(() if is_built() else ("compiling",)), "reading", *(("choosing",) if is_open else ()), "building"]
    listener.answer(stages=tuple(stages), stage=stages[0])
    with world.rank_zero_first():
        load_library()
        listener.answer(stage="reading")
        corpus = corpus or load_corpus(folder, plan.settings, report)
        if is_open:
            listener.answer(stage="choosing")
        plan, notes = resolve_auto_settings(folder, plan, corpus)
        listener.answer(stage="building")
    world.broadcast_object({"settings": plan.effective_settings.flat(), "num_parts": plan.num_parts})
    with world.rank_zero_first():
        built = build_trainer(folder, plan.effective_settings, corpus, world, report)
    return PreparedRun(plan, corpus, (*corpus.notes, *notes), *built)


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
    check_size(settings, len(split.vocabulary), corpus.num_chars, _free_bytes(settings.train.device))
    language_model = start or LanguageModel.create(split.vocabulary, settings.model, seed)
    if world.size > 1:
        trainer: Trainer = DistributedTrainer(language_model, split, settings.train, world=world)
    else:
        trainer = Trainer(language_model, split, settings.train)
    return split, trainer, new


def _free_bytes(device: Device) -> float | None:
    """Return the bytes that are left in this machine's memory, 0 if unknown; `None` where a GPU trains in its own."""
    return available_bytes() if resolve_device(device).type == "cpu" else None


def begin_extension(trainer: Trainer, num_parts: int) -> bool:
    """Begin an extension added since the run was saved, if any; return whether there was one."""
    is_extended = trainer.course.num_parts < num_parts
    if is_extended:
        trainer.begin_extension(num_parts)
    return is_extended


def resolve_auto_settings(folder: RunDir, plan: RunPlan, corpus: Corpus) -> tuple[RunPlan, tuple[str, ...]]:
    """Choose the settings that a run leaves open and save them for when it resumes; return the plan and notes."""
    if plan.settings.train.plan == "off":
        return plan, ()

    def fits(settings: Settings, vocab_size: int) -> bool:
        try:
            check_size(settings, vocab_size, corpus.num_chars, _free_bytes(settings.train.device))
        except ConfigError:
            return False
        return True

    settings, note = choose_auto_settings(plan.settings, corpus, fits)
    folder.save_settings(settings)
    advice = advise_parent(corpus) if settings.model.level == "chars" else ""
    return replace(plan, settings=settings), tuple(filter(None, (note, advice)))


def check_text_is_the_same(corpus: Corpus, facts: Mapping[str, Any]) -> None:
    """Raise `CorpusError` unless `corpus` is the text that these facts of a saved state name."""
    if facts.get("corpus_sha256") != corpus.sha256:
        raise CorpusError(
            f"{corpus.name} is not the text this run began with; bring that text back, name its new place with "
            "--corpus, or start a new run."
        )


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
    save_corpus_path(folder, corpus.place)
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
