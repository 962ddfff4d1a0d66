"""Texts that are written one character at a time in Python, whatever computes the logits of the next one.

Shapes: B = texts, T = characters, V = vocabulary size.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from charlstm.config import REPEAT_WINDOW, SampleConfig
from charlstm.generation import sampling
from charlstm.kernel.decoder import DecodedTokens

_Texts = TypeVar("_Texts", bound="SteppedTexts")


class SteppedTexts(ABC):
    """A `DecodeSession` of texts side by side, by `next_logits` and `accept`."""

    def __init__(self, beginnings: Sequence[NDArray[np.int32]]) -> None:
        """Go on with `beginnings`, each (N,) ids, N at least 1."""
        self.num_texts = len(beginnings)
        self._histories = [each[-REPEAT_WINDOW:] for each in beginnings]
        self._positions = [0] * self.num_texts  # characters written so far

    @abstractmethod
    def next_logits(self) -> NDArray[np.float32]:
        """Return the logits (B, V) of what follows, up to a constant. `accept` is called next."""

    def accept(self, ids: NDArray[np.int32]) -> None:
        """Go on with the characters (B,)."""
        histories = zip(self._histories, ids, strict=True)
        self._histories = [np.append(history, np.int32(each))[-REPEAT_WINDOW:] for history, each in histories]
        self._positions = [position + 1 for position in self._positions]

    def copy(self: _Texts) -> _Texts:
        """Return a session that goes on from here by itself."""
        return copy.copy(self)  # going on replaces lists, and changes none

    def write(
        self, config: SampleConfig, num_chars: int, positions: int | Sequence[int], num_likeliest: int = 0
    ) -> DecodedTokens:
        """Write the next `num_chars` of every text after the `positions`, (B,) or one for all, written so far."""
        self._positions = np.broadcast_to(np.asarray(positions), self.num_texts).tolist()

        def choose(text: int, _at: int, logits: sampling.Numbers) -> int:
            allowed = sampling.ban_repeats(logits, self._histories[text], config.no_repeat)
            number = sampling.counter_uniform(config.seed, text, self._positions[text])
            return sampling.sample_token(allowed, config, number)

        return self._take(num_chars, num_likeliest, choose)

    def follow(self, ids: NDArray[np.int32], num_likeliest: int = 0) -> DecodedTokens:
        """Score `ids` (B, T) as if they had been written."""
        return self._take(ids.shape[1], num_likeliest, lambda text, at, _: int(ids[text, at]))

    def _leanings(self, ids: NDArray[np.int32]) -> NDArray[np.float32] | None:  # noqa: ARG002
        """Return by how many nats the second of two models wanted the characters (B,) more."""
        return None

    def _take(
        self, num_chars: int, num_likeliest: int, choose: Callable[[int, int, sampling.Numbers], int]
    ) -> DecodedTokens:
        written = list[DecodedTokens]()
        for at in range(num_chars):
            logits = self.next_logits().astype(np.float64)
            chosen = np.array([choose(text, at, row) for text, row in enumerate(logits)], np.int32)
            logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
            likeliest = np.argsort(-logs, axis=1, kind="stable")[:, :num_likeliest]
            written.append(
                DecodedTokens(
                    chosen,
                    -np.take_along_axis(logs, chosen[:, None], 1)[:, 0].astype(np.float32),
                    likeliest.astype(np.int32),
                    np.exp(np.take_along_axis(logs, likeliest, 1)).astype(np.float32),
                    self._leanings(chosen),
                )
            )
            self.accept(chosen)
        leanings = [each.leanings for each in written if each.leanings is not None]
        return DecodedTokens(
            np.stack([each.ids for each in written], axis=1),
            np.stack([each.surprises for each in written], axis=1),
            np.stack([each.likeliest for each in written], axis=1),
            np.stack([each.probabilities for each in written], axis=1),
            np.stack(leanings, axis=1) if leanings else None,
        )
