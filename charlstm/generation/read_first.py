"""Texts that a model reads before it writes, and what it takes in from them.

A `Reader` goes through a text once and tells at each piece how surprising it was, to the model alone and with what it
had taken in by then. What it leaves is a `Reading`, which belongs to that model and changes nothing in it: forgetting
is dropping the reading. `docs/adaptation.md` says what is gained.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.config import SampleConfig
from charlstm.errors import ConfigError, VocabularyError
from charlstm.generation.dynamic_evaluation import SEGMENT, Learned, LearningModel
from charlstm.generation.engine import DecodeSession, SessionStart, start_session
from charlstm.generation.ngram_memory import NgramMemory, Numbers, RememberingSession
from charlstm.generation.stream import TextWriter, default_prompt, turns
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

LONGEST_READ = 200_000  # characters: half a minute at 1 x 768, and 50 MB
LARGEST_WEIGHT = 2.0
_PIECE = 240  # characters, whole segments: a few hundredths of a second, or of a minute where it learns
_NAMED_AT_MOST = 10  # characters that were left out
_MOST_CHARACTERS = 1 << 16  # of a vocabulary
_LEAST_PROBABILITY = np.finfo(np.float64).tiny  # of a character that is read, so that its surprise is a number


class ReadPiece(NamedTuple):
    """Surprise of each character of a piece that was just read, in nats (of each byte at level `bytes`)."""

    alone: tuple[float, ...]  # of the model as it is
    adapted: tuple[float, ...]  # with what it had taken in by then; learning, the mean of each 20 characters


@dataclass(frozen=True)
class Reading(TextWriter):
    """What a model took in from a text; writes as the model does, with `weight` of it."""

    model: CharLSTM
    vocabulary: Vocabulary
    taken_in: NgramMemory | Learned
    alone: float  # nats per character over what was read
    adapted: float  # with what had been taken in by then
    weight: float = 1.0

    def weighted(self, weight: float) -> "Reading":
        """Return the same reading with another weight, from 0 to 2.

        0 is the model alone, 1 as much as made the text least surprising, 2 as much as possible. Raises `ConfigError`
        for others.
        """
        check_weight(weight)
        return replace(self, weight=weight)

    def start_session(self, start: SessionStart) -> DecodeSession:
        """Start a session of texts, as `charlstm.generation.engine.start_session` does."""
        texts = start_session(self._writing_model, *start)
        if isinstance(self.taken_in, Learned) or not self.weight:
            return texts
        return RememberingSession(texts, start.beginnings, self.taken_in, self.weight)

    @cached_property
    def _writing_model(self) -> CharLSTM:
        return self.taken_in.at(self.weight) if isinstance(self.taken_in, Learned) else self.model


def check_weight(weight: float) -> None:
    """Raise `ConfigError` unless a reading can have this weight."""
    if not 0 <= weight <= LARGEST_WEIGHT:
        raise ConfigError(f"what was read can't weigh {weight:g}: choose a weight from 0 to {LARGEST_WEIGHT:g}.")


class Reader:
    """A text on its way into a model; iterating over it reads on."""

    def __init__(
        self,
        model: CharLSTM,
        vocabulary: Vocabulary,
        text: str,
        is_learning: bool = False,
        rounded: bool = False,
    ) -> None:
        """Prepare `text`; characters that the model does not know are left out.

        By default the model remembers what it reads; with `is_learning` a copy of it learns. `rounded` reads with the
        weights in 8 bits that an exported page has, on every machine.
        Raises `VocabularyError` where none is left, and `ConfigError` for a text too long.
        """
        if len(text) > LONGEST_READ:
            raise ConfigError(
                f"the text to read has {len(text):,} characters; at most {LONGEST_READ:,} are read: cut it."
            )
        if len(vocabulary) > _MOST_CHARACTERS:
            raise ConfigError(f"a model of more than {_MOST_CHARACTERS:,} characters can't read a text first.")
        self._model, self._vocabulary = model, vocabulary
        fitted, self.left_out = vocabulary.fit(text)
        self._ids = vocabulary.encode(fitted).astype(np.int32)
        if not len(self._ids):
            raise VocabularyError("there is no text to read; write or paste some that the model knows.")
        opening = vocabulary.encode(default_prompt(vocabulary)).astype(np.int32)
        self._texts = start_session(model, [opening], SampleConfig(), rounded=rounded)
        self._taken_in = LearningModel(model, int(opening[-1])) if is_learning else NgramMemory()
        self._sums = np.zeros(2)
        self.num_read = 0

    def __len__(self) -> int:
        """Return the number of characters (bytes at level `bytes`) to read."""
        return len(self._ids)

    def __iter__(self) -> Iterator[ReadPiece]:
        """Read on, a piece at a time."""
        while self.num_read < len(self._ids):
            ids = self._ids[self.num_read : self.num_read + _PIECE]
            with turns:
                alone = self._texts.follow(ids[None]).surprises[0].astype(np.float64)
                adapted = self._take_in(ids, alone)
            self._sums += alone.sum(), adapted.sum()
            self.num_read += len(ids)
            yield ReadPiece(tuple(alone.tolist()), tuple(adapted.tolist()))

    def _take_in(self, ids: NDArray[np.int32], alone: Numbers) -> Numbers:
        """Return the surprise (T,) of characters, given that of the model alone, before they were taken in."""
        if isinstance(self._taken_in, NgramMemory):
            return -np.log(np.maximum(self._taken_in.read(ids, np.exp(-alone)), _LEAST_PROBABILITY))
        segments = np.split(ids, range(SEGMENT, len(ids), SEGMENT))
        return np.concatenate([np.full(len(each), self._taken_in.read(each) / len(each)) for each in segments])

    def finish(self) -> Reading:
        """Read what is left; return what was taken in."""
        for _ in self:
            pass
        return self.reading()

    def reading(self) -> Reading:
        """Return what was taken in so far, after which nothing more may be read."""
        taken_in = self._taken_in.finish(self._model) if isinstance(self._taken_in, LearningModel) else self._taken_in
        alone, adapted = (self._sums / max(1, self.num_read)).tolist()
        return Reading(self._model, self._vocabulary, taken_in, alone, adapted)

    @property
    def note(self) -> str:
        """A sentence about characters that were left out; empty if none was."""
        if not self.left_out:
            return ""
        named = ", ".join(repr(char) for char in self.left_out[:_NAMED_AT_MOST])
        more = f" and {len(self.left_out) - _NAMED_AT_MOST} more" if len(self.left_out) > _NAMED_AT_MOST else ""
        return f"The model has never seen {named}{more}: read without them."


def read_text(model: CharLSTM, vocabulary: Vocabulary, text: str, is_learning: bool = False) -> Reading:
    """Read `text` and return what was taken in; see `Reader`."""
    return Reader(model, vocabulary, text, is_learning).finish()
