"""N-gram baselines: what models without a network reach on a text, as figures to read a loss against.

*uniform*: every character is as likely as any other, ln V. *frequencies*: characters come as often as they do in the
training text, each counted once more than it occurs. *5-gram*: the next character follows from the four before it;
interpolated Kneser-Ney (Chen and Goodman 1998) with one discount for each length.
All are trained on the training part and asked for what the network is asked for: each character of the validation part
after its first.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.corpus import Split
from charlstm.vocabulary import Tokens

ORDER = 5
_COUNTED_AT_MOST = 1 << 21  # tokens: a second or two, and 100 MB
_PREDICTED_AT_MOST = 1 << 17
_Ids = NDArray[np.int64]
_Numbers = NDArray[np.int32]  # half the memory, and more than enough for what is counted


class BaselineLosses(NamedTuple):
    """Nats per character, and what they were counted on."""

    uniform: float
    frequencies: float
    fivegram: float
    method: str
    num_train_chars: int
    num_val_chars: int  # predicted


class Cancelled(Exception):
    """Nobody wants the figures any more."""


def compute_baselines(split: Split, is_wanted: Callable[[], bool] = lambda: True) -> BaselineLosses:
    """Compute the baselines of a text within seconds: of a long one the end is counted, and the beginning predicted.

    Raises `Cancelled` soon after `is_wanted()` is false.
    """
    size = len(split.vocabulary)
    train, validation = _ids(split.train, -_COUNTED_AT_MOST, None), _ids(split.validation, 0, _PREDICTED_AT_MOST)
    counts = np.bincount(train, minlength=size) + 1
    targets = validation[1:]
    frequencies = _mean_nats(counts[targets] / counts.sum())
    fivegram = _mean_nats(kneser_ney(train, validation, size, is_wanted))
    unit = "bytes" if split.vocabulary.level == "bytes" else "characters"
    counted = f"the last {len(train):,} {unit}" if len(train) < len(split.train) else f"all {len(train):,} {unit}"
    method = f"{ORDER}-gram, interpolated Kneser-Ney, of {counted} of the training text"
    return BaselineLosses(math.log(size), frequencies, fivegram, method, len(train), len(targets))


def _mean_nats(probabilities: NDArray[np.float64]) -> float:
    return 0.0 - float(np.log(probabilities).mean())  # which is 0 for certainty, where a sign in front makes -0


def kneser_ney(
    train: _Ids,
    validation: _Ids,
    size: int,
    is_wanted: Callable[[], bool] = lambda: True,
    order: int = ORDER,
) -> NDArray[np.float64]:
    """Return the probabilities of `validation[1:]` under an n-gram model counted in `train`; `size` is V, `order` n."""
    result = np.full(len(validation), 1 / size)
    shorter = _NGrams.of_empty(train, validation)
    kind = shorter.extend(train, validation, size)
    for length in range(1, order + 1):
        if not is_wanted():
            raise Cancelled
        longer = kind.extend(train, validation, size) if length < order else None
        _refine(result[length - 1 :], kind, shorter, kind.counts(longer))
        if longer:  # no more than three are held at once
            shorter, kind = kind, longer
    return result[1:]


class _NGrams(NamedTuple):
    """The k-grams of the training text, numbered; K = how many distinct ones there are.

    The k-gram at place t of a text is the one that ends there, so texts have k - 1 places without one.
    """

    prefixes: _Numbers  # (K,) number of the (k-1)-gram that it begins with
    lasts: _Numbers  # (K,) a place in the training text where it ends, counted from its first k-gram
    at_train: _Numbers  # (N - k + 1,)
    at_validation: _Numbers  # (M - k + 1,), -1 for those that the training text does not have

    @classmethod
    def of_empty(cls, train: _Ids, validation: _Ids) -> "_NGrams":
        """Make the one 0-gram, which is everywhere: also before the first character."""
        one = np.zeros(1, np.int32)
        return cls(one, one, np.zeros(len(train) + 1, np.int32), np.zeros(len(validation) + 1, np.int32))

    def extend(self, train: _Ids, validation: _Ids, size: int) -> "_NGrams":
        """Make the n-grams that are one character longer."""
        num_places = len(self.at_train) - 1
        keys = self.at_train[:-1].astype(np.int64)
        keys *= size
        keys += train[len(train) - num_places :]
        distinct, lasts, at_train = _number_keys(keys)
        before = self.at_validation[:-1]
        asked = before.astype(np.int64) * size + validation[len(validation) - len(before) :]
        places = np.minimum(np.searchsorted(distinct, asked), max(0, len(distinct) - 1))
        is_known = (before >= 0) & (distinct[places] == asked) if len(distinct) else np.zeros(len(asked), bool)
        at_validation = np.where(is_known, places, -1).astype(np.int32)
        return _NGrams((distinct // size).astype(np.int32), lasts, at_train, at_validation)

    def counts(self, longer: "_NGrams | None") -> _Ids:
        """Count each n-gram, or where there are longer ones the distinct characters before it (for the fallback)."""
        if longer is None:
            return np.bincount(self.at_train, minlength=len(self.prefixes))
        return np.bincount(self.at_train[1:][longer.lasts], minlength=len(self.prefixes))


def _number_keys(keys: _Ids) -> tuple[_Ids, _Numbers, _Numbers]:
    """Assign numbers to `keys` (N,): return the distinct ones in order, a place of each, and each place's number.

    `numpy.unique` gives the same with several times the memory, and sorts places where this sorts numbers: key and
    place in one, for which there is room, as keys are below 2^21 times the 2^21 code points there may be.
    """
    num_places = max(1, len(keys))
    keys *= num_places
    keys += np.arange(len(keys))
    keys.sort()
    places = (keys % num_places).astype(np.int32)
    keys //= num_places
    is_new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    at = np.empty(len(keys), np.int32)
    at[places] = np.cumsum(is_new, dtype=np.int32) - 1
    return keys[is_new], places[is_new], at


def _refine(result: NDArray[np.float64], kind: _NGrams, shorter: _NGrams, counts: _Ids) -> None:
    """Replace in `result`, of places with a k-gram, the probabilities of the shorter model by those of this one."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    num_contexts = max(1, len(shorter.prefixes))
    totals = np.bincount(kind.prefixes, counts, num_contexts)
    followers = np.bincount(kind.prefixes[counts > 0], minlength=num_contexts)
    contexts = shorter.at_validation[:-1]
    is_known = (contexts >= 0) & (totals[contexts] > 0)
    contexts, grams = contexts[is_known], kind.at_validation[is_known]
    seen = np.where(grams >= 0, counts[grams], 0) if len(counts) else np.zeros(len(grams))
    left = discount * followers[contexts] * result[is_known]
    result[is_known] = (np.maximum(seen - discount, 0) + left) / totals[contexts]


def _ids(tokens: Tokens, begin: int, end: int | None) -> _Ids:
    return tokens[slice(begin, end)].astype(np.int64)
