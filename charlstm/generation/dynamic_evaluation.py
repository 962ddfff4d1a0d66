"""Dynamic evaluation (Mikolov et al. 2010, Krause et al. 2018): a copy of a model that learns from each piece it read.

Gradient descent on the mean surprise of 20 characters at a time, scored before they are learned from, with the state
carried; a small pull back towards the model's own weights keeps what it knew. *Measured* settings and gains stand in
docs/adaptation.md. `evaluate_adaptive` says what that is worth, by this or by an n-gram.
"""

import copy
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlstm.config import SampleConfig
from charlstm.corpus.batches import Batch
from charlstm.evaluation import Loss, sum_loss
from charlstm.generation.engine import start_session
from charlstm.generation.ngram_memory import NgramMemory
from charlstm.kernel import lstm as kernel
from charlstm.model import CharLSTM, State
from charlstm.vocabulary import Tokens
from charlstm.window_backprop import WindowBackprop, flat_gradient

SEGMENT = 20  # characters
RATE = 0.3
PULL = 0.002  # share of the way back after each segment


class LearningModel:
    """A copy of a model that reads one text; the model itself stays as it is."""

    def __init__(self, model: CharLSTM, beginning: int, rate: float = RATE, pull: float = PULL) -> None:
        """Begin a text with the id `beginning`, which is read and not predicted."""
        with torch.inference_mode(False):
            self.model = copy.deepcopy(model).eval()
            self._weights = _flat_weights(self.model)
            self._gradient = flat_gradient(self.model)
        self._own = self._weights.clone()
        self._rate, self._pull = rate, pull
        size = model.config.hidden_size
        dtype = next(
            (each for each in (torch.bfloat16, torch.float32) if kernel.is_available(each, size)), torch.float32
        )
        is_fused = model.device.type == "cpu" and kernel.is_available(dtype, size)
        self._fused = WindowBackprop(self.model, dtype) if is_fused else None
        self._state: State | None = None
        self._last = beginning

    def read(self, ids: NDArray[np.int32]) -> float:
        """Read characters (T,), about 20, and learn from them; return their summed surprise before, in nats."""
        whole = torch.from_numpy(np.append(np.int64(self._last), ids)).to(self.model.device)
        batch = Batch(whole[None, :-1], whole[None, 1:], len(ids), starts_anew=False)
        with torch.inference_mode(False):
            nats, self._state = self._gradients(batch)
            with torch.no_grad():
                self._weights.add_(self._gradient, alpha=-self._rate)
                self._weights.lerp_(self._own, self._pull)
        self._last = int(ids[-1])
        return float(nats)

    def _gradients(self, batch: Batch) -> tuple[Tensor, State]:
        if self._fused is not None:
            return self._fused(batch, self._state)
        self._gradient.zero_()
        with torch.enable_grad():
            logits, (h, c) = self.model(batch.tokens, self._state)
            nats = sum_loss(logits, batch.targets)
            (nats / batch.num_targets).backward()  # type: ignore[no-untyped-call]
        return nats.detach(), (h.detach(), c.detach())

    def finish(self, model: CharLSTM) -> "Learned":
        """Return what was learned from `model`, the one that this is a copy of; nothing is read after that."""
        return Learned(model, self._weights - self._own)


class Learned:
    """What a model learned from a text, as a change of its weights; the model itself stays as it is."""

    def __init__(self, model: CharLSTM, change: Tensor) -> None:
        self._model, self._change = model, change

    @torch.no_grad()
    def at(self, weight: float) -> CharLSTM:
        """Return a copy of the model with `weight` times the change: 0 is the model as it was, to the bit."""
        with torch.inference_mode(False):
            other = copy.deepcopy(self._model).eval()
            if weight:
                _flat_weights(other).add_(self._change, alpha=weight)
        return other


def _flat_weights(model: CharLSTM) -> Tensor:
    """Make every parameter a view of one tensor, so that one operation covers all; return that tensor."""
    flat = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    begin = 0
    for parameter in model.parameters():
        parameter.data = flat[begin : begin + parameter.numel()].view_as(parameter)
        begin += parameter.numel()
    return flat


AdaptiveMethod = Literal["ngram", "dynamic"]
MEASURED_AT_MOST = 1 << 18  # characters: minutes by the n-gram
_PIECE = 1024  # characters


class AdaptiveLoss(NamedTuple):
    """Losses on the same characters, in one stream whose state is carried."""

    alone: Loss  # of the model as it is
    adapted: Loss


def evaluate_adaptive(
    model: CharLSTM, tokens: Tokens, method: AdaptiveMethod, on_read: Callable[[int], None] = lambda _: None
) -> AdaptiveLoss:
    """Evaluate tokens (N,), of which the first 2**18 count; the characters after the first are predicted.

    Every character is scored before it is learned from: these figures say what reading along is worth, and are no
    model's own.

    The arithmetic of the model alone is float32. `on_read` is told how many characters were read, piece by piece, and
    may raise to end it.
    """
    ids = np.asarray(tokens[:MEASURED_AT_MOST]).astype(np.int32)
    texts = start_session(model, [ids[:1]], SampleConfig(temperature=0))
    ngram, learning = NgramMemory(), LearningModel(model, int(ids[0])) if method == "dynamic" else None
    ngram.read(ids[:1], np.ones(1))
    alone = adapted = 0.0
    for begin in range(1, len(ids), _PIECE):
        piece = ids[begin : begin + _PIECE]
        surprises = texts.follow(piece[None]).surprises[0].astype(np.float64)
        alone += surprises.sum()
        if learning is None:
            adapted -= np.log(ngram.read(piece, np.exp(-surprises))).sum()
        else:
            adapted += sum(learning.read(piece[at : at + SEGMENT]) for at in range(0, len(piece), SEGMENT))
        on_read(len(piece))
    num_chars = len(ids) - 1
    return AdaptiveLoss(Loss(alone / num_chars, num_chars), Loss(adapted / num_chars, num_chars))
