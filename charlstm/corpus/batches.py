"""Batches for truncated back-propagation through time.

Shapes: B = batch_size streams, T <= seq_len characters of each in one window.
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
    is_first: bool  # whether a new pass begins here, so the state starts from zero


class StreamBatches:
    """The text cut into `batch_size` contiguous streams, each window continuing where the stream's last one ended.

    A text of N characters has N - 1 targets; each is served exactly once in a pass. The streams differ by at most
    one character; where a shorter one has ended in the last window, the target is `IGNORED`. Of several processes each
    takes its `share` of the streams.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        seq_len: int,
        device: torch.device | None = None,
        share: slice = slice(None),
    ) -> None:
        num_targets = len(tokens) - 1
        assert num_targets >= batch_size, (len(tokens), batch_size)
        shortest, num_longer = divmod(num_targets, batch_size)
        self._tokens = tokens
        self._device = device or torch.device("cpu")
        self._resident = _on_device(tokens, self._device) if self._device.type != "cpu" else None
        self._lengths = shortest + (np.arange(batch_size) < num_longer)
        self.starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])
        self._seq_len = seq_len
        self._share = share
        self.num_targets = num_targets
        self.windows_per_pass = -(-int(self._lengths[0]) // seq_len)

    def __getitem__(self, step: int) -> Batch:
        """Return the batch of training step `step`, counted from 0 over all passes."""
        window = step % self.windows_per_pass
        begin = window * self._seq_len
        end = min(begin + self._seq_len, int(self._lengths[0]))
        places = self.starts[self._share, None] + np.arange(begin, end + 1)  # (B, T + 1), one more for the last targets
        ids = self._ids(np.minimum(places, self.num_targets))
        targets = ids[:, 1:]
        ended = self._lengths < end
        if ended.any():
            targets = targets.clone()
            targets[to_device(torch.from_numpy(ended[self._share]), self._device), -1] = IGNORED
        num_targets = len(self._lengths) * (end - begin) - int(ended.sum())
        return Batch(ids[:, :-1], targets, num_targets, is_first=window == 0)

    def _ids(self, places: NDArray[np.int64]) -> torch.Tensor:
        """Look up ids at places (B, T), int64, on the device; a GPU has its own copy and is not waited for."""
        if self._device.type == "cpu":
            return torch.from_numpy(self._tokens[places].astype(np.int64))
        if self._resident is None:
            return to_device(torch.from_numpy(self._tokens[places].astype(np.int64)), self._device)
        return self._resident[to_device(torch.from_numpy(places), self._device)].long()


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
