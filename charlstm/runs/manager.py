"""Starts, lists and stops runs. Each is a process of its own, so neither a page nor the app can take it down.

The process is the command a person would type (`python -m charlstm resume NAME` on a prepared folder), in its own
session. Nothing about it is remembered here that is needed later: another manager finds the same runs on disk.
This module starts without torch.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from charlstm.config import Settings
from charlstm.runs.cleaning import require_disk
from charlstm.runs.limits import allowed, bounded, check_room
from charlstm.runs.store import ACTIVE, Control, RunFolder, RunStore, Status

# With `start_new_session` (which Windows ignores), what lets a run outlive this process, its terminal and its Ctrl-C.
_DETACHED = 0
if sys.platform == "win32":
    _DETACHED = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS


@dataclass(frozen=True)
class RunSummary:
    """A run and the state it is in."""

    folder: RunFolder
    status: Status

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name


@dataclass(frozen=True)
class _Child:
    """A worker started here, and how much of the run was recorded before: more means that it has held its lock."""

    process: "subprocess.Popen[bytes]"
    recorded_bytes: int


class RunManager:
    """The runs in one checkpoints folder."""

    def __init__(self, checkpoints_dir: Path) -> None:
        self.store = RunStore(checkpoints_dir)
        self._children: dict[str, _Child] = {}
        self._starting = threading.Lock()  # two visitors may press Start at the same moment

    def start(self, settings: Settings, name: str, text: str | Iterable[str] | None = None) -> RunFolder:
        """Start a new run in a process of its own; raises `RunError` if the name is taken or another run is going."""
        with self._starting:
            self._require_idle()
            require_disk(self.store)
            folder = self.store.create(allowed(settings), name, None if text is None else bounded(text))
            self._spawn(folder)
        return folder

    def resume(self, name: str) -> RunFolder:
        """Continue a run that was stopped or cut off."""
        with self._starting:
            self._require_idle()
            folder = self.store.get(name)
            folder.take_back_requests()
            self._spawn(folder)
        return folder

    def _require_idle(self) -> None:
        check_room([run.name for run in self.runs() if run.status in ACTIVE])

    def stop(self, name: str) -> None:
        """Ask a run to save and stop; returns at once. A run that is not active stays as it is."""
        folder = self.store.get(name)
        if self.status(folder) in ACTIVE:
            folder.ask(Control(stop=True))

    def runs(self) -> list[RunSummary]:
        """All runs, the newest first."""
        return [RunSummary(folder, self.status(folder)) for folder in self.store.folders()]

    def active(self) -> RunSummary | None:
        """The run that is going on, if any."""
        return next((run for run in self.runs() if run.status in ACTIVE), None)

    def status(self, folder: RunFolder) -> Status:
        """As the folder tells; of a child that has not taken its lock, or ended before it could, more is known here."""
        child = self._children.get(folder.name)
        if child is None:
            return folder.status()
        is_over = child.process.poll() is not None
        has_begun = _recorded_bytes(folder) != child.recorded_bytes  # looked up before the lock, which comes first
        derived = folder.status()
        if has_begun or derived in ("running", "stopping"):
            return derived
        if not is_over:
            return "queued"
        return "crashed" if derived == "queued" else derived

    def _spawn(self, folder: RunFolder) -> None:
        command = [sys.executable, "-m", "charlstm", "resume", folder.name]
        command += ["--checkpoints-dir", str(self.store.root.resolve())]
        package_home = str(Path(__file__).resolve().parents[2])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [package_home, os.environ.get("PYTHONPATH")])),
        }
        with folder.log_file.open("ab") as log:
            recorded_bytes = _recorded_bytes(folder)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                creationflags=_DETACHED,
            )
        self._children[folder.name] = _Child(process, recorded_bytes)


def _recorded_bytes(folder: RunFolder) -> int:
    try:
        return folder.events_file.stat().st_size
    except OSError:  # nothing yet
        return 0
