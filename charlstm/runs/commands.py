"""Operations on runs behind the command line, with their one-sentence answers."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charlstm.runs.continuation import add_extension, model_file
from charlstm.runs.history import RunHistory
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import ACTIVE, Extension, RunDir

_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.05
REQUESTS: dict[str, dict[str, Any]] = {
    "pause": {"pause": True},
    "continue": {"pause": False},
    "stop": {"stop": True},
    "save": {"save": True},
    "rate": {},
}


def control_run(checkpoints_dir: Path, name: str, request: str, factor: float | None = None) -> str:
    """Send a request of `REQUESTS`, wait until it is in effect and return a sentence; raise `RunError` on failure."""
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
    return f"{name} is {folder.status()}{rate}{_saved(folder) if request in ('pause', 'save') else ''}."


def _saved(folder: RunDir) -> str:
    step = folder.worker_status().saved_step
    return f", saved at step {step:,}" if step is not None else ""


@contextlib.contextmanager
def added(folder: RunDir, more: Extension) -> Iterator[None]:
    """Extend the run by `more`; undo that if the block raises before the run has written a record."""
    if more == Extension():
        yield
        return
    before, records = folder.extensions(), _num_bytes(folder.events_file)
    add_extension(folder, more)
    try:
        yield
    except BaseException:
        if _num_bytes(folder.events_file) == records:
            folder.save_extensions(before)
        raise


def _num_bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def prepare_dataset(folder: RunDir) -> None:
    """Clear stale requests before a manual `resume`."""
    if not folder.ticket():  # with a ticket, the requests are meant for the worker about to start
        folder.clear_requests()


def resolve_model(model: Path) -> tuple[Path, str]:
    """Return the file of a model given as directory or file, and its display name."""
    file = model_file(model)
    return file, model.resolve().name if file != model else model.stem


def describe_run(folder: RunDir) -> dict[str, Any]:
    """Return a summary of the run for one row of a list."""
    history = RunHistory(folder)
    history.poll()
    return {
        "name": folder.name,
        "status": folder.status(),
        "step": history.latest.step if history.latest else 0,
        "val_loss": history.val_loss,
    }
