"""Folders of models and runs: beside a clone's `app.py`, or the user's data folder for an installed copy.

Nothing is ever written beside an installed package, which may be read-only and goes with the next update.
"""

import contextlib
import shutil
import tempfile
import unicodedata
from pathlib import Path

import platformdirs

from charlstm.files import why_not_writable

_PACKAGE = Path(__file__).resolve().parent
IS_INSTALLED = (_PACKAGE / "checkpoints").is_dir()  # a wheel carries its models inside the package
BUNDLED_MODELS = (_PACKAGE if IS_INSTALLED else _PACKAGE.parent) / "checkpoints"
BUNDLED = ("tiny-shakespeare", "moby-dick", "python-stdlib")  # names of those that the page offers first, in this order
RECORDED_RUNS = _PACKAGE / "ui" / "recorded"  # records without models, to be looked at where nobody has trained yet
_AS_IN_A_CLONE = Path("checkpoints")


def default_checkpoints_dir() -> Path:
    """Return where commands look for runs: `checkpoints` in a clone, one fixed folder for an installed copy."""
    return _user_folder() if IS_INSTALLED else _AS_IN_A_CLONE


def page_checkpoints_dir() -> Path:
    """Return where the page finds models and keeps runs: a writable folder with the bundled models in it."""
    if not IS_INSTALLED:
        return writable_checkpoints_dir(BUNDLED_MODELS)
    place = writable_checkpoints_dir(_user_folder())
    for model in BUNDLED_MODELS.iterdir():
        _add_model(model, place)
    return place


def writable_checkpoints_dir(bundled: Path) -> Path:
    """Return `bundled`, or where it can't be written to a folder that can, with what is bundled copied into it."""
    if not why_not_writable(bundled):
        return bundled
    place = Path(tempfile.mkdtemp(prefix="charlstm-checkpoints-"))
    for model in bundled.iterdir() if bundled.is_dir() else ():
        if model.is_dir():
            shutil.copytree(model, place / model.name, copy_function=shutil.copyfile)
            (place / model.name).chmod(0o755)
    return place


def find_model(named: Path) -> Path:
    """Return `named` itself if it is there, else the user's or the bundled model of that name, if there is one.

    `checkpoints/NAME` counts as such a name too, so that what is written for a clone works for an installed copy.
    """
    named = find_spelling(named)
    if named.exists() or named.parent not in (Path(), _AS_IN_A_CLONE):
        return named
    found = (root / named.name for root in (default_checkpoints_dir(), BUNDLED_MODELS))
    return next((path for path in found if path.exists()), named)


def find_spelling(path: Path) -> Path:
    """Return `path`, or where there is none the one that is spelled so in another Unicode normal form.

    A keyboard gives composed letters; macOS, and archives made there, name files in decomposed ones.
    """
    if str(path).isascii() or path.exists():
        return path
    found = Path(path.anchor)
    for part in path.parts[bool(path.anchor) :]:
        wanted = unicodedata.normalize("NFC", part)
        try:
            names = [part] if (found / part).exists() else [each.name for each in found.iterdir()]
        except OSError:
            return path
        spelled = next((name for name in names if unicodedata.normalize("NFC", name) == wanted), None)
        if spelled is None:
            return path
        found /= spelled
    return found


def expand(path: Path) -> Path:
    """Return `path` with the home that a tilde stands for, spelled as the file is named."""
    try:
        return find_spelling(path.expanduser())
    except RuntimeError:  # ~name of nobody here
        return path


def _user_folder() -> Path:
    data = platformdirs.user_data_path("charlstm", appauthor=False)
    if not data.is_absolute():  # nobody's home: `~` stayed as it was
        data = Path(tempfile.mkdtemp(prefix="charlstm-"))  # for this process: whoever knows a name could be there first
    return data / "checkpoints"


def _add_model(model: Path, place: Path) -> None:
    """Copy `model` into `place` unless it is there; whoever looks meanwhile sees all of it or nothing."""
    if not model.is_dir() or (place / model.name).exists():
        return
    with tempfile.TemporaryDirectory(prefix=f".{model.name}.", dir=place, ignore_cleanup_errors=True) as folder:
        whole = Path(folder) / model.name
        shutil.copytree(model, whole, copy_function=shutil.copyfile)
        whole.chmod(0o755)  # the installed one may be read-only
        with contextlib.suppress(OSError):  # another app was faster
            whole.rename(place / model.name)
