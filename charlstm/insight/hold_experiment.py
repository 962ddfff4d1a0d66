"""An experiment: what a network writes while units are held, beside the same 20 texts without, and beside random units.

Texts begin at 20 places of a given one and are drawn with the same random numbers, at temperature 1, whatever is held.
Shapes: B = texts of one kind, T = characters, V = vocabulary size.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlstm.errors import ConfigError
from charlstm.generation.holds import Hold, resolve_holds
from charlstm.insight.batched_holds import BatchedReader
from charlstm.language_model import LanguageModel

_TEXTS, _CHARACTERS, _LEAD_IN = 20, 500, 256
_CONTROLS = 20
_RESAMPLES = 2000
_SURE = (0.025, 0.975)  # of the mean differences of resampled texts
_SEED = 1
_CLEARLY = 0.25  # of the range of random units, beyond its end: of some 30 measures a few leave it by luck
_RAREST = 0.05  # of a measure, in either kind of text: what never happens is left out
_SHARES = (0.005, 0.5, 0.995)

OnProgress = Callable[[float, str], None]


class Measure(NamedTuple):
    """A figure of a text."""

    key: str
    label: str
    of: Callable[[str], float]


def _count(mark: str) -> Callable[[str], float]:
    return lambda text: 1000 * text.count(mark) / max(1, len(text))


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _mean(figures: Sequence[float]) -> float:
    return float(np.mean(figures)) if figures else 0.0


def _line_length(text: str) -> float:
    return _mean([len(line) for line in _lines(text)])


def _indentation(text: str) -> float:
    return _mean([len(line) - len(line.lstrip(" ")) for line in _lines(text)])


def _small_beginnings(text: str) -> float:
    return 100 * _mean([line.lstrip()[0].islower() for line in _lines(text)])


def _word_length(text: str) -> float:
    return _mean([len(word) for word in re.findall(r"[^\W\d_]+", text)])


def _open_brackets(text: str) -> float:
    return float(sum(text.count(mark) for mark in "([{") - sum(text.count(mark) for mark in ")]}"))


def _per_thousand(pattern: str) -> Callable[[str], float]:
    return lambda text: 1000 * len(re.findall(pattern, text, re.MULTILINE)) / max(1, len(text))


def _share_of(is_such: Callable[[str], bool]) -> Callable[[str], float]:
    return lambda text: 1000 * sum(map(is_such, text)) / max(1, len(text))


_MARKS = (*".,?!;'\"()[]{}=#_*", "。", "、", "」")
MEASURES = (
    Measure("line-length", "characters in a line", _line_length),
    Measure("line-feeds", "line breaks per 1,000 characters", _count("\n")),
    Measure("blank-lines", "blank lines per 1,000 characters", _count("\n\n")),
    Measure("indentation", "spaces before a line", _indentation),
    Measure("small-beginnings", "lines that begin with a small letter, percent", _small_beginnings),
    Measure("names", "speakers per 1,000 characters", _per_thousand(r"^[A-Z][\w '’.-]{0,38}:$")),
    Measure("colons", "lines that end with a colon, per 1,000 characters", _per_thousand(r":$")),
    Measure("word-length", "letters in a word", _word_length),
    Measure("capitals", "capital letters per 1,000 characters", _share_of(str.isupper)),
    Measure("digits", "digits per 1,000 characters", _share_of(str.isdigit)),
    *(Measure(mark, f"{mark} per 1,000 characters", _count(mark)) for mark in _MARKS),
    Measure("open-brackets", "brackets not closed at the end", _open_brackets),
)


def run_experiment(
    lm: LanguageModel,
    ids: NDArray[np.integer],
    holds: Sequence[Hold],
    report: OnProgress | None = None,
    controls: int = _CONTROLS,
) -> dict[str, Any]:
    """Write 20 texts of 500 characters from 20 places of `ids` (N,), with and without `holds`, and compare figures.

    `{rows: [{key, label, before, after, difference, low, high, control_low, control_high, is_beyond}], texts,
    characters, controls}`: means, their paired difference with its 95 % interval (bootstrap over texts), and the range
    of the same difference for up to `controls` random units, or sets of as many as are held, each unit at its own
    extreme on the same side of its middle; `None` where there are no others. *is_beyond* says that in every other text
    the interval excludes 0 and the difference lies outside that range, by a quarter of it, and that it does so in the
    rest, which the measure was not chosen by, on the same side of 0; without others nothing is. Such rows come first;
    the figures are of all texts.
    `report(share, stage)` may raise to end it. Raises `ConfigError` for a unit that the model lacks, or short texts.
    """
    resolve_holds(holds, lm.model.config)
    lead = min(_LEAD_IN, len(ids) // 2)
    if lead < 2:
        raise ConfigError(f"{len(ids)} characters are too few to write on from: give 4 or more.")
    tell: OnProgress = report or (lambda *_: None)
    places = np.linspace(lead, len(ids) - 1, _TEXTS).astype(np.int64)[:, None] + np.arange(-lead, 0)
    tokens = torch.from_numpy(np.asarray(ids, np.int64)[places]).t().contiguous().to(lm.model.device)
    rows, seen = BatchedReader(lm.model, _TEXTS), []
    for at, step in enumerate(tokens):
        rows.read(step)
        if at >= lead // 2:
            seen.append(rows.cells.clone())
    extremes = np.quantile(torch.cat(seen, 1).cpu().numpy(), _SHARES, axis=1)  # (3, L, H)
    drawn = _draw_controls(extremes, holds, controls)
    written = _write(lm, rows, [[], holds, *drawn], tell)
    figures = np.array([[[each.of(text) for each in MEASURES] for text in texts] for texts in written])
    found = [_compare(each, figures[..., at]) for at, each in enumerate(MEASURES)]
    shown = sorted((row for row in found if row is not None), key=lambda row: not row["is_beyond"])
    return {"rows": shown, "texts": _TEXTS, "characters": _CHARACTERS, "controls": len(drawn)}


def _draw_controls(extremes: NDArray[np.floating], holds: Sequence[Hold], number: int) -> list[list[Hold]]:
    """Return up to `number` sets of other units, each unit at its extreme on the side that its model is held on."""
    _, num_layers, size = extremes.shape
    sides = [2 if hold.value >= extremes[1, hold.layer, hold.unit] else 0 for hold in holds]
    drawn = [divmod(int(each), size) for each in np.random.default_rng(_SEED).permutation(num_layers * size)]
    others = [each for each in drawn if each not in {(hold.layer, hold.unit) for hold in holds}]
    sets = zip(*(others[at :: len(holds)] for at in range(len(holds))), strict=False)
    return [
        [Hold(unit, float(extremes[side, layer, unit]), layer) for side, (layer, unit) in zip(sides, each, strict=True)]
        for each in itertools.islice(sets, number)
    ]


@torch.inference_mode()
def _write(
    lm: LanguageModel, begun: BatchedReader, holds: Sequence[Sequence[Hold]], tell: OnProgress
) -> list[list[str]]:
    """Write on from the states of `begun` with each of `holds`, at the same dice."""
    rows = BatchedReader(lm.model, len(holds) * _TEXTS, holds)
    rows.begin_with(begun.hidden, begun.cells)
    dice = torch.from_numpy(np.random.default_rng(_SEED).random((_CHARACTERS, _TEXTS), np.float32)).to(lm.model.device)
    written = np.empty((len(holds) * _TEXTS, _CHARACTERS), np.int64)
    for at, thrown in enumerate(dice):
        sums = rows.log_probabilities().exp().cumsum(1)
        drawn = torch.searchsorted(sums, (thrown.repeat(len(holds)) * sums[:, -1])[:, None])[:, 0]
        drawn.clamp_(max=sums.shape[1] - 1)
        written[:, at] = drawn.cpu().numpy()
        rows.read(drawn)
        if at % 10 == 0:
            tell(
                at / _CHARACTERS, f"writing {len(holds) * _TEXTS} texts at once, {at} of {_CHARACTERS} characters each"
            )
    texts = [lm.vocabulary.decode(each.tolist()) for each in written]
    return [texts[begin : begin + _TEXTS] for begin in range(0, len(texts), _TEXTS)]


class _Contrast(NamedTuple):
    """The mean difference that a hold makes to a measure of some texts, and those that random units make."""

    difference: float
    low: float
    high: float
    control_low: float
    control_high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def is_outside(self) -> bool:
        """Whether the difference is clearly outside the range of the random units'; False where there is none."""
        margin = _CLEARLY * (self.control_high - self.control_low)
        return self.difference < self.control_low - margin or self.difference > self.control_high + margin


def _contrast(figures: NDArray[np.float64]) -> _Contrast:
    differences = figures[1] - figures[0]
    resampled = np.random.default_rng(_SEED).integers(len(differences), size=(_RESAMPLES, len(differences)))
    low, high = np.quantile(differences[resampled].mean(1), _SURE)
    others = figures[2:].mean(1) - figures[0].mean()
    control_low, control_high = (others.min(), others.max()) if len(others) else (np.nan, np.nan)
    return _Contrast(*(float(each) for each in (differences.mean(), low, high, control_low, control_high)))


def _compare(measure: Measure, figures: NDArray[np.float64]) -> dict[str, Any] | None:
    """Return a row of the table from figures (2 + controls, B) of the free, the held and the controls' texts."""
    means = figures.mean(1)
    if max(means[0], means[1]) < _RAREST:
        return None
    even, odd = (_contrast(figures[:, part::2]) for part in (0, 1))
    is_beyond = even.is_sure and even.is_outside and odd.is_outside and even.difference * odd.difference > 0
    every = _contrast(figures)
    numbers = {
        "before": means[0], "after": means[1], "difference": every.difference, "low": every.low, "high": every.high,
        "control_low": every.control_low, "control_high": every.control_high,
    }  # fmt: skip
    rounded = {key: None if np.isnan(number) else round(float(number), 2) for key, number in numbers.items()}
    return {"key": measure.key, "label": measure.label, **rounded, "is_beyond": is_beyond}
