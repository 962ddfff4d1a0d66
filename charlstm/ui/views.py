"""What a run looks like: records in, numbers, words and rows out. Knows neither Gradio nor torch.

Text that a person or a model wrote goes into HTML through `plain` only.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from charlstm.events import Evaluated, Failed, Finished, Progress, Record, Sampled, Started
from charlstm.runs.store import Status
from charlstm.wording import duration

MAX_POINTS = 240  # of one curve: two curves and the validations stay below 20 kB
CURVES = ("training", "smoothed", "validation")
STATE_WORDS: dict[Status, tuple[str, str]] = {  # a sign and a word, so that colour is never alone
    "queued": ("◌", "waiting"),
    "starting": ("◌", "starting"),
    "running": ("●", "training"),
    "paused": ("‖", "paused"),
    "stopping": ("◐", "stopping"),
    "completed": ("✓", "completed"),
    "stopped": ("■", "stopped"),
    "failed": ("✕", "failed"),
    "interrupted": ("✕", "interrupted"),
}


def plain(text: str) -> str:
    """`text` as HTML that shows exactly it: neither tags nor the `${...}` and `{{...}}` of templates act."""
    escaped = html.escape(text)
    return escaped.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;").replace("`", "&#96;")


def capitalised(text: str) -> str:
    """`text` with its first letter large."""
    return text[:1].upper() + text[1:]


def sentence(error: Exception) -> str:
    """An error's message as a sentence of the page; a name it begins with keeps its letters."""
    message = str(error)
    return capitalised(message) if message.split(" ", 1)[0].isalpha() else message


def latest(records: Sequence[Record], kind: type[Any]) -> Any:
    """The last record of class `kind`, or `None`."""
    return next((record for record in reversed(records) if isinstance(record, kind)), None)


def best_validation(records: Sequence[Record]) -> float | None:
    """The lowest validation loss so far, in nats per character."""
    return min((record.val_loss for record in records if isinstance(record, Evaluated)), default=None)


def curve_rows(records: Sequence[Record]) -> list[list[Any]]:
    """Rows (step, loss, curve) of the loss curve; at most `MAX_POINTS` points a curve.

    Thinned by a power of two, so that a point once drawn stays until the next doubling; the last is always there.
    """
    points = thinned([record for record in records if isinstance(record, Progress)])
    validations = thinned([record for record in records if isinstance(record, Evaluated)])
    rows: list[list[Any]] = [[point.step, round(point.train_loss, 4), "training"] for point in points]
    rows += [[point.step, round(point.smooth_loss, 4), "smoothed"] for point in points]
    rows += [[point.step, round(point.val_loss, 4), "validation"] for point in validations]
    drawn = {row[2] for row in rows}
    return rows + [[None, None, curve] for curve in CURVES if curve not in drawn]  # every series in the first frame


def thinned(points: list[Any]) -> list[Any]:
    """At most about `MAX_POINTS` of `points`: every 2^k-th, and the last."""
    stride = 1
    while len(points) > stride * MAX_POINTS:
        stride *= 2
    kept = points[::stride]
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def state_html(name: str, status: Status, records: Sequence[Record]) -> str:
    """The run's state in a line, how far it is, and its four numbers."""
    sign, word = STATE_WORDS[status]
    progress = latest(records, Progress)
    said = f"<b>{plain(name)}</b> {_story(status, records)}"
    fraction = 1.0 if status == "completed" else (progress.fraction if progress else 0.0)
    return (
        f'<div class="run-state is-{status}"><span class="badge"><span aria-hidden="true">{sign}</span> {word}</span>'
        f"<span>{said}</span></div>"
        f'<progress class="share" max="1" value="{fraction:.4f}" aria-label="share of the planned run"></progress>'
        f'<dl class="figures">{_figures(status, records)}</dl>'
    )


def _story(status: Status, records: Sequence[Record]) -> str:
    progress = latest(records, Progress)
    step = f"step {progress.step:,}" if progress else ""
    if status == "failed":
        failed = latest(records, Failed)
        return plain(failed.message) if failed else ""
    if status == "interrupted":
        return f"{step} · its process ended without a word; <i>Resume</i> continues it"
    if status == "starting":
        return "the trainer is loading"
    finished = latest(records, Finished)
    if status in ("completed", "stopped") and finished:
        return f"step {finished.step:,} · after {duration(finished.elapsed_seconds)}"
    return step or "reading the text"


def _figures(status: Status, records: Sequence[Record]) -> str:
    progress, loss = latest(records, Progress), best_validation(records)
    finished = latest(records, Finished)
    if status == "completed" and finished and finished.val_stateful is not None:
        loss = finished.val_stateful
    is_active = status in ("running", "stopping")
    left = time_left(progress) if is_active and progress else None
    rates = [record.chars_per_second for record in records if isinstance(record, Progress)][-5:]
    cells = (
        ("best validation", f"{loss:.3f}" if loss is not None else "–", _bits(loss)),
        ("speed", f"{sum(rates) / len(rates):,.0f}" if rates and progress.step else "–", "characters per second"),
        ("time left", duration(left) if left is not None else "–", _of_time(progress)),
        ("passes", f"{progress.num_passes:.2f}" if progress else "–", "over the training text"),
    )
    return "".join(f"<div><dt>{name}</dt><dd>{value}<small>{unit}</small></dd></div>" for name, value, unit in cells)


def _bits(loss: float | None) -> str:
    return f"nats per character ({loss / math.log(2):.2f} bits)" if loss is not None else "nats per character"


def _of_time(progress: Progress | None) -> str:
    return f"{duration(progress.elapsed_seconds)} gone" if progress else "not begun"


def time_left(progress: Progress) -> float | None:
    """Seconds to the planned end at the pace so far; `None` while that is guesswork."""
    if progress.fraction < 0.01:
        return None
    return progress.elapsed_seconds * (1 - progress.fraction) / progress.fraction


def house_html(active: tuple[str, Status, Sequence[Record]] | None) -> str:
    """The slim line on top: idle, or what is being trained and how far it is."""
    if active is None:
        return '<span class="house is-idle"><span aria-hidden="true">○</span> idle</span>'
    name, status, records = active
    sign, word = STATE_WORDS[status]
    progress, loss = latest(records, Progress), best_validation(records)
    parts = [f"{word} <b>{plain(name)}</b>"]
    if progress:
        parts.append(f"step {progress.step:,}")
    if loss is not None:
        parts.append(f"validation {loss:.2f}")
    if progress and (left := time_left(progress)) is not None:
        parts.append(f"{duration(left)} left")
    return f'<span class="house is-{status}"><span aria-hidden="true">{sign}</span> {" · ".join(parts)}</span>'


def legend_html(colors: Mapping[str, str]) -> str:
    """Which line is which; a plot's own legend is cut off on a narrow page."""
    return (
        '<div class="legend">'
        + "".join(f'<span><i style="background:{color}"></i>{name}</span>' for name, color in colors.items())
        + "</div>"
    )


def sample_of(records: Sequence[Record]) -> tuple[str, str]:
    """The latest sample and where it comes from."""
    sample = latest(records, Sampled)
    if sample is None:
        return "", ""
    return sample.text, f"Sample of step {sample.step:,}, temperature {sample.temperature:g}, seed {sample.seed}."


def text_facts(records: Sequence[Record]) -> str:
    """What the run learns from: "data has N characters, M unique"."""
    started = latest(records, Started)
    if started is None:
        return ""
    return (
        f"Learning from {started.num_train_chars:,} characters, validated on {started.num_val_chars:,}, "
        f"{started.num_distinct:,} distinct; {started.num_parameters:,} parameters."
    )
