"""Sampling of the next token: repeat guard, temperature, top-k, top-p, draw; the reference for `decoder.inc.c`.

Shapes: V = vocabulary size. Everything is about one text at a time, and depends on nothing but what is given.
"""

import numpy as np
from numpy.typing import NDArray

from charlstm.config import REPEAT_WINDOW, SampleConfig

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
