"""A home for a process whose user has none: no HOME, and no entry among the system's users, as in some containers."""

import os
from pathlib import Path

from charlstm.private_folders import make_temporary


def ensure_home() -> None:
    """Have `Path.home()` and `getpass.getuser()` know an answer, which many libraries ask for; else change nothing."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(make_temporary())
        os.environ.setdefault("USER", "nobody")
