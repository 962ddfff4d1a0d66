"""Answers about one letter: why it was likely, what each earlier one is worth, and the step of a unit that read it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from charlstm.errors import ConfigError
from charlstm.generation.prediction import Predictor
from charlstm.generation.stream import default_prompt, turns
from charlstm.insight import attribution
from charlstm.insight.cell import explain_step
from charlstm.language_model import LanguageModel
from charlstm.ui.how_it_works import cell_passages
from charlstm.ui.inside_models import LONGEST_READ, InsideModels, Passage
from charlstm.ui.inside_requests import Answer, Request, read_number, read_unit, read_whole
from charlstm.ui.surprisal_text import replace_surrogates

_MOST_ERASED = 100  # characters
_BARS = 5
_DIGITS = 4
_FIXED_TOKENS = 150  # read with fixed gates: in a second


class Explanations:
    """Functions about one letter of a text."""

    def __init__(self, models: InsideModels) -> None:
        self._models, self._predictor = models, Predictor()

    def functions(self) -> dict[str, Callable[[Request], Answer]]:
        """Return the functions by name."""
        return {"explain": self.explain, "cell": self._cell}

    def explain(self, request: Request) -> Answer:
        """Return why a letter had its chance, and what the bars are with an earlier one changed."""
        model, passage, _ = self._models.read_request(request)
        place = read_whole(request, "place", 1, len(passage.text) - 1)
        count = read_whole(request, "characters", 1, _MOST_ERASED)
        spans = [passage.span(at) for at in range(max(0, place - count), place)]
        with turns:
            first, found = spans[0][0], self._models.trace(model, passage)
            before = found.state(first - 1) if first else None
            worths = attribution.erase_spans(model, passage.ids, spans, passage.span(place), before)
        chance = self._chance(model, passage, place)
        answer: Answer = {
            "target": passage.text[place],
            "chance": round(chance, 6),
            "worths": [round(float(each), _DIGITS) for each in worths],
            "largest": [each.last for each in attribution.find_reasons(worths, place)],
            "sentence": attribution.describe(passage.text, place, chance, worths),
            "bars": self._bars(model, passage.text[:place], passage.text[place], chance),
            "changed": self._change_letter(model, passage, place, request.get("change")),
        }
        printable: Answer = _printable(answer)
        return printable

    def explain_far(self, request: Request) -> Answer:
        """Return why a letter of a text had its chance, however far from its beginning; for programs."""
        model, passage, _ = self._models.read_request(request, LONGEST_READ)
        place = read_whole(request, "place", 1, len(passage.text) - 1)
        found = attribution.explain_letter(model, passage.text, place, _MOST_ERASED)
        answer: Answer = {
            "target": passage.text[place],
            "chance": round(found.chance, 6),
            "worths": [round(float(each), _DIGITS) for each in found.worths],
            "sentence": found.sentence,
            "bars": self._bars(model, passage.text[:place], passage.text[place], found.chance),
        }
        printable: Answer = _printable(answer)
        return printable

    def _chance(self, model: LanguageModel, passage: Passage, place: int) -> float:
        """Return the chance of a character after all before it."""
        first, after = passage.span(place)
        with turns:
            surprises = self._models.trace(model, passage).surprises[first:after]
        return math.exp(-float(np.nan_to_num(surprises).sum(dtype=np.float64)))

    def _bars(self, model: LanguageModel, text: str, target: str, chance: float) -> list[list[Any]]:
        """Return the likeliest characters after `text` and their chances; that of `target` is known exactly."""
        found = self._predictor.predict(model.model, model.vocabulary, text, _BARS)
        chances = {char: math.exp(log) for char, log in zip(found.characters, found.logs, strict=True)}
        if target in chances:
            chances[target] = chance
        return [[char, round(each, _DIGITS)] for char, each in sorted(chances.items(), key=lambda bar: -bar[1])]

    def _change_letter(self, model: LanguageModel, passage: Passage, place: int, change: Any) -> Answer | None:
        """Return the bars, and the letter's chance, with another character, or none, at an earlier place."""
        if change is None:
            return None
        asked = change if isinstance(change, dict) else {}
        at, to = read_whole(asked, "place", 0, place - 1), asked.get("to")
        if not isinstance(to, str) or len(to) > 1:
            raise ConfigError("put one character in its place, or none.")
        target, before = passage.text[place], passage.text[:at] + to + passage.text[at + 1 : place]
        other = self._models.read(model, (before or default_prompt(model.vocabulary)) + target)
        chance = self._chance(model, other, len(other.text) - 1)
        return {"bars": self._bars(model, other.text[:-1], target, chance), "chance": round(chance, 6)}

    def _cell(self, request: Request) -> Answer:
        """Return the step of a unit at a character, and what the network would be with other forget gates."""
        model, passage, _ = self._models.read_request(request)
        layer, unit = read_unit(request, model)
        place = read_whole(request, "place", 0, len(passage.text) - 1)
        at = int(passage.ends[place])
        forget = None if request.get("forget") is None else read_number(request, "forget", 0.0, 1.0)
        with turns:
            found = self._models.trace(model, passage)
            gates = found.gates(model)
        step = explain_step(found, gates, at, layer, unit, forget)
        answer: Answer = _printable(
            {
                "character": passage.text[place],
                "layer": layer,
                "unit": unit,
                **{name: round(value, _DIGITS) for name, value in step._asdict().items()},
                "mean": {name: round(float(gates[name][at].mean()), _DIGITS) for name in ("forget", "input", "output")},
                "passages": cell_passages(),
                "fixed": self._with_fixed_gates(model, passage, forget),
            }
        )
        return answer

    def _with_fixed_gates(self, model: LanguageModel, passage: Passage, forget: float | None) -> Answer | None:
        """Return the loss on a text with every forget gate held, beside that of the network as it is."""
        ids = passage.ids[:_FIXED_TOKENS]
        if forget is None or len(ids) < 2:  # nothing predicts the first
            return None
        free, held = (self._models.measure_fixed_gate(model, ids, each) for each in (None, forget))
        return {"forget": forget, "free": round(free, 3), "held": round(held, 3), "characters": len(ids)}


def _printable(value: Any) -> Any:
    """Replace what no browser can show in all texts of an answer."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, dict):
        return {key: _printable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_printable(each) for each in value]
    return value
