"""A run's history, read incrementally from its growing log of records.

`RunHistory` keeps what a page draws, in little memory however long the run is, and returns curves of a bounded number
of points. Imports no torch.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

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
from charlstm.runs.learning_phases import WordShare, find_phases, pool_words
from charlstm.runs.points import Curve, Points, downsample
from charlstm.runs.points import round_digits as _short
from charlstm.runs.run_dir import RunDir

TELLING_FRACTION = 0.01  # of the planned run
_SPEEDS = 1000  # points, at most, that a typical speed is taken from
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


class Mark(NamedTuple):
    """An event and its place on the curve."""

    kind: str
    step: int
    text: str


class Sample(NamedTuple):
    """A text sampled from the model at one step, with the losses at that step."""

    step: int
    passes: float
    seconds: float
    text: str
    temperature: float
    seed: int
    val_loss: float | None  # of the last validation up to this step
    is_quick: bool  # an estimate from a part of the text, see `Validation`
    train_loss: float | None  # smoothed
    prompt_chars: int  # at the beginning of the text
    words: WordShare | None  # of this sample and the ones before it


class Validation(NamedTuple):
    """A point of the validation curve."""

    step: int
    loss: float
    is_quick: bool  # an estimate from a part of the text


class RunHistory:
    """A run's curves, marks and samples.

    The validation curve holds the full validations and, between them, the quick estimates that come with the samples:
    each of those is shifted by what the estimate was off at the latest full validation before it.
    """

    def __init__(self, folder: RunDir) -> None:
        self.folder = folder
        self.version = 0  # grows with every change
        self._tail = EventTail(folder.events_file)
        self._clear()

    def _clear(self) -> None:
        self._points = Points(*_DRAWN)
        self._validations = Points("val_loss", "elapsed_seconds", "shift")  # the full ones alone
        self._validation_curve = Points("val_loss", "elapsed_seconds", "is_quick")
        self._samples = Points("offset", "elapsed_seconds", "num_words", "num_real_words")
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
            self._add_validation(record)
            if self.best is None or record.val_loss < self.best.val_loss:
                self.best = record
        elif isinstance(record, Sampled):
            self._add_sample(record, offset)
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

    def _add_validation(self, record: Evaluated) -> None:
        self.last_validation = record
        shift = self._shift if record.quick_loss is None else record.val_loss - record.quick_loss
        self._validations.append(record.step, record.val_loss, record.elapsed_seconds, shift)
        self._validation_curve.put(record.step, record.val_loss, record.elapsed_seconds, False)

    def _add_sample(self, record: Sampled, offset: int) -> None:
        seconds = record.elapsed_seconds or self._points.at(record.step, "elapsed_seconds") or 0.0
        self._samples.append(record.step, offset, seconds, record.num_words, record.num_real_words)
        if record.quick_loss is not None and not self._is_validated(record.step):
            self._validation_curve.put(record.step, record.quick_loss + self._shift, seconds, True)

    def _is_validated(self, step: int) -> bool:
        """Return whether there is a full validation of this step."""
        return bool(self._validations.steps) and self._validations.steps[-1] == step

    @property
    def _shift(self) -> float:
        return self._validations.last("shift") or 0.0

    def _roll_back(self, step: int) -> None:
        """Discard everything after `step`."""
        self.finished = self.failed = None
        for points in (self._points, self._validations, self._validation_curve, self._samples):
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
        """Validation loss in nats per character: the final exact figure, or until then the best full validation.

        Before the first full validation beyond step 0, the latest quick estimate.
        """
        if self.finished and self.finished.val_stateful is not None:
            return self.finished.val_stateful
        latest = self.latest_validation
        if latest and latest.is_quick and not any(self._validations.steps[-1:]):
            return latest.loss
        return self.best.val_loss if self.best else None

    @property
    def latest_validation(self) -> Validation | None:
        """The last point of the validation curve."""
        curve = self._validation_curve
        if not curve.steps:
            return None
        return Validation(curve.steps[-1], curve.columns["val_loss"][-1], bool(curve.columns["is_quick"][-1]))

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
        self,
        max_points: int = 200,
        begin_step: int | None = None,
        end_step: int | None = None,
        names: Iterable[str] = (*CURVES, "validation"),
    ) -> dict[str, Curve]:
        """Return curves by name, between two steps, with at most `max_points` points, spikes kept."""
        curves = {}
        for name in names:
            is_validation = name == "validation"
            points = self._validation_curve if is_validation else self._points
            column = points.columns["val_loss" if is_validation else CURVES[name]]
            part = points.between(begin_step, end_step)
            kept = [part.start + place for place in downsample(column[part], max_points).tolist()]
            curves[name] = Curve([points.steps[place] for place in kept], [_short(column[place]) for place in kept])
        return curves

    def clock(self, max_points: int) -> list[tuple[int, float, float]]:
        """Return step, passes over the text and minutes of training at up to `max_points` points, ascending."""
        steps, seconds = self._points.steps, self._points.columns["elapsed_seconds"]
        places = downsample(seconds[:], max_points).tolist()
        return [(steps[each], _short(self._passes(steps[each])), _short(seconds[each] / 60)) for each in places]

    def sparkline(self, num_points: int = 24) -> tuple[float, ...]:
        """Return the smoothed loss at up to `num_points` evenly spaced points, few enough to list all runs at once."""
        losses = self._points.columns["smooth_loss"]
        last = min(num_points, len(losses)) - 1
        return tuple(losses[place * (len(losses) - 1) // max(1, last)] for place in range(last + 1))

    def _passes(self, step: int) -> float:
        """Return the passes over the text after `step` steps, which are all equally long."""
        return step * self._passes_per_step

    @property
    def last_extension(self) -> Extended | None:
        """The last extension of the run, if it was extended."""
        return next((mark for mark in reversed(self._marks) if isinstance(mark, Extended)), None)

    @property
    def saved_step(self) -> int | None:
        """The step of the last save."""
        return next((mark.step for mark in reversed(self._marks) if isinstance(mark, Saved)), None)

    @property
    def started_at(self) -> float:
        """The time at which the run began, in seconds since 1970; 0 if that is unknown."""
        try:
            return datetime.fromisoformat(self.started.started_at).timestamp() if self.started else 0.0
        except (ValueError, OverflowError, OSError):
            return 0.0

    @property
    def is_planned(self) -> bool:
        """Whether the run's size and rates were chosen for it when it began."""
        return self.started is not None and any(note.startswith("Planned for ") for note in self.started.notes)

    @property
    def vocabulary_size(self) -> int | None:
        """The number of tokens that the model chooses among, as far as the records tell it."""
        if self.references is not None:
            return round(math.exp(self.references.uniform))
        return self.started.num_distinct if self.started else None

    def time_left(self) -> float | None:
        """Return the seconds left to the planned end at the current part's pace, or `None` while that is a guess."""
        if self.latest is None or self.latest.fraction < TELLING_FRACTION:
            return None
        extension = self.last_extension
        spent = self.latest.elapsed_seconds - (extension.elapsed_seconds if extension else 0.0)
        return spent * (1 - self.latest.fraction) / self.latest.fraction

    def typical_speed(self) -> float | None:
        """Return the median speed in characters per second, or `None` before the first point beyond step 0."""
        speeds = self._points.columns["chars_per_second"]
        stride = max(1, len(speeds) // _SPEEDS)
        known = sorted(speed for speed in speeds[1::stride] if math.isfinite(speed))
        return known[len(known) // 2] if known else None

    def marks(self) -> list[Mark]:
        """Return the marks by step: the latest saves, the latest other events, the best validation and the phases."""
        saves = [record for record in self._marks if isinstance(record, Saved)][-_MARKS:]
        rest = [record for record in self._marks if not isinstance(record, Saved)][-_MARKS:]
        records: list[Record] = [*saves, *rest, *([self.best] if self.best else [])]
        marks = [*(_mark(record) for record in records), *self.phases()]
        return sorted(marks, key=lambda mark: mark.step)

    def phases(self) -> list[Mark]:
        """Return the marks of the run's phases, see `phases`."""
        curve, samples = self._validation_curve, self._samples
        losses = list(zip(curve.steps, curve.columns["val_loss"], strict=True))
        words = [
            (step, each.share)
            for index, step in enumerate(samples.steps)
            if (each := self.words(index - len(samples.steps)))
        ]
        return [Mark("phase", step, text) for step, text in find_phases(losses, words, self.references)]

    def words(self, index: int = -1) -> WordShare | None:
        """Return the share of real words in the sample at `index` and those before it; `None` if they are too few."""
        columns = self._samples.columns
        place = index if index >= 0 else self.num_samples + index
        return pool_words(columns["num_words"], columns["num_real_words"], place)

    def _seconds_at(self, step: int) -> float:
        """Return the seconds of training at a step, as the last record up to it tells."""
        known = (points.at(step, "elapsed_seconds") for points in (self._validation_curve, self._points, self._samples))
        return max((each for each in known if each is not None), default=0.0)

    def progress(self) -> tuple[int, float]:
        """Return the step of the last record and the seconds of training until then."""
        known = [record for record in (self.latest, self.last_validation, self.finished, *self._marks[-1:]) if record]
        latest = max(known, key=lambda each: (each.step, getattr(each, "elapsed_seconds", 0.0)), default=None)
        return (latest.step, getattr(latest, "elapsed_seconds", 0.0)) if latest else (0, 0.0)

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return len(self._samples.steps)

    def sample(self, index: int) -> Sample | None:
        """Read the sample at `index` from disk (-1: the latest), so that memory holds one; `None` if there is none."""
        if not -self.num_samples <= index < self.num_samples:
            return None
        record = self._tail.at(int(self._samples.columns["offset"][index]))
        if not isinstance(record, Sampled):
            return None
        step = record.step
        return Sample(
            step=step,
            passes=_short(self._passes(step)),
            seconds=_short(self._seconds_at(step)),
            text=record.text,
            temperature=record.temperature,
            seed=record.seed,
            val_loss=self._validation_curve.at(step, "val_loss"),
            is_quick=bool(self._validation_curve.at(step, "is_quick")),
            train_loss=self._points.at(step, "smooth_loss"),
            prompt_chars=record.prompt_chars,
            words=self.words(index),
        )


@contextmanager
def read_history(folder: RunDir) -> Iterator[RunHistory]:
    """Yield a history of the run, read to its end; with a `RunManager` there is a shared one, which costs less."""
    history = RunHistory(folder)
    history.poll()
    yield history


def _mark(record: Record) -> Mark:
    kind, text = describe_event(record)
    return Mark(kind, record.step, text)


def describe_event(record: Record) -> tuple[str, str]:
    """Return the kind of a record's mark and its short description."""
    if isinstance(record, LearningRateChanged):
        return "rate", f"learning rate × {record.rate_factor:g}, now {record.learning_rate:.2g}"
    if isinstance(record, Evaluated):
        return "best", f"best validation, {record.val_loss:.2f} nats per character"
    if isinstance(record, RolledBack):
        return (
            "rewound",
            f"the loss became NaN or infinite at step {record.diverged_step:,}: on at half the learning rate",
        )
    if isinstance(record, Extended):
        return "extended", record.note
    if isinstance(record, Saved):
        return "saved", "saved" if record.cause == "timer" else f"saved ({record.cause})"
    if isinstance(record, Paused):
        return "paused", "paused"
    paused_seconds = getattr(record, "paused_seconds", None)
    return record.kind, record.kind if paused_seconds is None else f"continued after {format_duration(paused_seconds)}"
