"""How a run has been steered off the course that its settings plan; part of its state."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Course:
    """Factors of the planned learning rate, and where the present part of the run began."""

    asked_factor: float = 1.0  # by whoever steers
    rate_factor: float = 1.0  # 1/2 after the run diverged once
    part_step: int = 0
    part_seconds: float = 0.0
    num_parts: int = 1  # the run as planned, and how often it was extended

    def facts(self) -> dict[str, Any]:
        """What `from_facts` reads."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Course":
        """As kept in a run's state; a state of an earlier version knows less. Raises `ValueError`, `TypeError`."""
        return cls(**{name: type(value)(facts.get(name, value)) for name, value in asdict(cls()).items()})
