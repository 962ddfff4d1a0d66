"""Prediction of the next character after a text that a person types, key by key.

The states of the texts seen last are kept, so that a key costs one step and not the whole text again.
"""

import threading
import weakref
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.config import SampleConfig
from charlstm.generation.engine import DecodeSession, start_session
from charlstm.generation.stream import default_prompt, turns
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

LONGEST_READ = 2000  # characters before the next one that are read
_STRIDE = 500  # the beginning of what is read moves so far at once: otherwise no state would serve a second time
_MOST_STATES = 64  # of one model; a state of the bundled ones takes 10 kB
_MOST_NEW = 64  # characters between a text and one that was seen before
_LEAST = 1e-30  # probability whose logarithm is still sent


class Prediction(NamedTuple):
    """Characters that may come next, the likeliest first, and the natural logarithms of their probabilities."""

    characters: tuple[str, ...]
    logs: tuple[float, ...]
    rest: float  # probability of all other characters together


class Predictor:
    """Predictions of any number of models and texts, for all visitors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[CharLSTM, OrderedDict[bytes, DecodeSession]] = (
            weakref.WeakKeyDictionary()
        )

    def predict(self, model: CharLSTM, vocabulary: Vocabulary, text: str, num_characters: int) -> Prediction:
        """Predict what follows `text`, as the model that writes at a temperature above 0 does.

        Raises `VocabularyError` for characters that the model has never seen.
        """
        begin = max(0, -(-(len(text) - LONGEST_READ) // _STRIDE) * _STRIDE)
        read = vocabulary.normalize(text[begin:]) or default_prompt(vocabulary)
        ids = vocabulary.encode(read).astype(np.int32)
        with turns:
            session = self._session(model, ids)
            predicted = session.copy().follow(ids[None, -1:], len(vocabulary))  # what follows does not matter
        order, shares = predicted.likeliest[0, 0], predicted.probabilities[0, 0].astype(np.float64)
        logs = np.log(np.maximum(shares[:num_characters], _LEAST))
        return Prediction(
            tuple(vocabulary.characters[index] for index in order[:num_characters].tolist()),
            tuple(logs.tolist()),
            float(shares[num_characters:].sum()),
        )

    def _session(self, model: CharLSTM, ids: NDArray[np.int32]) -> DecodeSession:
        """Return the session after `ids`; nobody may write in it, as others begin from it."""
        session, num_known = self._nearest(model, ids)
        if session is None:
            session = start_session(model, [ids], SampleConfig())
        elif num_known < len(ids):
            session = session.copy()
            session.follow(ids[None, num_known:])
        with self._lock:
            known = self._known.setdefault(model, OrderedDict())
            known[ids.tobytes()] = session
            known.move_to_end(ids.tobytes())
            while len(known) > _MOST_STATES:
                known.popitem(last=False)
        return session

    def _nearest(self, model: CharLSTM, ids: NDArray[np.int32]) -> tuple[DecodeSession | None, int]:
        """Return the session of the longest beginning of `ids` that is known, and its length."""
        with self._lock:
            known = self._known.get(model, OrderedDict())
            for length in range(len(ids), max(0, len(ids) - _MOST_NEW), -1):
                if session := known.get(ids[:length].tobytes()):
                    return session, length
        return None, 0
