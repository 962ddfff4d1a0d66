"""The planned end of a run in minutes, steps and passes, for a chart whose axis is there before the curve."""

import math
from typing import NamedTuple

from charlstm.config import TrainConfig
from charlstm.events import Extended
from charlstm.runs.history import TELLING_FRACTION, RunHistory

_DIGITS = 2  # of an estimate: an axis must not move with every tick


class PlannedEnd(NamedTuple):
    """The end of the whole run on each axis; `None` where it is unknown."""

    minutes: float | None
    steps: float | None
    passes: float | None


def find_planned_end(history: RunHistory, train: TrainConfig | None) -> PlannedEnd:
    """Return the end that the limits of the run's last part set, and by its pace so far what is not limited.

    `train` are the settings of the first part. A limit that another one will come before counts only as far as that.
    """
    extension, latest = history.last_extension, history.latest
    limits = _limits(extension, train)
    if extension is None:
        base = (0.0, 0.0, 0.0)
    else:
        base = (extension.elapsed_seconds / 60, float(extension.step), extension.num_passes)
    ends = [start + limit if limit else None for start, limit in zip(base, limits, strict=True)]
    if latest and latest.fraction >= TELLING_FRACTION:
        now = (latest.elapsed_seconds / 60, float(latest.step), latest.num_passes)
        for axis, (start, here) in enumerate(zip(base, now, strict=True)):
            estimate = start + _round_up((here - start) / latest.fraction)
            known = ends[axis]
            ends[axis] = estimate if known is None else min(known, estimate)
    return PlannedEnd(*ends)


def _limits(extension: Extended | None, train: TrainConfig | None) -> tuple[float, float, float]:
    if extension is not None:
        return extension.minutes, float(extension.steps), extension.passes
    return (train.max_minutes, float(train.max_steps), train.max_passes) if train else (0.0, 0.0, 0.0)


def _round_up(value: float) -> float:
    """Round up to two digits."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - _DIGITS + 1)
    return math.ceil(value / unit - 1e-6) * unit
