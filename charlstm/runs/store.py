"""A run's folder: what is in it, how it is read while it grows, and what state the run is in.

    <checkpoints>/<run>/
        config.json         the run's settings, one flat object
        corpus.txt          the text, if it was pasted or uploaded
        events.jsonl        one record a line, appended by the worker
        control.json        what the worker is asked to do; the only file it does not write, but takes back in the end
        run.lock            held by the worker as long as it lives
        worker.log          what a worker started by the manager printed
        job                 which torchrun made it, so that one whose processes died goes on with it
        model.safetensors   the best model by validation
        last/               model.safetensors and training_state.safetensors of the last saved step

The state is derived from lock and records at every look, never stored. This module starts without torch.
"""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from charlstm.config import Settings
from charlstm.errors import CharLSTMError, RunError
from charlstm.events import Failed, Finished, Record, Resumed, Rewound, Started, parse_record
from charlstm.files import publish_text

Status = Literal["queued", "running", "stopping", "completed", "stopped", "failed", "crashed"]
ACTIVE: tuple[Status, ...] = ("queued", "running", "stopping")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STARTING_SECONDS = 60  # a worker that has not taken its lock by then will not
_LOCK_SECONDS = 10
_LOOK_SECONDS = 0.02
_TAIL_BYTES = 8192  # a last record (finished, failed) is far shorter


class Control(BaseModel):
    """What a run is asked to do."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    stop: bool = False


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.path.name

    @property
    def settings_file(self) -> Path:
        """The settings, one flat JSON object."""
        return self.path / "config.json"

    @property
    def corpus_file(self) -> Path:
        """The text of a run whose corpus was pasted or uploaded."""
        return self.path / "corpus.txt"

    @property
    def events_file(self) -> Path:
        """The records, one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        """What a worker started by the manager printed."""
        return self.path / "worker.log"

    @property
    def job_file(self) -> Path:
        """Which torchrun made the run, if one did."""
        return self.path / "job"

    @property
    def state_file(self) -> Path:
        """Everything needed to continue."""
        return self.path / "last" / "training_state.safetensors"

    @property
    def exists(self) -> bool:
        """Whether this is a run (and not, say, a model someone copied here)."""
        return self.settings_file.is_file()

    def begun_at(self) -> float:
        """When the run was prepared, in seconds since 1970; 0 for a folder that is none, or that can't be read."""
        try:
            return self.settings_file.stat().st_mtime
        except OSError:
            return 0.0

    def settings(self) -> Settings:
        """The run's settings; raises `RunError` if they can't be read."""
        try:
            return Settings.from_flat(json.loads(self.settings_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise RunError(f"there is no run named {self.name}; see the list of runs.") from None
        except (OSError, ValueError, AttributeError, TypeError) as error:
            what = str(error).rstrip(".")
            raise RunError(f"the settings of run {self.name} can't be read ({what}); start it anew.") from None

    def keep_settings(self, settings: Settings) -> None:
        """Publish the run's settings."""
        publish_text(self.settings_file, json.dumps(settings.flat(), indent=2, ensure_ascii=False) + "\n")

    def lock(self) -> FileLock:
        """The lock that says "alive"; the timeout outlasts anyone who only looks whether it is held."""
        return FileLock(self.path / "run.lock", timeout=_LOCK_SECONDS)

    def is_alive(self) -> bool:
        """Whether a worker holds the lock."""
        if not (self.path / "run.lock").exists():
            return False
        try:
            # tried for a while: whoever else is only looking holds it for a fraction of a millisecond
            with self.lock().acquire(timeout=_LOOK_SECONDS, poll_interval=_LOOK_SECONDS / 10):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that can't be written to has no worker
            return False

    def control(self) -> Control:
        """What the run is asked to do."""
        try:
            return Control.model_validate_json((self.path / "control.json").read_bytes())
        except (OSError, ValidationError):
            return Control()

    def ask(self, control: Control) -> None:
        """Replace what the run is asked to do; raises `RunError` if that can't be written."""
        try:
            publish_text(self.path / "control.json", control.model_dump_json())
        except OSError as error:
            raise RunError(f"run {self.name} can't be asked anything ({error.strerror}); check its folder.") from None

    def take_back_requests(self) -> None:
        """Forget what the run was asked: it has been done, or whoever starts it again does not want it any more."""
        with contextlib.suppress(OSError):
            (self.path / "control.json").unlink()

    def status(self) -> Status:
        """Derived from the lock and the last record."""
        if self.is_alive():
            return "stopping" if self.control().stop else "running"
        last = self._last_record()
        if isinstance(last, Finished):
            return last.reason
        if isinstance(last, Failed):
            return "failed"
        return "queued" if self._is_starting() else "crashed"

    def is_completed(self) -> bool:
        """Whether the run reached its planned end and there is nothing left to do."""
        last = self._last_record()
        return isinstance(last, Finished) and last.reason == "completed"

    def _is_starting(self) -> bool:
        try:
            return (
                not self.events_file.exists() and time.time() - self.settings_file.stat().st_mtime < _STARTING_SECONDS
            )
        except OSError:
            return False

    def _last_record(self) -> Record | None:
        try:
            with self.events_file.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return None
        return parse_record(lines[-1]) if lines else None


class RunStore:
    """The folder of runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str) -> RunFolder:
        """The run named `name`; raises `RunError` for a name that is none, or is not there."""
        folder = RunFolder(self.root / _checked_name(name))
        if not folder.exists:
            raise RunError(f"there is no run named {name}; see the list of runs.")
        return folder

    def of_job(self, job: str) -> RunFolder | None:
        """The run that this torchrun made before its processes were started anew."""
        made = (folder for folder in self.folders() if folder.job_file.is_file() and folder.exists)
        return next((folder for folder in made if folder.job_file.read_text(encoding="utf-8") == job), None)

    def create(
        self, settings: Settings, name: str, text: str | Iterable[str] | None = None, job: str = ""
    ) -> RunFolder:
        """Prepare a run named `name`, with its own copy of `text` if it was pasted or uploaded.

        `job` is what `of_job` finds it by.
        """
        folder = RunFolder(self.root / _checked_name(name))
        try:
            folder.path.mkdir(parents=True)
        except FileExistsError:
            raise RunError(f"{name} exists already among the models and runs; choose another name.") from None
        except OSError as error:
            raise RunError(f"the folder of models can't hold a new run ({error.strerror}); check it.") from None
        try:
            if text is not None:
                publish_text(folder.corpus_file, text)
            if job:
                publish_text(folder.job_file, job)
            folder.keep_settings(settings)
        except (OSError, UnicodeError) as error:
            shutil.rmtree(folder.path, ignore_errors=True)  # or it would keep the name, and no list would show it
            raise RunError(f"run {name} can't be prepared ({error}); free up its folder.") from None
        except CharLSTMError:  # from the text, which may be a file that is read only now
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        return folder

    def is_free(self, name: str) -> bool:
        """Whether neither a run nor a model is called `name`; raises `RunError` for a name that is none."""
        return not (self.root / _checked_name(name)).exists()

    def free_name(self, wish: str) -> str:
        """A name like `wish` that is not taken: the wish made plain, with a number behind it if need be."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", wish).strip("-_")[:48] or "run"
        name, number = plain, 1
        while (self.root / name).exists():
            number += 1
            name = f"{plain}-{number}"
        return name

    def folders(self) -> list[RunFolder]:
        """All runs, the newest first."""
        if not self.root.exists():
            return []
        try:
            runs = [RunFolder(path) for path in self.root.iterdir() if _NAME.fullmatch(path.name)]
        except OSError as error:
            raise RunError(f"the folder of models can't be listed ({error.strerror}); check it.") from None
        dated = [(run.begun_at(), run.name, run) for run in runs]
        return [run for begun_at, _, run in sorted(dated, key=lambda row: row[:2], reverse=True) if begun_at]


@dataclass
class History:
    """The records of a run that count, kept up to date by reading only what was added since the last look."""

    folder: RunFolder
    records: list[Record] = field(default_factory=list)
    _offset: int = 0

    def poll(self) -> bool:
        """Read what is new; returns whether there was anything."""
        changed = False
        for record in self._new_records():
            if isinstance(record, Started):  # cut off before anything was saved, the run began anew
                self.records.clear()
            elif isinstance(record, Resumed | Rewound):  # what came after the step it goes on from no longer counts
                self.records[:] = [each for each in self.records if each.step <= record.step]
            self.records.append(record)
            changed = True
        return changed

    def _new_records(self) -> Iterator[Record]:
        """Whole lines only: a line without its newline is still being written."""
        try:
            with self.folder.events_file.open("rb") as file:
                if file.seek(0, 2) < self._offset:  # another run of this name has begun
                    self._offset = 0
                    self.records.clear()
                file.seek(self._offset)
                added = file.read()
        except OSError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            if record := parse_record(line):
                yield record


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name[:80]!r} is no name for a run; use up to 64 letters, digits, dots, dashes and underscores, "
            "a letter or digit first."
        )
    return name
