"""Startup times of commands: each measurement is a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from charlstm.bench.report import SECONDS, Result, Skipped
from charlstm.bench.timing import Meter, Task, compare
from charlstm.environment import child_environment
from charlstm.places import BUNDLED_MODELS

_HOME = Path(__file__).resolve().parents[2]
BUNDLED_MODEL = BUNDLED_MODELS / "tiny-shakespeare"
_FIRST = "startup/first-character"


def measure(meter: Meter, bundled_model: Path) -> Iterator[Result | Skipped]:
    """Return seconds from the start of Python to the end of the command, or to the first character it writes."""
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
