"""Timing on a machine that others use too: everything that is compared takes turns, and medians are compared.

The startup of commands and runs is measured here too, each in a process of its own.
"""

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from charlstm import __version__
from charlstm.bench.report import SECONDS, Baseline, Environment, Result, Skipped
from charlstm.config import Settings
from charlstm.cpus import available_cpus
from charlstm.data_folders import BUNDLED_MODELS
from charlstm.environment import child_environment
from charlstm.errors import ConfigError
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import ACTIVE, RunDir
from charlstm.training.optim import resolve_device

_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16"),
    *("asimd", "asimdhp", "sve", "bf16"),
)
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Task:
    """Something to measure. `work` does one unit of it and returns how much that was; only `work` is timed."""

    name: str
    work: Callable[[], float]
    tidy: Callable[[], object] = lambda: None  # after each unit
    share: float = 1.0  # of the seconds that a task gets, where less will do


Rates = list[float]  # work a second, one figure a round


@dataclass(frozen=True)
class Meter:
    """Measures each task for about `seconds`, in `rounds` turns, each of at least one unit of work.

    Where units are so long that this would take longer, `fewest_rounds` are enough.
    """

    seconds: float
    rounds: int = 5
    fewest_rounds: int = 3
    clock: Callable[[], float] = time.perf_counter
    progress: Callable[[str], object] = lambda _: None

    def take_turns(self, tasks: Sequence[Task], warm_up: int) -> dict[str, Rates]:
        """Run the tasks in turns, A B C A B C ..., and return the rates of each by its name.

        Before that, `warm_up` units of each task are done untimed: what is compiled, allocated or cached at first use.
        """
        for task in tasks:
            self.progress(f"{task.name}: warming up")
            for _ in range(warm_up):
                task.work()
                task.tidy()
        rates: dict[str, Rates] = {task.name: [] for task in tasks}
        spent, planned = 0.0, sum(self.seconds * task.share for task in tasks)
        for number in range(1, self.rounds + 1):
            for task in tasks:
                self.progress(f"{task.name}: round {number} of {self.rounds}")
                done, elapsed = self._turn(task)
                rates[task.name].append(done / elapsed)
                spent += elapsed
            if number >= self.fewest_rounds and spent >= planned:
                break
        return rates

    def _turn(self, task: Task) -> tuple[float, float]:
        """Return the amount of work done and the seconds it took."""
        done, elapsed = 0.0, 0.0
        while elapsed <= 0 or elapsed < task.share * self.seconds / self.rounds:
            began = self.clock()
            done += task.work()
            elapsed += self.clock() - began
            task.tidy()
        return done, elapsed


def compare(name: str, unit: str, rates: Rates, yardstick: tuple[str, Rates] | None = None) -> Result:
    """Return a result from the rates of rounds and those of the yardstick in the same rounds."""
    figures = _figures(rates, unit)
    value = statistics.median(figures)
    if yardstick is None:
        return Result(name=name, value=value, unit=unit)
    others = _figures(yardstick[1], unit)
    beside = Baseline(name=yardstick[0], value=statistics.median(others))
    ratio = statistics.median(ours / theirs for ours, theirs in zip(figures, others, strict=True))
    return Result(name=name, value=value, unit=unit, yardstick=beside, ratio=ratio)


def _figures(rates: Rates, unit: str) -> list[float]:
    return [1 / rate for rate in rates] if unit == SECONDS else rates


def environment(skipped: Sequence[Skipped] = ()) -> Environment:
    """Describe what speed depends on here: no name of a host, a person or a folder."""
    (processor, features), card = _processor(), find_gpu()
    return Environment(
        processor=processor,
        features=features,
        cores=available_cpus(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(card) if card else "",
        python=platform.python_version(),
        torch=torch.__version__,
        charlstm=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        skipped=tuple(skipped),
    )


def find_gpu() -> torch.device | None:
    """Return the CUDA GPU to train on, if there is one."""
    try:
        return resolve_device("cuda")
    except ConfigError:
        return None


def multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16; PyTorch imitates it elsewhere, slower than float32."""
    return not _BFLOAT16.isdisjoint(_processor()[1])


def _processor() -> tuple[str, tuple[str, ...]]:
    """Return model and features of the processor, as Linux tells them; elsewhere its kind alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    has = {*facts.get("flags", "").split(), *facts.get("Features", "").split()}
    model = facts.get("model name") or platform.processor() or platform.machine()
    return model, tuple(feature for feature in _FEATURES if feature in has)


_HOME = Path(__file__).resolve().parents[2]
BUNDLED_MODEL = BUNDLED_MODELS / "tiny-shakespeare"
_FIRST = "startup/first-character"
_LOOK_SECONDS = 0.01


def measure_startup(meter: Meter, bundled_model: Path, text: str) -> Iterator[Result | Skipped]:
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
