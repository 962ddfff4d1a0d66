"""Disk retention: removes visitors' old runs and models, and the oldest ones when they exceed the limits.

Only what this app made for a visitor is removed: first deleted runs and uploads kept for a reload, then runs (one
started from the page has an owner or a log) and pulled models (which record their origin). Bundled models, anything put
there by hand and whatever is in use stay. Imports no torch.
"""

import contextlib
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from charlstm.environment import TRASH_DAYS, is_public, limits
from charlstm.errors import RunError
from charlstm.files import replace_patiently
from charlstm.model_paths import SNAPSHOTS
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

UPLOADS = ".uploads"  # texts that visitors uploaded, a directory each
ORIGIN_FILE = "pulled.json"  # the origin of a pulled model
_BYTES_OF_MB = 1e6
_ABANDONED_SECONDS = 3600  # preparing a run and publishing a file take far less
_GRAVE = re.compile(r"\.[0-9a-f]{32}")
_MARKS = ("owner", "worker.log", ORIGIN_FILE)  # of a directory made for a visitor
_ABOUT = ("label.txt", "note.txt", "starred")
_SECONDS_OF_HOUR = 3600


def visitor_runs(store: RunStore) -> list[RunDir]:
    """Return the directories made for visitors, oldest first."""
    try:
        folders = [RunDir(path) for path in store.root.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    mine = [each for each in folders if any((each.path / mark).is_file() for mark in _MARKS)]
    return sorted(mine, key=_last_trained)


def last_modified(folder: RunDir) -> float:
    """Return the time of the last write in `folder`, in seconds since 1970."""
    return max((stat[1] for stat in _files(folder.path)), default=0.0)


def _last_trained(folder: RunDir) -> float:
    """Return the same without the label, the note and the star, which keep no run from becoming old."""
    return max((stat[1] for stat in _files(folder.path, _ABOUT)), default=0.0)


def remove_expired(store: RunStore, may_go: Callable[[RunDir], bool] = lambda _: True) -> list[str]:
    """Remove what exceeds the limits on age and disk; return the names of removed runs and models, which `may_go`."""
    remove_abandoned(store)
    most, hours, most_runs = limits().max_disk_mb * _BYTES_OF_MB, limits().max_kept_hours, limits().max_kept_runs
    sizes = {folder: _size(folder.path) for folder in visitor_runs(store)}
    used, removed = sum(sizes.values()) + _remove_leftovers(store, sum(sizes.values())), list[str]()
    for folder, size in sizes.items():
        is_old = bool(hours) and time.time() - _last_trained(folder) > hours * _SECONDS_OF_HOUR
        is_too_much = (most and used > most) or (most_runs and len(sizes) - len(removed) > most_runs)
        is_used = folder.is_alive() or folder.ticket() is not None  # a queued run must not be removed before its turn
        if (is_old or is_too_much) and not is_used and may_go(folder):
            _remove(folder.path)
            used -= size
            removed.append(folder.name)
    return removed


def remove_abandoned(store: RunStore) -> None:
    """Remove the remains of killed processes: directories of half-prepared runs, and temporary files.

    Such a directory is in no list, but blocks its name.
    """
    with contextlib.suppress(OSError):  # no directory yet, or a concurrent removal
        for path in store.root.iterdir():
            folder = RunDir(path)
            if (_GRAVE.fullmatch(path.name) or _is_unprepared(folder)) and _is_abandoned(path):
                _remove(path)
            elif folder.exists:
                for left in filter(_is_abandoned, [*path.glob(".*.tmp"), *(path / SNAPSHOTS).glob(".*.tmp")]):
                    left.unlink(missing_ok=True)


def _is_unprepared(folder: RunDir) -> bool:
    """Return whether a run is being prepared in this directory, or was until its process was killed."""
    try:
        # on a private app, an empty one may be the user's own
        is_left_empty = is_public() and not folder.name.startswith(".") and not any(folder.path.iterdir())
        return not folder.exists and (folder.unprepared_file.exists() or is_left_empty)
    except OSError:  # no directory
        return False


def _is_abandoned(path: Path) -> bool:
    newest = max([path.stat().st_mtime, *(each.lstat().st_mtime for each in path.rglob("*"))])
    return time.time() - newest > _ABANDONED_SECONDS


def require_disk(store: RunStore) -> None:
    """Raise `RunError` if the disk quota is used up."""
    most = limits().max_disk_mb * _BYTES_OF_MB
    if not most:
        return
    used = sum(_size(folder.path) for folder in visitor_runs(store))
    if used + _remove_leftovers(store, used) > most:
        raise RunError("the disk for runs and models is full; delete one, or try again when the oldest have gone.")


def _remove_leftovers(store: RunStore, used: int) -> int:
    """Remove leftovers that are too old, or too large together with `used` bytes; return the bytes that remain."""
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
    """Return deleted runs, then uploads, each oldest first, with the time of deletion or upload (s since 1970)."""
    deleted = {store.root / TRASH / each.id: each.deleted_at for each in reversed(Trash(store).runs())}
    kept = {}
    with contextlib.suppress(OSError):  # no uploads yet, or a concurrent removal
        kept = {path: path.stat().st_mtime for path in (store.root / UPLOADS).iterdir()}
    return {**deleted, **dict(sorted(kept.items(), key=lambda each: each[1]))}


def _remove(path: Path) -> None:
    """Remove `path` from every list at once by renaming it, then from disk."""
    grave = path.with_name(f".{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # another process was faster
        path.rename(grave)
    shutil.rmtree(grave, ignore_errors=True)


def _size(path: Path) -> int:
    return sum(size for size, _ in _files(path))


def _files(path: Path, ignored: Collection[str] = ()) -> list[tuple[int, float]]:
    """Return size and modification time of each file, skipping those that vanish meanwhile."""
    found = []
    for each in path.rglob("*"):
        try:
            stat = each.stat()
        except OSError:
            continue
        if each.is_file() and each.name not in ("run.lock", *ignored):  # touched by every status check
            found.append((stat.st_size, stat.st_mtime))
    return found


TRASH = ".trash"
_SWEEP_SECONDS = 3600


class TrashedRun(NamedTuple):
    """A deleted run."""

    id: str
    label: str
    deleted_at: float  # seconds since 1970
    owner: str  # the hash of a token, see `access`

    @property
    def name(self) -> str:
        """The name of the run's directory before deletion."""
        return _name(self.id)


class Trash:
    """The deleted runs of one checkpoints directory, each in a directory `<name>.<milliseconds since 1970>`."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._place = store.root / TRASH
        self._swept = -1e9
        self._kept_seconds = 86400 * TRASH_DAYS.read()
        self._known: dict[str, TrashedRun] = {}  # deleted runs don't change: each is read once

    def add(self, folder: RunDir) -> str:
        """Move an idle run to the trash and return its id there."""
        trash_id = f"{folder.name}.{time.time_ns() // 1_000_000}"
        try:
            self._place.mkdir(exist_ok=True)
            replace_patiently(folder.path, self._place / trash_id)
        except OSError as error:
            raise RunError(f"{folder.label} can't be deleted ({error.strerror}); check its folder.") from None
        return trash_id

    def runs(self) -> list[TrashedRun]:
        """Return the runs that can be restored, last deleted first."""
        try:
            paths = [path for path in self._place.iterdir() if path.name in self._known or RunDir(path).exists]
        except OSError:  # no trash yet
            return []
        known = self._known
        found = {path.name: known.get(path.name) or _parse_trashed(path) for path in paths}
        self._known = found
        return sorted(found.values(), key=lambda each: each.deleted_at, reverse=True)

    def restore(self, trash_id: str) -> RunDir:
        """Restore a run, under a new name if its own is now taken."""
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
        """Purge runs deleted long ago, at most once an hour; return whether the check ran."""
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
    return TrashedRun(path.name, _label(path), _deletion_time(path), RunDir(path).owner)


def _name(trash_id: str) -> str:
    return trash_id.rpartition(".")[0]


def _label(path: Path) -> str:
    label = RunDir(path).label
    return _name(path.name) if label == path.name else label


def _deletion_time(path: Path) -> float:
    milliseconds = path.name.rpartition(".")[2]
    return int(milliseconds) / 1000 if milliseconds.isdecimal() else 0.0
