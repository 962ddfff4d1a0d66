"""The recipe of a model: commands that train it again, from what its run recorded."""

import shlex
from typing import NamedTuple

from pydantic import ValidationError

from charlstm.checkpoint import Provenance
from charlstm.config import PRESETS, ModelConfig, Settings, TrainConfig
from charlstm.corpus import DATASETS
from charlstm.language_model import LanguageModel
from charlstm.runs.continuation import resume_command
from charlstm.runs.run_dir import Extension

_OWN_TEXT = "YOUR_TEXT.txt"
_OWN_MODEL = "YOUR_MODEL.safetensors"
_RUN, _PULLED = "again", "base"
# What models from before these settings existed were trained with, whatever the presets have now.
_OLDER = {"state_reset": 0.0, "stretch_windows": 0, "layer_rates": "equal", "calibrate": "off"}


class Recipe(NamedTuple):
    """Commands that train a model again."""

    commands: list[str]
    has_named_text: bool  # whether the command line gets at the text by its name
    ends_by_time: bool


def make_recipe(language_model: LanguageModel, origin: Provenance, base_model: str | None = None) -> Recipe:
    """Return the recipe of `language_model`; `base_model` is the parent's repository, if it has one."""
    commands = _recipe_commands(language_model, origin, base_model)
    return Recipe(commands, _is_named(origin), _ends_by_time(origin))


def _recipe_commands(language_model: LanguageModel, origin: Provenance, base_model: str | None = None) -> list[str]:
    """Return commands in order: fetch the parent, train with flags for what differs from a preset, add the parts."""
    commands, parent = [], _OWN_MODEL
    if origin.parent and base_model:
        parent = f"checkpoints/{_PULLED}"
        commands.append(f"python -m charlstm pull {shlex.quote(base_model)} --name {_PULLED}")
    words = _train_words(language_model, origin)
    if origin.parent:
        words += ["--from", parent]
    if origin.more:
        words += ["--name", _RUN]
    return [*commands, shlex.join(words), *(resume_command(_RUN, more) for more in _extensions_of(origin))]


def _train_words(language_model: LanguageModel, origin: Provenance) -> list[str]:
    wanted = {**language_model.model.config.model_dump(), **_OLDER, **origin.train_config}
    own = (
        {"dropout", "weight_dropout"} if origin.parent else ModelConfig.model_fields.keys()
    )  # other sizes are the parent's
    wanted = {
        name: value
        for name, value in wanted.items()
        if (name in own or name in TrainConfig.model_fields)
        and name not in ("plan", "device")
        and not name.startswith("sample_")  # but for the time they take, samples change nothing of what is learned
    }
    if not _is_named(origin):
        wanted["corpus"] = _OWN_TEXT
    differing = {}
    for preset in PRESETS:
        start = {**Settings.preset(preset).flat(), "plan": "off"}
        if PRESETS[preset].get("plan") != "on":  # which chooses anew
            differing[preset] = {name: value for name, value in wanted.items() if start[name] != value}
    preset = min(differing, key=lambda name: len(differing[name]))
    words = ["python", "-m", "charlstm", "train", "--corpus", str(wanted["corpus"]), "--preset", preset]
    for name, value in differing[preset].items():
        if name != "corpus":
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def _is_named(origin: Provenance) -> bool:
    """Return whether the command line gets at the text by its name."""
    return origin.corpus in DATASETS


def _extensions_of(origin: Provenance) -> list[Extension]:
    try:
        return [Extension(**each) for each in origin.more]
    except ValidationError:  # of a file that others wrote
        return []


def _ends_by_time(origin: Provenance) -> bool:
    return bool(origin.train_config.get("max_minutes")) or any(each.minutes for each in _extensions_of(origin))
