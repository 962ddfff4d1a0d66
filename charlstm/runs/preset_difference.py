"""Settings in which a run differs from the preset that is closest to it."""

from collections.abc import Mapping
from typing import Any

from charlstm.config import PRESETS, Settings

_REPORTING = ("log_every", "eval_every", "sample_every", "sample_chars", "sample_temperature", "sample_prompt")
_TOLD_ELSEWHERE = (*_REPORTING, "corpus", "encoding", "plan", "precision", "device")
_CHOSEN = (
    *("hidden_size", "num_layers", "embedding_dim", "dropout", "weight_dropout", "weight_decay", "weight_average"),
    *("batch_size", "seq_len", "learning_rate", "adam_beta1", "adam_beta2", "warmup_steps", "max_passes"),
    *("input_scale", "layer_rates", "stretch_windows", "calibrate"),
)  # by `autotune`


def closest_preset(settings: Settings, is_planned: bool) -> tuple[str, dict[str, Any]]:
    """Return the name of the preset that is closest to a run, and the settings in which it differs, with their values.

    `is_planned` tells that its size and rates were chosen for it, so that they are nobody's changes.
    """
    found = settings.flat()
    if is_planned or settings.train.plan == "on":
        return "auto", _changes(found, "auto", (*_TOLD_ELSEWHERE, *_CHOSEN))
    every = {name: _changes(found, name, _TOLD_ELSEWHERE) for name in PRESETS if PRESETS[name].get("plan") != "on"}
    return min(every.items(), key=lambda each: len(each[1]))


def _changes(found: Mapping[str, Any], preset: str, ignored: tuple[str, ...]) -> dict[str, Any]:
    usual = Settings.preset(preset).flat()
    return {name: value for name, value in found.items() if name not in ignored and value != usual[name]}
