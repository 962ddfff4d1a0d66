"""The training loss since the last point of the curve, the same smoothed over all steps, and the speed."""

from typing import Any

import torch
from torch import Tensor

from charlstm.training.state_check import StateFacts

_SMOOTHING = 0.99  # per step: the smoothed loss follows the last hundred steps or so


class LossMeter:
    """Sums of the steps since the last point of the curve, and the smoothed loss."""

    def __init__(self, guess: float, device: torch.device) -> None:
        """Begin at the loss `guess` of an untrained model."""
        self._guess = self.smooth_loss = guess
        self.nats = torch.zeros((), device=device, dtype=torch.float32)
        self.num_targets = self.num_steps = 0
        self._num_untimed = 0  # of the targets, those trained before `start`, on another clock
        self._began = 0.0

    def start(self, now: float) -> None:
        """Start the clock."""
        self._began, self._num_untimed = now, self.num_targets

    def exclude(self, seconds: float) -> None:
        """Count `seconds` as no time of training."""
        self._began += seconds

    def add(self, nats: Tensor, num_targets: int) -> None:
        """Count a step, without reading anything back from the device."""
        self.nats += nats
        self.num_targets += num_targets
        self.num_steps += 1

    def take(self, step: int, now: float) -> dict[str, float]:
        """Return the fields of a point of the curve after `step`, and begin anew.

        The smoothed loss is told without its beginning: the weighted mean of the measured losses alone.
        """
        train_loss = self.nats.item() / self.num_targets
        kept, left = _SMOOTHING**self.num_steps, _SMOOTHING**step
        self.smooth_loss = kept * self.smooth_loss + (1 - kept) * train_loss
        speed = (self.num_targets - self._num_untimed) / max(now - self._began, 1e-9)
        self.nats = torch.zeros_like(self.nats)
        self.num_targets = self.num_steps = 0
        self.start(now)
        smooth_loss = (self.smooth_loss - left * self._guess) / (1 - left)
        return {"train_loss": train_loss, "smooth_loss": smooth_loss, "chars_per_second": speed}

    def facts(self) -> dict[str, Any]:
        """Return the fields to save in a run's state, beside `nats`."""
        return {
            "smooth_loss": self.smooth_loss,
            "num_targets": self.num_targets,
            "num_steps_logged": self.num_steps,
        }

    def load(self, facts: StateFacts, nats: Tensor) -> None:
        """Go on from a saved state."""
        self.smooth_loss, self.num_targets, self.num_steps = (
            facts.smooth_loss,
            facts.num_targets,
            facts.num_steps_logged,
        )
        self.nats = nats.clone().to(self.nats.device)
