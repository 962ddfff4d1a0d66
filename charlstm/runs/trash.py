"""Deleted runs: kept for some days beside the others, and brought back as they were."""

import contextlib
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from charlstm.errors import RunError
from charlstm.files import replace_patiently
from charlstm.hosting import trash_days
from charlstm.runs.store import RunFolder, RunStore

TRASH = ".trash"
_SWEEP_SECONDS = 3600


class Trashed(NamedTuple):
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
        self._kept_seconds = 86400 * trash_days()
        self._known: dict[str, Trashed] = {}  # nothing of a deleted run changes: each is read once

    def put(self, folder: RunFolder) -> str:
        """Take a run that nobody works on out of the list; returns its id here."""
        trash_id = f"{folder.name}.{time.time_ns() // 1_000_000}"
        try:
            self._place.mkdir(exist_ok=True)
            replace_patiently(folder.path, self._place / trash_id)
        except OSError as error:
            raise RunError(f"{folder.label} can't be deleted ({error.strerror}); check its folder.") from None
        return trash_id

    def runs(self) -> list[Trashed]:
        """What may be restored, the last deleted first."""
        try:
            paths = [path for path in self._place.iterdir() if path.name in self._known or RunFolder(path).exists]
        except OSError:  # nothing was deleted yet
            return []
        known = self._known
        found = {path.name: known.get(path.name) or _trashed(path) for path in paths}
        self._known = found
        return sorted(found.values(), key=lambda each: each.deleted_at, reverse=True)

    def restore(self, trash_id: str) -> RunFolder:
        """Bring a run back, under another name where its own is taken since."""
        if trash_id not in {each.id for each in self.runs()}:
            raise RunError("this run is not among the deleted ones any more; see the list.")
        name = _name(trash_id)
        if (self._store.root / name).exists():
            name = self._store.free_name(name)
        folder = RunFolder(self._store.root / name)
        try:
            replace_patiently(self._place / trash_id, folder.path)
        except OSError as error:
            raise RunError(f"{name} can't be restored ({error.strerror}); check its folder.") from None
        return folder

    def sweep(self) -> bool:
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


def _trashed(path: Path) -> Trashed:
    return Trashed(path.name, _label(path), _deleted_at(path), RunFolder(path).owner)


def _name(trash_id: str) -> str:
    return trash_id.rpartition(".")[0]


def _label(path: Path) -> str:
    label = RunFolder(path).label
    return _name(path.name) if label == path.name else label


def _deleted_at(path: Path) -> float:
    milliseconds = path.name.rpartition(".")[2]
    return int(milliseconds) / 1000 if milliseconds.isdecimal() else 0.0
