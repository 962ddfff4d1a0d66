"""The time that a worker may hold a training slot: training, pauses and the final measurement.

A run's settings plan its end. These bounds belong to the deployment (`charlstm.environment`) and end what a plan does
not cover: a pause that nobody ends, or a report that takes longer than the training did.
"""

import time
from collections.abc import Callable

from charlstm.environment import limits

_MEASURING_SHARE = 0.25  # of the allowed training minutes, at most, goes into the final measurement
_LEAST_SECONDS = 5.0


class TimeBudget:
    """The time budget of one worker."""

    def __init__(
        self,
        trained_seconds: Callable[[], float],
        is_asked_to_stop: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the budget; `trained_seconds()` returns the run's total training time as of its last step."""
        bounds = limits()
        self._most, self._most_paused = 60 * bounds.max_minutes, 60 * bounds.max_paused_minutes
        self._trained, self._is_asked_to_stop, self._clock = trained_seconds, is_asked_to_stop, clock
        self._seen = (-1.0, clock())  # training time at the last step, and when that was first seen
        self._measuring_since: float | None = None
        self._was_asked = False
        self.paused_seconds = 0.0  # before the current pause
        self._has_paused_too_long = False

    @property
    def _grace(self) -> float:
        return max(_LEAST_SECONDS, _MEASURING_SHARE * self._most)

    def has_paused(self, seconds: float) -> bool:
        """Return whether a pause of `seconds` so far exhausts the run's total pause time, which ends the run."""
        self._has_paused_too_long = bool(self._most_paused) and self.paused_seconds + seconds > self._most_paused
        return self._has_paused_too_long

    def is_over(self) -> bool:
        """Return whether the run must stop; a run that is planned within the limit ends before."""
        is_late = bool(self._most) and self._trained() > self._most + _LEAST_SECONDS
        return self._has_paused_too_long or is_late

    def is_over_amid_reports(self) -> bool:
        """Return whether the run must stop amid a validation or sample, during which no step advances the time."""
        if not self._most:
            return False
        trained = self._trained()
        if trained != self._seen[0]:
            self._seen = trained, self._clock() - self.paused_seconds
        reporting = self._clock() - self.paused_seconds - self._seen[1]
        return trained + reporting > self._most + self._grace

    def begin_measuring(self) -> None:
        """Mark the end of training and the start of the final measurement."""
        self._measuring_since, self._was_asked = self._clock(), self._is_asked_to_stop()

    def may_measure(self) -> bool:
        """Return whether measuring may continue: time is left, and no stop was requested since it began."""
        assert self._measuring_since is not None, "begin_measuring comes first"
        if self._is_asked_to_stop() and not self._was_asked:
            return False
        return not self._most or self._clock() - self._measuring_since < self._grace
