"""Sentences about a run: how far it is, what is prepared and what was reached. Uses neither Gradio nor torch."""

import math
from typing import NamedTuple

from charlstm.formatting import capitalize, format_duration, without_places
from charlstm.runs.control import Control, WorkerStatus
from charlstm.runs.history import RunHistory
from charlstm.runs.manager import RunSummary

_RISEN = 0.02  # nats per character above the best: learned by heart
BEING_MEASURED = "its model is being measured"
_TOO_SOON = 2  # seconds: not worth a number
_ENDED = ("measuring", "completed", "stopped")
_STAGES = {  # of a worker, in the order it goes through them
    "compiling": "compiling the kernel for this processor",
    "reading": "reading the text",
    "choosing": "choosing size and rates for this machine",
    "building": "building the network",
}


class Requests(NamedTuple):
    """Requests to a run, and its worker's answer to them."""

    control: Control = Control()
    answer: WorkerStatus = WorkerStatus()


class Waiting(NamedTuple):
    """The run that a queued one waits for, and the seconds until its planned end, if they are known."""

    label: str
    seconds: float | None


def status_text(run: RunSummary, history: RunHistory, requests: Requests | None, waiting: Waiting | None) -> str:
    """Describe how far the run is, and the requests that are not in effect yet."""
    reached, seconds = history.progress()
    step = f"step {reached:,}" if reached or history.latest else ""
    if run.status == "queued":
        return _queue_text(run, waiting)
    if run.status == "failed":
        return capitalize(without_places(run.problem))
    if run.status == "interrupted":
        return _interrupted_text(reached, run, history)
    if run.status == "starting":
        return f"preparing{', and stops then' if requests and requests.control.stop else ''}"
    if run.status == "stopped" and not run.folder.has_state:
        return "stopped before anything was saved; Resume begins it anew"
    if run.status in _ENDED:
        took = f"took {format_duration(seconds)}" if step else ""
        measured = BEING_MEASURED if run.status == "measuring" else ""
        return " · ".join(filter(None, (took, step, measured)))
    if requests:
        return " · ".join((step or "preparing", *_pending_requests(requests)))
    return step or "preparing"


def _queue_text(run: RunSummary, waiting: Waiting | None) -> str:
    if run.queue_position > 1:
        return f"place {run.queue_position} in the queue"
    if waiting is None:
        return "starts in a moment"
    about = f", in about {_round(waiting.seconds)}" if waiting.seconds and waiting.seconds > _TOO_SOON else ""
    return f"starts when {waiting.label} is done{about}"


def _round(seconds: float) -> str:
    """Format a guess of a duration, which is no better than to ten seconds, or to a minute."""
    unit = 60 if seconds > 300 else 10 if seconds > 15 else 1
    return format_duration(max(1, round(seconds / unit)) * unit)


def _interrupted_text(reached: int, run: RunSummary, history: RunHistory) -> str:
    cut = f"was cut off at step {reached:,}" if reached else "was cut off"
    if not run.folder.has_state:
        return f"{cut} before anything was saved; Resume begins it anew"
    saved = history.saved_step
    return f"{cut}; Resume goes on from {f'step {saved:,}' if saved is not None else 'what was saved last'}"


def _pending_requests(requests: Requests) -> list[str]:
    """Return the requests that are not in effect yet, in words."""
    control, answer = requests
    if control.stop:
        return ["stopping"]
    pending = [
        (control.pause and not answer.is_paused, "pausing"),
        (not control.pause and answer.is_paused, "continuing"),
        (control.save > answer.done, "saving"),
        ((control.rate_factor or 1.0) != answer.rate_factor, "changing the learning rate"),
    ]
    return [words for is_pending, words in pending if is_pending]


def preparation(run: RunSummary, history: RunHistory, answer: WorkerStatus) -> list[dict[str, str]]:
    """Return what happens before the first step, as a list that ticks; empty once the run has begun to learn."""
    is_learning = bool(history.latest and history.latest.step) or history.num_samples > 1 or answer.stage == "training"
    if run.status not in ("starting", "running") or is_learning:
        return []
    started, validated = history.started, history.last_validation
    names = [name for name in _STAGES if name in answer.stages or name == "reading"]
    is_built = started is not None or answer.stage == "writing"
    at = names.index(answer.stage) if answer.stage in names else len(names) if is_built else -1
    read = f"{started.num_chars:,} characters" if started else ""
    items = [("starting the trainer", run.status == "running", "")]
    items += [(_STAGES[name], place < at, read if name == "reading" else "") for place, name in enumerate(names)]
    who = "the model it begins with" if run.parent else "the untrained model"
    items.append((f"{who} writes", history.num_samples > 0, ""))
    loss = f"{validated.val_loss:.2f} nats per character" if validated else ""
    items.append((f"{who} is measured", validated is not None, loss))
    rows = [{"text": text, "state": "done" if is_done else "next", "detail": detail} for text, is_done, detail in items]
    current = next((row for row in rows if row["state"] == "next"), None)
    if current is not None:
        current["state"] = "now"
    return rows


def summary(run: RunSummary, history: RunHistory) -> str:
    """Return what the run has reached at its end, in one sentence of measured facts; empty before."""
    loss, size = history.val_loss, history.vocabulary_size
    if run.status not in _ENDED or loss is None or size is None or not (history.best and history.best.step):
        return ""
    perplexity = math.exp(loss)
    about = f"{perplexity:.1f}" if perplexity < 2 else f"{perplexity:.0f}"
    _, seconds = history.progress()
    reached = f"from {size:,} equally likely letters to about {about}"
    if run.parent:
        reached = f"as if choosing among about {about} letters"
    parts = [f"In {format_duration(seconds)}: {reached} (perplexity {perplexity:.1f})"]
    if history.references and loss < history.references.fivegram:
        parts.append("better than a 5-gram")
    if words := history.words():
        parts.append(f"{_tenths(words.percent)} real")
    return "; ".join(parts) + "."


def _tenths(percent: int) -> str:
    tenths = percent // 10
    if tenths == 1:
        return "1 of 10 words is"
    return "few words are" if tenths == 0 else "all words are" if tenths == 10 else f"{tenths} of 10 words are"


def warning(run: RunSummary, history: RunHistory) -> str:
    """Return what a visitor should know before writing with the run's model, in one sentence; mostly empty."""
    best, last = history.best, history.last_validation
    if best is None or last is None or last.step == 0:
        return ""
    if best.step == 0:
        who = "the model it began with" if run.parent else "the untrained model"
        return (
            f"Nothing it learned helps with the text kept for testing: validation went from {best.val_loss:.2f} to "
            f"{last.val_loss:.2f}, so {who} is the one that is kept; give it more text."
        )
    if last.val_loss > best.val_loss + _RISEN:
        return (
            f"It began to learn its text by heart: validation was best at step {best.step:,} ({best.val_loss:.2f}) and "
            f"rose to {last.val_loss:.2f}; the model of step {best.step:,} is kept."
        )
    return ""
