"""View of a run: its records in; numbers, words and points out. Uses neither Gradio nor torch.

All results are JSON, which the page's scripts insert as text, never as HTML.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from charlstm.events import Progress
from charlstm.formatting import capitalize, format_duration, without_places
from charlstm.runs.control import Control, WorkerStatus
from charlstm.runs.history import Curve, RunHistory
from charlstm.runs.manager import RunSummary
from charlstm.runs.run_dir import ACTIVE, Status

Lines = dict[str, tuple[list[int], list[float]]]  # steps and values of each curve
STATE_WORDS: dict[Status, tuple[str, str]] = {  # a sign and a word, so that nothing depends on colour alone
    "queued": ("◌", "waiting"),
    "starting": ("◌", "starting"),
    "running": ("●", "training"),
    "paused": ("‖", "paused"),
    "stopping": ("◐", "stopping"),
    "measuring": ("◐", "measuring"),
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
_LOSS_POINTS, _OTHER_POINTS, _OVERLAID_POINTS, _CLOCK_POINTS = 240, 120, 160, 60  # together far below 20 kB


class Requests(NamedTuple):
    """Requests to a run, and its worker's answer to them."""

    control: Control = Control()
    answer: WorkerStatus = WorkerStatus()


def run_state(
    run: RunSummary, history: RunHistory, requests: Requests, has_model: bool, is_bundled: bool
) -> dict[str, Any]:
    """Return the run's state in words, its figures, and the actions available now."""
    sign, word = (STATE_WORDS[run.status][0], "recorded") if is_bundled else STATE_WORDS[_shown_status(run, history)]
    is_asked = run.status in ACTIVE and requests.control.number > requests.answer.done
    progress = history.latest
    return {
        "label": run.label,
        "status": run.status,
        "sign": sign,
        "word": word,
        "story": _status_text(run, history, requests if is_asked else None),
        "is_asked": is_asked,
        "rate_factor": requests.answer.rate_factor,
        "fraction": 1.0 if run.status == "completed" else round(progress.fraction, 4) if progress else 0.0,
        "figures": _figures(run, history),
        "facts": _facts(history),
        "can": _available_actions(run, has_model, is_bundled),
        "log": run.folder.log_tail() if run.status == "failed" else "",
    }


def _shown_status(run: RunSummary, history: RunHistory) -> Status:
    """Return the status to show: a run is stopped once all is saved, although its model is still being measured."""
    if run.status != "measuring":
        return run.status
    return "completed" if history.latest and history.latest.fraction >= 1 else "stopped"


def _available_actions(run: RunSummary, has_model: bool, is_bundled: bool) -> list[str]:
    """Return the actions available in the run's present state."""
    if run.status == "measuring":  # its best model may be replaced in a moment
        has_model = False
    needs_state = {"resume", "extend"} if run.status != "failed" else {"extend"}
    possible = [action for action in _ACTIONS[run.status] if action not in needs_state or run.folder.has_state]
    if run.status in ("stopped", "interrupted") and "resume" not in possible:
        possible.append("resume")  # from the beginning: nothing was saved yet
    if is_bundled:
        possible = [action for action in possible if action not in ("rename", "delete")]
    return [*possible, *(("write", "adapt", "download") if has_model else ()), "duplicate"]


def _status_text(run: RunSummary, history: RunHistory, requests: Requests | None) -> str:
    """Describe how far the run is, and the requests that are not in effect yet."""
    reached, _ = history.progress()
    step = f"step {reached:,}" if reached or history.latest else ""
    if run.status == "queued":
        return "next in the queue" if run.queue_position == 1 else f"place {run.queue_position} in the queue"
    if run.status == "failed":
        return capitalize(without_places(run.problem))
    if run.status == "interrupted" and not run.folder.has_state:
        return " · ".join(filter(None, (step, "its process ended before anything was saved; Resume begins it anew")))
    if run.status == "interrupted":
        return f"{step} · its process ended without a word; Resume continues from what was saved last".removeprefix(
            " · "
        )
    if run.status == "starting":
        return f"the trainer is loading{', and stops then' if requests and requests.control.stop else ''}"
    if run.status == "stopped" and not run.folder.has_state:
        return "stopped before anything was saved; Resume begins it anew"
    if run.status in ("completed", "stopped"):
        return f"{step} · after {format_duration(run.elapsed_seconds)}".removeprefix(" · ")
    if run.status == "measuring":
        return " · ".join(filter(None, (step, "saved; its model is being measured")))
    waits = "waits until it is continued" if run.status == "paused" else ""
    return " · ".join(
        filter(None, (step or "reading the text", waits, *(_pending_requests(requests) if requests else ())))
    )


def _pending_requests(requests: Requests) -> list[str]:
    """Return the requests that are not in effect yet, in words."""
    control, answer = requests
    if control.stop:
        return ["stops as soon as this step is done"]
    pending = [
        (control.pause and not answer.is_paused, "pausing"),
        (not control.pause and answer.is_paused, "continuing"),
        (control.save > answer.done, "saving"),
        ((control.rate_factor or 1.0) != answer.rate_factor, "changing the learning rate"),
    ]
    return [words for is_pending, words in pending if is_pending]


def _figures(run: RunSummary, history: RunHistory) -> list[list[str]]:
    progress, loss = history.latest, history.val_loss
    left = history.time_left() if run.status in _IN_PROGRESS else None
    rate = f"{progress.chars_per_second:,.0f}" if progress and progress.step else "–"
    bits = f"nats per character ({loss / math.log(2):.2f} bits)" if loss is not None else "nats per character"
    return [
        ["best validation", f"{loss:.3f}" if loss is not None else "–", bits],
        ["speed", rate, "characters per second"],
        ["time left", format_duration(left) if left is not None else "–", _elapsed_text(progress)],
        ["passes", f"{progress.num_passes:.2f}" if progress else "–", "over the training text"],
    ]


def _elapsed_text(progress: Progress | None) -> str:
    return f"{format_duration(progress.elapsed_seconds)} gone" if progress else "not begun"


def _facts(history: RunHistory) -> str:
    """Describe the run's data: characters, distinct ones and parameters, and what was done to the text."""
    started = history.started
    if started is None:
        return ""
    facts = (
        f"Learning from {started.num_train_chars:,} characters, validated on {started.num_val_chars:,}, "
        f"{started.num_distinct:,} distinct; {started.num_parameters:,} parameters."
    )
    return " ".join((facts, *started.notes))


def header_status(active: RunSummary | None, history: RunHistory | None) -> dict[str, Any]:
    """Return the status line above the tabs: idle, or the run in progress and how far it is."""
    if active is None:
        return {"run": None, "status": "idle", "sign": "○", "text": "idle"}
    sign, word = STATE_WORDS[active.status]
    parts = [f"{word} {active.label}"]
    progress = history.latest if history else None
    if progress:
        parts.append(f"step {progress.step:,}")
    if history and history.val_loss is not None:
        parts.append(f"validation {history.val_loss:.2f}")
    if history and active.status in _IN_PROGRESS and (left := history.time_left()) is not None:
        parts.append(f"{format_duration(left)} left")
    return {"run": active.name, "status": active.status, "sign": sign, "text": " · ".join(parts)}


def table_row(run: RunSummary, is_bundled: bool) -> dict[str, Any]:
    """Return the run's row in the table of runs."""
    sign, word = STATE_WORDS[run.status]
    place = f", place {run.queue_position}" if run.status == "queued" else ""
    state = "comes with the app" if is_bundled else f"{sign} {word}{place}"
    loss = f"{run.val_loss:.3f}" if run.val_loss is not None else "–"
    minutes = f"{run.elapsed_seconds / 60:.1f}"
    return {
        "id": run.name,
        "label": run.label,
        "status": run.status,
        "cells": [run.corpus, run.size.replace("x", "×"), minutes, loss, state],
        "curve": _small_curve(run.sparkline),
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
    """Return the baselines of the loss, with their names."""
    found = history.references
    if found is None:
        return []
    lines = (("guessing", found.uniform), ("letter frequencies", found.frequencies), ("5-gram", found.fivegram))
    return [{"name": f"{name} {value:.2f}", "value": value} for name, value in lines if value is not None]


def chart_marks(history: RunHistory) -> list[dict[str, Any]]:
    """Return the marks of events during the run."""
    return [{"kind": mark.kind, "step": mark.step, "text": mark.text} for mark in history.marks()]


def chart_lines(history: RunHistory, begin_step: int | None = None, end_step: int | None = None) -> Lines:
    """Return the curves of the shown run, or of a part of it."""
    losses = _lines(history.series(_LOSS_POINTS, begin_step, end_step), LOSSES)
    return losses | _lines(history.series(_OTHER_POINTS, begin_step, end_step), OTHERS)


def overlaid_chart_lines(history: RunHistory) -> Lines:
    """Return the two curves of a run that is compared with the shown one."""
    return _lines(history.series(_OVERLAID_POINTS), OVERLAID)


def _lines(curves: Mapping[str, Curve], names: Sequence[str]) -> Lines:
    return {name: (curves[name].steps, curves[name].values) for name in names}


def step_to_time(history: RunHistory) -> list[list[float]]:
    """Return rows of [step, passes, minutes], ascending in step, to convert between the axes."""
    curve = history.series(_CLOCK_POINTS)["chars_per_second"]
    return [[0, 0, 0], *(list(each) for each in zip(curve.steps, curve.passes, curve.minutes, strict=True) if each[0])]


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
