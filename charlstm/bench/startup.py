"""Startup times of commands and of runs: each measurement is a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from charlstm.bench.report import SECONDS, Result, Skipped
from charlstm.bench.timing import Meter, Task, compare
from charlstm.config import Settings
from charlstm.environment import child_environment
from charlstm.places import BUNDLED_MODELS
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import ACTIVE, RunDir

_HOME = Path(__file__).resolve().parents[2]
BUNDLED_MODEL = BUNDLED_MODELS / "tiny-shakespeare"
_FIRST = "startup/first-character"
_LOOK_SECONDS = 0.01


def measure(meter: Meter, bundled_model: Path, text: str) -> Iterator[Result | Skipped]:
    """Return seconds from the start of Python to the end of a command, or to the first character it writes.

    And from the start of a run on `text` to its first step, as the page starts it: on a process that stands by.
    """
    tasks = [
        _Process(["-m", "charlstm", "--help"]).task("startup/help"),
        _Process(["-c", "import charlstm"]).task("startup/import"),
    ]
    if bundled_model.exists():
        writing = ["-m", "charlstm", "generate", str(bundled_model), "--num-chars", "1"]
        tasks.append(_Process(writing, until_it_writes=True).task(_FIRST))
    else:
        yield Skipped(name=_FIRST, why="there is no bundled model beside this package")
    beside = _Process(["-c", "import torch"]).task('python -c "import torch"')
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, closing(_Runs(Path(folder), text)) as runs:
        tasks.append(Task("startup/first-step", runs.start, runs.end))
        rates = meter.take_turns([*tasks, beside], warm_up=1)
    for task in tasks:
        yield compare(task.name, SECONDS, rates[task.name], (beside.name, rates[beside.name]))


@dataclass
class _Process:
    """Starts the same command again and again, and waits for its end or for what it writes first."""

    arguments: list[str]
    until_it_writes: bool = False
    _started: "subprocess.Popen[bytes] | None" = None

    def task(self, name: str) -> Task:
        return Task(name, self._run, self._end)

    def _run(self) -> float:
        self._started = process = subprocess.Popen(
            [sys.executable, *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=child_environment(_HOME),
        )
        assert process.stdout is not None
        process.stdout.read(1 if self.until_it_writes else -1)
        if not self.until_it_writes:
            process.wait()
        return 1.0

    def _end(self) -> None:
        assert self._started is not None
        with self._started as process:  # closes the pipe and waits
            assert process.stdout is not None
            process.stdout.read()
        assert process.returncode == 0, self.arguments


class _Runs:
    """Starts a run of preset `minute` again and again, and waits for its first step."""

    def __init__(self, folder: Path, text: str) -> None:
        self._manager, self._text = RunManager(folder), text
        self._settings = Settings.preset("minute", log_every=1)
        self._run: RunDir | None = None
        self._prepare()

    def _prepare(self) -> None:
        self._manager.launcher.prepare()
        self._manager.launcher.wait_until_prepared()

    def start(self) -> float:
        self._run = self._manager.start(self._settings, f"run-{len(self._manager.store.run_dirs())}", self._text)
        history = self._manager.history(self._run)
        while history.progress()[0] < 1:
            assert self._manager.status(self._run) in ACTIVE, self._run.problem()
            time.sleep(_LOOK_SECONDS)
            history.poll()
        return 1.0

    def end(self) -> None:
        assert self._run is not None
        self._manager.stop(self._run.name)
        self._manager.wait(self._run.name)
        self._prepare()

    def close(self) -> None:
        self._manager.launcher.close()
