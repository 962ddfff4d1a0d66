"""Columns of numbers by step, and curves of a bounded number of points made from them. Imports no torch."""

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Curve(NamedTuple):
    """The points of one curve."""

    steps: list[int]
    values: list[float]


class Points:
    """Columns of numbers by increasing step."""

    def __init__(self, *names: str) -> None:
        self.steps = array("q")
        self.columns = {name: array("d") for name in names}

    def append(self, step: int, *values: float) -> None:
        """Add a point after all others."""
        self.steps.append(step)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def cut(self, step: int) -> None:
        """Drop the points after `step`."""
        self._drop_from(bisect_right(self.steps, step))

    def put(self, step: int, *values: float) -> None:
        """Add a point in place of the one at the same step, if there is one."""
        self._drop_from(bisect_left(self.steps, step))
        self.append(step, *values)

    def _drop_from(self, place: int) -> None:
        del self.steps[place:]
        for column in self.columns.values():
            del column[place:]

    def at(self, step: int, name: str) -> float | None:
        """Return the last value up to `step`, or `None`."""
        place = bisect_right(self.steps, step)
        return self.columns[name][place - 1] if place else None

    def last(self, name: str) -> float | None:
        """Return the last value of a column, or `None`."""
        return self.columns[name][-1] if self.steps else None

    def between(self, begin: int | None, end: int | None) -> slice:
        """Return the places of the points from step `begin` to step `end`."""
        first = bisect_left(self.steps, begin) if begin is not None else 0
        return slice(first, bisect_right(self.steps, end) if end is not None else len(self.steps))


def downsample(values: "array[float] | NDArray[np.float64]", max_points: int) -> "NDArray[np.int64]":
    """Return indices of at most `max_points` (4 or more) of `values` (N,): minimum and maximum per 2^k, and the last.

    Deterministic; appending values changes no index until k grows. NaN and infinite values are left out.
    """
    import numpy as np  # not needed for a list of runs

    values = np.asarray(values)
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


def round_digits(number: float) -> float:
    """Round to six digits, to keep the page's periodic updates small.

    So many more than a screen shows that rounding twice hardly ever gives another figure there.
    """
    return float(f"{number:.6g}")
