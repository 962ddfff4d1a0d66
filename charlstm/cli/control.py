"""Commands that steer runs from any terminal, `pause | continue | stop | save | rate`, and `runs`, which lists them."""

import json
import time
from pathlib import Path
from typing import Any

from charlstm.cli.flags import Flat, Rate, Runs, Steered
from charlstm.formatting import own_command
from charlstm.runs.history import RunHistory
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import ACTIVE, RunDir
from charlstm.runs.store import RunStore

_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.05
REQUESTS: dict[str, dict[str, Any]] = {
    "pause": {"pause": True},
    "continue": {"pause": False},
    "stop": {"stop": True},
    "save": {"save": True},
    "rate": {},
}


def pause(flags: Flat[Steered]) -> None:
    """Pause a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "pause"))


def continue_run(flags: Flat[Steered]) -> None:
    """Continue a paused run, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "continue"))


def stop(flags: Flat[Steered]) -> None:
    """Stop a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "stop"))


def save(flags: Flat[Steered]) -> None:
    """Save a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "save"))


def scale_rate(flags: Flat[Rate]) -> None:
    """Scale the learning rate of a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "rate", flags.factor))


def list_runs(flags: Flat[Runs]) -> None:
    """List the runs, the newest first."""
    rows = [describe_run(folder) for folder in RunStore(flags.checkpoints_dir).run_dirs()]
    if flags.as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no runs in {flags.checkpoints_dir} yet; start one with: {own_command()} train")
    for row in rows if not flags.as_json else []:
        loss = f"validation {row['val_loss']:.4f}" if row["val_loss"] is not None else "no validation yet"
        print(f"{row['name']:32} {row['status']:10} step {row['step']:>9,}  {loss}")


def control_run(checkpoints_dir: Path, name: str, request: str, factor: float | None = None) -> str:
    """Make a request of `REQUESTS` and wait until it is in effect; returns a sentence. Raises `RunError`."""
    manager = RunManager(checkpoints_dir)
    folder = manager.store.get(name)
    if request == "stop":
        if not manager.stop(name):
            return f"{name} is {manager.status(folder)}; nothing was training."
    else:
        number = manager.steer(name, **REQUESTS[request], rate_factor=factor)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        status = folder.status()
        if status not in ACTIVE or (request != "stop" and folder.worker_status().done >= number):
            break
        time.sleep(_LOOK_SECONDS)
    rate = f", learning rate × {factor:g}" if factor is not None else ""
    return f"{name} is {folder.status()}{rate}{_describe_save(folder) if request in ('pause', 'save') else ''}."


def _describe_save(folder: RunDir) -> str:
    step = folder.worker_status().saved_step
    return f", saved at step {step:,}" if step is not None else ""


def describe_run(folder: RunDir) -> dict[str, Any]:
    """Describe a run in one line of a list."""
    history = RunHistory(folder)
    history.poll()
    return {
        "name": folder.name,
        "status": folder.status(),
        "step": history.latest.step if history.latest else 0,
        "val_loss": history.val_loss,
    }
