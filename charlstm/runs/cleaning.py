"""Making room on a Space: what visitors trained or pulled goes when it is old, the oldest of it when the disk is full.

Only folders that this app made for a visitor go: a run started from the page has a log, a pulled model says where it
comes from. What is bundled or was put there by hand stays, and so does whatever is in use. Starts without torch.
"""

import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from charlstm.errors import RunError
from charlstm.hosting import limits
from charlstm.runs.store import RunFolder, RunStore

ORIGIN_FILE = "pulled.json"  # of a pulled model: where it comes from
_BYTES_OF_MB = 1e6
_SECONDS_OF_HOUR = 3600


def visitors(store: RunStore) -> list[RunFolder]:
    """The folders that were made for a visitor, the oldest first."""
    try:
        folders = [RunFolder(path) for path in store.root.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    mine = [each for each in folders if each.log_file.is_file() or (each.path / ORIGIN_FILE).is_file()]
    return sorted(mine, key=touched)


def touched(folder: RunFolder) -> float:
    """When anything in `folder` was last written, in seconds since 1970."""
    return max((stat[1] for stat in _files(folder.path)), default=0.0)


def clean(store: RunStore, may_go: Callable[[RunFolder], bool] = lambda _: True) -> list[str]:
    """Remove what is old or too much by the limits here, of what `may_go`; returns the names."""
    most, hours = limits().max_disk_mb * _BYTES_OF_MB, limits().max_kept_hours
    sizes = {folder: sum(size for size, _ in _files(folder.path)) for folder in visitors(store)}
    used, removed = sum(sizes.values()), []
    for folder, size in sizes.items():
        is_old = bool(hours) and time.time() - touched(folder) > hours * _SECONDS_OF_HOUR
        if (is_old or (most and used > most)) and not folder.is_alive() and may_go(folder):
            _remove(folder)
            used -= size
            removed.append(folder.name)
    return removed


def require_disk(store: RunStore) -> None:
    """Refuse, with a `RunError`, what would take more of the disk than there may be used here."""
    most = limits().max_disk_mb * _BYTES_OF_MB
    used = sum(size for folder in visitors(store) for size, _ in _files(folder.path))
    if most and used > most:
        raise RunError("the disk for runs and models is full; try again in some minutes, when the oldest have gone.")


def _remove(folder: RunFolder) -> None:
    """Out of every list at once, then from the disk."""
    grave = folder.path.with_name(f".{uuid.uuid4().hex}")
    folder.path.rename(grave)
    shutil.rmtree(grave, ignore_errors=True)


def _files(path: Path) -> list[tuple[int, float]]:
    """Size and time of each file; one that goes away meanwhile is none."""
    found = []
    for each in path.rglob("*"):
        try:
            stat = each.stat()
        except OSError:
            continue
        if each.is_file() and each.name != "run.lock":  # which every look at the run touches
            found.append((stat.st_size, stat.st_mtime))
    return found
