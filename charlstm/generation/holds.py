"""Held units: cell states that keep a value of somebody's choosing while a model reads and writes.

A cell state is what an LSTM remembers. A held unit still computes its gates, and its output gate decides as ever how
much of the value the other units see: h = output gate x tanh(value).
"""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from charlstm.config import ModelConfig
from charlstm.errors import ConfigError

MOST_HOLDS = 64
_LONGEST = 4000  # characters
LARGEST_VALUE = 1000.0  # either way; tanh is flat long before
_HOLD = re.compile(
    r"\s*(?:(\d{1,6})\s*:)?\s*(\d{1,6})\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", re.ASCII | re.I
)


class Hold(NamedTuple):
    """A unit of a layer, both counted from 0, and the value that its cell state keeps (as it is, no unit)."""

    unit: int
    value: float
    layer: int = 0


def parse_holds(text: str) -> tuple[Hold, ...]:
    """Read holds written as `unit=value` or `layer:unit=value`, with commas between: `710=3.1,1:20=-2`.

    Raises `ConfigError` for anything else.
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"{len(text):,} characters of units to hold are more than {_LONGEST:,}: hold fewer.")
    holds = []
    for part in text.split(",") if text.strip() else []:
        found = _HOLD.fullmatch(part)
        if not found:
            raise ConfigError(f"{part.strip()!r} holds no unit: write unit=value or layer:unit=value, such as 710=3.1.")
        layer, unit, value = found.groups()
        holds.append(Hold(int(unit), float(value), int(layer or 0)))
    _check(holds)
    return tuple(holds)


def format_holds(holds: Iterable[Hold]) -> str:
    """Write `holds` as `parse_holds` reads them; the layer is left out where it is the first."""
    return ",".join(f"{f'{hold.layer}:' if hold.layer else ''}{hold.unit}={_shortest(hold.value)}" for hold in holds)


def resolve_holds(holds: Iterable[Hold], config: ModelConfig) -> dict[tuple[int, int], float]:
    """Map (layer, unit) to the value that it is held at; raises `ConfigError` for a unit that the model lacks."""
    holds = list(holds)
    _check(holds)
    for hold in holds:
        if not 0 <= hold.layer < config.num_layers:
            raise ConfigError(
                f"there is no layer {hold.layer} to hold a unit of: {_range('layers', config.num_layers)}."
            )
        if not 0 <= hold.unit < config.hidden_size:
            raise ConfigError(
                f"there is no unit {hold.unit} to hold: {_range('units of a layer', config.hidden_size)}."
            )
    return {(hold.layer, hold.unit): hold.value for hold in holds}


def _check(holds: list[Hold]) -> None:
    if len(holds) > MOST_HOLDS:
        raise ConfigError(f"{len(holds)} units are more than the {MOST_HOLDS} that can be held at once: hold fewer.")
    seen = set()
    for hold in holds:
        if not math.isfinite(hold.value) or abs(hold.value) > LARGEST_VALUE:
            raise ConfigError(
                f"unit {hold.unit} can't be held at {hold.value:g}: choose a value from {-LARGEST_VALUE:g} to "
                f"{LARGEST_VALUE:g}."
            )
        if (hold.layer, hold.unit) in seen:
            raise ConfigError(f"unit {hold.unit} is held twice: give it one value.")
        seen.add((hold.layer, hold.unit))


def _range(names: str, number: int) -> str:
    return f"the {names} of this model are 0 to {number - 1}"


def _shortest(value: float) -> str:
    """Write `value` with as few digits as give it back: 3 and not 3.0."""
    return repr(float(value)).removesuffix(".0")
