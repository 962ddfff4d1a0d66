"""Endpoints of the tab *Look inside*: what its scripts ask about a network, each from one JSON object to another.

They answer the page's own scripts, but anyone can call them with any value, so every argument is checked here.
"""

import base64
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlstm.config import SampleConfig
from charlstm.config_fields import plain_lines
from charlstm.errors import ConfigError
from charlstm.generation.stream import turns
from charlstm.ui.inside_analyses import Analyses
from charlstm.ui.inside_attribution import Explanations
from charlstm.ui.inside_models import InsideModels
from charlstm.ui.inside_requests import Answer, Request, make_endpoint, read_holds, read_number, read_unit, read_whole
from charlstm.ui.inside_snapshots import Snapshots
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import replace_surrogates

_MOST_UNITS = 64  # in an answer: 77 kB of values, two seconds of a key held down
_LONGEST_PROMPT, _MOST_WRITTEN = 2000, 600  # characters
_STEPS = 127  # of a value from 0 to the largest
_GATES = {"input gate": "input", "forget gate": "forget", "candidate": "candidate", "output gate": "output"}
_FULL_RANGES = {"candidate": (-1.0, 1.0)}  # the other gates are from 0 to 1
_USUAL = (0.005, 0.995)
QUANTITIES = ("cell", "output", *_GATES)


class InsideEndpoints:
    """Server functions about the networks of a registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self.models = InsideModels(registry)
        self.explanations, self.analyses = Explanations(self.models), Analyses(self.models)
        self._snapshots = Snapshots(self.models, self.analyses.jobs)

    def functions(self) -> list[Callable[..., Any]]:
        """Return the functions for `gr.HTML(server_functions=...)`, which takes no methods."""
        return [
            make_endpoint("inside_models", self._list),
            make_endpoint("inside_version", self._version),
            make_endpoint("inside_trace", self._trace),
            make_endpoint("inside_hold", self._hold),
            *(make_endpoint(f"inside_{name}", function) for name, function in self.explanations.functions().items()),
            *(make_endpoint(f"inside_{name}", function) for name, function in self.analyses.functions().items()),
            *(make_endpoint(f"inside_{name}", function) for name, function in self._snapshots.functions().items()),
        ]

    def _list(self, _request: Request) -> Answer:
        """Return the models that can be looked into, by name and the label that people read."""
        return {"models": [{"name": name, "label": label} for label, name in self.models.registry.choices()]}

    def _version(self, request: Request) -> Answer:
        """Return the number of a model's network, and its name: of a run that has ended it is another one."""
        name = request.get("model")
        return {"version": self.models.key(name), "model": self.models.registry.require(name)}

    def _trace(self, request: Request) -> Answer:
        """Return a text, and values of units of one layer after each of its characters.

        `ranges` are what each unit usually is, in the text that the network wrote itself: the same for any text.
        """
        model, passage, source = self.models.read_request(request)
        layer, first = read_unit(request, model, "first")
        quantity = request.get("quantity", "cell")
        if quantity not in QUANTITIES:
            raise ConfigError(f"the quantity must be one of {', '.join(QUANTITIES)}.")
        count = read_whole(request, "count", 1, _MOST_UNITS)
        own, units = self.models.passage(request.get("model")), slice(first, first + count)
        with turns:
            found = self.models.trace(model, passage)
            values = found.gates(model)[_GATES[quantity]] if quantity in _GATES else found.part(quantity)
            usual = None if quantity in _GATES else self.models.trace(model, own).part(quantity)
        shown = values[passage.ends, layer, units]
        ends = np.tile(_FULL_RANGES.get(quantity, (0.0, 1.0)), (shown.shape[1], 1)).T
        if usual is not None:
            ends = np.quantile(usual[own.ends, layer, units], _USUAL, axis=0)
        return {
            "text": replace_surrogates(passage.text),
            "source": source,
            "layer": layer,
            "first": first,
            **_pack(shown),
            "ranges": [[round(float(each), 4) for each in pair] for pair in ends.T],
            "surprises": [round(each, 3) for each in passage.by_character(found.surprises)],
        }

    def _hold(self, request: Request) -> Answer:
        """Return two continuations of a prompt with the same random numbers, without and with units held."""
        name, prompt = request.get("model"), request.get("prompt", "")
        model = self.models.load(name, request.get("age"))
        if not isinstance(prompt, str) or len(prompt) > _LONGEST_PROMPT:
            raise ConfigError(f"the prompt must be a text of at most {_LONGEST_PROMPT:,} characters.")
        config = SampleConfig(
            num_chars=read_whole(request, "num_chars", 1, _MOST_WRITTEN),
            seed=read_whole(request, "seed", 0, 2**31 - 1),
            temperature=read_number(request, "temperature", 0.0, 2.0),
        )
        held_units = read_holds(request.get("holds"))
        began = time.perf_counter()
        opening = plain_lines(prompt) or self.models.registry.opening(name, config.seed)
        plain = self.models.write(model, opening, config)
        held = model.generate(opening, config, held_units)
        return {
            "opening": replace_surrogates(opening),
            "plain": replace_surrogates(plain),
            "held": replace_surrogates(held),
            "seconds": round(time.perf_counter() - began, 4),
        }


def _pack(values: NDArray[np.float32]) -> dict[str, Any]:
    """Return values (T, H) as whole numbers of a byte, a text for each unit, and what 127 stands for."""
    scales = np.abs(values).max(axis=0).clip(1e-6)
    steps = np.round(values / scales * _STEPS).astype(np.int8)
    texts = [base64.b64encode(each.tobytes()).decode() for each in np.ascontiguousarray(steps.T)]
    return {"values": texts, "scales": [round(float(each), 4) for each in scales]}
