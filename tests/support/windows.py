"""What Windows does otherwise, for tests on other systems."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from charlstm import files


def refuse_replacing(times: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Somebody has a file open, as Windows sees it: nobody may replace it so many times. Returns how many are left."""
    left, replace = [times], Path.replace

    def refused(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace(path, target)

    monkeypatch.setattr(files, "os", Windows())
    monkeypatch.setattr(Path, "replace", refused)
    return lambda: left[0]


class Windows:
    """What `files` sees of the module `os` there."""

    name = "nt"

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)
