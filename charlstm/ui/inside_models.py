"""What *Look inside* needs of a model: the network as it is or was, its own passage, the text it is measured on."""

import itertools
import threading
import weakref
from collections import OrderedDict, deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.config import SampleConfig, TrainConfig
from charlstm.config_fields import plain_lines
from charlstm.corpus import Split
from charlstm.errors import ConfigError
from charlstm.generation.stream import default_prompt, turns
from charlstm.insight.cell import score_with_forget_gate
from charlstm.insight.report import Insight
from charlstm.insight.states import Trace, count_shared, iterate_trace, trace
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM
from charlstm.runs.run_dir import RunDir
from charlstm.training.snapshots import list_snapshots, load_snapshot
from charlstm.ui.inside_requests import Request
from charlstm.ui.models import LIVE, ModelRegistry

LONGEST_TRACED, LONGEST_READ = 1200, 20_000  # characters, of pages and of programs
_PASSAGE_CHARS = 1000
_PASSAGE = SampleConfig(num_chars=_PASSAGE_CHARS, temperature=0.7, seed=7)
_MEASURED_TOKENS = 1 << 17  # of the text kept for validation
_SEARCHED_TOKENS = 1 << 18
_WRITTEN_CHARS = 1 << 15  # by the model itself where there is no such text
_KEPT_TRACES, _KEPT_MODELS, _KEPT_LOSSES = 6, 6, 64
_MOST_BYTES = 2  # for each character, of a passage
_TRACE_BYTES = 1 << 27  # of all traces that are kept
KEPT_TEXT, OWN_TEXT = "text kept for validation", "text it wrote itself"
_LEARNED_TEXT = "text it learned from"


class Passage(NamedTuple):
    """A text as a model reads it."""

    text: str
    ids: NDArray[np.int32]  # (T,), of which `ends` are the places of the last one of each character
    ends: NDArray[np.int64]  # (characters,)

    def span(self, place: int) -> tuple[int, int]:
        """Return the first token of a character, and the one after its last."""
        return int(self.ends[place - 1]) + 1 if place else 0, int(self.ends[place]) + 1

    def by_character(self, surprises: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum the surprises (T,) of each character's tokens, in nats; 0 for the first one, which nothing predicted."""
        sums = np.cumsum(np.nan_to_num(surprises), dtype=np.float64)
        return np.diff(sums[self.ends], prepend=0.0)


class InsideModels:
    """Models of a registry, and what was computed of them last."""

    def __init__(self, registry: ModelRegistry) -> None:
        self.registry = registry
        self._lock = threading.Lock()
        self._making: dict[Any, threading.Lock] = {}  # of what is being made now
        self._passages: OrderedDict[Any, Passage] = OrderedDict()
        self._traces: OrderedDict[Any, Trace] = OrderedDict()
        self._keys: weakref.WeakKeyDictionary[CharLSTM, int] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count()
        self._measured: OrderedDict[Any, tuple[NDArray[np.int32], str]] = OrderedDict()
        self._losses: OrderedDict[Any, float] = OrderedDict()
        self._insights: OrderedDict[Any, Insight] = OrderedDict()
        self._written: OrderedDict[Any, str] = OrderedDict()
        self._young: OrderedDict[Any, LanguageModel] = OrderedDict()

    def load(self, name: Any, age: Any = None) -> LanguageModel:
        """Return the model named `name`, as it was at step `age` if that is given; raise `CharLSTMError`."""
        if not isinstance(name, str | None):
            raise ConfigError("the model must be given by its name.")
        whole = self.registry.load(name)
        if age is None:
            return whole
        folder = self.folder(name)
        kept = list_snapshots(folder.path) if isinstance(age, int) and not isinstance(age, bool) else []
        path = next((each.path for each in kept if each.step == age), None)
        gone = ConfigError("the network is not kept as it was then; choose another age.")
        if path is None:
            raise gone
        try:
            key = path, path.stat().st_mtime_ns, whole.model.config.model_dump_json()
            then: LanguageModel = self._keep(self._young, key, lambda: load_snapshot(path, whole), _KEPT_MODELS)
        except OSError:  # thinned out meanwhile, as a run in training does
            raise gone from None
        return then

    def is_live(self, name: Any) -> bool:
        """Return whether the model that `name` means is in training now."""
        return str(self.registry.find(name)).startswith(LIVE)

    def folder(self, name: str | None) -> RunDir:
        """Return the folder of the run whose model is named `name`, of the first model for `None`."""
        return self.registry.run_folder(self.registry.require(name))

    def read_request(self, request: Request, longest: int = LONGEST_TRACED) -> tuple[LanguageModel, Passage, str]:
        """Return the model that a request names, the text that is looked at, and where that comes from.

        Of a given text `longest` characters are read.
        """
        name, text = request.get("model"), request.get("text")
        model = self.load(name, request.get("age"))
        if text is None:
            return model, self.passage(name), "text it wrote"
        return model, self.read(model, text, longest), "yours"

    def passage(self, name: str | None) -> Passage:
        """Return a text that the model wrote, which is the same at any age."""
        whole = self.registry.load(name)

        def write() -> Passage:
            opening = self.registry.opening(name, 0) or default_prompt(whole.vocabulary)
            written = opening + whole.generate(opening, _PASSAGE)
            return self.read(whole, written)

        # The same text while a network learns.
        key = (name, whole.vocabulary.characters) if self.is_live(name) else whole.model
        passage: Passage = self._keep(self._passages, key, write, _KEPT_MODELS)
        return passage

    def read(self, language_model: LanguageModel, text: Any, longest: int = LONGEST_TRACED) -> Passage:
        """Return the beginning of `text` as the model reads it; raise `CharLSTMError` where it can't."""
        if not isinstance(text, str) or not text:
            raise ConfigError("type at least one character to look at.")
        vocabulary = language_model.vocabulary
        shown = vocabulary.normalize(plain_lines(text[: 2 * longest]))[:longest]
        lengths = [1] * len(shown)
        if vocabulary.level == "bytes":
            lengths = [len(char.encode("utf-8", "surrogatepass")) for char in shown]
            shown = shown[: int((np.cumsum(lengths) <= _MOST_BYTES * longest).sum())]
            lengths = lengths[: len(shown)]
        return Passage(shown, vocabulary.encode(shown).astype(np.int32), np.cumsum(lengths) - 1)

    def trace(self, language_model: LanguageModel, passage: Passage) -> Trace:
        """Return the states after each token of a passage; of one that grew by a key, only the new ones are read."""
        model, ids = language_model.model, passage.ids
        with self._lock:
            known = [each for (other, _), each in self._traces.items() if other is model]
        nearest = max(known, key=lambda each: count_shared(ids, each.ids), default=None)
        key = model, ids.tobytes()
        size = 8 * len(ids) * model.config.num_layers * model.config.hidden_size
        most = max(1, min(_KEPT_TRACES, _TRACE_BYTES // size))
        found: Trace = self._keep(self._traces, key, lambda: trace(language_model, ids, known=nearest), most)
        return found

    def cells_after(self, language_model: LanguageModel, passage: Passage, place: int) -> NDArray[np.float32]:
        """Return the cell states (L, H) after the character at `place` of a passage, however long it is."""
        token = int(passage.ends[place])
        if len(passage.text) <= LONGEST_TRACED:
            with turns:
                found = self.trace(language_model, passage)
            return found.state(token).cells
        (last,) = deque(iterate_trace(language_model, passage.ids[: token + 1]), maxlen=1)
        return last.state(-1).cells

    def write(self, language_model: LanguageModel, prompt: str, config: SampleConfig) -> str:
        """Return the continuation of a prompt, which the sliders of held units ask for again and again."""
        key = language_model.model, prompt, config.model_dump_json()
        return str(self._keep(self._written, key, lambda: language_model.generate(prompt, config), _KEPT_TRACES))

    def measure_fixed_gate(self, language_model: LanguageModel, ids: NDArray[np.int32], forget: float | None) -> float:
        """Return the loss on two `ids` or more with every forget gate at `forget`, in nats a token.

        `None` leaves the gates alone.
        """

        def measure() -> float:
            return float(score_with_forget_gate(language_model, ids, forget)[1:].mean())

        return float(self._keep(self._losses, (language_model.model, ids.tobytes(), forget), measure, _KEPT_LOSSES))

    def text_to_measure(self, name: str | None) -> tuple[str, str]:
        """Return a text to measure a model on, and where it comes from: `KEPT_TEXT` or `OWN_TEXT`.

        A text that strangers must not read is not looked at on a public server.
        """
        whole, split = self.registry.load(name), self._split(name)
        if split is not None:
            return whole.vocabulary.decode(split.validation[:_MEASURED_TOKENS]), KEPT_TEXT
        return whole.generate("", SampleConfig(num_chars=_WRITTEN_CHARS, seed=1)), OWN_TEXT

    def _split(self, name: str | None) -> Split | None:
        """Return the parts of a model's corpus; `None` where it is not here, or not for everybody."""
        whole = self.registry.load(name)
        corpus = self.registry.corpus(name) if self.registry.may_read(name) else None
        if corpus is None or whole.provenance is None:
            return None
        planned = {key: each for key, each in whole.provenance.train_config.items() if key == "val_fraction"}
        return corpus.split(whole.model.config, TrainConfig(batch_size=1, **planned), whole.vocabulary)

    def tokens_to_measure(self, name: str | None) -> tuple[NDArray[np.int32], str]:
        """Return the tokens of `text_to_measure`, and where it comes from."""
        whole = self.registry.load(name)

        def read() -> tuple[NDArray[np.int32], str]:
            text, source = self.text_to_measure(name)
            return whole.vocabulary.encode(text).astype(np.int32), source

        found: tuple[NDArray[np.int32], str] = self._keep(self._measured, whole.model, read, _KEPT_MODELS)
        return found

    def load_insight(self, name: str | None) -> Insight | None:
        """Return what is kept beside a model, read once for each of its networks."""
        folder = self.folder(name)
        known: Insight | None = self._keep(
            self._insights, self.registry.load(name).model, lambda: Insight.load(folder.path), _KEPT_MODELS
        )
        return known

    def tokens_to_search(self, name: str | None) -> tuple[NDArray[np.int32], str]:
        """Return tokens to search for similar moments, the end of its corpus or of what it wrote itself, and which."""
        split = self._split(name)
        if split is None:
            return self.tokens_to_measure(name)
        kept = split.validation[:_SEARCHED_TOKENS]
        learned = split.train[max(0, len(split.train) - _SEARCHED_TOKENS + len(kept)) :]
        return np.concatenate([learned, kept]).astype(np.int32), _LEARNED_TEXT

    def key(self, name: Any, age: Any = None) -> int:
        """Return a number of the network itself: a model in training changes under its name."""
        model = self.load(name, age).model
        with self._lock:
            return self._keys.setdefault(model, next(self._numbers))

    def _keep(self, kept: "OrderedDict[Any, Any]", key: Any, make: Any, most: int) -> Any:
        """Return what is kept by `key`, made once however many ask for it at a time; `None` is not kept."""
        with self._lock:
            making = self._making.setdefault((id(kept), key), threading.Lock())
        with making:
            with self._lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
            made = None
            try:
                made = make()
            finally:
                with self._lock:
                    self._making.pop((id(kept), key), None)
                    if made is not None:
                        kept[key] = made
                    while len(kept) > most:
                        kept.popitem(last=False)
        return made
