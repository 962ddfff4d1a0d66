"""Texts that are written with what was read before: a session that mixes an n-gram into another session."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlstm.generation.engine import DecodeSession
from charlstm.generation.ngram_memory import LONGEST, NgramMemory, Numbers, to_text
from charlstm.generation.stepping import SteppedTexts


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
