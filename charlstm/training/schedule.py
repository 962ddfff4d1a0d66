"""The schedule of a run: how far along it is, and its learning rate there."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from charlstm.config import TrainConfig


class Schedule:
    """The planned end of a run, and the course of its learning rate until then."""

    def __init__(self, config: TrainConfig, windows_per_pass: int) -> None:
        """Count the updates until a limit in steps or passes; there is none where only time limits the run."""
        limits = []
        if config.max_steps:
            limits.append(config.max_steps)
        if config.max_passes:
            # 0.07 passes of 100 windows are 7 steps, though 0.07 * 100 is 7.000000000000001 in floating point.
            limits.append(max(1, math.ceil(round(config.max_passes * windows_per_pass, 6))))
        self.num_steps = min(limits, default=None)
        self._config = config

    def fraction(self, step: int, elapsed_seconds: float) -> float:
        """Return the fraction of the planned run that is done, 0 to 1, by the limit that is closest."""
        by_steps = step / self.num_steps if self.num_steps else 0.0
        by_time = elapsed_seconds / (60 * self._config.max_minutes) if self._config.max_minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def learning_rate(self, step: int, fraction: float) -> float:
        """Return the learning rate for the update after `step` completed ones.

        Linear warm-up over `warmup_steps`, times a constant, or a linear or half-cosine decay from 1 to 0 at `fraction`
        1. A run limited by minutes follows the clock, so its schedule ends when its time does, on any machine.
        """
        config = self._config
        warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        decay = {"constant": 1.0, "linear": 1.0 - fraction, "cosine": 0.5 * (1 + math.cos(math.pi * fraction))}
        return config.learning_rate * warmup * decay[config.lr_schedule]


@dataclass
class ScheduleState:
    """Factors of the planned learning rate, and the start of the current part of the run."""

    asked_factor: float = 1.0  # requested by the user
    rate_factor: float = 1.0  # 1/2 after the run diverged once
    part_step: int = 0
    part_seconds: float = 0.0
    num_parts: int = 1  # the planned part and the extensions

    def facts(self) -> dict[str, Any]:
        """Return the fields to save in a run's state."""
        return asdict(self)


def divergence_message(config: TrainConfig, step: int) -> str:
    """Return the sentence on a run that diverged at `step` for the second time."""
    longest = config.max_grad_norm
    remedy = f"lower max_grad_norm (now {longest:g})" if longest else "set max_grad_norm to 1"
    return (
        f"the loss is no longer a number at step {step:,}, at half the learning rate too: lower learning_rate "
        f"(now {config.learning_rate:g}) or {remedy}, and train again."
    )
