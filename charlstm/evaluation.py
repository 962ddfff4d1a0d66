"""How well a model predicts a text: nats per character, summed and counted, divided once.

*stateful*: one pass over the whole text, the state carried from the first character to the last.
*windows*: cold windows of 256 characters, the way nanoGPT evaluates, here all of them instead of a random few.
Neither touches the model's mode, its gradients or any random number.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from charlstm.corpus.batches import IGNORED, Batch, StreamBatches
from charlstm.model import CharLSTM, State, evaluating
from charlstm.vocabulary import Tokens

_STATEFUL_WINDOW = 4096  # only bounds memory: the state is carried across
_COLD_WINDOW = 256
_COLD_BATCH = 64
_STREAMS = 32
_BURN_IN = 256
_SHORTEST_STREAM = 2 * _BURN_IN


class Loss(NamedTuple):
    """Mean negative log-likelihood over `num_chars` predicted tokens."""

    nats: float
    num_chars: int

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)


def evaluate_stateful(model: CharLSTM, tokens: Tokens) -> Loss:
    """Exact: tokens (N,) in one stream; the N - 1 characters after the first are predicted."""
    batches = StreamBatches(tokens, 1, _STATEFUL_WINDOW)
    return _carried(model, (batches[index] for index in range(batches.windows_per_pass)), None)


def evaluate_windows(model: CharLSTM, tokens: Tokens) -> Loss:
    """Cold windows of 256 tokens, one after another over tokens (N,); all N - 1 targets count."""
    batches = StreamBatches(tokens, 1, _COLD_WINDOW)
    windows = [batches[index] for index in range(batches.windows_per_pass)]
    total = 0.0
    with evaluating(model):
        for begin in range(0, len(windows), _COLD_BATCH):
            group = windows[begin : begin + _COLD_BATCH]
            if group[-1].tokens.shape != group[0].tokens.shape:  # the text's last window is shorter
                total += _nats(model(group[-1].tokens)[0], group[-1].targets)
                group = group[:-1]
            if group:
                tokens_, targets = (
                    torch.cat(tensors) for tensors in ([w.tokens for w in group], [w.targets for w in group])
                )
                total += _nats(model(tokens_)[0], targets)
    return Loss(total / batches.num_targets, batches.num_targets)


def evaluate_in_streams(model: CharLSTM, tokens: Tokens) -> tuple[Loss, str]:
    """The stateful figure, closely and fast: 32 streams, each warmed up on the 256 characters before it.

    Returns the loss and the name of the method; a short text is read in fewer streams. *Measured* for a 1 x 256 model
    on Shakespeare's last 10 %: see README, "How validation is measured".
    """
    num_streams = max(1, min(_STREAMS, len(tokens) // _SHORTEST_STREAM))
    if num_streams == 1:
        return evaluate_stateful(model, tokens), "stateful"
    batches = StreamBatches(tokens, num_streams, _COLD_WINDOW)
    state = _burnt_in(model, tokens, batches)
    loss = _carried(model, (batches[index] for index in range(batches.windows_per_pass)), state)
    return loss, f"stateful, {num_streams} streams"


def _burnt_in(model: CharLSTM, tokens: Tokens, batches: StreamBatches) -> State:
    """The state of each stream after reading the characters just before it; the first has none before it."""
    places = np.maximum(batches.starts[:, None] + np.arange(-_BURN_IN, 0), 0)
    with evaluating(model):
        h, c = model(torch.from_numpy(tokens[places].astype(np.int64)))[1]
        h[:, 0], c[:, 0] = 0.0, 0.0
    return h, c


def _carried(model: CharLSTM, batches: Iterable[Batch], state: State | None) -> Loss:
    total, count = 0.0, 0
    with evaluating(model):
        for batch in batches:
            logits, state = model(batch.tokens, state)
            total += _nats(logits, batch.targets)
            count += batch.num_targets
    return Loss(total / count, count)


def _nats(logits: Tensor, targets: Tensor) -> float:
    """Summed loss of logits (B, T, V) against targets (B, T)."""
    return float(
        functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    )
