"""Phases of a run: the steps at which its validation loss or its share of real words crossed a line, in words.

Only what was measured counts: a phase stands at the first measurement beyond its line. Shares of words sway from sample
to sample, so theirs stands where they began to stay beyond it. Imports no torch.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from charlstm.events import Baselines

FEWEST_WORDS = 300  # counted together: a share of fewer words sways too much to be told
_MARGIN = 0.05  # nats per character, so that no chance makes a phase
_LETTERS = "knows how often each letter comes"
_GUESSING = "no longer guesses blindly"
_FIVEGRAM = "better than a 5-gram"
_WORDS = ((0.5, "every second word is real"), (0.8, "8 of 10 words are real"), (0.9, "9 of 10 words are real"))


class WordShare(NamedTuple):
    """The share of real words among the `num_words` of the last samples, which are counted together."""

    share: float
    num_words: int

    @property
    def percent(self) -> int:
        """The share in whole percent, never more than there is: with 89.6 % no words say that 9 of 10 are real."""
        return math.floor(100 * self.share + 1e-9)


class Phase(NamedTuple):
    """The step of a crossing, and what it means."""

    step: int
    text: str


def pool_words(num_words: Sequence[float], num_real_words: Sequence[float], index: int) -> WordShare | None:
    """Count the words of the sample at `index` and of those before it, until there are enough; `None` if too few."""
    count = real = 0.0
    while index >= 0 and count < FEWEST_WORDS:
        count += num_words[index]
        real += num_real_words[index]
        index -= 1
    return WordShare(real / count, int(count)) if count >= FEWEST_WORDS else None


def find_phases(
    validation: Sequence[tuple[int, float]], words: Sequence[tuple[int, float]], references: Baselines | None
) -> list[Phase]:
    """Return the phases of a run, from its validation losses and shares of real words, each as (step, value).

    Of several lines that one measurement crosses the last alone is told.
    """
    found: list[Phase] = []
    if references is not None:
        lines = (
            (references.uniform - _MARGIN, _GUESSING),
            (references.frequencies - _MARGIN, _LETTERS),
            (references.fivegram, _FIVEGRAM),
        )
        found += _crossings(lines, validation)
    return found + _crossings([(-line, text) for line, text in _WORDS], _lasting(words))


def _lasting(words: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at each step the smallest share from there on, negated."""
    smallest = accumulate((share for _, share in reversed(words)), min)
    return [(step, -share) for (step, _), share in zip(reversed(words), smallest, strict=True)][::-1]


def _crossings(lines: Sequence[tuple[float, str]], values: Sequence[tuple[int, float]]) -> list[Phase]:
    """Return the first step beyond 0 with a value at or below each of the `lines`, which descend."""
    found: dict[int, Phase] = {}
    for line, text in lines:
        step = next((step for step, value in values if step and value <= line), None)
        if step is not None:
            found[step] = Phase(step, text)  # in place of a line that the same measurement crossed
    return list(found.values())
