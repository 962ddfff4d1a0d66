"""The models a visitor can write with: folders of the checkpoints folder, loaded when first asked for.

Visitors name a model by its folder's name; paths never come from them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from charlstm.checkpoint import MODEL_FILE
from charlstm.config import SampleConfig
from charlstm.corpus import DATASETS, Corpus, is_available_offline, open_corpus, open_file
from charlstm.environment import is_public
from charlstm.errors import CharLSTMError, CheckpointError
from charlstm.language_model import LanguageModel
from charlstm.places import BUNDLED
from charlstm.runs.access import can_read, is_space_owner
from charlstm.runs.run_dir import RunDir

_LOADED_AT_ONCE = 4
_CORPORA_AT_ONCE = 2
_CODE_ENDINGS = (".py", ".js", ".ts", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".html", ".css", ".json")
PROMPTS = {
    "tiny-shakespeare": ("ROMEO:", "First Citizen:\n", "To be, or "),
    "python-stdlib": ("def ", "class ", "import "),
    "python-reference": ("The ", "See also ", "If "),
}


class ModelRegistry:
    """The models in one checkpoints folder."""

    def __init__(self, root: Path, live: Callable[[], Mapping[str, Path]] = dict) -> None:
        """`live()` gives the files of running models by their names, as they were last saved."""
        self._root, self._live = root, live
        self._loaded = lru_cache(maxsize=_LOADED_AT_ONCE)(_load)
        self._corpora = lru_cache(maxsize=_CORPORA_AT_ONCE)(_open)

    def names(self) -> list[str]:
        """Names of the models there are now: the bundled ones first, then the newest first, then those in training."""
        return [*self._saved(), *self._live()]

    def _saved(self) -> list[str]:
        try:
            names = [path.name for path in self._root.iterdir()]
        except OSError:  # no folder yet, or one that can't be listed
            return []
        dated = [(name, self._modified(name)) for name in names]
        places = {name: place for place, name in enumerate(BUNDLED)}
        present = [
            (places.get(name, len(BUNDLED)), -modified, name) for name, modified in dated if modified is not None
        ]
        return [name for _, _, name in sorted(present)]

    def _file(self, name: str) -> Path:
        return self._live().get(name, self._root / name / MODEL_FILE)

    def _modified(self, name: str) -> int | None:
        """When the model named `name` was written, in nanoseconds; `None` if there is none that can be read."""
        try:
            return self._file(name).stat().st_mtime_ns
        except OSError:
            return None

    def path(self, name: str) -> Path:
        """The folder of a model that is not in training; raises `CheckpointError`."""
        if name not in self._saved():
            raise CheckpointError(f"there is no model named {str(name)[:80]}; choose another one.")
        return self._root / name

    def load(self, name: str | None) -> LanguageModel:
        """The model named `name`, as it is on disk now; raises `CheckpointError`.

        `None` asks for the first: so does a page on which somebody was faster than the answer that fills it.
        """
        name = name if name is not None else next(iter(self.names()), None)
        if name is None:
            raise CheckpointError("there is no model yet; train one first.")
        modified = self._modified(name) if name in self.names() else None
        if modified is None:
            raise CheckpointError("this model is no longer there; choose another one.")
        try:
            return self._loaded(self._file(name), modified)
        except CharLSTMError as error:  # the visitor knows the model by its name, not the server by its folders
            raise CheckpointError(str(error).replace(f"{self._root}/", "")) from None

    def warm_up(self) -> None:
        """Do what the first text would wait for: compile, load the first model and lay out its weights."""
        try:
            self.load(next(iter(self.names()), None)).generate("", SampleConfig(num_chars=1))
        except CharLSTMError:  # a visitor will be told when asking for it
            return

    def corpus(self, name: str | None) -> Corpus | None:
        """The text that the model named `name` learned from, if it is at hand: by its hash, never by a path alone."""
        origin = self.load(name).provenance
        if origin is None or name is None:
            return None
        own = RunDir(self._root / name).corpus_file
        try:
            corpus = self._corpora(own, origin.corpus, own.stat().st_mtime_ns)
        except OSError:  # it was trained on a named one, or on a file elsewhere
            if origin.corpus not in DATASETS or not is_available_offline(origin.corpus):
                return None
            corpus = self._corpora(None, origin.corpus, 0)
        return corpus if corpus.sha256 == origin.corpus_sha256 else None

    def may_read(self, name: Any, visitor: str = "", username: str | None = None) -> bool:
        """Whether a visitor may be told of the text that the model named `name` learned from; see `runs.ownership`.

        `visitor` is their token, `username` whom they have signed in as.
        """
        name = name if name is not None else next(iter(self.names()), None)
        if name is None or not is_public():
            return True
        place = self._file(str(name)).parent
        folder = RunDir(place.parent if str(name) in self._live() else place)
        return can_read(folder, folder.corpus_file.exists(), visitor, is_space_owner(username))

    def prompts(self, name: str | None) -> tuple[str, ...]:
        """Prompts that belong to the model named `name`: chosen ones, else what its text's lines often begin with."""
        return describe_model(self.load(name)).prompts or self._beginnings(name)

    def default_prompt(self, name: str | None) -> str:
        """How lines of the text begin most often that the model named `name` learned from; empty if nobody knows."""
        return next(iter(self._beginnings(name)), "")

    def _beginnings(self, name: str | None) -> tuple[str, ...]:
        origin = self.load(name).provenance
        if not self.may_read(name):  # whoever asks, as anybody may write with any model
            return ()
        if origin is not None and origin.beginnings:
            return origin.beginnings
        corpus = self.corpus(name)  # of models that were made before they kept this themselves
        return corpus.beginnings if corpus else ()


def _open(own: Path | None, name: str, _modified: int) -> Corpus:
    return open_corpus(name) if own is None else open_file(own, "utf-8", name=name)


def _load(file: Path, _modified: int) -> LanguageModel:
    return LanguageModel.load(file)


@dataclass(frozen=True)
class ModelFacts:
    """A model in one line, and prompts that belong to it."""

    line: str
    prompts: tuple[str, ...]
    is_code: bool = False


def describe_model(language_model: LanguageModel) -> ModelFacts:
    """What a visitor wants to know before writing."""
    config, origin = language_model.model.config, language_model.provenance
    parts = [f"{config.num_layers} × {config.hidden_size} LSTM, {language_model.model.num_parameters:,} parameters"]
    if origin is None:
        return ModelFacts(parts[0], ())
    parts.append(f"learned from {origin.corpus} for {origin.training_seconds / 60:.1f} min")
    loss = origin.val_stateful if origin.val_stateful is not None else origin.val_loss
    if loss is not None:
        parts.append(f"validation {loss:.2f} nats per character ({loss / math.log(2):.2f} bits)")
    return ModelFacts(" · ".join(parts), PROMPTS.get(origin.corpus, ()), uses_code_font(origin.corpus))


def uses_code_font(corpus: str) -> bool:
    """Whether a corpus of this name reads better in a typeface for code."""
    return corpus in ("python-stdlib", "python-reference") or corpus.endswith(_CODE_ENDINGS)
