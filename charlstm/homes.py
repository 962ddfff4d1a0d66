"""A home for a process whose user has none: no HOME, and no entry among the system's users, as in some containers."""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path


def ensure_home() -> None:
    """Have `Path.home()` and `getpass.getuser()` know an answer, which many libraries ask for; else change nothing."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_own_temporary_folder())
        os.environ.setdefault("USER", "nobody")


def _own_temporary_folder() -> Path:
    """The same one for all processes of this user, or where somebody else has taken its name one for this process."""
    number = os.getuid() if sys.platform != "win32" else 0
    place = Path(tempfile.gettempdir()) / f"charlstm-{number}"
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o700)
        found = place.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == number and not found.st_mode & 0o077:
            return place
    return Path(tempfile.mkdtemp(prefix="charlstm-"))
