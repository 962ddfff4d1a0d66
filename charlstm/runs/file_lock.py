"""Locks between processes, which tell a live run from one whose process is gone, also after a reboot.

A lock is a `flock` if the file system supports it. Otherwise (Lustre, some network mounts) it is a marker: a file
beside the lock file that names its holder, which touches it periodically.
"""

import contextlib
import errno
import hashlib
import json
import os
import platform
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock, Timeout

from charlstm.json_text import parse_json, read_small

if sys.platform != "win32":
    import fcntl

_MARKER_ENDING = ".held"
_LOOK_SECONDS = 0.02
_RETRY_SECONDS = 0.05
_TOUCH_SECONDS = 10.0
_FRESH_SECONDS = 60.0
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


class Lock(Protocol):
    """A lock held by one process at a time, from `acquire` or the start of a block to the end of the block."""

    def acquire(self) -> Any:
        """Wait for the lock or raise `Timeout`; return a context manager that releases it."""

    def __enter__(self) -> Any:
        """Acquire the lock."""

    def __exit__(self, *error: Any) -> None:
        """Release the lock."""


def open_lock(lock_file: Path, timeout: float) -> Lock:
    """Return the lock at `lock_file`, which waits up to `timeout` seconds to be acquired."""
    if _has_flock(lock_file.parent) and not _is_marked(lock_file):
        return FileLock(lock_file, timeout=timeout)
    return _MarkerLock(lock_file, timeout)


def is_locked(lock_file: Path) -> bool:
    """Return whether a process holds the lock at `lock_file`, without creating the file."""
    if _is_marked(lock_file):
        return True
    if sys.platform == "win32":
        return _is_held_on_windows(lock_file)
    try:
        with lock_file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: concurrent checks don't see each other
            return False
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or an unreadable directory: no worker
        return False


def _is_held_on_windows(lock_file: Path) -> bool:
    if not lock_file.exists():
        return False
    try:
        # retry for a while: a concurrent check holds the lock for a fraction of a millisecond
        with FileLock(lock_file).acquire(timeout=_LOOK_SECONDS, poll_interval=_LOOK_SECONDS / 10):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _has_flock(folder: Path) -> bool:
    if sys.platform == "win32":
        return True  # filelock uses the system's own locks there
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_FLOCK
    return True


class _Holder(NamedTuple):
    """A process: its machine (or container), and its process id and start time there."""

    place: str
    process: int
    started: str

    @classmethod
    def here(cls) -> "_Holder":
        return cls(_place(), os.getpid(), _start_of(os.getpid()))

    def is_alive(self, seconds_since_touched: float) -> bool:
        """Return whether the process is alive; of a process elsewhere, only its touches tell."""
        if self.place != _place():
            return seconds_since_touched < _FRESH_SECONDS
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's process
            pass
        return _start_of(self.process) == self.started


def _place() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # only Linux distinguishes boots and containers
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _start_of(process: int) -> str:
    """Return a process's start time in kernel ticks, or an empty string if unknown."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]


def _marker_of(lock_file: Path) -> Path:
    return lock_file.with_name(lock_file.name + _MARKER_ENDING)


def _is_marked(lock_file: Path) -> bool:
    return _is_live(_marker_of(lock_file))


def _is_live(marker: Path) -> bool:
    """Return whether the holder that a marker names is alive; an incomplete marker is still being written."""
    try:
        age = time.time() - marker.stat().st_mtime
        holder = _Holder(**parse_json(read_small(marker)))
        return holder.is_alive(age)
    except OSError:
        return False
    except (ValueError, TypeError):
        return age < _FRESH_SECONDS


def _create_marker(marker: Path) -> bool:
    """Create a marker that names this process, in the place of a dead process's; return whether it was created."""
    _remove_stale(marker)
    try:
        with marker.open("x", encoding="utf-8") as file:
            file.write(json.dumps(_Holder.here()._asdict()))
    except FileExistsError:  # another process was faster, or holds it
        return False
    return True


def _remove_stale(marker: Path) -> None:
    """Remove the marker of a dead process.

    A marker named after what it says guards that, so a process that looked long ago can't remove a later one.
    """
    said = _content_of(marker)
    if said is None or _is_live(marker):
        return
    guard = marker.with_name(f".{marker.name}.{hashlib.sha256(said).hexdigest()[:16]}")
    if _create_marker(guard):
        try:
            if _content_of(marker) == said and not _is_live(marker):
                marker.unlink(missing_ok=True)
        finally:
            guard.unlink(missing_ok=True)


def _content_of(marker: Path) -> bytes | None:
    try:
        return marker.read_bytes()
    except FileNotFoundError:
        return None


class _MarkerLock:
    def __init__(self, lock_file: Path, timeout: float) -> None:
        self._lock_file, self._marker, self._timeout = lock_file, _marker_of(lock_file), timeout
        self._is_released = threading.Event()
        self._is_ours = False

    def acquire(self) -> "_MarkerLock":
        """Wait for the lock; raise `Timeout`, or `OSError` if no marker can be created."""
        deadline = time.monotonic() + self._timeout
        while not self._take():
            if time.monotonic() > deadline:
                raise Timeout(str(self._lock_file))
            time.sleep(_RETRY_SECONDS)
        self._is_ours = True
        threading.Thread(target=self._keep_touching, name="lock", daemon=True).start()
        return self

    def __enter__(self) -> "_MarkerLock":
        return self if self._is_ours else self.acquire()

    def __exit__(self, *error: Any) -> None:
        self._is_released.set()
        self._is_ours = False
        with contextlib.suppress(OSError):
            self._marker.unlink()

    def _take(self) -> bool:
        if is_locked(self._lock_file):
            return False
        return _create_marker(self._marker)

    def _keep_touching(self) -> None:
        while not self._is_released.wait(_TOUCH_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._marker)
