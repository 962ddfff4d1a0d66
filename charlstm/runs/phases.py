"""Phases of a run: the steps at which its validation loss or its share of real words crossed a line, in words.

Only what was measured counts: a phase stands at the first measurement beyond its line. Imports no torch.
"""

from collections.abc import Iterator, Sequence
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
) -> Iterator[Phase]:
    """Yield the phases of a run, from its validation losses and shares of real words, each as (step, value)."""
    if references is not None:
        lines = (
            (references.uniform - _MARGIN, _GUESSING),
            (references.frequencies - _MARGIN, _LETTERS),
            (references.fivegram, _FIVEGRAM),
        )
        for line, text in lines:
            if (step := next((step for step, loss in validation if step and loss < line), None)) is not None:
                yield Phase(step, text)
    for line, text in _WORDS:
        if (step := next((step for step, share in words if step and share >= line), None)) is not None:
            yield Phase(step, text)
