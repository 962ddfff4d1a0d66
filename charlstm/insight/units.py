"""Units of a network, named: which of a text's properties each follows, and by how much better than chance allows.

A unit is one number that the network remembers (its cell state) or shows (its output). For each property up to three
are chosen on the first half of the text, where they reach an area of 0.85 at least. On the second half they must reach
it again, make at most half the error, 1 - area, of the best units, chosen alike, of three untrained networks, and beat
them by 0.02. That is what *goes with* means here; *remembers* is said of what the last four characters do not tell as
well. The area is the share of pairs, a place with the property and one without, that are put in the right order.

Shapes: N = places, L = layers, H = hidden size, C = 2 x L x H channels, F = properties.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlstm.errors import ConfigError
from charlstm.insight.batched_reader import BatchedReader
from charlstm.insight.effects import Effect
from charlstm.insight.properties import Properties, Property, find_properties
from charlstm.insight.scores import Codes, Coding, area, count_stretches, estimate_areas, score_context
from charlstm.language_model import LanguageModel
from charlstm.vocabulary import code_points

OnProgress = Callable[[float, str, "UnitTable"], None]

GOOD, NEARLY = 0.85, 0.80  # areas
NUM_TWINS = 3
MOST_CHARACTERS = 262_144  # of the text that stretches are taken from
PLACES, THOROUGH = 32_768, 65_536  # looked at: while somebody waits, and where nobody does
_PIECES = 256  # that they come in, side by side
_MOST_NUMBERS = 1 << 27  # places x channels, a byte each
_LEAD_IN, _TWINS_LEAD_IN = 160, 48  # characters read before a piece; what an untrained network remembers is shorter
_FEWEST_STRETCHES = 30  # of a property, in each half
_FEWEST_PLACES = 4096
_SAME = 0.95  # share of places of two properties that are both's: the second one then says nothing new
_BEYOND_TWIN = 0.02  # in any case: where all are near 1, half the error is a matter of luck
_MARGIN = 0.05  # over the last four characters
_CANDIDATES = 3  # units a property
_TRIED = 8  # channels a property, by their estimated areas
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


@dataclass(frozen=True)
class Sample:
    """Places of a text: pieces spread over it evenly, in its order, and the properties that are common enough there."""

    ids: NDArray[np.int64]  # of the whole text
    characters: NDArray[np.int64]  # code points of the whole text
    last_read: NDArray[np.int64]  # for each of ids, the place in characters of the last one read whole by then
    starts: NDArray[np.int64]  # of the pieces, places in ids
    length: int
    properties: Properties  # of the N places
    stretches: NDArray[np.int64]  # (F,): separate ones of each property; at least 30 in each half

    @classmethod
    def take(cls, lm: LanguageModel, text: str, places: int = PLACES) -> "Sample":
        """Take a sample of `text`; raise `ConfigError` if it is too short, `VocabularyError` if it can't be read."""
        text = lm.vocabulary.normalize(text[:MOST_CHARACTERS])
        ids, last_read = _encode(lm, text)
        if len(ids) < _FEWEST_PLACES + _LEAD_IN:
            raise ConfigError(
                f"{len(text):,} characters are too few to tell what a unit follows: give {_FEWEST_PLACES + _LEAD_IN:,}."
            )
        places = min(places, _MOST_NUMBERS // (2 * lm.model.config.num_layers * lm.model.config.hidden_size))
        length = min(max(16, places // _PIECES), (len(ids) - _LEAD_IN) // 16)
        count = min(_PIECES, (len(ids) - _LEAD_IN) // length) // 2 * 2
        starts = np.linspace(_LEAD_IN, len(ids) - length, count).astype(np.int64)
        found = find_properties(text)
        at = last_read[(starts[:, None] + np.arange(length)).ravel()]
        values, known = found.values[at], found.known[at]
        halves = slice(len(at) // 2), slice(len(at) // 2, None)
        stretches = np.stack([count_stretches(values[half], known[half], length) for half in halves])
        without = np.stack([count_stretches(~values[half], known[half], length) for half in halves])
        is_common = np.minimum(stretches, without).min(0) >= _FEWEST_STRETCHES
        is_common &= ~_repeats(values & known & is_common)
        names = tuple(name for name, flag in zip(found.names, is_common, strict=True) if flag)
        kept = Properties(names, values[:, is_common], known[:, is_common])
        return cls(
            ids, code_points(text).astype(np.int64), last_read, starts, length, kept, stretches[:, is_common].sum(0)
        )

    @property
    def size(self) -> int:
        """The number of places N."""
        return len(self.starts) * self.length

    def context(self) -> NDArray[np.int64]:
        """Return the last four characters read whole at each place, (N, 4), the last one first."""
        places = (self.starts[:, None] + np.arange(self.length)).ravel()
        context: NDArray[np.int64] = self.characters[self.last_read[places][:, None] - np.arange(4)]
        return context


def _repeats(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the properties that hold where an earlier one does, all but a few places; `there` is (N, F)."""
    numbers = there.astype(np.float32)
    both = numbers.T @ numbers
    either = np.diag(both)[:, None] + np.diag(both) - both
    marked: NDArray[np.bool_] = np.triu(both > _SAME * np.maximum(either, 1), 1).any(0)
    return marked


def _encode(lm: LanguageModel, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids of a text, (M,), and for each the last character that has been read whole by then."""
    ids = lm.vocabulary.encode(text).astype(np.int64)
    if lm.vocabulary.level == "chars":
        return ids, np.arange(len(ids))
    widths = np.array([len(char.encode("utf-8", "surrogatepass")) for char in text], np.int64)
    last_read = np.cumsum(np.bincount(np.cumsum(widths) - 1, minlength=len(ids))) - 1
    return ids, np.maximum(last_read, 0)  # within the first character none is


class Reading(NamedTuple):
    """What all channels were at the places of a sample."""

    codes: Codes  # (C, N); channels are (cell or output, layer, unit)
    coding: Coding
    forgets: NDArray[np.float32]  # (L, H): mean forget gates


def read_sample(
    lm: LanguageModel, sample: Sample, lead_in: int, on_tick: Callable[[float], None] = lambda _: None
) -> Reading:
    """Read every stretch after the `lead_in` characters before it; `on_tick` gets the share done, and may raise."""
    count, length = len(sample.starts), sample.length
    rows = BatchedReader(lm.model, count)
    tokens = torch.from_numpy(sample.ids[sample.starts[:, None] + np.arange(-lead_in, length)]).t().contiguous()
    tokens = tokens.to(lm.model.device)
    early: list[NDArray[np.float32]] = []
    coding, steps = None, np.empty((length, count, 2 * rows.cells[:, 0].numel()), np.uint8)
    for at, step in enumerate(tokens):
        rows.read(step)
        if lead_in - 16 <= at < lead_in:
            early.append(_channels(rows).cpu().numpy())
        if at >= lead_in:
            if coding is None:
                coding = Coding.fit(np.concatenate(early))
                lowest, scale = (torch.from_numpy(each).to(tokens.device) for each in (coding.lowest, 1 / coding.width))
            coded = (_channels(rows) - lowest).mul_(scale).clamp_(0, 255)
            steps[at - lead_in] = coded.to(torch.uint8).cpu().numpy()
        if at % 32 == 0:
            on_tick(at / len(tokens))
    assert coding is not None
    codes = np.ascontiguousarray(steps.transpose(2, 1, 0).reshape(steps.shape[2], -1))
    return Reading(codes, coding, rows.mean_forget_gates())


def _channels(rows: BatchedReader) -> torch.Tensor:
    """Return all channels of each row, (B, C)."""
    return torch.cat([*rows.cells, *rows.hidden], dim=1)


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


def least_area(twin: float) -> float:
    """Return what a unit must reach on the second half where the best one of untrained networks reaches `twin`."""
    return max(1 - (1 - twin) / 2, twin + _BEYOND_TWIN)


def untrained_twin(lm: LanguageModel, seed: int) -> LanguageModel:
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

        reading = read_sample(untrained_twin(lm, seed), sample, _TWINS_LEAD_IN, tick)
        scores = [max((each.second for each in chosen), default=0.5) for chosen in choose_units(reading.codes, sample)]
        best = np.fmax(best, scores)
        on_twin(best)


@dataclass
class _Naming:
    """One table as it grows."""

    lm: LanguageModel
    sample: Sample
    reading: Reading
    table: UnitTable
    twin: NDArray[np.float64]
    last4: NDArray[np.float64]
    chosen: list[list[Chosen]] = field(default_factory=list)

    def describe(self, f: int, each: Chosen) -> NamedUnit:
        """Return a chosen unit with all that is known of it."""
        config = self.lm.model.config
        num_units = config.num_layers * config.hidden_size
        part, place = divmod(each.channel, num_units)
        layer, unit = divmod(place, config.hidden_size)
        only = Coding(self.reading.coding.lowest[place : place + 1], self.reading.coding.width[place : place + 1])
        low, high = only.quantiles(self.reading.codes[place : place + 1], _SHARES)[:, 0]
        figures = each.second, self.twin[f], self.last4[f], low, high
        score, twin, last4, low, high = (round(float(figure), 4) for figure in figures)
        return NamedUnit(
            layer, unit, "output" if part else "cell", each.sign, self.sample.properties.names[f],
            score, twin, last4, low, high,
            memory=_memory(float(self.reading.forgets[layer, unit])),
            stretches=int(self.sample.stretches[f]),
        )  # fmt: skip

    def judge(self) -> UnitTable:
        """Apply the naming rule to every property."""
        good: list[tuple[float, NamedUnit]] = []
        near: list[NamedUnit] = []
        absent: list[Absent] = []
        for f in range(len(self.chosen)):
            least = max(NEARLY, least_area(float(self.twin[f])))
            passing = [each for each in self.chosen[f] if each.second >= least]
            named = [each for each in passing if min(each.first, each.second) >= GOOD]
            good += [(each.first, self.describe(f, each)) for each in named]
            if not named and passing:
                near.append(self.describe(f, passing[0]))
            elif not named:
                score = max((each.second for each in self.chosen[f]), default=0.5)
                absent.append(Absent(self.sample.properties.names[f], round(score, 4), round(float(self.twin[f]), 4)))
        units = _assign(good)
        near.sort(key=lambda unit: -unit.score)
        absent.sort(key=lambda each: -each.score)
        return replace(self.table, units=units, nearly=tuple(near), absent=tuple(absent))


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


def name_units(
    lm: LanguageModel, text: str, seed: int = 1, report: OnProgress | None = None, places: int = PLACES
) -> UnitTable:
    """Name the units of `lm` that go with properties of `text`, by `places` spread over its first 262,144 characters.

    `report(share, stage, table)` is called with what is known so far, and may raise to end it. Names are told from the
    first untrained network on; later ones may withdraw some. What holding a unit changes is not tried here, but by
    `charlstm.insight.effects.measure_effects`. Raises `ConfigError` for a text that is too short, `VocabularyError` for
    one that the network can't read.
    """
    config = lm.model.config
    sample = Sample.take(lm, text, places)
    table = UnitTable(config.num_layers, config.hidden_size, len(lm.vocabulary), sample.size, seed)
    tell: OnProgress = report or (lambda *_: None)
    own = f"reading {sample.size:,} characters"
    reading = read_sample(lm, sample, _LEAD_IN, lambda share: tell(0.35 * share, own, table))
    table = replace(table, keepers=_find_keepers(reading.forgets))
    chosen = choose_units(reading.codes, sample)
    last4 = score_context(sample.context(), sample.properties.values, sample.properties.known, sample.size // 2)
    against = f"comparing with {NUM_TWINS} untrained networks"
    seeds = [seed * 1000 + number for number in range(1, NUM_TWINS + 1)]

    def judge(twin: NDArray[np.float64]) -> None:
        nonlocal table
        table = _Naming(lm, sample, reading, table, twin, last4, chosen).judge()

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
