"""Checked values of a request to the tab *Look inside*: anyone can send any."""

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text
from charlstm.generation.holds import Hold
from charlstm.language_model import LanguageModel
from charlstm.ui.inside_jobs import Job, Visitor
from charlstm.ui.visitor_address import visitor_of as address_of

MOST_HELD = 5  # units
_LONGEST_VISITOR = 64  # characters
Request = Mapping[str, Any]
Answer = dict[str, Any]


def make_endpoint(name: str, answer: Callable[[Request], Answer]) -> Callable[..., Any]:
    """Return a server function that answers a mistake with a sentence."""

    def function(data: Any, request: gr.Request | None = None) -> Any:
        asked: dict[str, Any] = dict(data) if isinstance(data, dict) else {}
        try:
            return answer({**asked, "address": address_of(request.scope) if request else ""})
        except CharLSTMError as error:
            return {"problem": error_text(error)}

    function.__name__ = name
    return function


def visitor_of(request: Request) -> Visitor:
    """Return who asks: from which address, and as which page; programs, which say nothing, are one visitor."""
    return Visitor(str(request.get("address") or ""), str(request.get("visitor") or "")[:_LONGEST_VISITOR])


def describe_progress(job: Job) -> Answer:
    """Return how far an analysis is; its value is added by who asked."""
    if job.state == "failed":
        return {"state": job.state, "problem": job.problem}
    return {"state": job.state, "progress": round(job.progress, 3), "stage": job.stage}


def read_whole(request: Request, name: str, least: int, most: int | None) -> int:
    """Return the whole number `request[name]`; raise `ConfigError` beyond its bounds."""
    value = request.get(name, least)
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limits = f"from {least:,} to {most:,}" if most is not None else f"of {least:,} or more"
        raise ConfigError(f"{name} must be a whole number {limits}.")
    return value


def read_number(request: Request, name: str, least: float = -1e6, most: float = 1e6) -> float:
    """Return the number `request[name]`; raise `ConfigError` beyond its bounds."""
    value = request.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{name} must be a number from {least:g} to {most:g}.")
    return float(value)


def read_unit(request: Request, model: LanguageModel, name: str = "unit") -> tuple[int, int]:
    """Return the layer and the unit that a request names; raise `ConfigError` if the model lacks them."""
    config = model.model.config
    layer, unit = read_whole(request, "layer", 0, config.num_layers - 1), read_whole(request, name, 0, None)
    if unit >= config.hidden_size:
        raise ConfigError(f"a layer of this network has the units 0 to {config.hidden_size - 1}.")
    return layer, unit


def read_holds(value: Any) -> tuple[Hold, ...]:
    """Return the units to hold that a list of `[layer, unit, value]` names; raise `ConfigError` for anything else."""
    rows = value if isinstance(value, list) else None
    if rows is None or len(rows) > MOST_HELD or not all(isinstance(each, list) and len(each) == 3 for each in rows):
        raise ConfigError(f"the units to hold must be a list of at most {MOST_HELD}, each as layer, unit and value.")
    named = [dict(zip(("layer", "unit", "value"), each, strict=True)) for each in rows]
    return tuple(
        Hold(read_whole(each, "unit", 0, None), read_number(each, "value"), read_whole(each, "layer", 0, None))
        for each in named
    )
