"""The location of a run's text, which may be moved or deleted after the run began, or lie on another machine.

Imports no torch.
"""

import glob
import os
import shlex
from pathlib import Path, PureWindowsPath

from charlstm.errors import CorpusError
from charlstm.runs.run_dir import RunDir


def require_text(folder: RunDir, place: str) -> None:
    """Raise `CorpusError` if the run's training text at `place` is gone."""
    is_path = Path(place).is_absolute() or PureWindowsPath(place).is_absolute()  # else a corpus by name
    if is_path and not folder.corpus_file.exists() and not _is_there(place):
        raise CorpusError(
            f"{PureWindowsPath(place).name}, the text of this run, is no longer where it was; bring it back, or say "
            f"where it is: python -m charlstm resume {shlex.quote(folder.name)} --corpus FILE."
        )


def _is_there(place: str) -> bool:
    """Return whether `place`, a file, directory, glob pattern or list of paths, exists."""
    if Path(place).exists():
        return True
    parts = [each for each in place.split(os.pathsep) if each]
    return any(glob.iglob(place, recursive=True)) or (len(parts) > 1 and all(Path(each).exists() for each in parts))  # noqa: PTH207  an absolute pattern


def save_corpus_path(folder: RunDir, place: str) -> None:
    """Set `place` as the run's text in its settings, keeping the file's times, which date the run."""
    settings, before = folder.settings(), folder.settings_file.stat()
    train = settings.train.model_copy(update={"corpus": place})
    folder.save_settings(settings.model_copy(update={"train": train}))
    os.utime(folder.settings_file, ns=(before.st_atime_ns, before.st_mtime_ns))
