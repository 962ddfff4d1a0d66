"""Parts of a trainer's state: changes to the planned schedule, the loss since it was last told, and saved facts."""

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from torch import Tensor

from charlstm.training.samples import SampleState
from charlstm.training.validation import HIGHEST, LOWEST

_MOST_STEPS = 10**12
_MOST_SECONDS = 10**10
_SMOOTHING = 0.99  # per step: the smoothed loss follows the last hundred steps or so
_LARGEST_LOSS = 1e30  # nats per character; a diverging run reaches large ones


def _not_below_zero(loss: Any) -> Any:
    """Return 0 for a loss a little below it, as calibration once read it off where a text was known by heart."""
    return 0.0 if isinstance(loss, float) and -0.01 < loss < 0 else loss


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


class LossMeter:
    """The training loss since the last point of the curve, the same smoothed over all steps, and the speed."""

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

    def load(self, facts: "StateFacts", nats: Tensor) -> None:
        """Go on from a saved state."""
        self.smooth_loss, self.num_targets, self.num_steps = (
            facts.smooth_loss,
            facts.num_targets,
            facts.num_steps_logged,
        )
        self.nats = nats.clone().to(self.nats.device)


class StateFacts(BaseModel):
    """The validated facts of a trainer's saved state; states of earlier versions have fewer."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    step: int = Field(ge=0, le=_MOST_STEPS)
    elapsed_seconds: float = Field(ge=0, le=_MOST_SECONDS)
    best_val_loss: Annotated[float | None, BeforeValidator(_not_below_zero)] = Field(ge=0, le=_LARGEST_LOSS)
    smooth_loss: float = Field(ge=0, le=_LARGEST_LOSS)
    num_targets: int = Field(ge=0, le=_MOST_STEPS)
    num_steps_logged: int = Field(ge=0, le=_MOST_STEPS)
    num_pending: int = Field(0, ge=0, le=2)
    asked_factor: float = Field(1.0, ge=1e-3, le=100)
    rate_factor: float = Field(1.0, gt=0, le=1)
    part_step: int = Field(0, ge=0, le=_MOST_STEPS)
    part_seconds: float = Field(0.0, ge=0, le=_MOST_SECONDS)
    num_parts: int = Field(1, ge=1, le=10**6)
    logit_scale: float = Field(1.0, ge=LOWEST, le=HIGHEST)
    num_samples: int = Field(0, ge=0, le=_MOST_STEPS)
    sampled_seconds: float = Field(0.0, ge=0, le=_MOST_SECONDS)
    estimated_seconds: float = Field(0.0, ge=0, le=_MOST_SECONDS)
    sampling_seconds: float = Field(0.0, ge=0, le=_MOST_SECONDS)

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> "StateFacts":
        """Validate `facts`; raise `ValueError`, in a few words, for any missing or out of bounds."""
        try:
            return cls(**facts)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            missing = first["type"] == "missing"
            raise ValueError(f"{name} is {'missing' if missing else reprlib.repr(first['input'])}") from None

    @property
    def course(self) -> ScheduleState:
        """The state of the run's schedule."""
        return ScheduleState(**{name: getattr(self, name) for name in asdict(ScheduleState())})

    @property
    def samples(self) -> SampleState:
        """The state of the run's samples."""
        return SampleState(**{name: getattr(self, name) for name in asdict(SampleState())})
