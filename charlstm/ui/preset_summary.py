"""The sentence below the form of a new run: what the chosen preset does, what it takes here, and what it gives."""

import bisect
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from charlstm.config import Settings
from charlstm.data_folders import RECORDED_RUNS
from charlstm.environment import limits
from charlstm.formatting import escape_html, format_duration
from charlstm.runs.continuation import SHORT_CHARS
from charlstm.runs.history import read_history
from charlstm.runs.manager import RunSummary
from charlstm.runs.run_dir import RunDir
from charlstm.ui.components import info_button
from charlstm.ui.setting_words import setting_label, shown_value

FEW_CHARS = 20_000  # a text below this is learned by heart before its language is
_SHAKESPEARE = "tiny-shakespeare"
_SHAKESPEARE_CHARS = 1_115_394
_MIN_SPEED_SECONDS = 20  # a shorter run says little about the machine
_MOST_CHANGES = 3  # named in the sentence
_SLOWER, _FASTER = 0.8, 1.25  # relative speeds between these are called the same


_TABLE_STEPS = 3751  # of `minute` in the table of docs/results.md, "Presets"
_AUTO_STEPS = 4265  # of `minute` on the machine, and in the hour, of its rows of `auto`


class _Reference(NamedTuple):
    val_loss: float
    seconds: float
    rate: float = _TABLE_STEPS / 60  # steps per second of `minute` on the same machine


# Measured on Shakespeare on 2 cores (docs/results.md, "Presets"); `minute` is the recorded run, which Train shows.
_REFERENCES = {
    "auto": _Reference(1.3967, 180, _AUTO_STEPS / 60),
    "best": _Reference(1.3284, 54 * 60),
    "blog": _Reference(1.6353, 93),
}
# Shares of the work of that table and the losses they give, measured (docs/results.md, "Presets"): what a slower
# machine is to expect of presets that end by the clock.
_LOSS_AFTER = {
    "minute": tuple(
        (steps / _TABLE_STEPS, loss)
        for steps, loss in ((306, 1.8158), (574, 1.7140), (1205, 1.5565), (_TABLE_STEPS, 1.4438), (5597, 1.4287))
    ),
    "auto": ((_AUTO_STEPS / _TABLE_STEPS / 3, 1.4377), (_AUTO_STEPS / _TABLE_STEPS, 1.3967)),
}
_PURPOSES = {
    "auto": "Chooses the network that learns most from this text on this machine, and trains it {minutes}",
    "minute": "A small network learns {minutes}",
    "best": "A larger network reads the text 36 times: the lowest loss known here",
    "blog": "The experiment of the post “PyTorch is great”: one pass with a smaller network, one stream of text and a "
    "constant learning rate, without the other presets' dropout, warm-up and lower precision",
}


class ChosenText(NamedTuple):
    """A text that a run is to learn: its name, and its length, which is 0 until it is known."""

    name: str
    num_chars: int = 0

    @property
    def is_small(self) -> bool:
        """Whether a network learns it by heart before it learns its language."""
        return 0 < self.num_chars < FEW_CHARS

    @property
    def is_short(self) -> bool:
        """Whether a model that can write already is the better start."""
        return 0 < self.num_chars < SHORT_CHARS


@cache
def _reference(preset: str) -> _Reference:
    """Return what the preset came to where it was recorded."""
    if preset != "minute":
        return _REFERENCES[preset]
    with read_history(RunDir(RECORDED_RUNS / "shakespeare-quick")) as history:
        steps, seconds = history.progress()
        return _Reference(history.val_loss or math.nan, seconds, steps / seconds)


def preset_summary(
    preset: str, values: Mapping[str, Any], changed: Mapping[str, Any], text: ChosenText, runs: Iterable[RunSummary]
) -> str:
    """Return the sentence as HTML.

    `values` are the settings of the form, `changed` the preset's own values of those that differ from it.
    """
    past = list(runs)
    purpose = _PURPOSES[preset].format(minutes=_in_minutes(values.get("max_minutes")))
    others = dict(changed)
    if "{minutes}" in _PURPOSES[preset] and (own := others.pop("max_minutes", None)):
        purpose += f" instead of {own:g}" if values["max_minutes"] else ""
    if others:
        purpose += f". Changed: {_changes(values, others)}"
    seconds = _estimate_seconds(preset, values, text.num_chars, _relative_speed(preset, past) or 1.0)
    parts = [f"{escape_html(purpose)}."]
    if not changed and not text.is_small:
        parts.append(_outcome(preset, text, past))
    most = 60 * limits().max_minutes
    if most and seconds > most:
        parts.append(f"Here a run ends after {format_duration(most)} at the latest.")
    return " ".join(parts)


def small_text_warning(text: ChosenText, parent: str) -> str:
    """Return as HTML what a text that small will do; `parent` is the model that the run starts from, if any."""
    begin = f"{text.num_chars:,} characters are few"
    if parent:
        return escape_html(
            f"{begin}, but {parent} can write already and takes on the manner of this text. After a while it learns "
            "the text by heart: its validation then rises, and the best model before that is kept."
        )
    return escape_html(
        f"{begin}: a new network learns them by heart. Its validation will rise after a few seconds, and readable new "
        "text is not to be expected."
    )


def _in_minutes(minutes: Any) -> str:
    return f"for {minutes:g} min" if isinstance(minutes, int | float) and minutes > 0 else "without a limit of minutes"


def _changes(values: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    said = [
        f"{setting_label(name)} {shown_value(values[name])} instead of {shown_value(own)}"
        for name, own in list(changed.items())[:_MOST_CHANGES]
        if values[name] is not None
    ]
    more = len(changed) - len(said)
    return ", ".join(said) + (f" and {more} more" if said and more else f"{more} settings" if more else "")


def _estimate_seconds(preset: str, values: Mapping[str, Any], num_chars: int, speed: float) -> float:
    minutes, passes = values.get("max_minutes"), values.get("max_passes")
    if isinstance(minutes, int | float) and minutes > 0:
        return 60 * float(minutes)
    own = Settings.preset(preset).train.max_passes
    share = float(passes) / own if own and isinstance(passes, int | float) else 1.0
    return _reference(preset).seconds * share * (num_chars or _SHAKESPEARE_CHARS) / _SHAKESPEARE_CHARS / speed


def _outcome(preset: str, text: ChosenText, runs: list[RunSummary]) -> str:
    """Return what an unchanged preset reached on this text, or what is to be expected of it here."""
    reference, speed = _reference(preset), _relative_speed(preset, runs)
    if last := _last_here(preset, text.name, runs):
        return f"Last time here: {_nats(last.val_loss)} after {format_duration(last.seconds)}."
    pace = _pace(speed)
    if preset in _LOSS_AFTER:
        if text.name != _SHAKESPEARE:
            return f"Shakespeare came to {_nats(reference.val_loss)} in that time{pace and f'; {pace}'}."
        expected = (
            f"; {pace}; expect {_describe_expected(preset, speed * 60 * reference.rate / _TABLE_STEPS)}"
            if pace and speed
            else ""
        )
        return f"On 2 cores it reached {_nats(reference.val_loss)}{expected}."
    seconds = _estimate_seconds(preset, {}, text.num_chars, speed or 1.0)
    takes = f"about {_round(seconds)} here" if speed else f"about {_round(seconds)} on 2 cores"
    if not text.num_chars:
        return f"Takes about {_round(seconds)} for a text as long as Shakespeare, longer for a longer one."
    reached = f"Shakespeare came to {_nats(reference.val_loss)}"
    return f"Takes {takes} for {text.num_chars:,} characters{pace and f' ({pace})'}; {reached}."


def _pace(speed: float | None) -> str:
    """Return how fast this machine is, as a clause; empty where it is as fast as the preset's, or not known."""
    if speed is None or _SLOWER <= speed <= _FASTER:
        return ""
    times, word = (1 / speed, "slower") if speed < 1 else (speed, "faster")
    return f"this machine is about {times:.0f} times {word}" if times >= 1.95 else f"this machine is somewhat {word}"


def _describe_expected(preset: str, speed: float) -> str:
    """Return the loss to expect of a preset that ends by the clock, at a speed relative to that of the table."""
    shares, losses = zip(*_LOSS_AFTER[preset], strict=True)
    if speed > shares[-1]:
        return f"less than {losses[-1]:.2f}"
    if speed < shares[0]:
        return f"more than {losses[0]:.2f}"
    after = min(bisect.bisect_left(shares, speed), len(shares) - 1) or 1
    way = math.log(speed / shares[after - 1]) / math.log(shares[after] / shares[after - 1])
    return f"about {losses[after - 1] + way * (losses[after] - losses[after - 1]):.2f}"


def _round(seconds: float) -> str:
    """Return a long duration without its seconds, which an estimate does not have."""
    return format_duration(seconds if seconds < 120 else 60 * round(seconds / 60))


def _nats(loss: float) -> str:
    """Return a loss with its unit, and the button that explains it."""
    return f"{loss:.2f} nats per character {info_button('nats', {'loss': round(loss, 3)})}"


def _last_here(preset: str, text: str, runs: Iterable[RunSummary]) -> _Reference | None:
    """Return what the newest completed run of the unchanged preset on this text reached here."""
    named = re.compile(re.escape(f"{Path(text).stem}-{preset}") + r"(-\d+)?")
    ended = (
        _Reference(run.val_loss, run.elapsed_seconds)
        for run in runs
        if run.status == "completed" and run.corpus == text and run.val_loss and named.fullmatch(run.name)
    )
    return next(ended, None)


def _relative_speed(preset: str, runs: Iterable[RunSummary]) -> float | None:
    """Return the speed here relative to the machine that `preset` was measured on; `None` without a run of `minute`."""
    named = re.compile(r".*-minute(-\d+)?")
    rates = (
        run.step / run.elapsed_seconds
        for run in runs
        if run.elapsed_seconds > _MIN_SPEED_SECONDS and named.fullmatch(run.name)
    )
    rate = next(rates, None)
    return rate and rate / _reference(preset).rate
