"""Words of the form of a new run: labels of texts, presets and settings, and what a field asks for."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from annotated_types import Gt, Lt
from pydantic.fields import FieldInfo

from charlstm.config import ModelConfig, TrainConfig
from charlstm.config_fields import bounds_of, describe_bounds, suggestions_of
from charlstm.formatting import capitalize, name_text

PRESET_LABELS = {
    "auto": "Auto (3 min)",
    "minute": "Quick (1 min)",
    "best": "Best (about 1 h)",
    "blog": "As in the blog post",
}
CHANGED_LABELS = {
    "auto": "Auto, changed",
    "minute": "Quick, changed",
    "best": "Best, changed",
    "blog": "Blog post, changed",
}
LIMITS = ("max_minutes", "max_passes", "max_steps")
_PRESET_WORDS = {"auto": "auto", "minute": "quick", "best": "best", "blog": "blog post"}
LABELS = {
    "level": "Reads the text as",
    "embedding_dim": "Input vector size",
    "hidden_size": "Hidden size",
    "num_layers": "Layers",
    "dropout": "Dropout",
    "weight_dropout": "Dropout of recurrent weights",
    "forget_bias": "Forget-gate bias",
    "recurrent_init": "Recurrent weights at the start",
    "input_scale": "Input weights at the start",
    "val_fraction": "Kept for testing",
    "batch_size": "Batch size",
    "seq_len": "Window",
    "stretch_windows": "Windows on end",
    "state_reset": "Windows from a fresh state",
    "learning_rate": "Learning rate",
    "layer_rates": "Learning rates of layers",
    "lr_schedule": "Learning-rate schedule",
    "warmup_steps": "Warm-up steps",
    "weight_decay": "Weight decay",
    "adam_beta1": "Adam β₁",
    "adam_beta2": "Adam β₂",
    "weight_average": "Average of the weights",
    "calibrate": "Calibration",
    "max_grad_norm": "Longest gradient",
    "plan": "Sizes chosen at the start",
    "max_steps": "Stop after steps",
    "max_passes": "Stop after passes",
    "max_minutes": "Stop after minutes",
    "log_every": "Steps between points of the curve",
    "eval_every": "Steps between tests",
    "sample_every": "Steps between samples",
    "sample_chars": "Characters in a sample",
    "sample_temperature": "Temperature of samples",
    "sample_prompt": "Samples continue",
    "seed": "Seed",
    "precision": "Arithmetic",
    "device": "Trained on",
}
_NAMES = re.compile(rf"\b({'|'.join(name for name in LABELS if '_' in name)})\b")
_GROUPS: dict[str, tuple[str, ...]] = {
    "Network": tuple(ModelConfig.model_fields),
    "Learning": (
        *("learning_rate", "layer_rates", "lr_schedule", "warmup_steps", "batch_size", "seq_len", "stretch_windows"),
        *("state_reset", "weight_decay", "adam_beta1", "adam_beta2", "weight_average", "calibrate"),
        *("max_grad_norm", "plan", "seed", "precision", "device"),
    ),
    "Stopping": ("max_passes", "max_steps"),
}
_OUTSIDE = ("corpus", "encoding", "max_minutes")  # stand above the sheet
_LONGEST_TEXT_NAME = 40
_MOST_CHANGES = 3  # named in a row of the table of runs
_GROUPED = {*_OUTSIDE, *itertools.chain(*_GROUPS.values())}
GROUPS = {**_GROUPS, "Reporting": tuple(name for name in TrainConfig.model_fields if name not in _GROUPED)}


def setting_label(name: str) -> str:
    """Return the label of setting `name`."""
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def setting_field(name: str) -> FieldInfo:
    """Return the declaration of setting `name`."""
    return ModelConfig.model_fields.get(name) or TrainConfig.model_fields[name]


def explanation(name: str) -> str:
    """Return what setting `name` means, its bounds, and its flag on the command line."""
    field = setting_field(name)
    meaning = str(field.description).removesuffix(f" ({describe_bounds(field)})")
    bounds = capitalize(f"{_interval(field)} · ") if bounds_of(field)[0] is not None else ""
    return f"{meaning}. {bounds}--{name.replace('_', '-')}"


def wanted_value(name: str, is_fractional: bool = False) -> str:
    """Return what to enter for setting `name`: `enter a number from 1 to 4,096`.

    `is_fractional` tells that what was entered lies between whole numbers.
    """
    field = setting_field(name)
    if choices := get_args(field.annotation):
        return f"choose {' or '.join(map(str, choices))}"
    if suggestions_of(field):
        return "enter the name of an encoding, such as utf-8 or cp1252"
    if bounds_of(field)[0] is None:
        return "enter a shorter text"
    kind = "a whole number" if is_fractional and field.annotation is int else "a number"
    return f"enter {kind} {_interval(field)}"


def _interval(field: FieldInfo) -> str:
    """Return the bounds of a number in words: `from 0 to below 1`; no setting excludes both."""
    lower, upper = bounds_of(field)
    if any(isinstance(item, Gt) for item in field.metadata):
        return f"above {lower:,}, up to {upper:,}"
    below = "to below" if any(isinstance(item, Lt) for item in field.metadata) else "to"
    return f"from {lower:,} {below} {upper:,}"


def shown_value(value: Any) -> str:
    """Return a setting's value as people read it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:g}"
    return str(value) or "empty"


def describe_changes(changes: Sequence[tuple[str, Any]]) -> str:
    """Return the settings that a run has changed, in a few words for a list of runs; empty where there are none."""
    words = [_describe_change(name, value) for name, value in changes[:_MOST_CHANGES]]
    more = f"{len(changes) - _MOST_CHANGES} more" if len(changes) > _MOST_CHANGES else ""
    return " · ".join(filter(None, (*words, more)))


def _describe_change(name: str, value: Any) -> str:
    """Return a setting and its value; where a run ends, the unit comes last: `Stop after 0.5 min`."""
    label = setting_label(name)
    if name not in LIMITS:
        return f"{label} {shown_value(value)}"
    before, _, unit = label.replace("minutes", "min").rpartition(" ")
    return f"{before} {shown_value(value)} {unit}" if value else f"No limit of {unit}"


def name_as_labelled(message: str) -> str:
    """Return a message with the labels of the settings that it names, which the page knows by no other name."""
    return _NAMES.sub(lambda found: LABELS[found.group()], message)


def preset_words(preset: str, changed: Iterable[str]) -> str:
    """Return which preset a run was trained with, where it ended aside: `preset Best, changed`."""
    is_changed = any(name not in LIMITS for name in changed)
    return f"preset {PRESET_LABELS[preset].partition(' (')[0]}{', changed' if is_changed else ''}"


def run_label(text: str, preset: str, is_changed: bool, clock: str) -> str:
    """Return the name that people read of a new run: `Shakespeare, quick, 14:05`."""
    named = name_text(text, _LONGEST_TEXT_NAME) or "text"
    how = f"{_PRESET_WORDS.get(preset, 'own settings')}{' changed' if is_changed else ''}"
    return ", ".join(filter(None, (named, how, clock)))
