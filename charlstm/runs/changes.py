"""Settings in which a run differs from its preset, in a few words for a list of runs."""

from collections.abc import Mapping
from typing import Any

from charlstm.config import PRESETS, Settings

_NAMED = 3
_REPORTING = ("log_every", "eval_every", "sample_every", "sample_chars", "sample_temperature", "sample_prompt")
_TOLD_ELSEWHERE = (*_REPORTING, "corpus", "encoding", "plan", "precision", "device")
_CHOSEN = (
    *("hidden_size", "num_layers", "embedding_dim", "dropout", "weight_dropout", "weight_decay", "weight_average"),
    *("batch_size", "seq_len", "learning_rate", "adam_beta1", "adam_beta2", "warmup_steps", "max_passes"),
)  # by `autotune`


def describe_changes(settings: Settings, is_planned: bool) -> str:
    """Name the settings in which a run differs from the preset that is closest; empty where there are none.

    `is_planned` tells that its size and rates were chosen for it, so that they are nobody's changes.
    """
    found = settings.flat()
    if is_planned or settings.train.plan == "on":
        changes = _changes(found, "auto", (*_TOLD_ELSEWHERE, *_CHOSEN))
    else:
        every = [_changes(found, name, _TOLD_ELSEWHERE) for name in PRESETS if PRESETS[name].get("plan") != "on"]
        changes = min(every, key=len)
    words = [f"{name.replace('_', ' ')} {_shown(value)}" for name, value in list(changes.items())[:_NAMED]]
    more = f"{len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return " · ".join(filter(None, (*words, more)))


def _changes(found: Mapping[str, Any], preset: str, ignored: tuple[str, ...]) -> dict[str, Any]:
    usual = Settings.preset(preset).flat()
    return {name: value for name, value in found.items() if name not in ignored and value != usual[name]}


def _shown(value: Any) -> str:
    return (
        f"{value:,g}"
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6
        else str(value)
    )
