"""A run's history, read incrementally from its growing log of records.

`RunHistory` keeps what a page draws, in little memory however long the run is, and returns curves of a bounded number
of points. Imports no torch.
"""

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from charlstm.events import (
    Baselines,
    Evaluated,
    Extended,
    Failed,
    Finished,
    LearningRateChanged,
    Paused,
    Progress,
    Record,
    Resumed,
    RolledBack,
    Sampled,
    Saved,
    Started,
)
from charlstm.formatting import format_duration
from charlstm.runs.event_log import EventTail
from charlstm.runs.run_dir import RunDir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TELLING_FRACTION = 0.01  # of the planned run
_MARKS = 50  # of each sort, at most
_DRAWN = (
    "train_loss",
    "smooth_loss",
    "learning_rate",
    "grad_norm",
    "chars_per_second",
    "elapsed_seconds",
)
CURVES = {
    "training": "train_loss",
    "smoothed": "smooth_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "chars_per_second": "chars_per_second",
}


class Curve(NamedTuple):
    """The points of one curve, on three horizontal scales."""

    steps: list[int]
    passes: list[float]
    minutes: list[float]
    values: list[float]


class Mark(NamedTuple):
    """An event and its place on the curve."""

    kind: str
    step: int
    passes: float
    minutes: float
    text: str


class Sample(NamedTuple):
    """A text sampled from the model at one step, with the losses at that step."""

    step: int
    passes: float
    minutes: float
    text: str
    temperature: float
    seed: int
    val_loss: float | None  # of the last validation up to this step
    train_loss: float | None  # smoothed


class _Points:
    """Columns of numbers by increasing step."""

    def __init__(self, *names: str) -> None:
        self.steps = array("q")
        self.columns = {name: array("d") for name in names}

    def append(self, step: int, *values: float) -> None:
        self.steps.append(step)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def cut(self, step: int) -> None:
        """Drop the points after `step`."""
        place = bisect_right(self.steps, step)
        del self.steps[place:]
        for column in self.columns.values():
            del column[place:]

    def at(self, step: int, name: str) -> float | None:
        """Return the last value up to `step`, or `None`."""
        place = bisect_right(self.steps, step)
        return self.columns[name][place - 1] if place else None

    def between(self, begin: int | None, end: int | None) -> slice:
        first = bisect_left(self.steps, begin) if begin is not None else 0
        return slice(first, bisect_right(self.steps, end) if end is not None else len(self.steps))


class RunHistory:
    """A run's curves, marks and samples."""

    def __init__(self, folder: RunDir) -> None:
        self.folder = folder
        self.version = 0  # grows with every change
        self._tail = EventTail(folder.events_file)
        self._clear()

    def _clear(self) -> None:
        self._points, self._validations = _Points(*_DRAWN), _Points("val_loss", "elapsed_seconds")
        self._samples = _Points("offset")
        self._marks: list[Record] = []
        self._passes_per_step = 0.0
        self.started: Started | None = None
        self.latest: Progress | None = None
        self.last_validation: Evaluated | None = None
        self.best: Evaluated | None = None
        self.references: Baselines | None = None
        self.finished: Finished | None = None
        self.failed: Failed | None = None

    def poll(self) -> bool:
        """Read new records and return whether there were any."""
        before = self.version
        if self._tail.was_rewritten():
            self._clear()
        for offset, record in self._tail.read_new():
            self.version += 1
            self._add(record, offset)
        return self.version != before

    def _add(self, record: Record, offset: int) -> None:
        if isinstance(record, Started):
            references = self.references
            self._clear()
            self.started, self.references = record, references
        elif isinstance(record, Progress):
            self._points.append(record.step, *(getattr(record, name) for name in _DRAWN))
            self.latest = record
            self._passes_per_step = record.num_passes / record.step if record.step else self._passes_per_step
        elif isinstance(record, Evaluated):
            self._validations.append(record.step, record.val_loss, record.elapsed_seconds)
            self.last_validation = record
            if self.best is None or record.val_loss < self.best.val_loss:
                self.best = record
        elif isinstance(record, Sampled):
            self._samples.append(record.step, offset)
        elif isinstance(record, Baselines):
            self.references = record
        elif isinstance(record, Finished):
            self.finished = record
        elif isinstance(record, Failed):
            self.failed = record
        else:
            if isinstance(record, Resumed | RolledBack):
                self._roll_back(record.step)
            self._marks.append(record)

    def _roll_back(self, step: int) -> None:
        """Discard everything after `step`."""
        self.finished = self.failed = None
        for points in (self._points, self._validations, self._samples):
            points.cut(step)
        self._marks = [mark for mark in self._marks if mark.step <= step]
        if self.latest and self.latest.step > step:
            self.latest = None
        if self.last_validation and self.last_validation.step > step:
            self.last_validation = None
        if self.best and self.best.step > step:
            self.best = self._best_validation()

    @property
    def val_loss(self) -> float | None:
        """Validation loss in nats per character: the final exact figure, or until then the best quick estimate."""
        if self.finished and self.finished.val_stateful is not None:
            return self.finished.val_stateful
        return self.best.val_loss if self.best else None

    def _best_validation(self) -> Evaluated | None:
        losses = self._validations.columns["val_loss"]
        if not losses:
            return None
        place = min(range(len(losses)), key=losses.__getitem__)
        return Evaluated(
            step=self._validations.steps[place],
            val_loss=losses[place],
            method="",
            is_best=True,
            elapsed_seconds=self._validations.columns["elapsed_seconds"][place],
        )

    def series(
        self, max_points: int = 200, begin_step: int | None = None, end_step: int | None = None
    ) -> dict[str, Curve]:
        """Return each curve by name, between two steps, with at most `max_points` points, spikes kept."""
        part = self._points.between(begin_step, end_step)
        curves = {name: self._curve(self._points, column, part, max_points) for name, column in CURVES.items()}
        part = self._validations.between(begin_step, end_step)
        return {**curves, "validation": self._curve(self._validations, "val_loss", part, max_points)}

    def _curve(self, points: _Points, column: str, part: slice, max_points: int) -> Curve:
        import numpy as np

        values = np.array(points.columns[column][part])
        kept = [part.start + place for place in downsample(values, max_points).tolist()]
        steps = [points.steps[place] for place in kept]
        return Curve(
            steps,
            [_short(self._passes(step)) for step in steps],
            [_short(points.columns["elapsed_seconds"][place] / 60) for place in kept],
            [_short(points.columns[column][place]) for place in kept],
        )

    def sparkline(self, num_points: int = 24) -> tuple[float, ...]:
        """Return the smoothed loss at up to `num_points` evenly spaced points, few enough to list all runs at once."""
        losses = self._points.columns["smooth_loss"]
        last = min(num_points, len(losses)) - 1
        return tuple(losses[place * (len(losses) - 1) // max(1, last)] for place in range(last + 1))

    def _passes(self, step: int) -> float:
        """Return the passes over the text after `step` steps, which are all equally long."""
        return step * self._passes_per_step

    def time_left(self) -> float | None:
        """Return the seconds left to the planned end at the current part's pace, or `None` while that is a guess."""
        if self.latest is None or self.latest.fraction < _TELLING_FRACTION:
            return None
        parts = [mark.elapsed_seconds for mark in self._marks if isinstance(mark, Extended)]
        spent = self.latest.elapsed_seconds - (parts[-1] if parts else 0.0)
        return spent * (1 - self.latest.fraction) / self.latest.fraction

    def marks(self) -> list[Mark]:
        """Return the marks by step: the latest saves, the latest other events and the best validation."""
        saves = [record for record in self._marks if isinstance(record, Saved)][-_MARKS:]
        rest = [record for record in self._marks if not isinstance(record, Saved)][-_MARKS:]
        records: list[Record] = [*saves, *rest, *([self.best] if self.best else [])]
        return [self._mark(record) for record in sorted(records, key=lambda record: record.step)]

    def _mark(self, record: Record) -> Mark:
        kind, text = describe_event(record)
        seconds = getattr(record, "elapsed_seconds", None) or self._points.at(record.step, "elapsed_seconds") or 0.0
        return Mark(kind, record.step, _short(self._passes(record.step)), _short(seconds / 60), text)

    def progress(self) -> tuple[int, float]:
        """Return the step of the last record and the seconds of training until then."""
        known = [record for record in (self.latest, self.last_validation, self.finished, *self._marks[-1:]) if record]
        latest = max(known, key=lambda record: record.step, default=None)
        return (latest.step, getattr(latest, "elapsed_seconds", 0.0)) if latest else (0, 0.0)

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return len(self._samples.steps)

    def sample(self, index: int) -> Sample | None:
        """Read the sample at `index` from disk (-1: the latest), so that memory holds none; `None` if there is none."""
        if not -self.num_samples <= index < self.num_samples:
            return None
        record = self._tail.at(int(self._samples.columns["offset"][index]))
        if not isinstance(record, Sampled):
            return None
        step = record.step
        seconds = self._validations.at(step, "elapsed_seconds"), self._points.at(step, "elapsed_seconds")
        return Sample(
            step=step,
            passes=_short(self._passes(step)),
            minutes=_short(max((each for each in seconds if each is not None), default=0.0) / 60),
            text=record.text,
            temperature=record.temperature,
            seed=record.seed,
            val_loss=self._validations.at(step, "val_loss"),
            train_loss=self._points.at(step, "smooth_loss"),
        )


def describe_event(record: Record) -> tuple[str, str]:
    """Return the kind of a record's mark and its short description."""
    if isinstance(record, LearningRateChanged):
        return "rate", f"learning rate × {record.rate_factor:g}, now {record.learning_rate:.2g}"
    if isinstance(record, Evaluated):
        return "best", f"best validation, {record.val_loss:.4f} nats per character"
    if isinstance(record, RolledBack):
        return "rewound", f"the loss was no number at step {record.diverged_step:,}: on at half the learning rate"
    if isinstance(record, Extended):
        return "extended", record.note
    if isinstance(record, Saved):
        return "saved", "saved" if record.cause == "timer" else f"saved ({record.cause})"
    if isinstance(record, Paused):
        return "paused", "paused"
    paused_seconds = getattr(record, "paused_seconds", None)
    return record.kind, record.kind if paused_seconds is None else f"continued after {format_duration(paused_seconds)}"


def downsample(values: "NDArray[np.float64]", max_points: int) -> "NDArray[np.int64]":
    """Return indices of at most `max_points` (4 or more) of `values` (N,): minimum and maximum per 2^k, and the last.

    Deterministic; appending values changes no index until k grows. NaN and infinite values are left out.
    """
    import numpy as np  # not needed for a list of runs

    num, stride = len(values), 1
    if num <= max_points:
        return np.flatnonzero(np.isfinite(values))
    while 2 * -(-num // stride) + 1 > max_points:
        stride *= 2
    padded = np.full(-(-num // stride) * stride, np.nan)
    padded[:num] = np.where(np.isfinite(values), values, np.nan)
    buckets = padded.reshape(-1, stride)
    begins = np.arange(0, len(padded), stride)
    least = begins + np.argmin(np.where(np.isnan(buckets), np.inf, buckets), axis=1)
    greatest = begins + np.argmax(np.where(np.isnan(buckets), -np.inf, buckets), axis=1)
    kept: NDArray[np.int64] = np.unique(np.concatenate([least, greatest, np.array([num - 1])]))
    return np.asarray(kept[np.isfinite(padded[kept])], np.int64)


def _short(number: float) -> float:
    """Round to five digits, more than a screen shows, to keep the page's periodic updates small."""
    return float(f"{number:.5g}")
