"""What a preset costs and what it reaches: as it was here if somebody trained it here, else as it was recorded."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from charlstm.config import PRESET_SUMMARIES, Settings
from charlstm.runs.manager import RunSummary
from charlstm.runs.store import RunStore
from charlstm.ui.views import capitalised, nats
from charlstm.wording import duration


class _Recorded(NamedTuple):
    val_loss: float
    seconds: float


# On 2 cores, auto for 3 minutes (docs/results.md, "Presets").
_RECORDED = {
    "auto": _Recorded(1.4088, 180),
    "minute": _Recorded(1.4790, 60),
    "best": _Recorded(1.3769, 53 * 60),
    "blog": _Recorded(1.6353, 93),
}
_RECORDED_RATE = 5289 / 60  # steps per second of `minute` there (docs/results.md, "Presets")
_TELLING_SECONDS = 20  # a run that was shorter says little of the machine
OWN = "own"  # in the name of a run whose settings are no preset's


def run_name(store: RunStore, corpus: str, preset: str) -> str:
    """A free name for a run of `preset` (or `OWN`) on a text."""
    return store.free_name(f"{Path(corpus).stem}-{preset}")


def described(preset: str, corpus: str, runs: Iterable[RunSummary]) -> str:
    """What the preset is, when it ends, and what it reached."""
    settings = Settings.preset(preset)
    model, train = settings.model, settings.train
    shape = f"{model.num_layers} × {model.hidden_size} LSTM, batch {train.batch_size}, window {train.seq_len}"
    if train.plan == "on":
        shape = "size, batch and dropout are chosen at the start"
    limits = ((train.max_minutes, "minutes"), (train.max_passes, "passes over the text"), (train.max_steps, "steps"))
    end = ", ".join(f"{limit:g} {unit}" for limit, unit in limits if limit).replace("1 minutes", "1 minute")
    what = f"{capitalised(PRESET_SUMMARIES[preset])}: {shape}; {end.replace('1 passes', '1 pass')}."
    return f"{what} {_reached(preset, corpus, runs)}"


def _reached(preset: str, corpus: str, runs: Iterable[RunSummary]) -> str:
    named = re.compile(re.escape(f"{Path(corpus).stem}-{preset}") + r"(-\d+)?")
    here = [
        (run.val_loss, run.elapsed_seconds)
        for run in runs
        if run.status == "completed" and run.corpus == corpus and run.val_loss and named.fullmatch(run.name)
    ]
    if here:  # the newest first
        loss, seconds = here[0]
        return f"Here it reached {nats(loss)} in {duration(seconds)}."
    recorded = _RECORDED[preset]
    said = f"Recorded on 2 cores: {nats(recorded.val_loss)} on tiny-shakespeare in {duration(recorded.seconds)}"
    speed = _speed(runs)
    if speed is None:
        return f"{said}."
    if Settings.preset(preset).train.max_minutes:
        return f"{said}; this machine did {speed:.1f} times as much in its time."
    return f"{said}; here, by the speed so far, about {duration(recorded.seconds / speed)}."


def _speed(runs: Iterable[RunSummary]) -> float | None:
    """How fast the newest run of `minute` was here, beside the recorded one; `None` without one that says it."""
    named = re.compile(r".*-minute(-\d+)?")
    rates = (
        run.step / run.elapsed_seconds
        for run in runs
        if run.elapsed_seconds > _TELLING_SECONDS and named.fullmatch(run.name)
    )
    rate = next(rates, None)
    return rate and rate / _RECORDED_RATE
