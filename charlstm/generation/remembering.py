"""Texts that are written with what was read before: a session that mixes an n-gram into another session."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from charlstm.config import REPEAT_WINDOW, SampleConfig
from charlstm.generation import sampling
from charlstm.generation.adaptation import LONGEST, AdaptiveNgram, Numbers, to_text
from charlstm.generation.engine import DecodeSession
from charlstm.kernel.decoder import DecodedTokens


class RememberingTexts:
    """Texts of one model, with `amount` of what an n-gram says mixed in; a `DecodeSession`.

    Temperature and filters come after the mix. Nothing that is written is counted.
    """

    def __init__(
        self, texts: DecodeSession, beginnings: Sequence[NDArray[np.int32]], ngram: AdaptiveNgram, amount: float
    ) -> None:
        """Go on with `texts`, which begin with `beginnings`, each (N,) ids; `amount` is as in `AdaptiveNgram.mix`."""
        self._texts, self._ngram, self._amount = texts, ngram, amount
        self._histories = [each[-REPEAT_WINDOW:] for each in beginnings]
        self.num_texts = texts.num_texts

    def write(
        self, config: SampleConfig, num_chars: int, positions: int | Sequence[int], num_likeliest: int = 0
    ) -> DecodedTokens:
        """Write the next `num_chars` of every text after the `positions`, (B,) or one for all, written so far."""
        places = np.broadcast_to(np.asarray(positions), self.num_texts).tolist()

        def choose(text: int, at: int, logits: Numbers) -> int:
            allowed = sampling.ban_repeats(logits, self._histories[text], config.no_repeat)
            number = sampling.counter_uniform(config.seed, text, places[text] + at)
            return sampling.sample_token(allowed, config, number)

        return self._take(num_chars, num_likeliest, choose)

    def follow(self, ids: NDArray[np.int32], num_likeliest: int = 0) -> DecodedTokens:
        """Score `ids` (B, T) as if they had been written."""
        return self._take(ids.shape[1], num_likeliest, lambda text, at, _: int(ids[text, at]))

    def copy(self) -> "RememberingTexts":
        """Return a session that goes on from here by itself, with the same n-gram."""
        return RememberingTexts(self._texts.copy(), self._histories, self._ngram, self._amount)

    def next_logits(self) -> NDArray[np.float32]:
        """Return the logarithms (B, V) of the mixed probabilities of what follows."""
        logits = self._texts.next_logits().astype(np.float64)
        rows = zip(logits, self._histories, strict=True)
        mixed = [self._ngram.mix(probabilities(row), to_text(ids[-LONGEST:]), self._amount) for row, ids in rows]
        with np.errstate(divide="ignore"):
            return np.log(np.stack(mixed)).astype(np.float32)

    def accept(self, ids: NDArray[np.int32]) -> None:
        """Go on with the characters (B,)."""
        self._texts.accept(ids)
        self._histories = [
            np.append(history, each)[-REPEAT_WINDOW:] for history, each in zip(self._histories, ids, strict=True)
        ]

    def _take(self, num_chars: int, num_likeliest: int, choose: Callable[[int, int, Numbers], int]) -> DecodedTokens:
        written = list[DecodedTokens]()
        for at in range(num_chars):
            logs = self.next_logits().astype(np.float64)  # as an exported page rounds them
            chosen = np.array([choose(text, at, row) for text, row in enumerate(logs)], np.int32)
            likeliest = np.argsort(-logs, axis=1, kind="stable")[:, :num_likeliest]
            written.append(
                DecodedTokens(
                    chosen,
                    -np.take_along_axis(logs, chosen[:, None], 1)[:, 0].astype(np.float32),
                    likeliest.astype(np.int32),
                    np.exp(np.take_along_axis(logs, likeliest, 1)).astype(np.float32),
                )
            )
            self.accept(chosen)
        fields = zip(*((each.ids, each.surprises, each.likeliest, each.probabilities) for each in written), strict=True)
        return DecodedTokens(*(np.stack(each, axis=1) for each in fields))


def probabilities(logits: Numbers) -> Numbers:
    """Map logits (V,) to probabilities (V,); they are summed in order, as an exported page sums them."""
    weights = np.exp(logits - logits.max())
    shares: Numbers = weights / weights.cumsum()[-1]
    return shares
