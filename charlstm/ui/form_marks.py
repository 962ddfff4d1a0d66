"""What is marked in the form of a new run: values that differ from the preset's, and values that can't be."""

from collections.abc import Iterable, Mapping
from typing import Any

from charlstm.config import PRESETS, ModelConfig, Settings, TrainConfig
from charlstm.errors import CharLSTMError
from charlstm.formatting import capitalize, escape_html
from charlstm.ui.new_run_settings import ADVANCED
from charlstm.ui.setting_words import LIMITS, setting_label, shown_value, wanted_value

BY_THE_CLOCK = ("auto", "minute")  # presets that end after minutes


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


def shows_minutes(preset: str, values: Mapping[str, Any]) -> bool:
    """Return whether the form has a field for minutes, which presets that end by themselves do without."""
    return preset in BY_THE_CLOCK or values["max_minutes"] != 0


def problems(preset: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the problems of the settings that have one, in the order of the settings; each field is in sight."""
    found = {name: words for name, value in values.items() if (words := problem(name, value))}
    has_minutes = shows_minutes(preset, values)
    if not found and not any(values[name] for name in LIMITS):
        name, wanted = ("max_minutes", "minutes, passes") if has_minutes else ("max_passes", "passes")
        found[name] = f"nothing would end this run; enter {wanted} or steps above 0"
    elif not found and values["plan"] == "on" and not values["max_minutes"]:
        wanted = "enter one above 0" if has_minutes else "this preset has none, so choose off"
        found["max_minutes" if has_minutes else "plan"] = f"the sizes are chosen for a number of minutes; {wanted}"
    return found


def first_problem(preset: str, values: Mapping[str, Any]) -> str:
    """Return the first problem as HTML: a sentence that names its field, and the way there; empty if there is none."""
    name, words = next(iter(problems(preset, values).items()), ("", ""))
    if not name:
        return ""
    said = escape_html(f"{setting_label(name)}: {words}.")
    if name not in ADVANCED:
        return said
    return f'{said} <button type="button" class="to-field" data-field="{name}">Show it</button>'


def marks(preset: str, values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what to write beside each marked field: the preset's value, or what is wrong with the value entered."""
    changed, wrong = changed_values(preset, values), problems(preset, values)
    return {
        name: {
            **({"preset": shown_value(changed[name])} if name in changed else {}),
            **({"problem": capitalize(wrong[name])} if name in wrong else {}),
        }
        for name in values
        if name in changed or name in wrong
    }
