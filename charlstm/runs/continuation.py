"""Runs that go on: extended beyond their plan, begun from an existing model, or with a text that has moved.

An extension has its own limit and learning-rate schedule, counted from the step at which it begins; weights, optimizer
moments and position in the text carry over. A decaying schedule restarts at half the peak rate unless another rate is
given: the full rate would undo what was learned last, at rates near 0.
"""

import glob
import os
import shlex
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

from charlstm.config import PRESETS, ModelConfig, Settings, TrainConfig
from charlstm.errors import CorpusError, RunError
from charlstm.formatting import format_duration
from charlstm.json_text import parse_json
from charlstm.model_paths import model_file
from charlstm.runs.run_dir import Extension, ParentModel, RunDir
from charlstm.safetensors_header import LfsPointer, read_header

SHORT_CHARS = 100_000  # of a text; with fewer, starting from a bundled model is better (docs/results.md)
_FINE_TUNING = {"learning_rate": 2e-3, "layer_rates": "equal"}
CHANGED = ("max_minutes", "max_passes", "max_steps", "learning_rate", "lr_schedule")  # by an extension
_NAMED = 20  # characters
_AGAIN = 0.5  # of the peak of the learning rate


def read_model_header(file: Path) -> dict[str, Any]:
    """Return the header of a model or training state; raise `RunError` for any other file."""
    try:
        with file.open("rb") as opened:
            said = read_header(opened).texts
        return {key: parse_json(said[key]) for key in ("config", "training_state", "vocabulary") if key in said}
    except (OSError, ValueError) as error:
        if isinstance(error, LfsPointer):
            raise RunError(f"{file} {error}.") from None
        what = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{file.name} is not a model that can be continued ({what}); choose another one.") from None


def inherit_sizes(settings: Settings, model: Path) -> Settings:
    """Return `settings` with the sizes of the model (directory or file) that the run starts from, and planning off.

    Dropout stays as chosen. Raises `RunError` for a file that is not a model.
    """
    config = read_model_header(model_file(model)).get("config")
    if not isinstance(config, dict):
        raise RunError(f"{model.name} is not a model that can be continued; choose another one.")
    whole = {**ModelConfig().model_dump(), **config}  # an older model lacks what was added since
    sizes = {name: value for name, value in whole.items() if name not in ("dropout", "weight_dropout")}
    return Settings.from_flat({**settings.flat(), **sizes, "plan": "off"})


def count_characters(model: Path, characters: Iterable[str]) -> int:
    """Return how many characters a run knows that begins from the model and learns a text of these `characters`."""
    known = read_model_header(model_file(model)).get("vocabulary")
    return len({*map(str, known if isinstance(known, list) else ()), *characters})


def with_fine_tuning_rates(settings: Settings, preset: str) -> Settings:
    """Return settings of `preset` with the rates of a run that starts from a model, where they are the preset's own.

    *Measured* in one minute on 80,000 characters: 1.34 nats, and 1.54 at the rates of `minute`, which soon undo what
    the model knew (docs/results.md, "Short texts").
    """
    own, flat = Settings.preset(preset).flat() if preset in PRESETS else {}, settings.flat()
    changes = {name: value for name, value in _FINE_TUNING.items() if flat[name] == own.get(name)}
    return Settings.from_flat({**flat, **changes}, needs_end=False)


def parts_done(folder: RunDir) -> int:
    """Return the number of parts begun at the saved state: 1 for a run that was not extended."""
    state = read_model_header(folder.state_file).get("training_state")
    num_parts = state.get("num_parts", 1) if isinstance(state, dict) else 1
    if type(num_parts) is not int or num_parts < 1:
        raise RunError(f"the saved state of {folder.label} is damaged; start a new run from its model instead.")
    return num_parts


def apply_extension(settings: Settings, more: Extension) -> Settings:
    """Return `settings` changed for an extension; raise `RunError` for one that adds nothing."""
    if not (more.minutes or more.passes or more.steps):
        raise RunError("nothing is added: say for how many more minutes, passes or steps the run shall go on.")
    schedule = more.lr_schedule or settings.train.lr_schedule
    rate = more.learning_rate or settings.train.learning_rate * (1 if schedule == "constant" else _AGAIN)
    limits = {"max_minutes": more.minutes, "max_passes": more.passes, "max_steps": more.steps}
    changes = {**limits, "learning_rate": rate, "lr_schedule": schedule, "plan": "off"}
    return settings.model_copy(update={"train": TrainConfig(**{**settings.train.model_dump(), **changes})})


def add_extension(folder: RunDir, more: Extension) -> None:
    """Record an extension of an idle run; raise `RunError` if it can't be extended."""
    apply_extension(folder.settings(), more)
    if not folder.has_state:
        raise RunError(f"{folder.label} has nothing saved to go on from; start a new run from its model instead.")
    folder.save_extensions((*folder.extensions()[: parts_done(folder) - 1], more))


def describe_extension(settings: Settings, more: Extension) -> str:
    """Return a sentence that describes the extension to the user."""
    train = apply_extension(settings, more).train
    amounts = [
        format_duration(60 * more.minutes) if more.minutes else "",
        f"{more.passes:g} passes over the text" if more.passes else "",
        f"{more.steps:,} steps" if more.steps else "",
    ]
    amount = ", or ".join(filter(None, amounts)) + (", whichever ends first" if sum(map(bool, amounts)) > 1 else "")
    courses = {"constant": "stays there", "linear": "falls along a line to 0", "cosine": "falls along a cosine to 0"}
    return (
        f"Trains {amount} longer; the learning rate begins at {train.learning_rate:g} and {courses[train.lr_schedule]}."
    )


def describe_parent(parent: ParentModel, new_characters: tuple[str, ...]) -> str:
    """Return a sentence that names the parent model and the characters added to its vocabulary."""
    if not new_characters:
        return f"Begins from {parent.name}, which knows all characters of this text."
    shown = [
        char if char.isprintable() and not char.isspace() else repr(char)[1:-1] for char in new_characters[:_NAMED]
    ]
    more = f" and {len(new_characters) - _NAMED} more" if len(new_characters) > _NAMED else ""
    are = "character is new to it and was" if len(new_characters) == 1 else "characters are new to it and were"
    return f"Begins from {parent.name}; {len(new_characters)} {are} added to its vocabulary: {' '.join(shown)}{more}."


def resume_command(name: str, more: Extension) -> str:
    """Return the command that extends the run `name` by `more`."""
    flags = [
        f"--more-minutes {more.minutes:g}" if more.minutes else "",
        f"--more-passes {more.passes:g}" if more.passes else "",
        f"--more-steps {more.steps}" if more.steps else "",
        f"--more-rate {more.learning_rate:g}" if more.learning_rate else "",
        f"--more-schedule {more.lr_schedule}" if more.lr_schedule else "",
    ]
    return " ".join(["python -m charlstm resume", shlex.quote(name), *filter(None, flags)])


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
