"""View of a run: its records in; numbers, words and points out. Uses neither Gradio nor torch.

All results are JSON, which the page's scripts insert as text, never as HTML.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from charlstm.config import TrainConfig
from charlstm.formatting import format_duration, label_text
from charlstm.runs.history import RunHistory, Sample
from charlstm.runs.learning_phases import WordShare
from charlstm.runs.manager import RunSummary
from charlstm.runs.planned_end import find_planned_end
from charlstm.runs.points import Curve, round_digits
from charlstm.runs.run_dir import ACTIVE, Status
from charlstm.ui import run_sentences
from charlstm.ui.run_sentences import BEING_MEASURED, Requests, Waiting
from charlstm.ui.setting_words import describe_changes, preset_words

Lines = dict[str, tuple[list[int], list[float]]]  # steps and values of each curve
STATE_WORDS: dict[Status, tuple[str, str]] = {  # a sign and a word, so that nothing depends on colour alone
    "queued": ("◌", "waiting"),
    "starting": ("◌", "starting"),
    "running": ("●", "training"),
    "paused": ("‖", "paused"),
    "stopping": ("◐", "stopping"),
    "completed": ("✓", "completed"),
    "stopped": ("■", "stopped"),
    "failed": ("✕", "failed"),
    "interrupted": ("↯", "interrupted"),
}
_ACTIONS: dict[Status, tuple[str, ...]] = {
    "queued": ("unqueue", "rename"),
    "starting": ("stop",),
    "running": ("pause", "stop", "save", "rate", "rename"),
    "paused": ("continue", "stop", "save", "rate", "rename"),
    "stopping": (),
    "measuring": ("rename",),
    "completed": ("extend", "rename", "delete"),
    "stopped": ("resume", "extend", "rename", "delete"),
    "failed": ("resume", "rename", "delete"),
    "interrupted": ("resume", "rename", "delete"),
}
LOSSES, OTHERS = ("training", "smoothed", "validation"), ("learning_rate", "grad_norm", "chars_per_second")
OVERLAID = ("smoothed", "validation")
_TINY = 20
_IN_PROGRESS = ("running", "paused")
_PLANNED = ("queued", "starting", "running", "paused", "stopping", "interrupted")
_LOSS_POINTS, _OTHER_POINTS, _OVERLAID_POINTS, _CLOCK_POINTS = 240, 120, 160, 60  # together far below 20 kB


def run_state(
    run: RunSummary,
    history: RunHistory,
    requests: Requests,
    has_model: bool,
    is_bundled: bool,
    train: TrainConfig | None = None,
    waiting: Waiting | None = None,
) -> dict[str, Any]:
    """Return the run's state in words, its figures, and the actions available now.

    `train` are its settings, `waiting` is the run it is queued behind.
    """
    sign, word = (STATE_WORDS[run.status][0], "recorded") if is_bundled else STATE_WORDS[_shown_status(run)]
    is_asked = run.status in ACTIVE and requests.control.number > requests.answer.done
    best, words = history.best, history.words()
    story = run_sentences.status_text(run, history, requests if is_asked else None, waiting)
    end = find_planned_end(history, train) if run.status in _PLANNED else None
    return {
        "label": run.label,
        "status": run.status,
        "shown_status": _shown_status(run),
        "sign": sign,
        "word": word,
        "story": f"{preset_words(run.preset, dict(run.changes))} · {story}" if is_bundled and run.preset else story,
        "is_asked": is_asked,
        "rate_factor": requests.answer.rate_factor,
        "fraction": _fraction(run, history),
        "seconds": round(history.progress()[1]),
        "figures": _figures(run, history),
        "facts": _facts(history),
        "can": _available_actions(run, has_model, is_bundled),
        "log": run.folder.log_tail() if run.status == "failed" else "",
        "plan_end": end._asdict() if end else {"minutes": None, "steps": None, "passes": None},
        "preparation": run_sentences.preparation(run, history, requests.answer),
        "summary": run_sentences.summary(run, history),
        "warning": run_sentences.warning(run, history),
        "words": _word_counts(words) if words else None,
        "vocabulary": history.vocabulary_size,
        "characters": history.started.num_train_chars if history.started else None,
        "passes": round(history.latest.num_passes, 2) if history.latest else None,
        "best": {"step": best.step, "loss": round(best.val_loss, 4)} if best else None,
    }


def _fraction(run: RunSummary, history: RunHistory) -> float:
    """Return the share of the planned run that is done."""
    return 1.0 if run.status == "completed" else round(history.latest.fraction, 4) if history.latest else 0.0


def _shown_status(run: RunSummary) -> Status:
    """Return the status to show: a run is over once all is saved, although its model is still being measured."""
    if run.status != "measuring":
        return run.status
    return "completed" if run.fraction >= 1 else "stopped"


def _available_actions(run: RunSummary, has_model: bool, is_bundled: bool) -> list[str]:
    """Return the actions available in the run's present state."""
    needs_state = {"resume", "extend"} if run.status != "failed" else {"extend"}
    possible = [action for action in _ACTIONS[run.status] if action not in needs_state or run.folder.has_state]
    if run.status in ("stopped", "interrupted") and "resume" not in possible:
        possible.append("resume")  # from the beginning: nothing was saved yet
    if is_bundled:
        possible = [action for action in possible if action not in ("rename", "delete")]
    return [*possible, *(("write", "adapt", "download") if has_model else ()), "duplicate"]


def _word_counts(words: WordShare) -> dict[str, int]:
    return {"percent": words.percent, "count": words.num_words, "real": round(words.share * words.num_words)}


def _figures(run: RunSummary, history: RunHistory) -> list[list[str]]:
    """Return rows of title, value, unit and the term that explains them."""
    words, progress, is_over = (
        history.words(),
        history.latest,
        run.status not in (*_IN_PROGRESS, "starting", "stopping"),
    )
    speed = history.typical_speed() if is_over else progress.chars_per_second if progress and progress.step else None
    rows = [_loss_figure(run, history)]
    if words:
        rows.append(["real words", f"{words.percent} %", f"of the last {words.num_words:,}", "real-words"])
    rows.append(["speed", f"{speed:,.0f}" if speed is not None else "–", "characters per second", ""])
    rows.append(_time_figure(run, history, is_over))
    rows.append(["read the text", _times(progress.num_passes) if progress and progress.step else "–", "", "pass"])
    return rows


def _loss_figure(run: RunSummary, history: RunHistory) -> list[str]:
    """Return the validation loss, or before there is one of a trained model the training loss."""
    latest, progress = history.latest_validation, history.latest
    is_going = run.status in _IN_PROGRESS
    if is_going and progress and progress.step and (latest is None or latest.step == 0):
        return ["training loss", f"{progress.smooth_loss:.2f}", "nats per character, not validated yet", "nats"]
    loss = latest.loss if is_going and latest else history.val_loss
    if loss is None:
        return ["validation", "–", "nats per character", "validation"]
    if is_going and latest and latest.is_quick:
        return ["validation, quick estimate", f"{loss:.2f}", "nats per character", "validation"]
    return ["validation", f"{loss:.2f}", f"nats per character ({loss / math.log(2):.2f} bits)", "validation"]


def _time_figure(run: RunSummary, history: RunHistory, is_over: bool) -> list[str]:
    _, seconds = history.progress()
    if is_over:
        return ["took", format_duration(seconds) if history.latest else "–", "of training", ""]
    left = history.time_left() if run.status in _IN_PROGRESS else None
    so_far = f"{format_duration(seconds)} so far" if history.latest else "not begun"
    return ["time left", format_duration(left) if left is not None else "–", so_far, ""]


def _times(number: float) -> str:
    """Format how often the text was read."""
    if number < 0.995:
        return f"{100 * number:.0f} % of it"
    shown = f"{number:,.0f}" if number >= 100 else f"{number:.1f}"
    return "once" if shown == "1.0" else f"{shown} times"


def _facts(history: RunHistory) -> str:
    """Describe the run's data: characters, distinct ones and parameters, and what was done to the text."""
    started = history.started
    if started is None:
        return ""
    facts = (
        f"{started.num_train_chars:,} characters to learn from, {started.num_val_chars:,} kept to test it, "
        f"{started.num_distinct:,} different; {started.num_parameters:,} parameters."
    )
    return " ".join((facts, *started.notes))


def header_status(active: RunSummary | None, history: RunHistory | None) -> dict[str, Any]:
    """Return the status line above the tabs: idle, or the run in progress and how far it is, the end of it first.

    The line is cut where it is too long.
    """
    if active is None:
        return {"run": None, "status": "idle", "sign": "○", "text": "idle", "fraction": 0.0}
    sign, word = STATE_WORDS[_shown_status(active)]
    parts = [f"{word} {active.label}"]
    progress = history.latest if history else None
    if active.status == "measuring":
        parts.append(BEING_MEASURED)
    if history and active.status in _IN_PROGRESS and (left := history.time_left()) is not None:
        parts.append(f"{format_duration(left)} left")
    if history and (loss := _loss_words(history)):
        parts.append(loss)
    if progress and active.status != "measuring":
        parts.append(f"step {progress.step:,}")
    fraction = _fraction(active, history) if history else 0.0
    status = _shown_status(active)
    return {"run": active.name, "status": status, "sign": sign, "text": " · ".join(parts), "fraction": fraction}


def _loss_words(history: RunHistory) -> str:
    """Return the latest loss for the line on top, as what it is."""
    latest, progress = history.latest_validation, history.latest
    if progress and progress.step and (latest is None or latest.step == 0):
        return f"training loss {progress.smooth_loss:.2f} nats"
    if latest is None:
        return ""
    return f"{'quick estimate' if latest.is_quick else 'validation'} {latest.loss:.2f} nats"


def table_row(run: RunSummary, is_bundled: bool, may_change: bool, is_own: bool) -> dict[str, Any]:
    """Return the run's row in the table of runs; a star counts for whoever set it: those who started the run."""
    sign, word = STATE_WORDS[_shown_status(run)]
    place = f", place {run.queue_position}" if run.status == "queued" else ""
    state = "bundled" if is_bundled else f"{sign} {word}{place}"
    loss = f"{run.val_loss:.2f}" if run.val_loss is not None else "–"
    minutes = f"{run.elapsed_seconds / 60:.1f}"
    return {
        "id": run.name,
        "label": run.label,
        "status": _shown_status(run),
        "cells": [label_text(run.corpus), run.size.replace("x", "×"), minutes, loss, state],
        "curve": _small_curve(run.sparkline),
        "started": round(run.started_at or run.created_at),
        "changes": describe_changes(run.changes),
        "note": run.note,
        "is_starred": run.is_starred and is_own,
        "may": may_change and not is_bundled,
        "may_star": is_own and not is_bundled,
        "fraction": 1.0 if run.status == "completed" else round(run.fraction, 4),
    }


def _small_curve(losses: Sequence[float]) -> list[int]:
    """Return the heights of a sparkline, 0 for the least of `losses`, `_TINY` for the greatest, without NaN and inf."""
    known = [loss for loss in losses if math.isfinite(loss)]
    least, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    return [round(_TINY * (loss - least) / span) for loss in known] if span else []


def format_deleted_at(seconds: float) -> str:
    """Format a time of deletion, in local time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%-d %B, %H:%M")


def baseline_lines(history: RunHistory) -> list[dict[str, Any]]:
    """Return the baselines of the loss: a name, and the value in nats."""
    found = history.references
    if found is None:
        return []
    lines = (("guessing", found.uniform), ("letter frequencies", found.frequencies), ("5-gram", found.fivegram))
    return [{"name": name, "value": value} for name, value in lines if value is not None]


def chart_marks(history: RunHistory) -> list[dict[str, Any]]:
    """Return the marks of events during the run."""
    return [{"kind": mark.kind, "step": mark.step, "text": mark.text} for mark in history.marks()]


def chart_lines(history: RunHistory, begin_step: int | None = None, end_step: int | None = None) -> Lines:
    """Return the curves of the shown run, or of a part of it."""
    losses = history.series(_LOSS_POINTS, begin_step, end_step, LOSSES)
    return _lines(losses | history.series(_OTHER_POINTS, begin_step, end_step, OTHERS))


def overlaid_chart_lines(history: RunHistory) -> Lines:
    """Return the two curves of a run that is compared with the shown one."""
    return _lines(history.series(_OVERLAID_POINTS, names=OVERLAID))


def sample_row(sample: Sample) -> list[float | None]:
    """Return a sample's row of the timeline.

    Step, losses, seconds of training, percent of real words, whether the validation is an estimate, prompt length.
    """
    percent = sample.words.percent if sample.words else None
    losses = (_round_loss(sample.train_loss), _round_loss(sample.val_loss))
    return [sample.step, *losses, round(sample.seconds, 2), percent, sample.is_quick, sample.prompt_chars]


def _round_loss(loss: float | None) -> float | None:
    return loss if loss is None else round_digits(loss)


def _lines(curves: Mapping[str, Curve]) -> Lines:
    return {name: (curve.steps, curve.values) for name, curve in curves.items()}


def step_to_time(history: RunHistory) -> list[list[float]]:
    """Return rows of [step, passes, minutes], ascending in step, to convert between the axes."""
    rows: list[list[float]] = [[0, 0, 0], *(list(each) for each in history.clock(_CLOCK_POINTS) if each[0])]
    latest = history.sample(-1)
    if latest and latest.step > rows[-1][0]:  # on a slow machine long before the next point of the curve
        rows.append([latest.step, latest.passes, round_digits(latest.seconds / 60)])
    return rows


def delta(before: Lines | None, now: Lines) -> dict[str, Any]:
    """Return, for each curve, the number of points to keep and the points after them."""
    changes = {}
    for name, (steps, values) in now.items():
        keep = _common_prefix((before or {}).get(name, ([], [])), (steps, values))
        changes[name] = {"keep": keep, "steps": steps[keep:], "values": values[keep:]}
    return changes


def _common_prefix(before: tuple[list[int], list[float]], now: tuple[list[int], list[float]]) -> int:
    """Return the number of leading points that two curves have in common."""
    pairs = zip(before[0], now[0], before[1], now[1], strict=False)
    num_pairs = min(len(before[0]), len(now[0]))
    return next(
        (i for i, (step, other, value, second) in enumerate(pairs) if (step, value) != (other, second)), num_pairs
    )
