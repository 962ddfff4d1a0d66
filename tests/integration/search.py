"""How close does `--preset auto` come to the best fixed settings that a search finds for the same text and time?

    PYTHONPATH=. python tests/integration/search.py TEXT [--minutes 1] [--trials 20] [--level chars] [--seed 1]

The first trial is `auto`; each of the others trains for as many minutes with fixed settings that differ in one thing
(size, dropout, streams, window, rate, rates of the layers) from the best so far, until nothing is left that was not
tried or so many trials are done. One after another, on the same cores; prints a line for each, with the validation loss
in nats per token, stateful and in windows (infinite where it failed), and at last what `auto` and the best came to. The
best of so many is a little too good: runs that differ in their seed alone differ by 0.01.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from charlstm.events import Finished, Started, parse_record
from charlstm.language_model import LanguageModel

Choice = dict[str, Any]
_DROPOUT = ((0.0, 0.0, 0.0), (0.1, 0.0, 0.0), (0.2, 0.0, 0.0), (0.2, 0.2, 0.998), (0.2, 0.3, 0.999), (0.35, 0.4, 0.999))
_UNITS = 64


class Trial(NamedTuple):
    """One run: its settings, its losses, and what was said at its start."""

    choice: Choice
    stateful: float
    windows: float
    notes: tuple[str, ...]


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


def run(text: Path, flags: list[str], fixed: Choice, folder: Path) -> Trial:
    """Train and return what was reached; `fixed` settings leave nothing to be planned."""
    config = folder / "config.json"
    config.write_text(json.dumps(fixed))
    runs = Path(tempfile.mkdtemp(dir=folder))
    places = ["--name", "trial", "--config", str(config), "--checkpoints-dir", str(runs)]
    command = [sys.executable, "-m", "charlstm", "train", "--preset", "auto", "--corpus", str(text), *flags, *places]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:  # refused, or it diverged
        return Trial(fixed, math.inf, math.inf, ())
    records = [parse_record(line) for line in (runs / "trial/events.jsonl").read_text().splitlines()]
    (started,) = [record for record in records if isinstance(record, Started)]
    (finished,) = [record for record in records if isinstance(record, Finished)]
    assert finished.val_stateful is not None
    assert finished.val_windows is not None
    trained = LanguageModel.load(runs / "trial")
    flat = {**trained.model.config.model_dump(), **(trained.provenance.train_config if trained.provenance else {})}
    return Trial({**flat, "plan": "off"}, finished.val_stateful, finished.val_windows, started.notes)


def say(*lines: str) -> None:
    """Print at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def search(text: Path, flags: list[str], num_trials: int) -> None:
    """Print the trials, one after another, and the two to compare."""
    with tempfile.TemporaryDirectory() as folder:
        auto = best = run(text, flags, {}, Path(folder))
        say(f"auto {auto.stateful:.4f} ({auto.windows:.4f})", *auto.notes)
        tried = [auto.choice]
        while len(tried) < num_trials:
            untried = (choice for choice in neighbours(best.choice) if choice not in tried)
            choice = next(untried, None)
            if choice is None:
                break
            tried.append(choice)
            trial = run(text, flags, choice, Path(folder))
            changed = {name: value for name, value in choice.items() if value != auto.choice[name]}
            say(f"{len(tried):4} {trial.stateful:.4f} ({trial.windows:.4f}) {json.dumps(changed)}")
            if trial.stateful < best.stateful:
                best = trial
    say(f"auto {auto.stateful:.4f}, best of {len(tried)} {best.stateful:.4f}: {auto.stateful - best.stateful:+.4f}")


def main() -> None:
    """Search for the best settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--level", default="chars")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    flags = ["--max-minutes", str(asked.minutes), "--level", asked.level, "--seed", str(asked.seed)]
    search(asked.text, flags, asked.trials)


if __name__ == "__main__":
    main()
