"""The figures a run's loss is read against, found beside the training that they must not hold up."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable

from charlstm.corpus import Split
from charlstm.corpus.references import Cancelled, figures_of
from charlstm.events import References
from charlstm.runs.log import RecordLog
from charlstm.runs.store import RunFolder

_LOOK_SECONDS = 0.1
_LAST_IN_LINE = 19  # as `nice` counts


class ReferenceThread:
    """Records `References` once in a run's life; what is not found when the block ends is left for the next worker."""

    def __init__(self, folder: RunFolder, split: Split, log: RecordLog) -> None:
        self._split, self._log = split, log
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        if b'"kind":"references"' not in folder.events_file.read_bytes():
            self._thread = threading.Thread(target=self._find, name="references", daemon=True)

    def __enter__(self) -> "ReferenceThread":
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self.wait()

    def wait(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Until they are found, or not wanted any more."""
        while self._thread and self._thread.is_alive() and is_wanted():
            self._thread.join(_LOOK_SECONDS)

    def _find(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST_IN_LINE)
        began = time.monotonic()
        with contextlib.suppress(Cancelled, OSError):  # a disk that is full is met by the thread that trains
            found = figures_of(self._split, lambda: not self._is_over.is_set())
            self._log.append(References(step=0, seconds=round(time.monotonic() - began, 2), **found._asdict()))
