"""For how long a worker may hold the place of a run that trains: what it trains, rests paused and measures in the end.

The limits of a run's settings plan its end. These bounds are the place's (`charlstm.environment`), and end what a plan
does not see: a pause that nobody ends, a report that takes longer than the training did.
"""

import time
from collections.abc import Callable

from charlstm.environment import limits

_MEASURING_SHARE = 0.25  # of the minutes that a run may train go into measuring it in the end, at most
_LEAST_SECONDS = 5.0


class TimeHeld:
    """Of one worker."""

    def __init__(
        self,
        trained_seconds: Callable[[], float],
        is_asked_to_stop: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take `trained_seconds()`, which tells what the run has trained in all as of its last step."""
        bounds = limits()
        self._most, self._most_paused = 60 * bounds.max_minutes, 60 * bounds.max_paused_minutes
        self._trained, self._is_asked_to_stop, self._clock = trained_seconds, is_asked_to_stop, clock
        self._seen = (-1.0, clock())  # what was trained at the last step, and when that was first seen
        self._measuring_since: float | None = None
        self._was_asked = False
        self.paused_seconds = 0.0  # before the present pause
        self._has_paused_too_long = False

    @property
    def _grace(self) -> float:
        return max(_LEAST_SECONDS, _MEASURING_SHARE * self._most)

    def has_paused(self, seconds: float) -> bool:
        """Return whether a pause of `seconds` so far must end, and the run with it; pauses of a run add up."""
        self._has_paused_too_long = bool(self._most_paused) and self.paused_seconds + seconds > self._most_paused
        return self._has_paused_too_long

    def is_over(self) -> bool:
        """Return whether the run must stop here; one whose plan ends in time reaches its end before."""
        is_late = bool(self._most) and self._trained() > self._most + _LEAST_SECONDS
        return self._has_paused_too_long or is_late

    def is_over_amid_reports(self) -> bool:
        """Return `is_over()` during a validation or a sample, when no step counts the time."""
        if not self._most:
            return False
        trained = self._trained()
        if trained != self._seen[0]:
            self._seen = trained, self._clock() - self.paused_seconds
        reporting = self._clock() - self.paused_seconds - self._seen[1]
        return trained + reporting > self._most + self._grace

    def begin_measuring(self) -> None:
        """Begin to count the time of measuring."""
        self._measuring_since, self._was_asked = self._clock(), self._is_asked_to_stop()

    def may_measure(self) -> bool:
        """Return whether measuring may go on: there is time, and nobody has asked to stop since it began."""
        assert self._measuring_since is not None, "begin_measuring comes first"
        if self._is_asked_to_stop() and not self._was_asked:
            return False
        return not self._most or self._clock() - self._measuring_since < self._grace
