"""Starts, lists, controls and deletes runs, each in its own process, which outlives the page and the app.

The process runs `python -m charlstm resume NAME` on a prepared directory, in its own session. The manager keeps no
state of its own that is needed later: another manager finds the same runs and the same queue on disk. A queued run has
a ticket in its directory; any live manager (of an app, or of a worker at its end) starts the next run, one manager at a
time. Imports no torch.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from charlstm import environment
from charlstm.config import Settings, closest_preset
from charlstm.data_folders import BUNDLED
from charlstm.errors import CharLSTMError, RunError, printable
from charlstm.files import atomic_write_text
from charlstm.model_paths import model_file, model_name
from charlstm.runs.continuation import add_extension, inherit_sizes, require_text
from charlstm.runs.control import Control
from charlstm.runs.file_lock import Lock, open_lock
from charlstm.runs.history import RunHistory
from charlstm.runs.label_check import LONGEST_LABEL, validate_label, validate_note
from charlstm.runs.launcher import Launcher, Worker
from charlstm.runs.limits import apply_limits, limit_extension, limit_size, require_queue_place
from charlstm.runs.retention import Trash, TrashedRun, remove_abandoned, require_disk
from charlstm.runs.run_dir import ACTIVE, Extension, QueueTicket, RunDir, Status
from charlstm.runs.store import RunStore

_LOCK_SECONDS = 10
_TEND_SECONDS = 1.0


@dataclass(frozen=True)
class RunSummary:
    """A run and its status, for a list."""

    folder: RunDir
    status: Status
    queue_position: int  # 1 for the next; 0 if not queued
    label: str
    owner: str  # the hash of a token, see `access`
    created_at: float  # seconds since 1970
    corpus: str
    size: str
    parent: str  # the model it started from, if any
    step: int
    elapsed_seconds: float
    val_loss: float | None  # the best, in nats per character
    problem: str  # the reason of its failure, in a sentence
    sparkline: tuple[float, ...] = ()  # of its loss
    started_at: float = 0.0  # seconds since 1970; 0 before it began
    preset: str = ""  # that is closest to its settings
    changes: tuple[tuple[str, Any], ...] = ()  # settings, with their values, that differ from that preset's
    fraction: float = 0.0  # of the planned run
    note: str = ""  # what its owner wrote about it
    is_starred: bool = False

    @cached_property
    def name(self) -> str:
        """The run's id, which a page's tick asks for again and again."""
        return self.folder.name


class RunManager:
    """The runs in one checkpoints directory, up to `max_runs` of them at a time ($CHARLSTM_MAX_RUNS, else 1)."""

    def __init__(self, checkpoints_dir: Path, max_runs: int | None = None) -> None:
        self.store = RunStore(checkpoints_dir)
        self._trash = Trash(self.store)
        self._max_runs = max_runs or environment.max_runs()
        self._children: dict[str, tuple[int, Worker]] = {}  # the ticket and the worker started for it
        self.launcher = Launcher()
        self._histories: dict[str, RunHistory] = {}
        self.reading = threading.RLock()  # held while the histories, shared by threads, are read

    def start(
        self,
        settings: Settings,
        name: str,
        text: str | Iterable[str] | None = None,
        *,
        parent: Path | None = None,
        owner: str = "",
    ) -> RunDir:
        """Start a new run in its own process, or queue it while `max_runs` are active.

        `parent` is a model (directory or file) to start from; for `owner` see `access`.
        Raises `RunError` if the name is taken or the model can't be read.
        """
        if parent:
            settings = inherit_sizes(settings, parent)

        def prepare(folder: RunDir) -> None:
            if parent:
                folder.save_parent(model_file(parent), model_name(parent))
            atomic_write_text(folder.path / "owner", owner)  # even if empty: the file marks a visitor's run
            folder.save_ticket(QueueTicket())

        self._require_place(owner)
        require_disk(self.store)
        text = None if text is None else limit_size(text)
        folder = self.store.create(apply_limits(settings), name, text, prepare=prepare)
        self.start_queued()
        return folder

    def resume(self, name: str) -> RunDir:
        """Resume a stopped, failed or interrupted run exactly where it was last saved."""
        folder = self._get_idle(name)
        require_text(folder, folder.settings().train.corpus)
        if folder.is_completed():
            raise RunError(f"{folder.label} has reached its planned end; train it longer instead.")
        self._require_place(folder.owner)
        folder.clear_requests()
        folder.save_ticket(QueueTicket())
        self.start_queued()
        return folder

    def extend(self, name: str, more: Extension) -> RunDir:
        """Extend an ended run by `more` from its saved state; see `continuation` and `limits`."""
        folder = self._get_idle(name)
        require_text(folder, folder.settings().train.corpus)
        self._require_place(folder.owner)
        with self.read_history(folder) as history:
            trained_seconds = history.progress()[1]
        add_extension(folder, limit_extension(folder.label, trained_seconds, more))
        folder.clear_requests()
        folder.save_ticket(QueueTicket())
        self.start_queued()
        return folder

    def _require_place(self, owner: str) -> None:
        require_queue_place((folder for _, folder in self._waiting(self.store.run_dirs())), owner)

    def _get_idle(self, name: str) -> RunDir:
        """Return the run; raise `RunError` if it is active or queued."""
        folder = self.store.get(name)
        status = self.status(folder)
        if status == "queued":
            raise RunError(f"{folder.label} waits for its turn already.")
        if status in ACTIVE:
            raise RunError(f"{folder.label} is training already; stop it or wait for its end first.")
        return folder

    def steer(
        self,
        name: str,
        *,
        pause: bool | None = None,
        stop: bool | None = None,
        save: bool = False,
        rate_factor: float | None = None,
    ) -> int:
        """Send a request to an active run and return its number at once (see `control`)."""
        folder = self.store.get(name)
        if (status := self.status(folder)) not in ACTIVE:
            raise RunError(f"{folder.label} is not training ({status}); there is nothing to steer.")
        return folder.mailbox.request(pause=pause, stop=stop, save=save, rate_factor=rate_factor)

    def stop(self, name: str) -> int:
        """Ask an active run to save and stop, or dequeue a queued one; leave any other run as it is."""
        folder = self.store.get(name)
        with self._queue_lock():
            ticket = folder.ticket()
            if ticket and ticket.started_at is None:
                if not folder.events_file.exists():
                    folder.request(Control(stop=True))  # distinguishes a run that never began from an interrupted one
                folder.ticket_file.unlink(missing_ok=True)
                return 0
        return self.steer(name, stop=True) if self.status(folder) in ACTIVE else 0

    def wait(self, name: str) -> None:
        """Wait for the end of the process that this manager started for a run, if it did."""
        if name in self._children:
            self._children[name][1].wait()

    def runs(self) -> list[RunSummary]:
        """Return all runs, newest first."""
        folders = self.store.run_dirs()
        places = {folder.name: place for place, (_, folder) in enumerate(self._waiting(folders), start=1)}
        with self.reading:
            self._histories = {folder.name: self.history(folder) for folder in folders}
            for history in self._histories.values():
                history.poll()
            return [self._summary(folder, places.get(folder.name, 0)) for folder in folders]

    def active(self) -> RunSummary | None:
        """Return the newest active run, or `None`."""
        return next((run for run in self.runs() if run.status in ACTIVE), None)

    def status(self, folder: RunDir) -> Status:
        """Return the status, which the directory tells, except that a worker ended before it took its lock."""
        (drawn, child), ticket = self._children.get(folder.name, (0, None)), folder.ticket()
        if child and ticket and ticket.drawn == drawn and child.poll() is not None:
            folder.ticket_file.unlink(missing_ok=True)
        return folder.status()

    def rename(self, name: str, label: str) -> None:
        """Change the run's label; its id and directory stay."""
        folder = self.store.get(name)
        runs = [run for run in self.store.run_dirs() if run.name != name]
        others = [called for run in runs for called in {run.name, run.label}]
        label = validate_label(label, [*others, *(model for model in BUNDLED if model != name)])
        atomic_write_text(folder.path / "label.txt", label)

    def annotate(self, name: str, note: str) -> None:
        """Keep a line about the run with it; an empty one removes it."""
        atomic_write_text(self.store.get(name).path / "note.txt", validate_note(note))

    def star(self, name: str, is_starred: bool) -> None:
        """List the run among the first ones, or no longer."""
        # Its content tells, since a backup sends files that changed and doesn't look for those that have gone.
        atomic_write_text(self.store.get(name).star_file, "1" if is_starred else "")

    def delete(self, name: str) -> str:
        """Move an inactive run to the trash and return its id there, for `restore`."""
        folder = self.store.get(name)
        with self._queue_lock():
            if self.status(folder) in ACTIVE:
                raise RunError(f"{folder.label} is training; stop it before you delete it.")
            folder.ticket_file.unlink(missing_ok=True)
            return self._trash.add(folder)

    def trash(self) -> list[TrashedRun]:
        """Return the deleted runs that can be restored, last deleted first."""
        return self._trash.runs()

    def restore(self, trash_id: str) -> RunDir:
        """Restore a deleted run."""
        return self._trash.restore(trash_id)

    def start_queued(self) -> None:
        """Start queued runs up to the limit and purge old deleted ones; cheap enough to call every second."""
        if self._trash.remove_expired():
            remove_abandoned(self.store)
        if not any(self.store.root.glob("*/queued.json")):
            return
        with contextlib.suppress(Timeout), self._queue_lock():  # another manager is doing it
            folders = self.store.run_dirs()
            num_going = sum(self.status(folder) in ACTIVE for folder in folders)
            for ticket, folder in self._waiting(folders)[: max(0, self._max_runs - num_going)]:
                folder.save_ticket(ticket.model_copy(update={"started_at": time.time()}))
                self._children[folder.name] = (ticket.drawn, self._spawn(folder))

    tend = start_queued  # its name for scripts that are older than this one

    def start_scheduler(self, stands_by: bool = False) -> None:
        """Call `start_queued` every second in a background thread, as long as this process lives.

        With `stands_by` a process is kept ready for the next run while none trains.
        """

        def tend() -> None:
            pause = threading.Event()
            while not pause.wait(_TEND_SECONDS):
                with contextlib.suppress(CharLSTMError, OSError):
                    self.start_queued()
                    if stands_by and not self.launcher.is_preparing and not self._is_training():
                        self.launcher.prepare()

        threading.Thread(target=tend, name="queue", daemon=True).start()

    def _is_training(self) -> bool:
        return any(self.status(folder) in ACTIVE for folder in self.store.run_dirs())

    def _queue_lock(self) -> Lock:
        """Return the lock to hold while starting, dequeuing or deleting runs."""
        return open_lock(self.store.root / ".queue.lock", _LOCK_SECONDS)

    def _waiting(self, folders: Iterable[RunDir]) -> list[tuple[QueueTicket, RunDir]]:
        tickets = [(ticket, folder) for folder in folders if (ticket := folder.ticket()) and ticket.started_at is None]
        return sorted(tickets, key=lambda each: (each[0].drawn, each[1].name))

    def history(self, folder: RunDir) -> RunHistory:
        """Return the shared history of a run, to be polled and used while `reading` is held."""
        return self._histories.get(folder.name) or self._histories.setdefault(folder.name, RunHistory(folder))

    @contextmanager
    def read_history(self, folder: RunDir) -> Iterator[RunHistory]:
        """Yield the shared history of a run, read to its end, for use inside the block."""
        with self.reading:
            history = self.history(folder)
            history.poll()
            yield history

    def _summary(self, folder: RunDir, place: int) -> RunSummary:
        history, status = self._histories[folder.name], self.status(folder)
        facts = _facts(folder, folder.creation_time(), history.is_planned)
        step, elapsed_seconds = history.progress()
        return RunSummary(
            folder=folder,
            status=status,
            queue_position=place if status == "queued" else 0,
            label=folder.label,
            owner=folder.owner,
            created_at=folder.creation_time(),
            corpus=facts.corpus,
            size=facts.size,
            parent=facts.parent,
            step=step,
            elapsed_seconds=elapsed_seconds,
            val_loss=history.val_loss,
            problem=folder.problem() if status == "failed" else "",
            sparkline=history.sparkline(),
            started_at=history.started_at,
            preset=facts.preset,
            changes=facts.changes,
            fraction=history.latest.fraction if history.latest else 0.0,
            note=folder.note,
            is_starred=folder.is_starred,
        )

    def _spawn(self, folder: RunDir) -> Worker:
        arguments = ["resume", folder.name, "--quiet", "--checkpoints-dir", str(self.store.root.resolve())]
        return self.launcher.start(arguments, folder.log_file)


class _Facts(NamedTuple):
    corpus: str
    size: str
    parent: str
    preset: str = ""
    changes: tuple[tuple[str, Any], ...] = ()


@lru_cache(maxsize=1024)
def _facts(folder: RunDir, _begun_at: float, is_planned: bool) -> _Facts:
    """Return what a run's settings tell of it, cached by its time of creation: planning rewrites them."""
    found = folder.parent()
    parent = found.name if found else ""
    try:
        settings = folder.settings()
    except RunError:  # damaged settings must not hide the other runs
        return _Facts("", "", parent)
    corpus = printable(Path(settings.train.corpus).name, LONGEST_LABEL)  # a file's directory stays private
    size = f"{settings.model.num_layers} × {settings.model.hidden_size}"
    preset, changes = closest_preset(settings, is_planned)
    return _Facts(corpus, size, parent, preset, tuple(changes.items()))
