"""What is marked in the form of a new run: values that differ from the preset's, and values that can't be."""

from collections.abc import Iterable, Mapping
from typing import Any

from charlstm.config import PRESETS, ModelConfig, Settings, TrainConfig
from charlstm.errors import CharLSTMError
from charlstm.formatting import capitalize, escape_html
from charlstm.ui.setting_words import setting_label, shown_value, wanted_value
from charlstm.ui.settings_sheet import ADVANCED

LIMITS = ("max_minutes", "max_passes", "max_steps")


def integral(value: Any) -> Any:
    """Convert an integral float to int: the page may send 8 as 8.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def flat_settings(numbers: Iterable[Any]) -> dict[str, Any]:
    """Name the values of the form's settings: the minutes, and those of the sheet."""
    return {name: integral(value) for name, value in zip(("max_minutes", *ADVANCED), numbers, strict=True)}


def changed_values(preset: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the preset's own value of each setting whose value differs from it."""
    if preset not in PRESETS:
        return {}
    own = Settings.preset(preset).flat()
    return {name: own[name] for name, value in values.items() if own[name] != integral(value)}


def problem(name: str, value: Any) -> str:
    """Return what to do about a value that setting `name` can't have: `enter a number from 1 to 4,096`; else empty."""
    if value is None or (value == "" and name != "sample_prompt"):
        return wanted_value(name)
    cls = ModelConfig if name in ModelConfig.model_fields else TrainConfig
    try:
        cls(**{name: integral(value)})
    except CharLSTMError:
        return wanted_value(name, isinstance(value, float) and not value.is_integer())
    return ""


def problems(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the problems of the settings that have one, in the order of the settings."""
    found = {name: words for name, value in values.items() if (words := problem(name, value))}
    if not found and not any(values[name] for name in LIMITS):
        found["max_minutes"] = "nothing would end this run; enter minutes, passes or steps above 0"
    elif not found and values["plan"] == "on" and not values["max_minutes"]:
        found["max_minutes"] = "the sizes are chosen for a number of minutes; enter one above 0"
    return found


def first_problem(values: Mapping[str, Any]) -> str:
    """Return the first problem as HTML: a sentence that names its field, and the way there; empty if there is none."""
    name, words = next(iter(problems(values).items()), ("", ""))
    if not name:
        return ""
    said = escape_html(f"{setting_label(name)}: {words}.")
    if name not in ADVANCED:
        return said
    return f'{said} <button type="button" class="to-field" data-field="{name}">Show it</button>'


def marks(preset: str, values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what to write beside each marked field: the preset's value, or what is wrong with the value entered."""
    changed, wrong = changed_values(preset, values), problems(values)
    return {
        name: {
            **({"preset": shown_value(changed[name])} if name in changed else {}),
            **({"problem": capitalize(wrong[name])} if name in wrong else {}),
        }
        for name in values
        if name in changed or name in wrong
    }
