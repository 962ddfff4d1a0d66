"""Trace a text from `train`, or from Start on the page, to the first update: which functions it goes through.

    PYTHONPATH=. python tests/integration/walk.py [--text tiny-shakespeare] [--page]

Prints each function of the package when it is first entered with the text or its settings in hand, or first returns
them; without properties, and without what is reported of the untrained model. Each change of the module is a stop, and
each stop at a module that was left before is a return. Without `--text` it is a file made for this.
"""

import argparse
import contextlib
import functools
import inspect
import io
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from charlstm.cli import main
from charlstm.config import Settings
from charlstm.corpus import DATASETS, open_corpus
from charlstm.runs.launcher import Launcher
from charlstm.runs.manager import RunManager
from charlstm.ui.corpus_picker import PASTE
from charlstm.ui.models import ModelRegistry
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_start import start_run
from charlstm.ui.train_form import FormValues

_TEXT = "the quick brown fox jumps over the lazy dog, and again.\n" * 2000
_CARRIERS = {"Batch", "Corpus", "FormValues", "PreparedRun", "RunPlan", "Settings", "Split", "StreamBatches"}
_CARRIERS |= {"TextChunks", "TextFile", "TextStats", "Train", "TrainConfig"}
_ASIDE = {"_initial_progress", "_report", "_record_evaluation", "append", "runs"}  # "runs" lists them all
_SIZES = {"hidden_size": 32, "num_layers": 1, "batch_size": 4, "seq_len": 32, "embedding_dim": 16}
_SETTINGS = {**_SIZES, "max_minutes": 0.0, "max_steps": 2, "plan": "off"}
_PACKAGE = Path(__file__).resolve().parents[2] / "charlstm"


class Tracer:
    """What `sys.setprofile` tells, until the first update is made."""

    def __init__(self, place: str, beginning: str) -> None:
        self.place, self.beginning = place, beginning
        self.calls: list[tuple[str, str, int, bool]] = []  # module, function, its line, whether it carried the text
        self._is_over = False
        self._indices: dict[int, int] = {}  # of the calls of frames
        self._aside: int | None = None  # the frame of a function that the walk does not follow

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        """Look at a call or a return."""
        code, key = frame.f_code, id(frame)
        if self._is_over or not code.co_filename.startswith(str(_PACKAGE)) or code.co_name.startswith("<"):
            return
        if self._aside is not None:
            self._aside = None if event == "return" and self._aside == key else self._aside
        elif event == "call" and code.co_name in _ASIDE:
            self._aside = key
        elif event == "call" and not _is_property(frame):
            self._indices[key] = len(self.calls)
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            module = Path(code.co_filename).relative_to(_PACKAGE).with_suffix("").as_posix()
            carries = any(self._carries(frame.f_locals.get(name)) for name in names)
            self.calls.append((module, code.co_name, code.co_firstlineno, carries))
        elif event == "return" and (index := self._indices.pop(key, None)) is not None:
            *function, carries = self.calls[index]
            self.calls[index] = (*function, carries or self._carries(value))
            self._is_over = code.co_name == "_update"

    def _carries(self, value: Any) -> bool:
        if isinstance(value, str | Path):
            return str(value) == self.place or self.beginning in str(value)
        if isinstance(value, bytes):
            return self.beginning.encode() in value
        if isinstance(value, np.ndarray):
            return value.dtype.kind in "iu" and value.size > 500
        return type(value).__name__ in _CARRIERS or (type(value) is tuple and any(map(self._carries, value)))

    def print(self) -> None:
        """Print the walk, and how many stops, modules and returns it has."""
        last, stops = "", []
        for module, name, _, _ in dict.fromkeys(call for call in self.calls if call[3]):
            stops += [module] * (module != last)
            sys.stdout.write(f"{'' if module == last else module:24} {name}\n")
            last = module
        num_modules = len(set(stops))
        sys.stdout.write(f"{len(stops)} stops at {num_modules} modules, {len(stops) - num_modules} returns\n")


def _is_property(frame: FrameType) -> bool:
    found = inspect.getattr_static(type(frame.f_locals.get("self")), frame.f_code.co_name, None)
    return isinstance(found, property | functools.cached_property)


def train(place: str, folder: Path, tracer: Tracer) -> None:
    """Train as the command line does."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in _SETTINGS.items()]
    sys.setprofile(tracer)
    main(["train", "--corpus", place, *flags, "--checkpoints-dir", str(folder)])


def train_from_page(place: str, folder: Path, tracer: Tracer) -> None:
    """Start a run as the form does, and run the command that it has for a process of the run's own."""
    commands: list[list[str]] = []
    Launcher.start = lambda _self, arguments, _log: commands.append(list(arguments))  # type: ignore[assignment]
    is_named = place in DATASETS
    settings = {**Settings.preset("minute").flat(), **_SETTINGS}
    pasted = None if is_named else Path(place).read_text(encoding="utf-8")
    form = FormValues(place if is_named else PASTE, None, pasted, "auto", "minute", "", settings)
    cache, registry = RunCache(RunManager(folder)), ModelRegistry(folder)
    sys.setprofile(tracer)
    start_run(cache, registry, form)
    main(commands[0])


def _trace() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", help="a corpus by name")
    parser.add_argument("--page", action="store_true", help="from Start on the page")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.txt"
        own.write_text(_TEXT, encoding="utf-8")
        place = flags.text or str(own)
        tracer = Tracer(place, open_corpus(place).text[:20])
        (Path(folder) / "runs").mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            (train_from_page if flags.page else train)(place, Path(folder) / "runs", tracer)
        sys.setprofile(None)
    tracer.print()


if __name__ == "__main__":
    _trace()
