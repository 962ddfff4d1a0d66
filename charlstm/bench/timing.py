"""Timing on a machine that others use too: everything that is compared takes turns, and medians are compared."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

from charlstm import __version__
from charlstm.bench.report import SECONDS, Baseline, Environment, Result, Skipped
from charlstm.cpus import available_cpus
from charlstm.errors import ConfigError
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
