"""Units of a network, named: which of a text's properties each follows, and by how much better than chance allows.

A unit is one number that the network remembers (its cell state) or shows (its output). For each property up to three
are chosen on the first half of the text, where they reach an area of 0.85 at least. On the second half they must reach
it again, make at most half the error, 1 - area, of the best units, chosen alike, of three untrained networks, and beat
them by 0.02. That is what *goes with* means here; *remembers* is said of what the last four characters do not tell as
well. The area is the share of pairs, a place with the property and one without, that are put in the right order.

Shapes: N = places, L = layers, H = hidden size, C = 2 x L x H channels, F = properties.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.insight.best_units import Chosen, choose_units, score_twins
from charlstm.insight.hold_effects import Effect
from charlstm.insight.properties import Property
from charlstm.insight.scores import score_context
from charlstm.insight.text_sample import Reading, Sample, read_sample
from charlstm.language_model import LanguageModel

OnProgress = Callable[[float, str, "UnitTable"], None]

GOOD, NEARLY = 0.85, 0.80  # areas
NUM_TWINS = 3
_BEYOND_TWIN = 0.02  # in any case: where all are near 1, half the error is a matter of luck
_MARGIN = 0.05  # over the last four characters
_SHARES = (0.005, 0.995)
_MOST_KEEPERS = 10


@dataclass(frozen=True)
class NamedUnit:
    """A unit and the property it goes with."""

    layer: int
    unit: int
    part: str  # "cell" or "output"
    sign: int  # 1 where it is high with the property, -1 where it is low
    follows: Property
    score: float  # area on the second half
    twin: float  # that of the best unit of untrained networks
    last4: float  # that of a table of the last four characters
    low: float  # the 0.5 and 99.5 percent values of its cell state
    high: float
    memory: float  # characters until 37 % (1/e) of its cell state are left, by its mean forget gate
    stretches: int  # of the property in both halves
    effect: Effect | None = None  # once it was tried

    @property
    def remembers(self) -> bool:
        """Whether it tells more than the last four characters do."""
        return self.score >= self.last4 + _MARGIN

    @property
    def acts(self) -> bool | None:
        """Whether holding it changes what is written; `None` if that was not tried."""
        return None if self.effect is None else self.effect.acts


class Absent(NamedTuple):
    """A property that no unit goes with, and the best area of a trained and of an untrained unit."""

    property: Property
    score: float
    twin: float


class Keeper(NamedTuple):
    """A unit that forgets slowly."""

    layer: int
    unit: int
    memory: float  # characters


@dataclass(frozen=True)
class UnitTable:
    """What is known of a network's units from one text."""

    num_layers: int
    hidden_size: int
    vocabulary: int
    characters: int  # places looked at
    seed: int
    units: tuple[NamedUnit, ...] = ()
    nearly: tuple[NamedUnit, ...] = ()
    absent: tuple[Absent, ...] = ()
    keepers: tuple[Keeper, ...] = ()


def least_area(twin: float) -> float:
    """Return what a unit must reach on the second half where the best one of untrained networks reaches `twin`."""
    return max(1 - (1 - twin) / 2, twin + _BEYOND_TWIN)


class _Naming(NamedTuple):
    """What names are told from."""

    sample: Sample
    reading: Reading
    chosen: list[list[Chosen]]  # of each property, the best first
    last4: NDArray[np.float64]  # (F,)
    forgets: NDArray[np.float32]  # (L, H)

    def judge(self, table: UnitTable, twins: NDArray[np.float64]) -> UnitTable:
        """Apply the naming rule to every property, given the best area (F,) of a unit of untrained networks."""
        good: list[tuple[float, NamedUnit]] = []
        near: list[NamedUnit] = []
        absent: list[Absent] = []
        for f, twin in enumerate(twins.tolist()):
            passing = [each for each in self.chosen[f] if each.second >= max(NEARLY, least_area(twin))]
            named = [each for each in passing if min(each.first, each.second) >= GOOD]
            good += [(each.first, self._describe(f, each, twin)) for each in named]
            if not named and passing:
                near.append(self._describe(f, passing[0], twin))
            elif not named:
                score = max((each.second for each in self.chosen[f]), default=0.5)
                absent.append(Absent(self.sample.properties.names[f], round(score, 4), round(twin, 4)))
        near.sort(key=lambda unit: -unit.score)
        absent.sort(key=lambda each: -each.score)
        return replace(table, units=_assign(good), nearly=tuple(near), absent=tuple(absent))

    def _describe(self, f: int, each: Chosen, twin: float) -> NamedUnit:
        """Return a chosen unit with all that is known of it."""
        part, place = divmod(each.channel, self.forgets.size)
        layer, unit = divmod(place, self.forgets.shape[1])
        cell = slice(place, place + 1)
        low, high = self.reading.coding.of(cell).quantiles(self.reading.codes[cell], _SHARES)[:, 0]
        figures = each.second, twin, self.last4[f], low, high
        score, twin, last4, low, high = (round(float(figure), 4) for figure in figures)
        return NamedUnit(
            layer, unit, "output" if part else "cell", each.sign, self.sample.properties.names[f],
            score, twin, last4, low, high,
            memory=_memory(float(self.forgets[layer, unit])),
            stretches=int(self.sample.stretches[f]),
        )  # fmt: skip


def _memory(forget: float) -> float:
    """Return after how many characters 1/e is left at a mean forget gate."""
    return round(-1 / math.log(min(max(forget, 1e-6), 1 - 1e-6)), 1)


def _assign(good: list[tuple[float, NamedUnit]]) -> tuple[NamedUnit, ...]:
    """Give each unit one of the properties it goes with, so that as many properties as possible are shown.

    What is remembered comes before what the last characters tell.
    """
    ranked = sorted(good, key=lambda each: (not each[1].remembers, -each[0]))
    taken: dict[tuple[int, int], NamedUnit] = {}
    shown = set()
    for is_first in (True, False):
        for _, unit in ranked:
            if (unit.layer, unit.unit) not in taken and not (is_first and unit.follows.key in shown):
                taken[unit.layer, unit.unit] = unit
                shown.add(unit.follows.key)
    return tuple(sorted(taken.values(), key=lambda unit: (not unit.remembers, -unit.score)))


def name_units(lm: LanguageModel, sample: Sample, seed: int = 1, report: OnProgress | None = None) -> UnitTable:
    """Name the units of `lm` that go with properties at the places of `sample`.

    `report(share, stage, table)` is called with what is known so far, and may raise to end it. Names are told from the
    first untrained network on; later ones may withdraw some. What holding a unit changes is not tried here, but by
    `charlstm.insight.hold_effects.measure_effects`.
    """
    config = lm.model.config
    table = UnitTable(config.num_layers, config.hidden_size, len(lm.vocabulary), sample.size, seed)
    tell: OnProgress = report or (lambda *_: None)
    own = f"reading {sample.size:,} characters"
    reading = read_sample(lm, sample, on_tick=lambda share: tell(0.35 * share, own, table), has_gates=True)
    assert reading.forgets is not None
    table = replace(table, keepers=_find_keepers(reading.forgets))
    last4 = score_context(sample.context(), sample.properties.values, sample.properties.known, sample.size // 2)
    naming = _Naming(sample, reading, choose_units(reading.codes, sample), last4, reading.forgets)
    against = f"comparing with {NUM_TWINS} untrained networks"
    seeds = [seed * 1000 + number for number in range(1, NUM_TWINS + 1)]

    def judge(twins: NDArray[np.float64]) -> None:
        nonlocal table
        table = naming.judge(table, twins)

    score_twins(lm, sample, seeds, lambda share: tell(0.4 + 0.6 * share, against, table), judge)
    tell(1.0, "", table)
    return table


def with_effect(table: UnitTable, number: int, effect: Effect) -> UnitTable:
    """Return `table` with what holding unit `number` of it changes."""
    units = (*table.units[:number], replace(table.units[number], effect=effect), *table.units[number + 1 :])
    return replace(table, units=units)


def _find_keepers(forgets: NDArray[np.float32]) -> tuple[Keeper, ...]:
    order = np.argsort(-forgets, axis=None)[:_MOST_KEEPERS].tolist()
    where = [divmod(place, forgets.shape[1]) for place in order]
    return tuple(Keeper(layer, unit, _memory(float(forgets[layer, unit]))) for layer, unit in where)
