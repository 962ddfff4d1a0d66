"""Validation of a run's model, and its calibration: the scale of the output layer at which that loss is lowest.

On text that it has not read a network is overconfident, the more so the more often it has read its own. Dividing its
logits by one temperature above 1 mends that (Guo et al. 2017, "On Calibration of Modern Neural Networks"). The output
layer is linear, so its weights and biases are multiplied instead, and a calibrated model is a model like any other.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch

from charlstm.config import TrainConfig
from charlstm.corpus import Split
from charlstm.evaluation import Loss, evaluate_batched, evaluate_quickly, evaluate_scaled
from charlstm.events import Evaluated
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM
from charlstm.vocabulary import Tokens

_TRIED = tuple(1 + 0.06 * index for index in range(-4, 3))  # multiples of the last scale; the best is mostly below 1
_MOST_ROUNDS = 3  # the first validation of a run may find the best scale far from 1
LOWEST, HIGHEST = 0.25, 4.0
_UNTRAINED, _UNTRAINED_CHARS = 0.1, 1 << 13  # nats below guessing, and how much is enough to tell that it guesses
_VALIDATED_AT_MOST = 1 << 17  # characters, during the run; the final figures use more


class Calibration:
    """The scale of one run's logits, found anew at each validation, and the model with its output layer scaled."""

    def __init__(self) -> None:
        self.scale = 1.0
        self._scaled: CharLSTM | None = None

    def evaluate(
        self, model: CharLSTM, tokens: Tokens, dtype: torch.dtype | None, on_tick: Callable[[], None]
    ) -> tuple[Loss, str]:
        """Find the best scale near the last one; return the loss of the scaled model and the method's name.

        `model` is the one that is trained, not the scaled one. The loss is read off a parabola through the best scale
        that was tried and its neighbours: it is within 1e-4 of what an evaluation of the scaled model gives.
        """
        for _ in range(_MOST_ROUNDS):
            tried = [self.scale * each for each in _TRIED]
            losses, method = evaluate_scaled(model, tokens, tried, dtype, on_tick)
            best = min(range(len(tried)), key=lambda index: losses[index].nats)
            scale, loss = tried[best], losses[best]
            is_at_edge = best in (0, len(tried) - 1)
            if not math.isfinite(loss.nats) or not LOWEST <= scale <= HIGHEST:  # diverging, or learned by heart
                return losses[_TRIED.index(1)], method
            if is_at_edge:
                self.scale = scale
                continue
            before, after = losses[best - 1].nats, losses[best + 1].nats
            slope, bend = (after - before) / 2, before - 2 * loss.nats + after
            if bend > 0:
                scale -= slope / bend * (tried[1] - tried[0])
                loss = loss._replace(nats=max(0.0, loss.nats - slope**2 / (2 * bend)))
            self.scale = scale
            break
        return loss, method

    @torch.inference_mode(False)
    @torch.no_grad()
    def apply(self, model: CharLSTM) -> CharLSTM:
        """Return `model` itself where its scale is 1, else a copy with its output layer scaled.

        It is the same copy at each call, and the next call overwrites it.
        """
        if self.scale == 1:
            return model
        if self._scaled is None:
            self._scaled = copy.deepcopy(model).eval()
        self._scaled.load_state_dict(model.state_dict())
        for parameter in self._scaled.head.parameters():
            parameter.mul_(self.scale)
        return self._scaled


class Validator:
    """Validates one run's model on the beginning of its validation text; changes no training state."""

    def __init__(self, language_model: LanguageModel, split: Split, config: TrainConfig, dtype: torch.dtype) -> None:
        self._language_model, self._dtype = language_model, dtype
        self._is_calibrating = config.calibrate == "on"
        self.tokens = split.validation[:_VALIDATED_AT_MOST]
        self._is_part = len(self.tokens) < len(split.validation)
        self.period = eval_period(config, len(self.tokens))  # steps
        self._guess = math.log(len(split.vocabulary))  # the loss of an untrained model
        self._quick: tuple[int, float] | None = None  # the step of the last quick estimate, and the estimate
        self.calibration = Calibration()
        self.best_loss = math.inf

    @property
    def language_model(self) -> LanguageModel:
        """The model, calibrated if so configured; the next validation changes it."""
        return replace(self._language_model, model=self.calibration.apply(self._language_model.model))

    def evaluate(self, step: int, elapsed_seconds: float, on_tick: Callable[[], None]) -> Evaluated:
        """Validate the model as it is after `step`."""
        is_untrained = step == 0 and self.quick_loss(step) > self._guess - _UNTRAINED
        part = self.tokens[:_UNTRAINED_CHARS] if is_untrained else self.tokens
        evaluate = self.calibration.evaluate if self._is_calibrating and step else evaluate_batched
        loss, method = evaluate(self._language_model.model, part, self._dtype, on_tick)
        if self._is_calibrating:
            self.forget_estimate()  # of another scale
        if self._is_part or len(part) < len(self.tokens):
            method = f"{method}, first {len(part):,} characters"
        is_best = loss.nats < self.best_loss
        self.best_loss = min(self.best_loss, loss.nats)  # in this order NaN does not replace it
        figures = {"val_loss": loss.nats, "quick_loss": self.quick_loss(step), "elapsed_seconds": elapsed_seconds}
        return Evaluated(step=step, method=method, is_best=is_best, **figures)

    def quick_loss(self, step: int) -> float:
        """Return the quick estimate of the validation loss after `step`."""
        if self._quick is None or self._quick[0] != step:
            self._quick = step, evaluate_quickly(self.language_model.model, self.tokens, self._dtype).nats
        return self._quick[1]

    def forget_estimate(self) -> None:
        """Forget the last quick estimate: the weights have changed."""
        self._quick = None


def eval_period(config: TrainConfig, num_val_chars: int) -> int:
    """Return the number of steps between two validations of `num_val_chars` characters.

    By default a run spends about a twentieth of its time on validation: reading a character takes a third of the work
    of training on it, so 20 / 3 characters are trained on for each one validated. The interval is counted in steps, not
    seconds, so that a repeated run records the same losses.
    """
    num_chars = config.batch_size * config.seq_len
    return config.eval_every or max(1, math.ceil(20 / 3 * num_val_chars / num_chars))
