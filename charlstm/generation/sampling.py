"""Sampling of the next token: repeat guard, temperature, top-k, top-p, draw; the reference for `decoder.inc.c`.

What a text draws depends on nothing but what is given. `SteppedTexts` writes with it one character at a time in Python,
whatever computes the logits of the next one. Shapes: B = texts, T = characters, V = vocabulary size.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from charlstm.config import REPEAT_WINDOW, SampleConfig
from charlstm.kernel.decoder import DecodedTokens

_COLDEST = 1e-30  # temperatures below are no different, and logits divided by them would overflow
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
Numbers = NDArray[np.float64]


def counter_uniform(seed: int, sample: int, position: int) -> float:
    """Return a number in [0, 1) that is a function of these three alone.

    Number `position` of the SplitMix64 generator whose state is mix(mix(seed + golden) + sample), its upper 53 bits.
    So a text is the same alone, beside others, as one of several, and when it is continued.
    """
    state = _hash64(_hash64(seed + _GOLDEN) + sample)
    return (_hash64(state + (position + 1) * _GOLDEN) >> 11) * 2.0**-53


def _hash64(x: int) -> int:
    """Apply the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    x &= _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def ban_repeats(logits: Numbers, history: NDArray[np.int32], no_repeat: int) -> Numbers:
    """Set logits (V,) to -inf that would complete `no_repeat` characters which `history` holds already.

    Where that leaves none, all stay as they are; 0 forbids nothing.
    """
    recent = history[-REPEAT_WINDOW:]
    if no_repeat == 0 or len(recent) < no_repeat:
        return logits
    stretches = np.lib.stride_tricks.sliding_window_view(recent, no_repeat)
    begun = recent[len(recent) - no_repeat + 1 :]
    repeated = stretches[(stretches[:, :-1] == begun).all(axis=1), -1]
    allowed = logits.copy()
    allowed[repeated] = -np.inf
    return allowed if np.isfinite(allowed).any() else logits


def filter_probabilities(logits: Numbers, config: SampleConfig) -> Numbers:
    """Map logits (V,) to the probabilities (V,) that are drawn from, at a temperature above 0.

    Temperature first, then the `top_k` likeliest, then the fewest likeliest of those that hold `top_p` of what is
    left. Of equals the one that comes first in the vocabulary counts as likelier.
    """
    weights = np.exp((logits - logits.max()) / max(config.temperature, _COLDEST))
    order = np.argsort(-logits, kind="stable")
    if config.top_k:
        weights[order[config.top_k :]] = 0.0
    if config.top_p < 1:
        before = np.cumsum(weights[order]) - weights[order]
        dropped = before >= config.top_p * weights.sum()
        dropped[0] = False  # however small `top_p` is, the likeliest stays
        weights[order[dropped]] = 0.0
    kept: Numbers = weights / weights.sum()
    return kept


def sample_token(logits: Numbers, config: SampleConfig, number: float) -> int:
    """Map logits (V,) to a token; temperature 0 takes exactly the likeliest, whatever `number` in [0, 1) is."""
    if config.temperature == 0:
        return int(logits.argmax())
    kept = filter_probabilities(logits, config)
    return int(min(np.searchsorted(kept.cumsum(), number * kept.sum(), side="right"), np.flatnonzero(kept)[-1]))


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

        def choose(text: int, _at: int, logits: Numbers) -> int:
            allowed = ban_repeats(logits, self._histories[text], config.no_repeat)
            number = counter_uniform(config.seed, text, self._positions[text])
            return sample_token(allowed, config, number)

        return self._take(num_chars, num_likeliest, choose)

    def follow(self, ids: NDArray[np.int32], num_likeliest: int = 0) -> DecodedTokens:
        """Score `ids` (B, T) as if they had been written."""
        return self._take(ids.shape[1], num_likeliest, lambda text, at, _: int(ids[text, at]))

    def _leanings(self, ids: NDArray[np.int32]) -> NDArray[np.float32] | None:  # noqa: ARG002
        """Return by how many nats the second of two models wanted the characters (B,) more."""
        return None

    def _take(self, num_chars: int, num_likeliest: int, choose: Callable[[int, int, Numbers], int]) -> DecodedTokens:
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
