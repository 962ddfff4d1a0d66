"""What holding a unit changes, beside the same done to units drawn at random.

A unit of the network is held at a value while it reads on, or writes, from places of a text. *Effect* is how much its
predictions change (Kullback-Leibler divergence, in nats, of the held from the free ones), and the chance of what comes
next. A unit acts if that is more than 19 of 20 random units, held at their own extremes, bring about; or if what comes
next turns towards what follows where the unit's property holds, and more so than with any of the 20.

Shapes: P = places, T = characters, L = layers, H = hidden size, V = vocabulary size, G = kinds of character.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlstm.errors import ConfigError
from charlstm.generation.holds import Hold, resolve_holds
from charlstm.insight.batched_holds import BatchedReader, RowWeights
from charlstm.insight.hold_experiment import run_experiment
from charlstm.language_model import LanguageModel
from charlstm.vocabulary import Vocabulary

__all__ = ["Effect", "Probe", "measure_effects", "run_experiment"]

_PLACES, _LEAD_IN = 64, 256
_HELD_FOR = 20  # characters of the text, read while the unit is held
_JUDGED = 10  # the last of them are looked at: most units act through what follows from them
_WARM = 64  # characters before a place, of which each unit's range is taken
_ROWS = 768  # read at once
_CONTROLS = 20
_EXCEEDED = 0.95  # share of random units that a unit must exceed
_SHARES = (0.005, 0.5, 0.995)
_LEAST_CHANGE = 0.002  # of a chance, added to the controls' range where kinds of character are compared

_KINDS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("line-feed", "a new line", lambda char: char == "\n"),
    ("space", "a space", lambda char: char == " "),
    ("capital", "a capital letter", str.isupper),
    ("small", "a small letter", str.islower),
    ("letter", "a letter", lambda char: char.isalpha() and not char.isupper() and not char.islower()),
    ("digit", "a digit", str.isdigit),
    *((char, char, char.__eq__) for char in ".,;:?!'\"()[]{}=#-_*`。、「」"),
)


@dataclass(frozen=True)
class Effect:
    """What changes in the predictions of a network while a unit is held."""

    kl: float  # nats
    control_kl: float  # nats that 19 of 20 random units stay below
    value: float  # that the unit is held at
    measure: str  # what comes next, the chance of which changes most: "a new line"
    before: float  # that chance, free
    after: float  # and with the unit held
    control_low: float  # the chances with random units held are from here
    control_high: float  # to here
    # By how much more the letters that are to come speak for the unit's property with it held at the end where it goes
    # with that than at the other, in nats a letter; and the largest such difference that a random unit makes.
    turn: float = 0.0
    control_turn: float = 0.0

    @property
    def acts(self) -> bool:
        """Whether it changes what is written: more than 19 of 20 random units do, or towards its property."""
        return self.kl > self.control_kl or self.turn > self.control_turn


class Probe:
    """A network at places of a text, read on from there with this or that held."""

    def __init__(self, lm: LanguageModel, ids: NDArray[np.integer], seed: int = 1, controls: int = _CONTROLS) -> None:
        """Read up to the places, which takes a second at 1 x 768. Raises `ConfigError` for a text too short."""
        config, self._weights = lm.model.config, RowWeights(lm.model)
        lead = min(_LEAD_IN, len(ids) // 2)
        if lead < 2 * _HELD_FOR:
            raise ConfigError(f"{len(ids)} characters are too few to try a unit on: give {4 * _HELD_FOR}.")
        self._starts = np.linspace(lead, len(ids) - _HELD_FOR - 1, _PLACES).astype(np.int64)
        places = self._starts[:, None] + np.arange(-lead, _HELD_FOR)
        tokens = torch.from_numpy(np.asarray(ids, np.int64)[places]).t().contiguous().to(lm.model.device)
        rows, seen = BatchedReader(self._weights, _PLACES), []
        for at, step in enumerate(tokens[:lead]):
            rows.read(step)
            if at >= lead - _WARM and at % 2:
                seen.append(rows.cells.clone())
        self._tokens, self._state = tokens[lead:], (rows.hidden.clone(), rows.cells.clone())
        cells = torch.cat(seen, 1).transpose(0, 1).cpu().numpy()
        low, middle, high = np.quantile(cells, _SHARES, axis=0)
        self._range = np.stack([low, middle, high])  # (3, L, H)
        drawn = np.random.default_rng(seed).permutation(config.num_layers * config.hidden_size)[: controls + 1]
        self._drawn = [divmod(int(each), config.hidden_size) for each in drawn]
        self._kinds, self._is_kind = _find_kinds(lm.vocabulary)
        self._free = self.read([None])[0]

    def read(self, holds: Sequence[Hold | None]) -> NDArray[np.float64]:
        """Return the probabilities at the judged characters with each of `holds` alone, (holds, _JUDGED, P, G + 1).

        Those of kinds of character; the last is the divergence from the free ones.
        """
        return self._measure(holds)[0]

    def _measure(self, holds: Sequence[Hold | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what `read` does, and the mean probability of each character there, (holds, V)."""
        most = _ROWS // _PLACES
        found = [self._measure_some(holds[at : at + most]) for at in range(0, len(holds), most)]
        return np.concatenate([kinds for kinds, _ in found]), np.concatenate([means for _, means in found])

    def _measure_some(self, holds: Sequence[Hold | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = BatchedReader(self._weights, len(holds) * _PLACES, [[each] if each else [] for each in holds])
        rows.begin_with(*self._state)
        kept = np.empty((len(holds), _JUDGED, _PLACES, len(self._kinds) + 1))
        means = np.zeros((len(holds), self._weights.model.vocab_size))
        for at, step in enumerate(self._tokens):
            rows.read(step.repeat(len(holds)))
            judged = at - (_HELD_FOR - _JUDGED)
            if judged >= 0:
                logs = rows.log_probabilities().view(len(holds), _PLACES, -1)
                chances = logs.exp()
                means += chances.mean(1).double().cpu().numpy() / _JUDGED
                kept[:, judged, :, :-1] = (chances @ self._is_kind.to(logs.device)).cpu().numpy()
                kept[:, judged, :, -1] = self._divergence(judged, logs)
        return kept, means

    def _divergence(self, judged: int, logs: Tensor) -> NDArray[np.float64]:
        """Return the divergence from the free predictions, which are kept when they come for the first time."""
        if judged >= len(self._free_logs):
            self._free_logs.append(logs[0].clone())
        free = self._free_logs[judged]
        result: NDArray[np.float64] = (free.exp() * (free - logs)).sum(-1).double().cpu().numpy()
        return result

    @cached_property
    def _free_logs(self) -> list[Tensor]:
        return []

    def extremes(self, layer: int, unit: int) -> tuple[Hold, Hold]:
        """Return a unit held at its 0.5 and its 99.5 percent value in this text."""
        low, high = (round(float(self._range[at, layer, unit]), 4) for at in (0, 2))
        return Hold(unit, low, layer), Hold(unit, high, layer)

    def is_high(self, hold: Hold) -> bool:
        """Tell whether a unit is held above its middle value."""
        return bool(hold.value >= self._range[1, hold.layer, hold.unit])

    @property
    def controls(self) -> NDArray[np.float64]:
        """Random units at their low and high values, (controls + 1, 2, _JUDGED, P, G + 1)."""
        return self._controls[0]

    @cached_property
    def _controls(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `controls`, and the mean probability of each character, (controls + 1, 2, V)."""
        found = self._measure([hold for place in self._drawn for hold in self.extremes(*place)])
        kinds, means = (each.reshape(len(self._drawn), 2, *each.shape[1:]) for each in found)
        return kinds, means

    def other_than(self, layer: int, unit: int) -> list[int]:
        """Return the numbers of the controls that are another unit."""
        number = len(self._drawn) - 1
        return [at for at, each in enumerate(self._drawn) if each != (layer, unit)][:number] if number else []

    def effect(self, layer: int, unit: int, evidence: NDArray[np.floating] | None = None, sign: int = 1) -> Effect:
        """Try a unit at both of its extremes, and return the larger effect.

        Which chance is told is chosen at every other place, and measured at the others. `evidence` (V,) is how much a
        character that comes next speaks for the unit's property, in nats; `sign` is -1 where the unit is low with it.
        """
        holds, number = self.extremes(layer, unit), self.other_than(layer, unit)
        found, means = self._measure(holds)
        others = self.controls[number]
        turn = control_turn = 0.0
        if evidence is not None and number:
            turn = sign * float((means[1] - means[0]) @ evidence)
            turns = self._controls[1][number]
            control_turn = float(np.abs((turns[:, 1] - turns[:, 0]) @ evidence).max())
        if not len(others):  # the network has one unit, which can't be beside others
            others = found[None]
        side = int(found[..., -1].mean((1, 2)).argmax())
        kl = float(found[side, ..., -1].mean())
        control_kls = others[..., -1].mean((2, 3)).max(1)
        index = max(0, int(np.ceil(_EXCEEDED * len(control_kls))) - 1)
        (before, after, low, high), told = (
            self._chances(found[side], others[:, side], slice(part, None, 2)) for part in (0, 1)
        )
        kind = _most_changed(before, after, low, high)
        chances = [_short(each[kind]) for each in told]
        return Effect(
            _short(kl), _short(np.sort(control_kls)[index]), holds[side].value, self._kinds[kind][1], *chances,
            *map(_short, (turn, control_turn)),
        )  # fmt: skip

    def _chances(
        self, held: NDArray[np.float64], others: NDArray[np.float64], places: slice
    ) -> tuple[NDArray[np.float64], ...]:
        """Return the chance of each kind at some places: free, held, and the range with others held, each (G,)."""
        controls = others[:, :, places, :-1].mean((1, 2))
        means = (each[:, places, :-1].mean((0, 1)) for each in (self._free, held))
        return (*means, controls.min(0), controls.max(0))

    def meter(self, hold: Hold) -> dict[str, Any]:
        """Return the chances of what comes next, in percent, while a unit is held for 20 characters.

        `{measures: [{key, label, unit_text, plain, held, low, high}], fitting: key, controls}`; low to high is the
        range with that many random units held, one at a time, at their own extremes on the same side of their middle,
        and `None` where there is no other unit. *fitting* is the one that leaves this range by most at every other
        place; the figures are of the places between, which it was not chosen by. Raises `ConfigError` for a unit that
        the model lacks.
        """
        resolve_holds([hold], self._weights.model.config)
        side, found = int(self.is_high(hold)), self.read([hold])[0]
        others = self.controls[self.other_than(hold.layer, hold.unit), side]
        count = len(others)
        chosen_by, told = (
            self._chances(found, others if count else found[None], slice(part, None, 2)) for part in (0, 1)
        )
        fitting = self._kinds[_most_changed(*chosen_by)][0]
        names = ("plain", "held", "low", "high")
        figures = [
            (what, figure if count or at < 2 else None)
            for at, (what, figure) in enumerate(zip(names, told, strict=True))
        ]
        measures = [
            {"key": key, "label": f"chance of {name} next", "unit_text": "%", **{
                what: None if figure is None else round(100 * float(figure[at]), 2) for what, figure in figures}}
            for at, (key, name) in enumerate(self._kinds)
        ]  # fmt: skip
        return {"measures": measures, "fitting": fitting, "controls": count}


def _most_changed(*chances: NDArray[np.float64]) -> int:
    """Return the kind that leaves the range of random units by most; if none does, the one that changes most."""
    before, after, low, high = chances
    beyond = np.maximum(after - np.maximum(high, before), np.minimum(low, before) - after)
    if (beyond > 0).any():
        return int((beyond / (high - low + _LEAST_CHANGE)).argmax())
    return int(np.abs(after - before).argmax())


def _find_kinds(vocabulary: Vocabulary) -> tuple[list[tuple[str, str]], Tensor]:
    """Return the kinds of character in a vocabulary, (key, name), and which of its characters are of each, (V, G)."""
    known = vocabulary.characters
    if vocabulary.level == "bytes":
        known = tuple(chr(byte) if byte < 128 else "" for byte in range(256))
    kinds, columns = [], []
    for key, name, is_of in _KINDS:
        column = [bool(char) and bool(is_of(char)) for char in known]
        if any(column):
            kinds.append((key, name))
            columns.append(column)
    return kinds, torch.tensor(columns, dtype=torch.float32).reshape(len(columns), len(known)).t()


def _short(figure: np.floating | float) -> float:
    return float(f"{figure:.4g}")


def measure_effects(
    lm: LanguageModel,
    ids: NDArray[np.integer],
    units: Sequence[tuple[int, int]],
    seed: int = 1,
    on_each: Callable[[int, Effect], None] = lambda *_: None,
    evidence: Sequence[tuple[NDArray[np.floating], int]] = (),
) -> list[Effect]:
    """Hold each of `units`, (layer, unit), at both of its extremes for 20 characters, at 64 places of `ids` (N,).

    `evidence` is, for each, what `Probe.effect` takes. `on_each(number, effect)` is called after each, and may raise to
    end it.
    """
    probe = Probe(lm, ids, seed)
    found = []
    for number, unit in enumerate(units):
        found.append(probe.effect(*unit, *(evidence[number] if evidence else ())))
        on_each(number, found[-1])
    return found
