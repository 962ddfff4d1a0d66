"""Where the app lives: on a person's machine, or on a Space where strangers use it within limits.

Every limit and every environment variable of the app stands here. This module imports neither torch nor the Hub's
library, so that it can set the stage for them.
"""

import contextlib
import importlib.util
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charlstm.errors import ConfigError
from charlstm.private_folders import make_temporary

BUNDLED = ("tiny-shakespeare", "python-stdlib")  # models that come with the app, in this order
BACKUP_REPO = "CHARLSTM_BACKUP_REPO"
ALLOWED_HOSTS = "CHARLSTM_ALLOWED_HOSTS"  # further names of this app, and origins whose pages may use it
TRASH_DAYS = "CHARLSTM_TRASH_DAYS"
_TRASH_DAYS = 30
_PREFIX = "CHARLSTM_"


def is_space() -> bool:
    """Whether this is a Space on the Hugging Face Hub."""
    return bool(os.environ.get("SPACE_ID"))


def is_public() -> bool:
    """Whether strangers meet here: on a Space, or where CHARLSTM_PUBLIC is set to 1."""
    return is_space() or os.environ.get("CHARLSTM_PUBLIC") == "1"


def is_zero_gpu() -> bool:
    """Whether this is a Space whose GPU comes for a call at a time (ZeroGPU)."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Limits(BaseModel):
    """What a visitor may ask for; 0 is no limit. Each field is overridden by the variable CHARLSTM_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_parameters: int = Field(0, ge=0, description="Parameters of a model")
    max_minutes: _Amount = Field(0, description="Training time of a run in all, in minutes")
    max_corpus_mb: _Amount = Field(0, description="Size of a text, in megabytes")
    max_memory_mb: _Amount = Field(
        0, description="Memory that training a run may need, in megabytes; without a limit what the machine has"
    )
    max_runs: int = Field(1, ge=1, description="Runs that train at the same time")
    max_paused_minutes: _Amount = Field(
        0, description="Time for which a run may rest paused; then it is saved and stopped"
    )
    max_queue: int = Field(0, ge=0, description="Runs that wait for their turn")
    max_queue_each: int = Field(0, ge=0, description="Of those, runs of one visitor")
    max_kept_runs: int = Field(0, ge=0, description="Visitors' runs and models that are kept, the newest")
    max_disk_mb: _Amount = Field(
        0, description="Disk for runs (deleted ones too), kept texts and pulled models, in megabytes"
    )
    max_kept_hours: _Amount = Field(0, description="Hours for which a visitor's run or model is kept")
    max_download_mb: _Amount = Field(2000, description="Size of a model that is pulled, in megabytes")


HERE = Limits()
ON_A_SPACE = Limits(
    max_parameters=5_000_000,
    max_minutes=10,
    max_corpus_mb=10,
    max_memory_mb=4000,
    max_runs=1,
    max_paused_minutes=10,
    max_queue=20,
    max_queue_each=3,
    max_kept_runs=200,
    max_disk_mb=2000,
    max_kept_hours=24,
    max_download_mb=200,
)


def variable(name: str) -> str:
    """The environment variable that overrides limit `name`."""
    return f"{_PREFIX}{name.upper()}"


def limits() -> Limits:
    """The limits here and now; raises `ConfigError` for a variable that is no such number."""
    values = (ON_A_SPACE if is_public() else HERE).model_dump()
    for name in values:
        if given := os.environ.get(variable(name), "").strip():
            values[name] = given
    try:
        return Limits(**values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        wanted = "a whole number of 1 or more" if name == "max_runs" else "a number (0 for no limit)"
        raise ConfigError(
            f"the environment variable {variable(name)} is {str(values[name])[:20]!r}; it must be {wanted}."
        ) from None


def trash_days() -> float:
    """For how many days deleted runs are kept; raises `ConfigError` for a variable that is no such number."""
    given = os.environ.get(TRASH_DAYS, "").strip() or str(_TRASH_DAYS)
    with contextlib.suppress(ValueError):
        if 0 <= (days := float(given)) < math.inf:
            return days
    raise ConfigError(f"the environment variable {TRASH_DAYS} is {given[:20]!r}; it must be a number of days.")


def prepare_environment() -> None:
    """Give caches a place where the home can't be written, and pass no token where nobody asked for it.

    Called first of all: libraries read these variables when they are imported, and `spaces`, which hands out the GPU of
    a ZeroGPU Space, must be imported before torch.
    """
    if is_public():
        os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"  # noqa: S105  no token, but that the machine's is not used
    if not _has_cache():
        place = make_temporary()
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        os.environ.setdefault("HF_HOME", str(place / "huggingface"))
    if importlib.util.find_spec("spaces"):
        importlib.import_module("spaces")


def _has_cache() -> bool:
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no HOME, and a user whom nobody has entered
        return False
    return _is_writable(home)


def place_of_runs(bundled: Path) -> Path:
    """`bundled` itself, or where it can't be written to a folder that can, with what is bundled copied into it."""
    if _is_writable(bundled):
        return bundled
    place = Path(tempfile.mkdtemp(prefix="charlstm-checkpoints-"))
    for model in bundled.iterdir() if bundled.is_dir() else ():
        if model.is_dir():
            shutil.copytree(model, place / model.name, copy_function=shutil.copyfile)
            (place / model.name).chmod(0o755)
    return place


def _is_writable(folder: Path) -> bool:
    """Tried, because what the permissions say is not all (a read-only disk, a user who may do anything)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
