"""How close does `--preset auto` come to the best fixed settings that a search finds for the same text and time?

    PYTHONPATH=. python tests/integration/search.py TEXT [--minutes 1] [--trials 20] [--level chars] [--seed 1]

The first trial is `auto`, in so many minutes of an idle machine. Each of the others trains, with fixed settings that
differ in one thing (size, dropout, streams, window, rate, rates of the layers) from the best so far, for the steps
that take as long: both paces are measured in turn beforehand, so that other work on the machine changes nothing
afterwards. Until nothing is left that was not tried or so many trials are done. A trial that is 0.03 nats behind the
best when half of it is done is given up. Prints a line for each, with the validation loss in nats per token, stateful
and in windows (infinite where it was given up or failed), and at last what `auto` and the best came to. The best of
so many is a little too good: runs that differ in their seed alone differ by 0.01.
"""

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charlstm.config import Settings
from charlstm.corpus import Corpus, open_corpus
from charlstm.events import Evaluated, Finished, Started, parse_record
from charlstm.language_model import LanguageModel
from charlstm.training.auto_settings import measure_throughput

Choice = dict[str, Any]
_DROPOUT = ((0.0, 0.0, 0.0), (0.1, 0.0, 0.0), (0.2, 0.0, 0.0), (0.2, 0.2, 0.998), (0.2, 0.3, 0.999), (0.35, 0.4, 0.999))
_UNITS = 64
_TURNS = 3  # of the two networks whose pace is compared
_LOOK_SECONDS = 0.5  # between looks at a run
# The share of a run after which it is given up when so many nats behind the best; *assumed*: none was let go on.
_HALFWAY, _HOPELESS = 0.5, 0.03


class Trial(NamedTuple):
    """One run: its settings, its steps, its losses (each validation with its step, then the last), its notes."""

    choice: Choice
    num_steps: int
    curve: list[tuple[int, float]]
    stateful: float
    windows: float
    notes: tuple[str, ...]

    def loss_at(self, share: float) -> float:
        """Return the validation loss when this share of the run was done, on the line between its validations."""
        steps, losses = zip(*self.curve, strict=True)
        return float(np.interp(share * self.num_steps, steps, losses))


def neighbours(choice: Choice) -> Iterator[Choice]:
    """Yield choices that differ from `choice` in one thing; the rate goes with the size as `auto` has it."""
    size = choice["hidden_size"]
    for factor in (1.3, 1 / 1.3):
        other = max(_UNITS, round(size * factor / _UNITS) * _UNITS)
        other += _UNITS * (1 if factor > 1 else -1) * (other == size)
        if other >= _UNITS:
            rate = choice["learning_rate"] * (size / other) ** 0.6
            yield {**choice, "hidden_size": other, "learning_rate": round(rate, 5)}
    step = _DROPOUT.index((choice["dropout"], choice["weight_dropout"], choice["weight_average"]))
    for near in (step + 1, step - 1):
        if 0 <= near < len(_DROPOUT):
            dropout, weight_dropout, weight_average = _DROPOUT[near]
            yield {**choice, "dropout": dropout, "weight_dropout": weight_dropout, "weight_average": weight_average}
    for factor in (1.4, 1 / 1.4):
        yield {**choice, "learning_rate": round(choice["learning_rate"] * factor, 5)}
    for batch_size in (choice["batch_size"] * 2, choice["batch_size"] // 2):
        if batch_size >= 1:
            yield {**choice, "batch_size": batch_size}
    for seq_len in (choice["seq_len"] * 2, choice["seq_len"] // 2):
        yield {**choice, "seq_len": seq_len}
    yield {**choice, "layer_rates": "equal" if choice["layer_rates"] == "tuned" else "tuned"}


def read_records(log: Path) -> list[Any]:
    """Return the complete records of a run so far."""
    return [parse_record(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def curve_of(records: list[Any]) -> list[tuple[int, float]]:
    """Return the validations, each with its step."""
    return [(record.step, record.val_loss) for record in records if isinstance(record, Evaluated)]


def fell_behind(log: Path, num_steps: int, best: Trial) -> bool:
    """Return whether a run of so many steps is halfway or later, and too far behind the best to go on."""
    curve = curve_of(read_records(log)) if log.exists() else []
    if not curve or curve[-1][0] < num_steps * _HALFWAY:
        return False
    step, loss = curve[-1]
    return loss > best.loss_at(step / num_steps) + _HOPELESS


def run(text: Path, flags: list[str], fixed: Choice, folder: Path, best: Trial | None = None) -> Trial:
    """Train and return what was reached; `fixed` settings leave nothing to be planned.

    Stopped halfway where it has fallen behind `best`.
    """
    config = folder / "config.json"
    config.write_text(json.dumps(fixed))
    runs = Path(tempfile.mkdtemp(dir=folder))
    places = ["--name", "trial", "--config", str(config), "--checkpoints-dir", str(runs)]
    command = [sys.executable, "-m", "charlstm", "train", "--preset", "auto", "--corpus", str(text), *flags, *places]
    log = runs / "trial/events.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
            if best and fell_behind(log, fixed["max_steps"], best):
                process.terminate()
    records = read_records(log) if log.exists() else []
    curve = curve_of(records)
    finished = next((record for record in records if isinstance(record, Finished)), None)
    if finished is None or finished.val_stateful is None or finished.val_windows is None or process.returncode:
        return Trial(fixed, fixed["max_steps"], curve, math.inf, math.inf, ())  # stopped, refused, or it diverged
    (started,) = [record for record in records if isinstance(record, Started)]
    trained = LanguageModel.load(runs / "trial")
    flat = {**trained.model.config.model_dump(), **(trained.provenance.train_config if trained.provenance else {})}
    choice = {**flat, "plan": "off"}
    return Trial(choice, finished.step, curve, finished.val_stateful, finished.val_windows, started.notes)


def in_equal_time(choice: Choice, auto: Trial, corpus: Corpus) -> Choice:
    """Return `choice` with the steps that take as long as those of `auto`, measured in turn on this machine now."""
    step_seconds: dict[str, list[float]] = {"auto": [], "choice": []}
    for _ in range(_TURNS):
        for name, flat in (("auto", auto.choice), ("choice", choice)):
            settings = Settings.from_flat(flat, needs_end=False)
            split = corpus.split(settings.model, settings.train)
            rate = measure_throughput(settings, split, {"batch_size": flat["batch_size"]})
            step_seconds[name].append(flat["batch_size"] * flat["seq_len"] / rate)
    ratio = statistics.median(step_seconds["auto"]) / statistics.median(step_seconds["choice"])
    num_steps = round(auto.num_steps * ratio)
    return {**choice, "max_minutes": 0.0, "max_steps": num_steps, "eval_every": max(1, num_steps // 4)}


def unlimited(choice: Choice) -> Choice:
    """Return the settings that are searched: `choice` without what ends the run and when it is validated."""
    return {**choice, "max_minutes": 0.0, "max_steps": 0, "eval_every": 0}


def say(*lines: str) -> None:
    """Print at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def search(text: Path, minutes: float, flags: list[str], num_trials: int) -> None:
    """Print the trials, one after another, and the two to compare."""
    corpus = open_corpus(str(text))
    with tempfile.TemporaryDirectory() as folder:
        auto = best = run(text, [*flags, "--max-minutes", str(minutes)], {}, Path(folder))
        say(f"auto {auto.stateful:.4f} ({auto.windows:.4f}) in {auto.num_steps} steps", *auto.notes)
        num_tried, tried = 1, [unlimited(auto.choice)]
        while num_tried < num_trials:
            untried = (choice for choice in neighbours(unlimited(best.choice)) if choice not in tried)
            choice = next(untried, None)
            if choice is None:
                break
            num_tried += 1
            tried.append(choice)
            trial = run(text, flags, in_equal_time(choice, auto, corpus), Path(folder), best)
            changed = {name: value for name, value in choice.items() if value != tried[0][name]}
            say(f"{num_tried:4} {trial.stateful:.4f} ({trial.windows:.4f}) {json.dumps(changed)} x {trial.num_steps}")
            if trial.stateful < best.stateful:
                best = trial
    say(f"auto {auto.stateful:.4f}, best of {num_tried} {best.stateful:.4f}: {auto.stateful - best.stateful:+.4f}")


def main() -> None:
    """Search for the best settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--level", default="chars")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    search(asked.text, asked.minutes, ["--level", asked.level, "--seed", str(asked.seed)], asked.trials)


if __name__ == "__main__":
    main()
