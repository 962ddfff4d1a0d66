"""How well one number of a network follows a property: the area under the ROC curve, for all of its numbers at once.

The area is the share of pairs, a place with the property and one without, that the number puts in the right order
(ties half): 1 perfect, 0.5 nothing, 0 perfect with the sign changed. Shapes: N = places, C = channels (cell states and
outputs of all units), F = properties.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STEPS = 256  # of a channel's values; *measured*: areas differ by 0.0006 at most from those of the values
_RARE = 0.002  # share of a channel's values that is below the steps, and above them
_AT_ONCE = 128  # channels: bounds memory
_PRIOR = 1.0  # places: how much the table of a shorter context counts

Codes = NDArray[np.uint8]  # (C, N)


class Coding(NamedTuple):
    """Steps of channels: the first one's lower edge and the width of each, (C,)."""

    lowest: NDArray[np.float32]
    width: NDArray[np.float32]

    @classmethod
    def fit(cls, sample: Tensor) -> "Coding":
        """Fit to sample (N, C): the steps lie between the values that one in 500 is below, and above."""
        ordered = sample.float().t().contiguous()
        rank = int(_RARE * (len(sample) - 1)) + 1
        low, high = (ordered.topk(rank, largest=is_high).values[:, -1].cpu().numpy() for is_high in (False, True))
        return cls(low, np.maximum((high - low) / _STEPS, np.float32(1e-12)))

    def of(self, channels: slice) -> "Coding":
        """Return that of some of the channels."""
        return Coding(self.lowest[channels], self.width[channels])

    def encode(self, values: Tensor) -> Tensor:
        """Return the step of each of values (..., C), uint8."""
        lowest, scale = (torch.from_numpy(each).to(values.device) for each in (self.lowest, 1 / self.width))
        steps = [(part.float() - lowest).mul_(scale).clamp_(0, _STEPS - 1).to(torch.uint8) for part in values]
        return torch.stack(steps)

    def quantiles(self, codes: Codes, shares: tuple[float, ...]) -> NDArray[np.float32]:
        """Return the values below which `shares` of each channel's places are, (shares, C)."""
        ordered = np.quantile(codes, shares, axis=1, method="inverted_cdf")
        return (self.lowest + (ordered.astype(np.float32) + 0.5) * self.width).astype(np.float32)


def estimate_areas(codes: Codes, values: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the area of each channel for each property, (C, F), given values and known (N, F).

    Exact, up to float32, where a property is known everywhere; else ranks are those among all places instead of the
    known ones, which is good enough to choose candidates. NaN where a property has no place, or no place is without it.
    """
    number = codes.shape[1]
    yes, no = (known & values).astype(np.float32), (known & ~values).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = yes / yes.sum(0) - no / no.sum(0)  # of each rank in the difference of the two means
    areas = np.empty((len(codes), values.shape[1]), np.float32)
    for begin in range(0, len(codes), _AT_ONCE):
        some = codes[begin : begin + _AT_ONCE]
        ranks = np.empty(some.shape, np.float32)
        for row, channel in enumerate(some):
            np.take(_ranks(channel), channel, out=ranks[row])
        areas[begin : begin + _AT_ONCE] = 0.5 + ranks @ weights / number
    return areas


def _ranks(channel: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean rank of each step, less half the number of places so that float32 keeps its digits, (256,)."""
    counts = np.bincount(channel, minlength=_STEPS)
    return (np.cumsum(counts) - counts / 2 - len(channel) / 2).astype(np.float32)


def area(channel: NDArray[np.generic], values: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    """Return the area of one channel (N,) for one property (N,); NaN where one of the two kinds of place is missing."""
    steps = channel if channel.dtype == np.uint8 else np.unique(channel, return_inverse=True)[1]
    size = int(steps.max(initial=0)) + 1
    yes, no = (np.bincount(steps[known & (values == is_so)], minlength=size) for is_so in (True, False))
    pairs = int(yes.sum()) * int(no.sum())
    return float((yes * (np.cumsum(no) - no / 2)).sum() / pairs) if pairs else float("nan")


def count_stretches(values: NDArray[np.bool_], known: NDArray[np.bool_], length: int) -> NDArray[np.int64]:
    """Count the separate stretches of each property, (F,), in values and known (N, F) of pieces of `length` places."""
    there = (values & known).reshape(-1, length, values.shape[1])
    counts: NDArray[np.int64] = there[:, 0].sum(0) + (there[:, 1:] & ~there[:, :-1]).sum((0, 1))
    return counts


def score_context(
    ids: NDArray[np.integer], values: NDArray[np.bool_], known: NDArray[np.bool_], half: int
) -> NDArray[np.float64]:
    """Return how well the last four characters tell each property, as an area, (F,).

    `ids` (N, 4) are the last characters read, the last one first. A table of what followed them in the first `half`
    places predicts the others; where they were rare, or new, the table of fewer characters does.
    """
    yes, seen = (values & known).astype(np.float64), known.astype(np.float64)
    rate = yes[:half].sum(0) / np.maximum(1, seen[:half].sum(0))
    predicted = np.broadcast_to(rate, values.shape)
    context = np.zeros(len(ids), np.int64)
    for last in ids.T:
        _, context = np.unique(context * (int(ids.max(initial=0)) + 1) + last, return_inverse=True)
        order = np.argsort(context[:half], kind="stable")
        groups = context[:half][order]
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        sums = [np.zeros((int(context.max(initial=0)) + 1, values.shape[1])) for _ in range(2)]
        for total, part in zip(sums, (yes, seen), strict=True):
            total[groups[starts]] = np.add.reduceat(part[:half][order], starts, axis=0)
        predicted = (sums[0][context] + _PRIOR * predicted) / (sums[1][context] + _PRIOR)
    later = slice(half, None)
    return np.array(
        [area(predicted[later, f], values[later, f], known[later, f]) for f in range(values.shape[1])], np.float64
    )
