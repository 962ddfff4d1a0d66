"""The app as a fork, which begins its runs as forks: tests of the page wait for no imports.

That `python app.py` and real processes do the same is tested in `hub/test_deploy.py`, `test_packaging.py`,
`runs/test_launcher.py` and `integration/test_runs_survive.py`.
"""

import importlib
import sys
import threading
from collections.abc import Iterator

from forked import Forked, spawn_forked

from charlstm.cli import main
from charlstm.events import Event, StepDone
from charlstm.runs.launcher import Launcher
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir
from charlstm.training import Trainer
from charlstm.ui.gradio_import import skip_interface_files

skip_interface_files()

from huggingface_hub import constants  # noqa: E402

import charlstm.ui.app  # noqa: E402, F401

_LATE_STEP = 300  # a run that comes so far waits for a test to stop it


def serve() -> None:
    """`charlstm app`, with the arguments of this process."""
    importlib.reload(constants)  # which have read another environment
    Launcher.prepare = lambda _: None  # type: ignore[method-assign]  no process need stand by
    RunManager._spawn = _spawn  # type: ignore[assignment, method-assign]
    sys.exit(main(sys.argv[1:]))


def _spawn(manager: RunManager, folder: RunDir) -> Forked:
    return spawn_forked(manager, folder, "import forked_app\nforked_app.train()")


def train() -> None:
    """The command of a run, which leaves the processor to others once it is late."""
    run = Trainer.run

    def run_slower(trainer: Trainer) -> Iterator[Event]:
        pause = threading.Event()
        for event in run(trainer):
            if isinstance(event, StepDone) and event.step > _LATE_STEP:
                pause.wait(0.05)
            yield event

    Trainer.run = run_slower  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
