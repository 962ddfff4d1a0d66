"""The facts of a trainer's saved state, as they are checked when it is loaded."""

import reprlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from charlstm.training.samples import SampleState
from charlstm.training.schedule import ScheduleState
from charlstm.training.validation import HIGHEST, LOWEST

_MOST_STEPS = 10**12
_MOST_SECONDS = 10**10
_LARGEST_LOSS = 1e30  # nats per character; a diverging run reaches large ones


def _not_below_zero(loss: Any) -> Any:
    """Return 0 for a loss a little below it, as calibration once read it off where a text was known by heart."""
    return 0.0 if isinstance(loss, float) and -0.01 < loss < 0 else loss


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
            return cls(**{"estimated_seconds": facts.get("sampled_seconds", 0.0), **facts})
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
