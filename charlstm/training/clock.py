"""The training clock, which stops while the process is suspended (Ctrl-Z, a sleeping machine).

A suspended process uses no processor time; one slowed by a busy machine uses as much as ever. So a gap between two
readings that is far longer than its processor time usually takes counts only as long as usual. A wait of many seconds
for nothing but a disk is shortened in the same way.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_NOTICED_SECONDS = 5.0  # shorter gaps count in full
_FAR_LONGER = 3.0
_USUAL_SHARE = 0.2  # initial processor time per second: that of a very busy machine
_REMEMBERED_SECONDS = 20.0
_LOOK_SECONDS = 0.25


class AwakeClock:
    """A clock that returns the seconds of `clock` without those for which the process was suspended.

    `processor` returns the processor time used by the process.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, processor: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._processor = clock, processor
        self._looking = threading.Lock()
        self._looked, self._used = clock(), processor()
        self._asleep = 0.0
        self._seen_seconds, self._seen_used = 1.0, _USUAL_SHARE

    def __call__(self) -> float:
        """Return the seconds since an arbitrary moment."""
        with self._looking:
            return self._look()

    def _look(self) -> float:
        now, used = self._clock(), self._processor()
        gap, work = now - self._looked, used - self._used
        self._looked, self._used = now, used
        if gap > _NOTICED_SECONDS:
            usual = work * self._seen_seconds / max(self._seen_used, 1e-9)
            if gap > _FAR_LONGER * usual:
                self._asleep += gap - usual
                return now - self._asleep
        self._remember(gap, work)
        return now - self._asleep

    def _remember(self, seconds: float, used: float) -> None:
        kept = 0.5 if self._seen_seconds > _REMEMBERED_SECONDS else 1.0
        self._seen_seconds = kept * self._seen_seconds + seconds
        self._seen_used = kept * self._seen_used + used


@contextlib.contextmanager
def watch_clock(clock: Callable[[], float]) -> Iterator[None]:
    """Read `clock` several times a second inside the block, so that no long step hides a suspension."""
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            clock()

    thread = threading.Thread(target=look, name="clock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
