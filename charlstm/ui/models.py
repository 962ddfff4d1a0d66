"""Registry of the models a visitor can write with, loaded when first asked for.

Visitors give a model by its folder's name, never by a path.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from charlstm.config import SampleConfig
from charlstm.config_fields import Encoding
from charlstm.corpus import DATASETS, Corpus, is_available_offline, open_corpus, open_file
from charlstm.data_folders import BUNDLED
from charlstm.environment import is_public
from charlstm.errors import CharLSTMError, CheckpointError
from charlstm.language_model import LanguageModel
from charlstm.model_description import describe_model
from charlstm.model_paths import MODEL_FILE
from charlstm.runs.access import can_read, is_space_owner
from charlstm.runs.history import RunHistory, read_history
from charlstm.runs.run_dir import RunDir

LIVE = "live: "  # before the label of a run in training, whose model is the one last saved
_GONE = "this model is no longer there; choose another one."
_LOADED_AT_ONCE = 4
_CORPORA_AT_ONCE = 2


class ModelRegistry:
    """Models in one checkpoints folder."""

    def __init__(
        self,
        root: Path,
        live: Callable[[], Mapping[str, Path]] = dict,
        labels: Callable[[], Mapping[str, str]] = dict,
        read_history: Callable[[RunDir], AbstractContextManager[RunHistory]] = read_history,
    ) -> None:
        """`live()` maps the names of models in training to their files, as last saved; `labels()` runs to their labels.

        `read_history` opens the history of a run's folder, where there is one for all readers that one.

        A model's name is that of its run's folder, which stays when the run is renamed; people read its label.
        """
        self._root, self._live_models, self._labels = root, live, labels
        self._read_history = read_history
        self._load_model = lru_cache(maxsize=_LOADED_AT_ONCE)(_load_file)
        self._open_corpus = lru_cache(maxsize=_CORPORA_AT_ONCE)(_open_text)

    def names(self) -> list[str]:
        """Return the names of the models available now: bundled ones, then the newest first, then those in training."""
        return [*self._list_saved(), *self._live_models()]

    def is_training(self) -> bool:
        """Return whether a model that is listed here is in training."""
        return bool(self._live_models())

    def label(self, name: str | None) -> str:
        """Return the name of a model that people read."""
        return self._labels().get(name or "", name or "")

    def choices(self) -> list[tuple[str, str]]:
        """Return label and name of each model, in the order of `names`."""
        labels = self._labels()
        return [(labels.get(name, name), name) for name in self.names()]

    def find(self, name: str | None) -> str | None:
        """Return the name of the model that `name` means: a name, a label, or a run as it was called in training."""
        if name is None or name in self.names():
            return name
        label = str(name).removeprefix(LIVE)
        return next((run for run, each in self._labels().items() if each == label), name)

    def _list_saved(self) -> list[str]:
        try:
            names = [path.name for path in self._root.iterdir()]
        except OSError:  # no folder yet, or an unreadable one
            return []
        dated = [(name, self._modified_ns(name)) for name in names]
        places = {name: place for place, name in enumerate(BUNDLED)}
        present = [
            (places.get(name, len(BUNDLED)), -modified, name) for name, modified in dated if modified is not None
        ]
        return [name for _, _, name in sorted(present)]

    def file(self, name: str) -> Path:
        """Return where the file of a model is or would be, of one in training as last saved."""
        return self._live_models().get(name, self._root / name / MODEL_FILE)

    def _modified_ns(self, name: str) -> int | None:
        """Return the modification time of the model named `name` in nanoseconds; `None` if it can't be read."""
        try:
            return self.file(name).stat().st_mtime_ns
        except OSError:
            return None

    def path(self, name: str) -> Path:
        """Return the folder of a model that is not in training; raises `CheckpointError`."""
        if name not in self._list_saved():
            raise CheckpointError(f"there is no model named {str(name)[:80]}; choose another one.")
        return self._root / name

    def require(self, name: Any) -> str:
        """Return the name of the model that `name` means, of the first for `None`; raises `CheckpointError`."""
        found = self.find(name) if name is not None else next(iter(self.names()), None)
        if found is None:
            raise CheckpointError("there is no model yet; train one first.")
        if not isinstance(found, str) or found not in self.names():
            raise CheckpointError(_GONE)
        return found

    def load(self, name: str | None) -> LanguageModel:
        """Return the model named `name`, as it is on disk now; raises `CheckpointError`.

        `None` means the first one: a page sends it before the list of models has arrived.
        """
        name = self.require(name)
        modified = self._modified_ns(name)
        if modified is None:
            raise CheckpointError(_GONE)
        try:
            return self._load_model(self.file(name), modified)
        except CharLSTMError as error:  # visitors know the model's name, and must not learn the server's paths
            raise CheckpointError(str(error).replace(f"{self._root}/", "")) from None

    def warm_up(self) -> None:
        """Prepare the first text in advance: compile, load the first model and lay out its weights."""
        try:
            self.load(next(iter(self.names()), None)).generate("", SampleConfig(num_chars=1))
        except CharLSTMError:  # reported when a visitor asks for the model
            return

    def corpus(self, name: str | None) -> Corpus | None:
        """Return the corpus of the model named `name`, identified by its hash; `None` if it is not available here."""
        origin, folder = self.load(name).provenance, self.run_folder(self.require(name))
        if origin is None:
            return None
        own = folder.corpus_file
        try:
            corpus = self._open_corpus(own, "utf-8", origin.corpus, own.stat().st_mtime_ns)
        except OSError:  # trained on a named corpus, or on a file elsewhere
            found = self._open_elsewhere(folder, origin.corpus)
            if found is None:
                return None
            corpus = found
        return corpus if corpus.sha256 == origin.corpus_sha256 else None

    def _open_elsewhere(self, folder: RunDir, name: str) -> Corpus | None:
        """Open the corpus of a run that does not hold it: a named one, or files of this machine unless strangers come.

        Strangers must not learn what lies where on it.
        """
        if name in DATASETS:
            return self._open_corpus(name, "auto", name, 0) if is_available_offline(name) else None
        try:
            train = folder.settings().train
            place = Path(train.corpus)
            if is_public() or not place.is_absolute():
                return None
            return self._open_corpus(train.corpus, train.encoding, name, place.stat().st_mtime_ns)
        except (CharLSTMError, OSError):  # it was moved, or is no longer a text
            return None

    def may_read(self, name: Any, visitor: str = "", username: str | None = None) -> bool:
        """Return whether a visitor may see the corpus of the model named `name`; see `runs.access`.

        `visitor` is their token, `username` the account they are signed in with.
        """
        name = self.find(name) if name is not None else next(iter(self.names()), None)
        if name is None or not is_public():
            return True
        folder = self.run_folder(str(name))
        return can_read(folder, folder.corpus_file.exists(), visitor, is_space_owner(username))

    def run_folder(self, name: str) -> RunDir:
        """Return the folder of the run whose model, in training or not, is named `name`."""
        place = self.file(name).parent
        return RunDir(place.parent if name in self._live_models() else place)

    def history(self, name: str) -> AbstractContextManager[RunHistory]:
        """Return the history, read to its end, of the run whose model is named `name`, to be used inside the block."""
        return self._read_history(self.run_folder(name))

    def prompts(self, name: str | None) -> tuple[str, ...]:
        """Return example prompts of the model named `name`: chosen ones, else frequent beginnings of its lines."""
        return describe_model(self.load(name)).prompts or self._beginnings(name)

    def opening(self, name: str | None, seed: int) -> str:
        """Return one of the openings that belong to the model named `name`, the same for the same seed."""
        openings = self.prompts(name)
        return openings[seed % len(openings)] if openings else ""

    def default_prompt(self, name: str | None) -> str:
        """Return the most frequent beginning of a line in the corpus of the model named `name`; empty if unknown."""
        return next(iter(self._beginnings(name)), "")

    def _beginnings(self, name: str | None) -> tuple[str, ...]:
        origin = self.load(name).provenance
        if not self.may_read(name):  # whoever asks: anyone may write with any model
            return ()
        if origin is not None and origin.beginnings:
            return origin.beginnings
        corpus = self.corpus(name)  # of models saved before this was stored with them
        return corpus.beginnings if corpus else ()


def _open_text(place: Path | str, encoding: Encoding, name: str, _modified_ns: int) -> Corpus:
    """Open one file, or what a run's settings call its corpus, as a corpus called `name`."""
    if isinstance(place, Path):
        return open_file(place, encoding, name=name)
    return replace(open_corpus(place, encoding), name=name)


def _load_file(file: Path, _modified_ns: int) -> LanguageModel:
    return LanguageModel.load(file)
