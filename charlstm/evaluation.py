"""Evaluation: nats per character, summed and counted, divided once.

*stateful*: one pass over the whole text, the state carried from the first character to the last.
*windows*: cold windows of 256 characters, the way nanoGPT evaluates, here all of them instead of a random few.
Neither touches the model's mode, its gradients or any random number.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from charlstm.corpus.batches import IGNORED, Batch, StreamBatches
from charlstm.model import CharLSTM, State, evaluating
from charlstm.vocabulary import Tokens

_COLD_WINDOW = 256
_COLD_AT_ONCE = 16  # windows: 64 took no less time, and 130 MB where these take 30 (*measured* at 1 x 384)
_LOGITS_AT_ONCE = 1 << 24  # numbers: bounds the memory that a large vocabulary takes
_STREAMS = 32
_BURN_IN = 256
_SHORTEST_STREAM = 2 * _BURN_IN
_QUICK_WINDOWS, _QUICK_WINDOW = 48, 96  # characters: a 28th of a validation of 2**17
_EXACT_AT_MOST = 1 << 18  # characters: one stream uses a machine badly
_MEASURED_AT_MOST = 1 << 20


class Loss(NamedTuple):
    """Mean negative log-likelihood over `num_chars` predicted tokens."""

    nats: float
    num_chars: int

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)


def _nothing() -> None:
    """Do nothing."""


def evaluate_stateful(model: CharLSTM, tokens: Tokens, on_tick: Callable[[], None] = _nothing) -> Loss:
    """Evaluate tokens (N,) exactly, in one stream; the N - 1 characters after the first are predicted.

    `on_tick` is called before each piece of it, and may raise to end it.
    """
    window = max(1, min(1024, _LOGITS_AT_ONCE // model.vocab_size))  # bounds memory and pieces: the state is carried
    batches = StreamBatches(tokens, 1, window, model.device)
    return _carry(model, _call_between(batches, on_tick), None)[0]


def evaluate_windows(model: CharLSTM, tokens: Tokens, on_tick: Callable[[], None] = _nothing) -> Loss:
    """Evaluate cold windows of 256 tokens, one after another over tokens (N,); all N - 1 targets count."""
    batches = StreamBatches(tokens, 1, _COLD_WINDOW, model.device)
    at_once = max(1, min(_COLD_AT_ONCE, _LOGITS_AT_ONCE // (_COLD_WINDOW * model.vocab_size)))
    num_whole = batches.num_targets // _COLD_WINDOW
    groups = [range(begin, min(begin + at_once, num_whole)) for begin in range(0, num_whole, at_once)]
    if num_whole < batches.windows_per_pass:  # the text's last window is shorter, so it goes alone
        groups.append(range(num_whole, num_whole + 1))
    total = 0.0
    with evaluating(model):
        for group in groups:
            on_tick()
            windows = [batches[index] for index in group]
            together = torch.cat([window.tokens for window in windows])
            targets = torch.cat([window.targets for window in windows])
            total += sum_loss(model(together)[0], targets).item()
    return Loss(total / batches.num_targets, batches.num_targets)


def evaluate_batched(
    model: CharLSTM, tokens: Tokens, dtype: torch.dtype | None = None, on_tick: Callable[[], None] = _nothing
) -> tuple[Loss, str]:
    """Estimate the stateful loss closely and fast: in 32 streams, each warmed up on the 256 characters before it.

    Returns the loss and the name of the method, which tells the type of number too; a short text is read in fewer
    streams. docs/results.md, "How validation is measured", says how close it comes. `on_tick` is called before each
    piece of it, which takes a fraction of a second.
    """
    losses, method = evaluate_scaled(model, tokens, (1.0,), dtype, on_tick)
    return losses[0], method


def evaluate_scaled(
    model: CharLSTM,
    tokens: Tokens,
    scales: Sequence[float],
    dtype: torch.dtype | None = None,
    on_tick: Callable[[], None] = _nothing,
) -> tuple[list[Loss], str]:
    """Evaluate as `evaluate_batched` does, once for each of `scales`, by which the logits are multiplied."""
    num_streams = max(1, min(_STREAMS, len(tokens) // _SHORTEST_STREAM))
    window = max(1, min(256, _LOGITS_AT_ONCE // (num_streams * model.vocab_size)))  # the state is carried across
    batches = StreamBatches(tokens, num_streams, window, model.device)
    state = _warm_up(model, tokens, batches, dtype) if num_streams > 1 else None
    losses = _carry(model, _call_between(batches, on_tick), state, dtype, scales)
    streams = f"stateful, {num_streams} streams" if num_streams > 1 else "stateful"
    return losses, streams if dtype in (None, torch.float32) else f"{streams}, {str(dtype).removeprefix('torch.')}"


def evaluate_quickly(model: CharLSTM, tokens: Tokens, dtype: torch.dtype | None = None) -> Loss:
    """Estimate the loss from 48 short windows spread over the text, the second half of each predicted.

    It differs from the stateful loss by a little that hardly changes from step to step, as the windows never do.
    """
    length = min(_QUICK_WINDOW, len(tokens) - 1)
    at_most = max(1, _LOGITS_AT_ONCE // (_QUICK_WINDOW * model.vocab_size))
    num_windows = min(_QUICK_WINDOWS, at_most, max(1, (len(tokens) - 1) // _QUICK_WINDOW))
    starts = np.linspace(0, len(tokens) - 1 - length, num_windows).astype(np.int64)
    ids = torch.from_numpy(tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)).to(model.device)
    targets = ids[:, 1 + length // 2 :]
    with evaluating(model):
        logits = model(ids[:, :-1], None, dtype)[0][:, length // 2 :]
        return Loss(sum_loss(logits, targets).item() / targets.numel(), targets.numel())


def _call_between(batches: StreamBatches, on_tick: Callable[[], None]) -> Iterator[Batch]:
    for index in range(batches.windows_per_pass):
        with torch.inference_mode(False):  # a state taken meanwhile may be trained on
            on_tick()
        yield batches[index]


def _warm_up(model: CharLSTM, tokens: Tokens, batches: StreamBatches, dtype: torch.dtype | None) -> State:
    """Return the state of each stream after reading the characters just before it; the first has none before it."""
    places = np.maximum(batches.starts[:, None] + np.arange(-_BURN_IN, 0), 0)
    with evaluating(model):
        before = torch.from_numpy(tokens[places].astype(np.int64)).to(model.device)
        h, c = model(before, None, dtype)[1]
        h[:, 0], c[:, 0] = 0.0, 0.0
    return h, c


def _carry(
    model: CharLSTM,
    batches: Iterable[Batch],
    state: State | None,
    dtype: torch.dtype | None = None,
    scales: Sequence[float] = (1.0,),
) -> list[Loss]:
    """Return the loss of the batches, one after another from `state`, for each scale of the logits."""
    totals, count = [0.0] * len(scales), 0
    with evaluating(model):
        for batch in batches:
            logits, state = model(batch.tokens, state, dtype)
            logits = logits.contiguous()  # once for all scales
            for index, scale in enumerate(scales):
                scaled = logits if scale == 1 else logits * scale
                totals[index] += sum_loss(scaled, batch.targets).item()
            count += batch.num_targets
    return [Loss(total / count, count) for total in totals]


class ValidationResult(NamedTuple):
    """Both figures of a model on one text, and how the first was had."""

    stateful: Loss
    windows: Loss
    method: str


def final_validation(model: CharLSTM, validation: Tokens, on_tick: Callable[[], None] = _nothing) -> ValidationResult:
    """Compute the figures that are published of a model, on 2**20 characters of a long text at most.

    *stateful* is exact up to 2**18 characters, and read in 32 streams beyond. `on_tick` is called before each piece,
    and may raise to end it.
    """
    part = validation[:_MEASURED_AT_MOST]
    if len(part) <= _EXACT_AT_MOST:
        stateful, method = evaluate_stateful(model, part, on_tick), "stateful"
    else:
        stateful, method = evaluate_batched(model, part, on_tick=on_tick)
    if len(part) < len(validation):
        method = f"{method}, first {len(part):,} characters"
    return ValidationResult(stateful, evaluate_windows(model, part, on_tick), method)


def sum_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum the nats of logits (B, T, V) against targets (B, T); places without a target count nothing."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
