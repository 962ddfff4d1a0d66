"""Processes for runs, one of which stands by with PyTorch imported, so that a run begins without waiting for that.

*Measured* on 2026-11-29 on 2 cores of a shared x86-64 machine (`python -m charlstm bench startup`): from the start of a
run to its first step 0.74 s, where `import torch` alone takes 2.3 s. Imports no torch.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeAlias

from charlstm import environment
from charlstm.runs.limits import available_bytes

# Lets a run outlive this process, its terminal and its Ctrl-C on Windows, which ignores `start_new_session`.
_DETACHED = 0
if sys.platform == "win32":
    _DETACHED = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
# Like `-m charlstm`, but that would also import a `token.py` or `random.py` from the current directory.
_WORKER = "import sys; sys.path[:] = filter(None, sys.path); from charlstm.cli import main; sys.exit(main())"
_STANDBY = "import sys; sys.path[:] = filter(None, sys.path); from charlstm.cli.standby import wait; wait()"
_PACKAGE_HOME = Path(__file__).resolve().parents[2]
_FEWEST_BYTES = 2 << 30  # of free memory; the process takes a tenth of that (*measured*: 197 MB)

PREPARED = b"prepared"  # what it says once it has imported everything
_PATIENCE_SECONDS = 60.0

Worker: TypeAlias = "subprocess.Popen[bytes]"


class _Standby:
    """A process that imports what training needs and then waits for a command."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables
        self.worker = _popen(_STANDBY, [], variables, subprocess.PIPE, subprocess.PIPE)
        self.is_prepared = threading.Event()
        self._listening = threading.Thread(target=self._listen, name="standby", daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        assert self.worker.stdout is not None
        with self.worker.stdout as said:
            for line in said:
                if line.strip() == PREPARED:
                    self.is_prepared.set()
                    return

    def send(self, order: str) -> Worker:
        """Send the command; raises `OSError` if the process is gone."""
        assert self.worker.stdin is not None
        with self.worker.stdin:
            self.worker.stdin.write(order.encode())
        return self.worker

    def end(self) -> None:
        """End the process, which has nothing to lose."""
        self.worker.kill()
        self.worker.wait()
        self._listening.join()
        assert self.worker.stdin is not None
        with contextlib.suppress(OSError):
            self.worker.stdin.close()


class Launcher:
    """Starts `python -m charlstm ARGUMENTS` in sessions of their own, on the process that stands by if there is one."""

    def __init__(self) -> None:
        self._standby: _Standby | None = None
        self._not_before = 0.0  # by the monotonic clock, after one that ended by itself
        self._is_closed = False
        self._changing = threading.Lock()

    @property
    def is_preparing(self) -> bool:
        """Whether a process stands by that was started with the present variables, or is about to."""
        standby = self._standby
        return standby is not None and standby.worker.poll() is None and standby.variables == _variables()

    def prepare(self) -> None:
        """Start a process that stands by, unless there is one, memory is short, or the last one failed just now."""
        with self._changing:
            is_short = 0 < available_bytes() < _FEWEST_BYTES
            if self._is_closed or self.is_preparing or is_short or time.monotonic() < self._not_before:
                return
            if self._standby is not None and self._standby.worker.poll() is not None:
                self._not_before = time.monotonic() + _PATIENCE_SECONDS
            self._dismiss()
            self._standby = _Standby(_variables())

    def wait_until_prepared(self) -> None:
        """Wait until the process that stands by, if there is one, has imported everything."""
        while (standby := self._standby) and standby.worker.poll() is None and not standby.is_prepared.wait(0.1):
            pass

    def start(self, arguments: Sequence[str], log_file: Path) -> Worker:
        """Run a command whose output is appended to `log_file`; raises `OSError` if that can't be opened."""
        with log_file.open("ab") as log, self._changing:
            if not self.is_preparing:
                self._dismiss()
            standby = self._standby
            if standby and standby.is_prepared.is_set():
                self._standby = None
                order = json.dumps({"arguments": list(arguments), "log": str(log_file.resolve())})
                try:
                    return standby.send(order + "\n")
                except OSError:  # it died just now
                    standby.end()
            return _popen(_WORKER, arguments, _variables(), subprocess.DEVNULL, log)

    def close(self) -> None:
        """End the process that stands by, and start none any more; it also ends with this one."""
        with self._changing:
            self._is_closed = True
            self._dismiss()

    def _dismiss(self) -> None:
        standby, self._standby = self._standby, None
        if standby is not None:
            standby.end()


def _variables() -> dict[str, str]:
    return environment.child_environment(_PACKAGE_HOME, PYTHONIOENCODING="utf-8:backslashreplace")  # the log is UTF-8


def _popen(
    code: str, arguments: Sequence[str], variables: dict[str, str], stdin: int, output: IO[bytes] | int
) -> Worker:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=variables,
        start_new_session=True,
        creationflags=_DETACHED,
    )
