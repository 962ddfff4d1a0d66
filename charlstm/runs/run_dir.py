"""A run's directory: its files, how they are read and written, and the run's status.

`docs/architecture.md` shows all of them. The manager writes config.json, corpus.txt, queued.json, label.txt, note.txt,
starred and owner; the worker writes the results. The status is never stored, but derived from lock and records at every
query. Imports no torch.
"""

import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from charlstm.config import Schedule, Settings
from charlstm.errors import RunError, printable
from charlstm.events import Failed, Finished, Record, parse_record
from charlstm.files import atomic_write, atomic_write_text, file_sha256
from charlstm.formatting import without_places
from charlstm.json_text import parse_as, parse_json, read_small
from charlstm.runs.control import Control, Mailbox, WorkerStatus
from charlstm.runs.file_lock import Lock, is_locked, open_lock
from charlstm.safetensors_header import LFS_ADVICE, LFS_POINTER

Active = Literal["starting", "running", "paused", "stopping", "measuring"]  # has a process, or is about to
Status = Literal[Active, "queued", "completed", "stopped", "failed", "interrupted"]
ACTIVE: tuple[Active, ...] = get_args(Active)

_LOADING_SECONDS = 300  # on a busy machine a worker was seen to take a minute to acquire its lock
_STARTING_SECONDS = 60  # a worker without its lock by then won't come
_LOCK_SECONDS = 10
# A run's file holds every setting; one missing was introduced later, and older runs behaved as with this value.
_BEFORE = {"state_reset": 0.0}
_SHOWN_CHARS = 400
_TAIL_BYTES = 8192  # a last record (finished, failed) is far shorter
_FILES_KEPT = 2000  # small ones in memory: four of each of some hundred runs


class Extension(BaseModel):
    """An extension of a run beyond its plan, counted from where it stands; 0 sets no limit."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    minutes: float = Field(0.0, ge=0, le=10**5)
    passes: float = Field(0.0, ge=0, le=10**6)
    steps: int = Field(0, ge=0, le=10**9)
    learning_rate: float | None = Field(None, gt=0, le=1)  # the peak of the extension
    lr_schedule: Schedule | None = None


class QueueTicket(BaseModel):
    """A place in the queue."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    drawn: int = Field(default_factory=time.time_ns, ge=0, lt=2**63)  # the smallest number is next
    started_at: float | None = Field(None, ge=0, le=10**11)  # when its worker was started, in seconds since 1970


class ParentModel(BaseModel):
    """The model that a run starts from."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    name: str = Field(max_length=255)  # of its directory or file
    sha256: str = Field(max_length=64)  # of its file


_EXTENSIONS: TypeAdapter[tuple[Extension, ...]] = TypeAdapter(tuple[Extension, ...])


class _File:
    """A file of a run, by its place in the run's directory."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, run: "RunDir", _: type) -> Path:
        return run.path.joinpath(*self._parts)


@dataclass(frozen=True)
class RunDir:
    """One run's directory."""

    path: Path

    settings_file = _File("config.json")  # the settings, one flat JSON object
    corpus_file = _File("corpus.txt")  # the text of a run whose corpus was pasted or uploaded
    events_file = _File("events.jsonl")  # the records, one JSON object a line
    log_file = _File("worker.log")  # the output of a worker started by the manager
    job_file = _File("job")  # the id of the torchrun job that created the run, if any
    state_file = _File("last", "training_state.safetensors")  # the saved training state, from which the run resumes
    unprepared_file = _File(".unprepared")  # a marker that exists until the run's settings are written
    parent_file = _File("parent.safetensors")  # the copy of the model that the run started from
    extensions_file = _File("more.json")  # the run's extensions, one JSON array
    live_model = _File("last", "model.safetensors")  # the latest saved model, while the run goes on
    star_file = _File("starred")  # not empty in runs that are listed first
    ticket_file = _File("queued.json")  # the queue ticket, which exists until the run's worker has its lock

    @property
    def name(self) -> str:
        """The run's name, which is its directory's."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether this is a run and not, say, a copied model."""
        return self.settings_file.is_file()

    def creation_time(self) -> float:
        """Return the run's time of creation, in seconds since 1970; 0 if this is not a run or can't be read."""
        try:
            return self.settings_file.stat().st_mtime
        except OSError:
            return 0.0

    def settings(self) -> Settings:
        """Return the run's settings; raise `RunError` if they can't be read."""
        try:
            text = read_small(self.settings_file)
            if LFS_POINTER.match(text):
                raise RunError(f"the settings file of run {self.name} {LFS_ADVICE}.")
            return Settings.from_flat({**_BEFORE, **parse_json(text)})
        except FileNotFoundError:
            raise RunError(f"there is no run named {self.name}; see the list of runs.") from None
        except (OSError, ValueError, AttributeError, TypeError) as error:
            what = printable(str(error).rstrip("."), _SHOWN_CHARS)
            raise RunError(f"the settings of run {self.name} can't be read ({what}); start it anew.") from None

    def save_settings(self, settings: Settings) -> None:
        """Write the run's settings."""
        atomic_write_text(self.settings_file, json.dumps(settings.flat(), indent=2, ensure_ascii=False) + "\n")

    def lock(self) -> Lock:
        """Return the lock that its live worker holds; the timeout outlasts concurrent checks of the lock."""
        return open_lock(self.path / "run.lock", _LOCK_SECONDS)

    @property
    def label(self) -> str:
        """The run's display name."""
        return self._read_text("label.txt") or self.name

    @property
    def note(self) -> str:
        """A line that its owner wrote about it; empty if there is none."""
        return self._read_text("note.txt")

    @property
    def is_starred(self) -> bool:
        """Whether it is listed among the first ones."""
        return bool(self._read_text("starred"))

    @property
    def owner(self) -> str:
        """The hash of the owner's token; empty if the run has no owner."""
        return self._read_text("owner")

    def _read_text(self, file: str) -> str:
        path = self.path / file
        try:
            return _read_shown_text(path, _version_of(path))
        except OSError:
            return ""

    def parent(self) -> ParentModel | None:
        """Return the model that the run started from, or `None`."""
        try:
            return parse_as(ParentModel, read_small(self.path / "parent.json"))
        except (OSError, ValueError):
            return None

    def save_parent(self, model: Path, name: str) -> None:
        """Copy the model to start from into the directory; raise `RunError` if it can't be read."""
        try:
            with atomic_write(self.parent_file) as temporary:
                shutil.copyfile(model, temporary)
                digest = file_sha256(temporary)
            atomic_write_text(self.path / "parent.json", ParentModel(name=name, sha256=digest).model_dump_json())
        except OSError as error:
            raise RunError(f"the model {name} can't be copied ({error.strerror}); choose another one.") from None

    def extensions(self) -> tuple[Extension, ...]:
        """Return the run's extensions, oldest first; raise `RunError` if they can't be read."""
        try:
            return _EXTENSIONS.validate_python(parse_json(read_small(self.extensions_file)))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError):
            raise RunError(f"how run {self.name} was extended can't be read; start from its model instead.") from None

    def save_extensions(self, more: Iterable[Extension]) -> None:
        """Write the run's extensions."""
        atomic_write_text(self.extensions_file, _EXTENSIONS.dump_json(tuple(more)).decode())

    @property
    def has_state(self) -> bool:
        """Whether there is a saved state to resume from."""
        return self.state_file.is_file()

    def log_tail(self, max_chars: int = 4000) -> str:
        """Return the end of the worker's output, without paths of this machine."""
        try:
            text = self.log_file.read_bytes()[-4 * max_chars :].decode("utf-8", "replace")
        except OSError:
            return ""
        text = text.replace(str(self.path.parent.resolve()), "/...")  # a path with spaces escapes `without_places`
        return without_places(text)[-max_chars:]

    def is_alive(self) -> bool:
        """Return whether a worker holds the lock."""
        return is_locked(self.path / "run.lock")

    @property
    def mailbox(self) -> Mailbox:
        """The channel for requests to the worker and its answers."""
        return Mailbox(self.path)

    def control(self) -> Control:
        """Return the requests to the run."""
        return self.mailbox.control()

    def worker_status(self) -> WorkerStatus:
        """Return the worker's answer to them."""
        return self.mailbox.worker_status()

    def request(self, control: Control) -> None:
        """Replace the requests to the run; raise `RunError` if they can't be written."""
        try:
            self.mailbox.write_request(control)
        except OSError as error:
            raise RunError(f"run {self.name} can't be asked anything ({error.strerror}); check its folder.") from None

    def clear_requests(self) -> None:
        """Delete the requests to the run, which are done or obsolete."""
        self.mailbox.clear()

    def ticket(self) -> QueueTicket | None:
        """Return the queue ticket, or `None` if there is none or its worker failed to appear in time."""
        try:
            ticket = parse_as(QueueTicket, read_small(self.ticket_file))
        except (OSError, ValueError):
            return None
        is_late = ticket.started_at is not None and time.time() - ticket.started_at > _LOADING_SECONDS
        return None if is_late else ticket

    def save_ticket(self, ticket: QueueTicket) -> None:
        """Write the queue ticket."""
        atomic_write_text(self.ticket_file, ticket.model_dump_json())

    def status(self) -> Status:
        """Return the status, derived from lock, ticket and last record."""
        ticket = self.ticket()  # read before the lock: the worker acquires the lock before it deletes the ticket
        if self.is_alive():
            answer = self.worker_status()
            if answer.is_halted:
                return "measuring"
            if self.control().stop:
                return "stopping"
            return "paused" if answer.is_paused else "running"
        if ticket:
            return "queued" if ticket.started_at is None else "starting"
        last = self._last_record()
        if isinstance(last, Finished):
            return last.reason
        if isinstance(last, Failed):
            return "failed"
        if not self.events_file.exists() and self.control().stop:
            return "stopped"  # dequeued before it began
        return "starting" if self._is_starting() else "interrupted"

    def problem(self) -> str:
        """Return why the run failed, in a sentence; empty if it did not."""
        last = self._last_record()
        return last.message if isinstance(last, Failed) else ""

    def is_completed(self) -> bool:
        """Return whether the run reached its planned end, with no extension left to train."""
        last = self._last_record()
        return isinstance(last, Finished) and last.reason == "completed" and last.num_parts > len(self.extensions())

    def _is_starting(self) -> bool:
        try:
            is_new = time.time() - self.settings_file.stat().st_mtime < _STARTING_SECONDS
            # a manager's worker has a ticket and a log instead
            return is_new and not self.events_file.exists() and not self.log_file.exists()
        except OSError:
            return False

    def _last_record(self) -> Record | None:
        try:
            return _read_last_record(self.events_file, _version_of(self.events_file))
        except OSError:
            return None


_Version = tuple[int, ...]


def _version_of(path: Path) -> _Version:
    """Return what changes with a file's content, at a tenth of the cost of reading it; raise `OSError`."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


@lru_cache(_FILES_KEPT)  # which keeps no errors: what can't be read for a moment is read again
def _read_shown_text(path: Path, _version: _Version) -> str:
    try:
        return printable(read_small(path, _SHOWN_CHARS).decode("utf-8").strip())
    except ValueError:
        return ""


@lru_cache(_FILES_KEPT)
def _read_last_record(path: Path, _version: _Version) -> Record | None:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
        lines = file.read().splitlines()
    return parse_record(lines[-1]) if lines else None
