"""Making room: what visitors trained or pulled goes when it is old, and the oldest of it when that is too much.

Only what this app made for a visitor goes: first deleted runs and the texts that were kept for a reload, then runs (one
started from the page has an owner or a log) and pulled models (which say where they come from). What is bundled or was
put there by hand stays, and so does whatever is in use. Starts without torch.
"""

import contextlib
import re
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charlstm.environment import TRASH_DAYS, is_public, limits
from charlstm.errors import RunError
from charlstm.files import replace_patiently
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

UPLOADS = ".uploads"  # texts that visitors chose, a folder each
ORIGIN_FILE = "pulled.json"  # of a pulled model: where it comes from
_BYTES_OF_MB = 1e6
_ABANDONED_SECONDS = 3600  # a folder is prepared, and a file published, within far less
_GRAVE = re.compile(r"\.[0-9a-f]{32}")
_MARKS = ("owner", "worker.log", ORIGIN_FILE)  # of a folder that was made for a visitor
_SECONDS_OF_HOUR = 3600


def visitor_runs(store: RunStore) -> list[RunDir]:
    """Return the folders that were made for a visitor, the oldest first."""
    try:
        folders = [RunDir(path) for path in store.root.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    mine = [each for each in folders if any((each.path / mark).is_file() for mark in _MARKS)]
    return sorted(mine, key=last_modified)


def last_modified(folder: RunDir) -> float:
    """Return when anything in `folder` was last written, in seconds since 1970."""
    return max((stat[1] for stat in _files(folder.path)), default=0.0)


def remove_expired(store: RunStore, may_go: Callable[[RunDir], bool] = lambda _: True) -> list[str]:
    """Remove what is old or too much by the limits here, of runs and models what `may_go`; returns their names."""
    remove_abandoned(store)
    most, hours, most_runs = limits().max_disk_mb * _BYTES_OF_MB, limits().max_kept_hours, limits().max_kept_runs
    sizes = {folder: _size(folder.path) for folder in visitor_runs(store)}
    used, removed = sum(sizes.values()) + _remove_leftovers(store, sum(sizes.values())), list[str]()
    for folder, size in sizes.items():
        is_old = bool(hours) and time.time() - last_modified(folder) > hours * _SECONDS_OF_HOUR
        is_too_much = (most and used > most) or (most_runs and len(sizes) - len(removed) > most_runs)
        is_used = folder.is_alive() or folder.ticket() is not None  # a run that waits has its turn first
        if (is_old or is_too_much) and not is_used and may_go(folder):
            _remove(folder.path)
            used -= size
            removed.append(folder.name)
    return removed


def remove_abandoned(store: RunStore) -> None:
    """Remove what was cut off by a kill: folders of runs that were not prepared to the end, and temporary files.

    Such a folder is in no list and keeps its name from others.
    """
    with contextlib.suppress(OSError):  # no folder yet, or somebody else makes room
        for path in store.root.iterdir():
            folder = RunDir(path)
            if (_GRAVE.fullmatch(path.name) or _is_unprepared(folder)) and _is_abandoned(path):
                _remove(path)
            elif folder.exists:
                for left in filter(_is_abandoned, path.glob(".*.tmp")):
                    left.unlink(missing_ok=True)


def _is_unprepared(folder: RunDir) -> bool:
    """Return whether a run was being created in this folder, perhaps by a process that was killed."""
    try:
        # an empty one may be a person's own where no strangers come
        is_left_empty = is_public() and not folder.name.startswith(".") and not any(folder.path.iterdir())
        return not folder.exists and (folder.unprepared_file.exists() or is_left_empty)
    except OSError:  # no folder
        return False


def _is_abandoned(path: Path) -> bool:
    newest = max([path.stat().st_mtime, *(each.lstat().st_mtime for each in path.rglob("*"))])
    return time.time() - newest > _ABANDONED_SECONDS


def require_disk(store: RunStore) -> None:
    """Refuse, with a `RunError`, what would take more of the disk than there may be used here."""
    most = limits().max_disk_mb * _BYTES_OF_MB
    if not most:
        return
    used = sum(_size(folder.path) for folder in visitor_runs(store))
    if used + _remove_leftovers(store, used) > most:
        raise RunError("the disk for runs and models is full; delete one, or try again when the oldest have gone.")


def _remove_leftovers(store: RunStore, used: int) -> int:
    """Remove leftovers that are old or too much beside `used` bytes; return the bytes that stay."""
    most, hours = limits().max_disk_mb * _BYTES_OF_MB, limits().max_kept_hours
    left_over = _leftovers(store)
    sizes = {path: _size(path) for path in left_over}
    stays = sum(sizes.values())
    for path, since in left_over.items():
        is_old = bool(hours) and time.time() - since > hours * _SECONDS_OF_HOUR
        if is_old or (most and used + stays > most):
            _remove(path)
            stays -= sizes[path]
    return stays


def _leftovers(store: RunStore) -> dict[Path, float]:
    """List deleted runs, then kept texts, the oldest first, with when they came there (seconds since 1970)."""
    deleted = {store.root / TRASH / each.id: each.deleted_at for each in reversed(Trash(store).runs())}
    kept = {}
    with contextlib.suppress(OSError):  # nothing was ever kept, or somebody else makes room
        kept = {path: path.stat().st_mtime for path in (store.root / UPLOADS).iterdir()}
    return {**deleted, **dict(sorted(kept.items(), key=lambda each: each[1]))}


def _remove(path: Path) -> None:
    """Remove a folder from every list at once, then from the disk."""
    grave = path.with_name(f".{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # somebody else was faster
        path.rename(grave)
    shutil.rmtree(grave, ignore_errors=True)


def _size(path: Path) -> int:
    return sum(size for size, _ in _files(path))


def _files(path: Path) -> list[tuple[int, float]]:
    """Return size and time of each file; one that goes away meanwhile is none."""
    found = []
    for each in path.rglob("*"):
        try:
            stat = each.stat()
        except OSError:
            continue
        if each.is_file() and each.name != "run.lock":  # which every look at the run touches
            found.append((stat.st_size, stat.st_mtime))
    return found


TRASH = ".trash"
_SWEEP_SECONDS = 3600


class TrashedRun(NamedTuple):
    """A deleted run."""

    id: str
    label: str
    deleted_at: float  # seconds since 1970
    owner: str  # the hash of a token, see `ownership`

    @property
    def name(self) -> str:
        """Of its folder, before it was deleted."""
        return _name(self.id)


class Trash:
    """The deleted runs of one checkpoints folder, in a folder `<name>.<milliseconds since 1970>` each."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._place = store.root / TRASH
        self._swept = -1e9
        self._kept_seconds = 86400 * TRASH_DAYS.read()
        self._known: dict[str, TrashedRun] = {}  # nothing of a deleted run changes: each is read once

    def add(self, folder: RunDir) -> str:
        """Take a run that nobody works on out of the list; returns its id here."""
        trash_id = f"{folder.name}.{time.time_ns() // 1_000_000}"
        try:
            self._place.mkdir(exist_ok=True)
            replace_patiently(folder.path, self._place / trash_id)
        except OSError as error:
            raise RunError(f"{folder.label} can't be deleted ({error.strerror}); check its folder.") from None
        return trash_id

    def runs(self) -> list[TrashedRun]:
        """List the runs that can be restored, the last deleted first."""
        try:
            paths = [path for path in self._place.iterdir() if path.name in self._known or RunDir(path).exists]
        except OSError:  # nothing was deleted yet
            return []
        known = self._known
        found = {path.name: known.get(path.name) or _parse_trashed(path) for path in paths}
        self._known = found
        return sorted(found.values(), key=lambda each: each.deleted_at, reverse=True)

    def restore(self, trash_id: str) -> RunDir:
        """Bring a run back, under another name where its own is taken since."""
        if trash_id not in {each.id for each in self.runs()}:
            raise RunError("this run is not among the deleted ones any more; see the list.")
        name = _name(trash_id)
        if (self._store.root / name).exists():
            name = self._store.free_name(name)
        folder = RunDir(self._store.root / name)
        try:
            replace_patiently(self._place / trash_id, folder.path)
        except OSError as error:
            raise RunError(f"{name} can't be restored ({error.strerror}); check its folder.") from None
        return folder

    def remove_expired(self) -> bool:
        """Remove for good what was deleted long ago; looks once an hour at most, and returns whether it did."""
        now = time.monotonic()
        if now - self._swept < _SWEEP_SECONDS:
            return False
        self._swept = now
        for each in self.runs():
            if time.time() - each.deleted_at > self._kept_seconds:
                with contextlib.suppress(OSError):
                    shutil.rmtree(self._place / each.id)
        return True


def _parse_trashed(path: Path) -> TrashedRun:
    return TrashedRun(path.name, _label(path), _deleted_at(path), RunDir(path).owner)


def _name(trash_id: str) -> str:
    return trash_id.rpartition(".")[0]


def _label(path: Path) -> str:
    label = RunDir(path).label
    return _name(path.name) if label == path.name else label


def _deleted_at(path: Path) -> float:
    milliseconds = path.name.rpartition(".")[2]
    return int(milliseconds) / 1000 if milliseconds.isdecimal() else 0.0
