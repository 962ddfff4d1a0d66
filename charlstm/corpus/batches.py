"""Batches for truncated back-propagation through time.

Shapes: B = batch_size streams, T <= seq_len characters of each in one window, or one more at the end of stretches.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlstm.vocabulary import Tokens

IGNORED = -100  # target of a place that holds no character; what cross_entropy skips by default


class Batch(NamedTuple):
    """One window of every stream, or of those that this process takes."""

    tokens: torch.Tensor  # (B, T) int64
    targets: torch.Tensor  # (B, T) int64: the character after each token, or IGNORED
    num_targets: int  # how many targets of all streams are not IGNORED
    starts_anew: bool  # whether the streams go on elsewhere here, so the state starts from zero


class Stretches(NamedTuple):
    """How streams read a text in stretches: about so many windows on end, in another random order at each pass.

    With 0 windows each reads its share of the text from beginning to end.
    """

    num_windows: int
    seed: int


class StreamBatches:
    """The text cut into `batch_size` contiguous streams, each window continuing where the stream's last one ended.

    A text of N characters has N - 1 targets; each is served exactly once in a pass. The streams differ by at most
    one character; where a shorter one has ended in the last window, the target is `IGNORED`. Of several processes each
    takes its `share` of the streams.

    With `stretches` each stream reads one stretch after another instead, from anywhere in the text, all of them at the
    same time. Otherwise a run that ends amid a pass has last learned from a few places, when the rate is low:
    *measured*, that costs up to 0.04 nats (docs/results.md).
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        seq_len: int,
        device: torch.device | None = None,
        share: slice = slice(None),
        stretches: Stretches | None = None,
    ) -> None:
        num_targets = len(tokens) - 1
        assert num_targets >= batch_size, (len(tokens), batch_size)
        num_rounds = 1
        if stretches and stretches.num_windows:
            wanted = round(num_targets / (batch_size * seq_len * stretches.num_windows))
            num_rounds = max(1, min(wanted, num_targets // batch_size))
        self._order = _Order(num_rounds, batch_size, stretches)
        shortest, num_longer = divmod(num_targets, num_rounds * batch_size)
        self._tokens = tokens
        self._device = device or torch.device("cpu")
        self._resident = _on_device(tokens, self._device) if self._device.type != "cpu" else None
        self._lengths = shortest + (np.arange(num_rounds * batch_size) < num_longer)
        self.starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        self._seq_len = seq_len
        self._share = share
        self.num_targets = num_targets
        # A last window of one character might hold streams that have all ended: with stretches it joins the one before.
        self._windows_per_round = -(-(shortest if num_rounds > 1 else int(self._lengths[0])) // seq_len)
        self.windows_per_pass = num_rounds * self._windows_per_round

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of training step `step`, counted from 0 over all passes."""
        num_rounds_done, window = divmod(step, self._windows_per_round)
        stretches = self._order.stretches_of(num_rounds_done)
        begin = window * self._seq_len
        is_last = window == self._windows_per_round - 1
        end = int(self._lengths[0]) if is_last else begin + self._seq_len
        # (B, T + 1), one more for the last targets
        places = self.starts[stretches[self._share], None] + np.arange(begin, end + 1)
        ids = self._ids(np.minimum(places, self.num_targets))
        targets = ids[:, 1:]
        ended = self._lengths[stretches] < end
        if ended.any():
            targets = targets.clone()
            targets[to_device(torch.from_numpy(ended[self._share]), self._device), -1] = IGNORED
        num_targets = len(stretches) * (end - begin) - int(ended.sum())
        return Batch(ids[:, :-1], targets, num_targets, starts_anew=window == 0)

    def _ids(self, places: NDArray[np.int64]) -> torch.Tensor:
        """Look up ids at places (B, T), int64, on the device; a GPU has its own copy and is not waited for."""
        if self._device.type == "cpu":
            return torch.from_numpy(self._tokens[places].astype(np.int64))
        if self._resident is None:
            return to_device(torch.from_numpy(self._tokens[places].astype(np.int64)), self._device)
        return self._resident[to_device(torch.from_numpy(places), self._device)].long()


class _Order:
    """The stretches of each round: all in turn, or in an order that is drawn for each pass from the seed alone."""

    def __init__(self, num_rounds: int, batch_size: int, stretches: Stretches | None) -> None:
        self._num_rounds, self._batch_size, self._stretches = num_rounds, batch_size, stretches
        self._drawn = -1, np.arange(num_rounds * batch_size)  # the pass, and its order

    def stretches_of(self, num_rounds_done: int) -> NDArray[np.int64]:
        """Return the stretch of each stream (B,) in the round after so many."""
        number, done = divmod(num_rounds_done, self._num_rounds)
        if self._num_rounds > 1 and self._stretches and self._drawn[0] != number:
            order = np.random.default_rng((self._stretches.seed, number)).permutation(len(self._drawn[1]))
            self._drawn = number, order
        return self._drawn[1][done * self._batch_size : (done + 1) * self._batch_size]


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy `values` of the processor to the device; a CUDA GPU is not waited for."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _on_device(tokens: Tokens, device: torch.device) -> torch.Tensor | None:
    """Copy the whole text to the device, if it is held in memory here: one byte a character, or four."""
    if isinstance(tokens, np.memmap):
        return None
    wide = np.uint8 if tokens.dtype.itemsize == 1 else np.int32
    return torch.from_numpy(tokens.astype(wide)).to(device)
