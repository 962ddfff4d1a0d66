"""Variables that Gradio and the libraries under it read when they are imported, checked before that.

Each of them ends an import or a start with a traceback where it can't be used.
"""

import os
import tempfile
from pathlib import Path

from charlstm.errors import ConfigError
from charlstm.hosting import limits, trash_days
from charlstm.proxies import prepare_proxies

_NUMBERS = {"GRADIO_SERVER_PORT": 65535, "GRADIO_NUM_PORTS": 65535, "GRADIO_NUM_WORKERS": 64}
_UPLOADS = "GRADIO_TEMP_DIR"


def prepare_for_gradio() -> None:
    """Call it before Gradio is imported; raises `ConfigError` for a variable that can't be used."""
    limits()
    trash_days()
    for name, most in _NUMBERS.items():
        _check_number(name, most)
    _choose_upload_folder()
    prepare_proxies()


def _check_number(name: str, most: int) -> None:
    given = os.environ.get(name, "").strip()
    if not given:
        os.environ.pop(name, None)  # an empty one is none; Gradio would read it as a number
    elif not given.isdecimal() or int(given) > most:
        raise ConfigError(f"the environment variable {name} is {given[:20]!r}; it must be a whole number up to {most}.")


def _choose_upload_folder() -> None:
    """The one that is named, or Gradio's own among the temporary files if it is this user's, or else a new one."""
    if named := os.environ.get(_UPLOADS, "").strip():
        if reason := _why_not_writable(Path(named)):
            raise ConfigError(f"the folder {_UPLOADS}={named[:200]!r} can't be written to ({reason}); name another.")
        return
    try:
        place = Path(tempfile.gettempdir())
        if not _is_own(place / "gradio"):
            os.environ[_UPLOADS] = tempfile.mkdtemp(prefix="charlstm-uploads-")
    except OSError as error:
        raise ConfigError(
            f"no folder for temporary files can be written to ({error.strerror}); name one in {_UPLOADS} and TMPDIR."
        ) from None


def _is_own(folder: Path) -> bool:
    """Whether the folder is there for this user alone to write to; it is made if there is none."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    is_mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
    return folder.is_dir() and not folder.is_symlink() and is_mine and not _why_not_writable(folder)


def _why_not_writable(folder: Path) -> str:
    """Tried, because what the permissions say is not all; empty if a file can be made there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)
