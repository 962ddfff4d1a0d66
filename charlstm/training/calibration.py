"""Calibration: the scale of the output layer at which the validation loss is lowest.

A network that has read its text many times is surer of what it predicts than it is right. Dividing its logits by one
temperature above 1 mends that (Guo et al. 2017, "On Calibration of Modern Neural Networks"); as the output layer is
linear, its weights and biases can be multiplied once instead, so that a calibrated model is a model like any other.
"""

import copy
from collections.abc import Callable

import torch

from charlstm.evaluation import Loss, evaluate_batched, evaluate_scaled
from charlstm.model import CharLSTM
from charlstm.vocabulary import Tokens

# Multiples of the last scale that are tried; further down, as the first validation of a run finds it far below 1.
_TRIED = tuple(1 + 0.06 * index for index in range(-4, 3))
LOWEST, HIGHEST = 0.25, 4.0


class Calibration:
    """The scale of one run's logits, found anew at each validation, and the model with its output layer scaled."""

    def __init__(self) -> None:
        self.scale = 1.0
        self._scaled: CharLSTM | None = None

    def evaluate(
        self, model: CharLSTM, tokens: Tokens, dtype: torch.dtype | None, on_tick: Callable[[], None]
    ) -> tuple[Loss, str]:
        """Find the best scale near the last one; return the loss of the scaled model and the method's name.

        `model` is the one that is trained, not the scaled one. The loss is read off a parabola through the three
        scales around the best that was tried: it is within 1e-4 of what an evaluation of the scaled model gives.
        """
        tried = [self.scale * each for each in _TRIED]
        losses, method = evaluate_scaled(model, tokens, tried, dtype, on_tick)
        best = min(range(len(tried)), key=lambda index: losses[index].nats)
        scale, nats = tried[best], losses[best].nats
        if 0 < best < len(tried) - 1:
            before, after = losses[best - 1].nats, losses[best + 1].nats
            slope, bend = (after - before) / 2, before - 2 * nats + after
            if bend > 0:
                scale, nats = scale - slope / bend * (tried[1] - tried[0]), nats - slope**2 / (2 * bend)
        if not LOWEST <= scale <= HIGHEST:  # of a run that diverges, or has learned its text by heart
            return evaluate_batched(self.apply(model), tokens, dtype, on_tick)
        self.scale = scale
        return Loss(nats, losses[best].num_chars), method

    @torch.no_grad()
    def apply(self, model: CharLSTM) -> CharLSTM:
        """Return `model` itself where its scale is 1, else a copy with its output layer scaled."""
        if self.scale == 1:
            return model
        if self._scaled is None:
            self._scaled = copy.deepcopy(model).eval()
        self._scaled.load_state_dict(model.state_dict())
        for parameter in self._scaled.head.parameters():
            parameter.mul_(self.scale)
        return self._scaled
