"""Public API of *Look inside*: `units`, `trace`, `explain`, `similar`. Docstrings are its documentation."""

import re
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from gradio.events import api
from numpy.typing import NDArray

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text
from charlstm.insight.states import iterate_trace
from charlstm.language_model import LanguageModel
from charlstm.ui.inside_endpoints import InsideEndpoints
from charlstm.ui.inside_models import LONGEST_READ
from charlstm.ui.inside_requests import Answer, Request, read_unit

_POLL_SECONDS, _MOST_SECONDS = 0.2, 300.0
_UNIT = re.compile(r"(?:(?P<layer>[0-9]{1,6}):)?(?P<unit>[0-9]{1,6})")
_MOST_UNITS = 64
_MOST_PLACES = 80_000  # units x characters of an answer: about a megabyte
_DIGITS = 4
_AT_ONCE = 4  # calls that wait for an analysis; these run one after another


def build_insight_api(endpoints: InsideEndpoints) -> None:
    """Register the four API functions on the networks of `endpoints`."""
    functions = _Functions(endpoints)
    waits: dict[str, Any] = {"concurrency_limit": _AT_ONCE, "concurrency_id": "insight"}
    api(functions.units, api_name="units", **waits)
    api(functions.similar, api_name="similar", **waits)
    api(functions.trace, api_name="trace")
    api(functions.explain, api_name="explain")


class _Functions:
    """Functions that programs may call."""

    def __init__(self, endpoints: InsideEndpoints) -> None:
        self._endpoints = endpoints

    def units(self, model: str) -> dict[str, Any]:
        """Name the units of a network that follow something in a text, and what holding each changes; takes seconds.

        Parameters:
            model: Name of a model, as `models` lists it.

        Returns:
            {"units": a list of {"layer", "unit", "part", "property", "label", "sentence", "score": of pairs of places
            in the right order, "twin": of the best unit of untrained networks, "last4": of the last four characters,
            "acts": whether holding it changes what is written, "low", "high": 0.5 and 99.5 percent value, "effect"},
            "nearly", "absent", "keepers", "source": the text, "characters"}
        """
        return _without_state(self._wait(self._endpoints.analyses.units, {"model": model}))

    def trace(self, model: str, text: str, units: str) -> dict[str, Any]:
        """Return what units of a network remember and show after each character of a text.

        Parameters:
            model: Name of a model, as `models` lists it.
            text: The text, 1 to 20,000 characters; a model of bytes reads the first 40,000 bytes.
            units: Up to 64 units, as in `710,1:20` (unit 20 of the second layer); 4 of a text of 20,000 characters.

        Returns:
            {"text": as the model reads it, "units": a list of {"layer", "unit", "cell", "output": a number for each
            character}, "surprises": nats of each character}
        """
        return _answer(self._trace, {"model": model, "text": text, "units": units})

    def _trace(self, request: Request) -> Answer:
        named = [each for each in str(request["units"]).split(",") if each.strip()]
        if not 1 <= len(named) <= _MOST_UNITS:
            raise ConfigError(f"give from 1 to {_MOST_UNITS} units, as in 710,1:20.")
        model, passage, _ = self._endpoints.models.read_request(request, LONGEST_READ)
        if len(named) * len(passage.text) > _MOST_PLACES:
            most = _MOST_PLACES // len(named)
            raise ConfigError(f"of {len(named)} units at most {most:,} characters are told: name fewer, or shorten it.")
        at = np.array([_place_of(each.strip(), model) for each in named])
        rows, surprises = list[NDArray[np.float32]](), list[NDArray[np.float32]]()
        for piece in iterate_trace(model, passage.ids):
            rows.append(np.stack([each[:, at[:, 0], at[:, 1]] for each in (piece.cells, piece.hidden)]))
            surprises.append(piece.surprises)
        values = np.concatenate(rows, axis=1)[:, passage.ends]
        cells, outputs = values.swapaxes(1, 2)
        units = [
            {"layer": layer, "unit": unit, "cell": _shorten(cell), "output": _shorten(output)}
            for (layer, unit), cell, output in zip(at.tolist(), cells, outputs, strict=True)
        ]
        nats = passage.by_character(np.concatenate(surprises))
        return {"text": passage.text, "units": units, "surprises": _shorten(nats)}

    def explain(self, model: str, text: str, place: int) -> dict[str, Any]:
        """Tell why a letter of a text was likely: what each of the 100 characters before it is worth.

        Parameters:
            model: Name of a model, as `models` lists it.
            text: The text, 2 to 20,000 characters.
            place: Place of the letter, counted from 0; at least 1.

        Returns:
            {"target": the letter, "chance": its probability, "worths": nats of each character before it, the oldest
            first, "sentence": the reasons in words, "bars": the likeliest letters there and their probabilities}
        """
        if len(str(text)) < 2:
            raise gr.Error("Nothing is before the letter: give a text of 2 or more characters.", print_exception=False)
        return _answer(self._endpoints.explanations.explain_far, {"model": model, "text": text, "place": place})

    def similar(self, model: str, text: str, place: int) -> dict[str, Any]:
        """Find the places of a model's text at which it was in the most similar state; the first call takes seconds.

        Parameters:
            model: Name of a model, as `models` lists it.
            text: The text, 1 to 20,000 characters.
            place: Place of the character read last, counted from 0.

        Returns:
            {"moments": a list of {"before", "at", "after": the text there, "cosine": between the states}}
        """

        def find(request: Request) -> Answer:
            return self._endpoints.analyses.moments(request, LONGEST_READ)

        return {"moments": self._wait(find, {"model": model, "text": text, "place": place})["moments"]}

    def _wait(self, analyse: Callable[[Request], Answer], request: Request) -> Answer:
        began, pause = time.monotonic(), _POLL_SECONDS
        while (answer := _answer(analyse, request))["state"] == "working":
            if time.monotonic() - began > _MOST_SECONDS:
                raise gr.Error("This takes too long on a busy server; try again later.", print_exception=False)
            time.sleep(pause)
            pause = min(1.0, 1.3 * pause)  # the text is read anew each time
        if answer["state"] == "failed":
            raise gr.Error(answer["problem"], print_exception=False)
        return answer


def _answer(function: Callable[[Request], Answer], request: Request) -> Answer:
    """Call a function; raise its mistake as an error of the API."""
    if len(str(request.get("text", ""))) > LONGEST_READ:
        raise gr.Error(f"The text may have at most {LONGEST_READ:,} characters: shorten it.", print_exception=False)
    try:
        return function(request)
    except CharLSTMError as error:
        raise gr.Error(error_text(error), print_exception=False) from None


def _without_state(answer: Answer) -> Answer:
    return {name: value for name, value in answer.items() if name not in ("state", "progress", "stage")}


def _place_of(named: str, model: LanguageModel) -> tuple[int, int]:
    """Return the layer and the unit of `710` or `1:20`; raise `ConfigError` for anything else."""
    read = _UNIT.fullmatch(named)
    if read is None:
        raise ConfigError(f"{named[:20]!r} is not a unit; write unit or layer:unit, as in 710,1:20.")
    return read_unit({"layer": int(read["layer"] or 0), "unit": int(read["unit"])}, model)


def _shorten(values: NDArray[np.floating]) -> list[float]:
    return [round(each, _DIGITS) for each in values.tolist()]
