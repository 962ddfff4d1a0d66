"""The directory of runs: naming, creation and listing. Imports no torch."""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from charlstm.config import Settings
from charlstm.data_folders import RECORDED_RUNS
from charlstm.errors import CharLSTMError, RunError
from charlstm.files import atomic_write_text
from charlstm.runs.run_dir import RunDir

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)  # learn.microsoft.com: Naming Files


class RunStore:
    """The directory of runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str) -> RunDir:
        """Return the run named `name`; raise `RunError` for an invalid or unknown name."""
        folder = RunDir(self.root / (name if name in self._names() else _validate_name(name)))
        if not folder.exists:
            raise RunError(f"there is no run named {name}; see the list of runs.")
        return folder

    def find_by_job(self, job: str) -> RunDir | None:
        """Return the run that this torchrun job created before its processes were restarted, or `None`."""
        made = (folder for folder in self.run_dirs() if folder.job_file.is_file() and folder.exists)
        return next((folder for folder in made if folder.job_file.read_text(encoding="utf-8") == job), None)

    def create(
        self,
        settings: Settings,
        name: str,
        text: str | Iterable[str] | None = None,
        job: str = "",
        prepare: Callable[[RunDir], None] = lambda _: None,
    ) -> RunDir:
        """Create a run named `name`, with its own copy of `text` if it was pasted or uploaded.

        `find_by_job` finds it by `job`; `prepare` may add files before the run becomes visible.
        """
        folder = RunDir(self.root / _validate_name(name))
        try:
            if _is_recorded(name):
                raise FileExistsError
            folder.path.mkdir(parents=True)
        except FileExistsError:
            raise RunError(f"{name} exists already among the models and runs; choose another name.") from None
        except OSError as error:
            raise RunError(f"the folder of models can't hold a new run ({error.strerror}); check it.") from None
        try:
            folder.unprepared_file.touch()
            if text is not None:
                atomic_write_text(folder.corpus_file, text)
            if job:
                atomic_write_text(folder.job_file, job)
            prepare(folder)
            folder.save_settings(settings)
            folder.unprepared_file.unlink()
        except (OSError, UnicodeError) as error:
            shutil.rmtree(folder.path, ignore_errors=True)  # or it would block the name without being listed
            raise RunError(f"run {name} can't be prepared ({error}); check its folder.") from None
        except CharLSTMError:  # from the text, which may be an iterator over a file
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        return folder

    def is_free(self, name: str) -> bool:
        """Return whether no run or model is called `name`; raise `RunError` for an invalid name."""
        return not ((self.root / _validate_name(name)).exists() or _is_recorded(name))

    def free_name(self, wish: str) -> str:
        """Return an unused name like `wish`: reduced to plain characters, with a number appended if needed."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", wish).strip("-_")[:48] or "run"
        plain = f"{plain}-run" if _RESERVED.fullmatch(plain) else plain
        name, number = plain, 1
        while (self.root / name).exists() or _is_recorded(name):
            number += 1
            name = f"{plain}-{number}"
        return name

    def run_dirs(self) -> list[RunDir]:
        """Return all runs, newest first."""
        runs = [RunDir(self.root / name) for name in self._names()]
        dated = [(run.creation_time(), run.name, run) for run in runs]
        return [run for begun_at, _, run in sorted(dated, key=lambda row: row[:2], reverse=True) if begun_at]

    def _names(self) -> list[str]:
        """Return the names of possible runs, with those invalid for a new run: a file manager makes `novel (copy)`."""
        if not self.root.exists():
            return []
        try:
            return [path.name for path in self.root.iterdir() if path.name[0] != "." and path.name.isprintable()]
        except OSError as error:
            raise RunError(f"the folder of models can't be listed ({error.strerror}); check it.") from None


def _is_recorded(name: str) -> bool:
    """Return whether the page knows a recorded run by this name, which it shows beside those of the store."""
    return (RECORDED_RUNS / name).exists()


def _validate_name(name: str) -> str:
    """Return a valid `name`; Windows forbids device names, whatever their ending, and a dot at the end."""
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name.split(".")[0]) or name.endswith("."):
        raise RunError(
            f"{name[:80]!r} is not a name for a run; use up to 64 letters, digits, dots, dashes and underscores, "
            "a letter or digit first, no dot last, and no name of a device (con, nul)."
        )
    return name
