"""Whether a process holds a lock: what tells a run that goes on from one whose process is gone, also after a reboot."""

import sys
from pathlib import Path

from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

_LOOK_SECONDS = 0.02


def is_held(lock_file: Path) -> bool:
    """Whether somebody holds the `FileLock` at `lock_file`; looking makes no file."""
    if sys.platform == "win32":
        return _is_held_on_windows(lock_file)
    try:
        with lock_file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: those who only look don't see each other
            return False
    except BlockingIOError:
        return True
    except OSError:  # no lock yet, or a folder that can't be read: it has no worker
        return False


def _is_held_on_windows(lock_file: Path) -> bool:
    if not lock_file.exists():
        return False
    try:
        # tried for a while: whoever else is only looking holds it for a fraction of a millisecond
        with FileLock(lock_file).acquire(timeout=_LOOK_SECONDS, poll_interval=_LOOK_SECONDS / 10):
            return False
    except Timeout:
        return True
    except OSError:
        return False
