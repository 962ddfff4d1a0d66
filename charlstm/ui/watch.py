"""One look at the runs for all visitors: what is on disk is read once, however many pages are open."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from charlstm.errors import RunError
from charlstm.events import Record
from charlstm.runs.history import History
from charlstm.runs.manager import RunManager, RunSummary
from charlstm.runs.store import ACTIVE, Status

_LOOK_SECONDS = 0.5  # how old a look may be that visitors share
_REMEMBERED = 16  # histories kept in memory


@dataclass(frozen=True)
class Look:
    """A run at one moment; `version` differs whenever anything else does."""

    name: str
    status: Status
    records: Sequence[Record]
    version: str


class RunWatch:
    """Follows the runs of a manager; safe to ask from many threads."""

    def __init__(self, manager: RunManager) -> None:
        self.manager = manager
        self._lock = threading.Lock()
        self._histories: dict[str, History] = {}
        self._runs: list[RunSummary] = []
        self._looked = 0.0

    def runs(self, fresh: bool = False) -> list[RunSummary]:
        """All runs, the newest first, at most half a second old."""
        with self._lock:
            if fresh or time.monotonic() - self._looked > _LOOK_SECONDS:
                self._runs = self.manager.runs()
                self._looked = time.monotonic()
            return self._runs

    def look(self, name: str | None) -> Look | None:
        """The run named `name`, or `None` if there is none."""
        summary = next((run for run in self.runs() if run.name == name), None)
        if summary is None:
            return None
        with self._lock:
            history = self._histories.pop(summary.name, None) or History(summary.folder)
            self._histories[summary.name] = history  # the latest asked for stays longest
            while len(self._histories) > _REMEMBERED:
                self._histories.pop(next(iter(self._histories)))
            history.poll()
            records = tuple(history.records)
        last = records[-1].step if records else -1
        return Look(summary.name, summary.status, records, f"{summary.name}/{summary.status}/{len(records)}/{last}")

    def active(self) -> Look | None:
        """The run that is going on."""
        return next((self.look(run.name) for run in self.runs() if run.status in ACTIVE), None)

    def to_show(self) -> str | None:
        """The run a page should open with: the one going on, else the newest."""
        active = self.active()
        runs = self.runs()
        return active.name if active else (runs[0].name if runs else None)

    def stop(self, name: str | None) -> None:
        """Ask a run to stop."""
        self.manager.stop(_shown(name))
        self.runs(fresh=True)

    def resume(self, name: str | None) -> None:
        """Continue a run."""
        self.manager.resume(_shown(name))
        self.runs(fresh=True)


def _shown(name: str | None) -> str:
    if name is None:
        raise RunError("no run is shown; choose one first.")
    return name
