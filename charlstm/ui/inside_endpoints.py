"""Endpoints of the tab *Look inside*: what its scripts ask about a network, each from one JSON object to another.

They answer the page's own scripts, but anyone can call them with any value, so every argument is checked here.
"""

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlstm.config import SampleConfig, plain_lines
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text
from charlstm.generation.holds import Hold
from charlstm.generation.stream import turns
from charlstm.language_model import LanguageModel
from charlstm.ui.inside_jobs import Job, Jobs
from charlstm.ui.inside_models import InsideModels, Passage
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import replace_surrogates

_MOST_UNITS = 64  # in an answer: 77 kB of values, two seconds of a key held down
_LONGEST_PROMPT, _MOST_WRITTEN, _MOST_HELD = 2000, 600, 5  # characters, characters, units
_STEPS = 127  # of a value from 0 to the largest
_SHOWN_AROUND = 40  # characters on each side of a place
_GATES = {"input gate": "input", "forget gate": "forget", "candidate": "candidate", "output gate": "output"}
QUANTITIES = ("cell", "output", *_GATES)


class InsideEndpoints:
    """Server functions about the networks of a registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._models, self._jobs = InsideModels(registry), Jobs()

    def functions(self) -> list[Callable[..., Any]]:
        """Return the functions for `gr.HTML(server_functions=...)`, which takes no methods."""
        return [
            _answering("inside_models", self._list),
            _answering("inside_trace", self._trace),
            _answering("inside_hold", self._hold),
        ]

    def _list(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the models that can be looked into, by name and the label that people read."""
        return {"models": [{"name": name, "label": label} for label, name in self._models.registry.choices()]}

    def _trace(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a text, and values of units of one layer after each of its characters."""
        model, passage, source = self._read(request)
        config = model.model.config
        layer, first = _whole(request, "layer", 0, config.num_layers - 1), _whole(request, "first", 0, None)
        if first >= config.hidden_size:
            raise ConfigError(f"a layer of this network has the units 0 to {config.hidden_size - 1}.")
        quantity = request.get("quantity", "cell")
        if quantity not in QUANTITIES:
            raise ConfigError(f"the quantity must be one of {', '.join(QUANTITIES)}.")
        count = _whole(request, "count", 1, _MOST_UNITS)
        with turns:
            found = self._models.trace(model, passage)
            values = found.gates(model)[_GATES[quantity]] if quantity in _GATES else None
        whole = values if values is not None else found.cells if quantity == "cell" else found.hidden
        shown = whole[passage.ends, layer, first : first + count]
        return {
            "text": replace_surrogates(passage.text),
            "source": source,
            "layer": layer,
            "first": first,
            **_packed(shown),
            "surprises": [round(each, 3) for each in _by_character(found.surprises, passage)],
        }

    def _read(self, request: Mapping[str, Any]) -> tuple[LanguageModel, Passage, str]:
        """Return the model, the text that is looked at, and where that comes from."""
        name, text = request.get("model"), request.get("text")
        model = self._models.load(name, request.get("age"))
        if text is None:
            return model, self._models.passage(name), "text it wrote"
        return model, self._models.read(model, text), "yours"

    def _hold(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return two continuations of a prompt with the same random numbers, without and with units held."""
        name, prompt = request.get("model"), request.get("prompt", "")
        model = self._models.load(name, request.get("age"))
        if not isinstance(prompt, str) or len(prompt) > _LONGEST_PROMPT:
            raise ConfigError(f"the prompt must be a text of at most {_LONGEST_PROMPT:,} characters.")
        config = SampleConfig(
            num_chars=_whole(request, "num_chars", 1, _MOST_WRITTEN),
            seed=_whole(request, "seed", 0, 2**31 - 1),
            temperature=_number(request, "temperature", 0.0, 2.0),
        )
        holds = _holds(request.get("holds"))
        began = time.perf_counter()
        opening = plain_lines(prompt) or self._models.registry.opening(name, config.seed)
        plain = self._models.write(model, opening, config)
        held = model.generate(opening, config, holds)
        return {
            "opening": replace_surrogates(opening),
            "plain": replace_surrogates(plain),
            "held": replace_surrogates(held),
            "seconds": round(time.perf_counter() - began, 4),
        }


def _packed(values: NDArray[np.float32]) -> dict[str, Any]:
    """Return values (T, H) as whole numbers of a byte, a text for each unit, and what 127 stands for."""
    scales = np.abs(values).max(axis=0).clip(1e-6)
    steps = np.round(values / scales * _STEPS).astype(np.int8)
    texts = [base64.b64encode(each.tobytes()).decode() for each in np.ascontiguousarray(steps.T)]
    return {"values": texts, "scales": [round(float(each), 4) for each in scales]}


def _by_character(surprises: NDArray[np.float32], passage: Passage) -> list[float]:
    """Sum the surprise of each character's tokens, in nats; 0 for the first one, which nothing predicted."""
    sums = np.cumsum(np.nan_to_num(surprises))[passage.ends]
    return [float(each) for each in np.diff(sums, prepend=0.0)]


def _answering(name: str, answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
    """Return a server function that answers a mistake with a sentence."""

    def function(request: Any) -> Any:
        try:
            return answer(request if isinstance(request, dict) else {})
        except CharLSTMError as error:
            return {"problem": error_text(error)}

    function.__name__ = name
    return function


def _progress(job: Job) -> dict[str, Any]:
    """Return how far an analysis is; its value is added by who asked."""
    if job.state == "failed":
        return {"state": job.state, "problem": job.problem}
    return {"state": job.state, "progress": round(job.progress, 3), "stage": job.stage}


def _whole(request: Mapping[str, Any], name: str, least: int, most: int | None) -> int:
    """Return the whole number `request[name]`; raise `ConfigError` beyond its bounds."""
    value = request.get(name, least)
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limits = f"from {least:,} to {most:,}" if most is not None else f"of {least:,} or more"
        raise ConfigError(f"{name} must be a whole number {limits}.")
    return value


def _number(request: Mapping[str, Any], name: str, least: float = -1e6, most: float = 1e6) -> float:
    """Return the number `request[name]`; raise `ConfigError` beyond its bounds."""
    value = request.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{name} must be a number from {least:g} to {most:g}.")
    return float(value)


def _holds(value: Any) -> tuple[Hold, ...]:
    """Return the units to hold that a list of `[layer, unit, value]` names; raise `ConfigError` for anything else."""
    rows = value if isinstance(value, list) else None
    if rows is None or len(rows) > _MOST_HELD or not all(isinstance(each, list) and len(each) == 3 for each in rows):
        raise ConfigError(f"the units to hold must be a list of at most {_MOST_HELD}, each as layer, unit and value.")
    named = [dict(zip(("layer", "unit", "value"), each, strict=True)) for each in rows]
    return tuple(
        Hold(_whole(each, "unit", 0, None), _number(each, "value"), _whole(each, "layer", 0, None)) for each in named
    )
