"""N-gram memory of a text that is read first: what followed each context there, mixed into a model's predictions.

A context is the last 3 to 8 characters. Going from the shortest to the longest that stands in the text already, the
prediction so far is mixed with how often each character followed that context: p becomes (1 - w) p + w count / total.
The weight w is that of the context's length, of how many times and by how many different characters it was followed.
All weights begin at 0.1 and are learned while the text is read: w is the mean share of the prediction that the context
was responsible for (one step of expectation maximisation for each character). Everything is scored before it is
counted. docs/adaptation.md says what that gains.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from charlstm.generation.engine import DecodeSession
from charlstm.generation.sampling import SteppedTexts

Numbers = NDArray[np.float64]
SHORTEST, LONGEST = 3, 8  # characters of a context
# Chosen on the first half of both bundled models' validation texts; the second is what docs/adaptation.md reports.
FIRST_WEIGHT = 0.1
_PRIOR = 2.0  # observations that the first weight counts for
_MOST_FOLLOWERS = 8  # of a context, the newest: better than all, and less work
_NUM_TIMES = 4  # classes of how many followers: 1, 2 to 3, 4 to 7, 8
_KIND_CLASSES = (0, 0, 1, 2, 2, 3)  # class of how many different followers: 1, 2, 3 to 4, 5 and more
NUM_CLASSES = (_KIND_CLASSES[-1] + 1) * _NUM_TIMES


class NgramMemory:
    """What followed each context of a text, and how far each kind of context is to be trusted.

    Characters are ids of a vocabulary below 65,536, held as one-character strings so that a context is a slice.
    """

    def __init__(self) -> None:
        self._followers: dict[str, str] = {}
        self._num_read = 0
        self._tail = ""
        num_weights = (LONGEST + 1) * NUM_CLASSES
        self._shares, self._counts = [FIRST_WEIGHT * _PRIOR] * num_weights, [_PRIOR] * num_weights

    def __len__(self) -> int:
        """Return the number of characters read."""
        return self._num_read

    def read(self, ids: NDArray[np.int32], probabilities: Numbers) -> Numbers:
        """Read characters (T,), whose `probabilities` (T,) a model gave them; return those after mixing, (T,).

        Each is scored by what was read before it, and counted then.
        """
        text = to_text(ids)
        self._num_read += len(text)
        return np.array([self._read(*each) for each in zip(text, probabilities.tolist(), strict=True)])

    def _read(self, char: str, mixed: float) -> float:
        followers, shares, counts, tail = self._followers, self._shares, self._counts, self._tail
        for length in range(SHORTEST, len(tail) + 1):
            context = tail[-length:]
            seen = followers.get(context)
            if seen is None:
                followers[context] = char
                continue
            place = _weight_place(length, seen)
            weight = shares[place] / counts[place]
            part = weight * (seen.count(char) / len(seen))
            mixed = (1.0 - weight) * mixed + part
            if part:  # else `mixed` may be 0
                shares[place] += part / mixed
            counts[place] += 1.0
            followers[context] = (seen + char)[-_MOST_FOLLOWERS:]
        self._tail = (tail + char)[-LONGEST:]
        return mixed

    def mix(self, probabilities: Numbers, tail: str, amount: float = 1.0) -> Numbers:
        """Mix a model's `probabilities` (V,) of what comes after `tail` with what followed its end in the text read.

        `amount` from 0 to 2 is how much: it changes the odds of each weight by the factor amount / (2 - amount), so 1
        leaves the weights as learned, 0 the model alone, and with 2 only what was read counts where it is known.
        Nothing is counted.
        """
        mixed = probabilities
        for weight, seen in self._steps(tail, amount):
            mixed = mixed * (1.0 - weight)
            np.add.at(mixed, to_ids(seen), weight / len(seen))
        return mixed

    def _steps(self, tail: str, amount: float) -> Iterator[tuple[float, str]]:
        """Yield weight and followers of each end of `tail` that was read, the shortest first."""
        for length in range(SHORTEST, min(LONGEST, len(tail)) + 1):
            seen = self._followers.get(tail[-length:])
            if seen is None:
                return
            place = _weight_place(length, seen)
            weight = amount * self._shares[place]
            yield weight / (weight + (2.0 - amount) * (self._counts[place] - self._shares[place])), seen


def _weight_place(length: int, seen: str) -> int:
    kinds = _KIND_CLASSES[min(len(set(seen)), len(_KIND_CLASSES) - 1)]
    return (length * (_KIND_CLASSES[-1] + 1) + kinds) * _NUM_TIMES + len(seen).bit_length() - 1


def to_text(ids: NDArray[np.int32]) -> str:
    """Return ids (N,) as a string of N characters."""
    return "".join(map(chr, ids.tolist()))


def to_ids(text: str) -> NDArray[np.int32]:
    """Return the ids (N,) that `to_text` made a string of."""
    return np.array([*map(ord, text)], np.int32)


class RememberingSession(SteppedTexts):
    """Texts of one model, with `amount` of what an n-gram says mixed in; a `DecodeSession`.

    Temperature and filters come after the mix. Nothing that is written is counted.
    """

    def __init__(
        self, texts: DecodeSession, beginnings: Sequence[NDArray[np.int32]], ngram: NgramMemory, amount: float
    ) -> None:
        """Go on with `texts`, which begin with `beginnings`, each (N,) ids; `amount` is as in `NgramMemory.mix`."""
        super().__init__(beginnings)
        self._texts, self._ngram, self._amount = texts, ngram, amount

    def copy(self) -> "RememberingSession":
        """Return a session that goes on from here by itself, with the same n-gram."""
        other = super().copy()
        other._texts = self._texts.copy()
        return other

    def next_logits(self) -> NDArray[np.float32]:
        """Return the logarithms (B, V) of the mixed probabilities of what follows, as an exported page rounds them."""
        logits = self._texts.next_logits().astype(np.float64)
        rows = zip(logits, self._histories, strict=True)
        mixed = [self._ngram.mix(probabilities(row), to_text(ids[-LONGEST:]), self._amount) for row, ids in rows]
        with np.errstate(divide="ignore"):
            return np.log(np.stack(mixed)).astype(np.float32)

    def accept(self, ids: NDArray[np.int32]) -> None:
        """Go on with the characters (B,)."""
        self._texts.accept(ids)
        super().accept(ids)


def probabilities(logits: Numbers) -> Numbers:
    """Map logits (V,) to probabilities (V,); they are summed in order, as an exported page sums them."""
    weights = np.exp(logits - logits.max())
    shares: Numbers = weights / weights.cumsum()[-1]
    return shares
