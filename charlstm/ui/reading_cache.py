"""Texts that visitors let a model read first, and what it took in from those that were read last.

A request brings its text along, so that one visitor's reading touches nobody else's and forgetting it is leaving it
out. What was taken in is kept for the next request with the same text, of which there are many: each change of a dial.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.generation.read_first import Reader, Reading, ReadPiece, check_weight
from charlstm.language_model import LanguageModel

LONGEST_REMEMBERED = 100_000  # characters: some 10 s at 1 x 768 on a busy machine, and 25 MB
LONGEST_LEARNED = 20_000  # characters: some 40 s
_MOST_KEPT = 6  # readings
_READ_AT_ONCE, _MOST_WAITING = 4, 8  # texts, of different visitors
_POLL_SECONDS = 0.1  # between two checks whether one that waits has been stopped


@dataclass(frozen=True)
class ReadFirst:
    """A text to read first, and how."""

    text: str
    is_learning: bool = False
    weight: float = 1.0

    @classmethod
    def of(cls, text: Any, is_learning: Any = False, weight: Any = 1.0) -> "ReadFirst | None":
        """Check what a form or a program sent; `None` for an empty text. Raises `ConfigError` in one sentence."""
        if not isinstance(text, str) or not isinstance(is_learning, bool) or isinstance(weight, bool):
            raise ConfigError(
                "a text to read first is a text, whether it is learned true or false, its weight a number."
            )
        try:
            weight = float(weight)
        except (TypeError, ValueError):
            raise ConfigError("the weight of what was read must be a number from 0 to 2.") from None
        check_weight(weight)
        longest = LONGEST_LEARNED if is_learning else LONGEST_REMEMBERED
        if len(text) > longest:
            verb = "learned" if is_learning else "remembered"
            raise ConfigError(f"the text to read has {len(text):,} characters; at most {longest:,} are {verb}: cut it.")
        return cls(text, is_learning, weight) if text else None


class Readings:
    """What models took in lately."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, bool], Reading] = OrderedDict()
        self._turns = threading.BoundedSemaphore(_READ_AT_ONCE)
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def find(self, language_model: LanguageModel, request: ReadFirst) -> Reading | None:
        """Return what this model, as it is now, took in from this text, if that is known."""
        with self._lock:
            reading = self._kept.get(_key(language_model, request))
            if reading is None:
                return None
            self._kept.move_to_end(_key(language_model, request))
        return reading.weighted(request.weight)

    def read(
        self, language_model: LanguageModel, request: ReadFirst, is_over: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Reader, ReadPiece]]:
        """Read the text, yielding what was read; it is kept once it was read whole, unless `is_over()` before.

        A few texts are read at once, some wait for their turn. Raises `CharLSTMError` before the first piece for a text
        of which nothing can be read, and where too many wait.
        """
        reader = Reader(language_model.model, language_model.vocabulary, request.text, request.is_learning)
        with self._turn(is_over):
            for piece in reader:
                if is_over():
                    return
                yield reader, piece
        if len(reader) == reader.num_read and not is_over():
            self._keep(language_model, request, reader.reading())

    @contextmanager
    def _turn(self, is_over: Callable[[], bool]) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise CharLSTMError("many texts are being read here now; try again in a minute.")
        has_turn = False
        try:
            while not has_turn and not is_over():
                has_turn = self._turns.acquire(timeout=_POLL_SECONDS)
        finally:
            self._waiting.release()
        try:
            yield
        finally:
            if has_turn:
                self._turns.release()

    def _keep(self, language_model: LanguageModel, request: ReadFirst, reading: Reading) -> None:
        with self._lock:
            self._kept[_key(language_model, request)] = reading
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)


def _key(language_model: LanguageModel, request: ReadFirst) -> tuple[bytes, bool]:
    """Return a key that two texts share only if they are the same; a model is known while it is loaded."""
    digest = hashlib.sha256(f"{id(language_model.model)} ".encode())
    digest.update(request.text.encode("utf-8", "surrogatepass"))
    return digest.digest(), request.is_learning
