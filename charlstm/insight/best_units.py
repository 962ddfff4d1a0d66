"""Choose the units that tell a property of a text best, in a network and in untrained ones of its size.

Shapes: N = places of a sample, C = channels, F = properties.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.insight.scores import Codes, area, estimate_areas
from charlstm.insight.text_sample import Sample, read_sample
from charlstm.language_model import LanguageModel

_CANDIDATES = 3  # units a property
_TRIED = 8  # channels a property, by their estimated areas
_TWINS_LEAD_IN = 48  # characters read before a piece: what an untrained network remembers is short


class Chosen(NamedTuple):
    """A channel chosen for a property on the first half, and its areas there and on the second."""

    channel: int
    sign: int
    first: float
    second: float


def choose_units(codes: Codes, sample: Sample) -> list[list[Chosen]]:
    """Choose for each property the three units that tell it best on the first half, the best one first."""
    _, values, known = sample.properties
    half, num_units = sample.size // 2, len(codes) // 2
    areas = estimate_areas(codes[:, :half], values[:half], known[:half])
    strength = np.nan_to_num(np.abs(areas - 0.5))
    tried = np.argsort(-strength, axis=0)[:_TRIED].T
    chosen = []
    for f, channels in enumerate(tried):
        parts = [(values[part, f], known[part, f], part) for part in (slice(half), slice(half, None))]
        ranked = []
        is_exact = bool(known[:half, f].all())
        for channel in channels.tolist():
            first = float(areas[channel, f]) if is_exact else area(codes[channel, :half], *parts[0][:2])
            ranked.append((max(first, 1 - first), 1 if first >= 0.5 else -1, channel))
        best: dict[int, Chosen] = {}
        for first, sign, channel in sorted(ranked, key=lambda each: (-each[0], each[2])):
            if len(best) < _CANDIDATES and channel % num_units not in best:
                second = area(codes[channel, half:], *parts[1][:2])
                best[channel % num_units] = Chosen(channel, sign, first, second if sign > 0 else 1 - second)
        chosen.append(list(best.values()))
    return chosen


def create_twin(lm: LanguageModel, seed: int) -> LanguageModel:
    """Return an untrained network of the same size, settings and vocabulary."""
    return LanguageModel.create(lm.vocabulary, lm.model.config, seed)


def score_twins(lm: LanguageModel, sample: Sample, seeds: Sequence[int],
                on_tick: Callable[[float], None] = lambda _: None,
                on_twin: Callable[[NDArray[np.float64]], None] = lambda _: None) -> None:  # fmt: skip
    """Call `on_twin` after each untrained network with the best area of its units and those before, (F,).

    It is the best on the second half of the text for each property.
    """
    best = np.full(len(sample.properties.names), 0.5)
    for number, seed in enumerate(seeds):

        def tick(share: float, number: int = number) -> None:
            on_tick((number + share) / len(seeds))

        reading = read_sample(create_twin(lm, seed), sample, _TWINS_LEAD_IN, tick)
        scores = [max((each.second for each in chosen), default=0.5) for chosen in choose_units(reading.codes, sample)]
        best = np.fmax(best, scores)
        on_twin(best)
