"""Processes for runs, one of which stands by with PyTorch imported, so that a run begins without waiting for that.

*Measured* on 2026-11-29 on 2 cores of a shared x86-64 machine (`python -m charlstm bench startup`): from the start of a
run to its first step 0.74 s, where `import torch` alone takes 2.3 s. Imports no torch.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeAlias

from charlstm import environment
from charlstm.runs.memory_estimate import available_bytes

# Lets a run outlive this process, its terminal and its Ctrl-C on Windows, which ignores `start_new_session`.
_DETACHED = 0
if sys.platform == "win32":
    _DETACHED = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
# Like `-m charlstm`, but that would also import a `token.py` or `random.py` from the current directory.
_WORKER = "import sys; sys.path[:] = filter(None, sys.path); from charlstm.cli import main; sys.exit(main())"
_STANDBY = "import sys; sys.path[:] = filter(None, sys.path); from charlstm.cli.standby import wait; wait()"
_PACKAGE_HOME = Path(__file__).resolve().parents[2]
_FEWEST_BYTES = 2 << 30  # of free memory; the process takes a tenth of that (*measured*: 197 MB)

Worker: TypeAlias = "subprocess.Popen[bytes]"


class Launcher:
    """Starts `python -m charlstm ARGUMENTS` in sessions of their own, on the process that stands by if there is one."""

    def __init__(self) -> None:
        self._standby: tuple[Worker, dict[str, str]] | None = None  # and the variables it was started with
        self._is_closed = False
        self._changing = threading.Lock()

    def prepare(self) -> None:
        """Start a process that stands by, unless there is one or memory is short."""
        with self._changing:
            variables = _variables()
            if self._is_closed or self._is_ready(variables) or available_bytes() < _FEWEST_BYTES:
                return
            self._dismiss()
            self._standby = _popen(_STANDBY, [], variables, subprocess.PIPE, subprocess.PIPE), variables

    def wait_until_prepared(self) -> None:
        """Wait until the process that stands by has imported everything."""
        if self._standby is not None and (said := self._standby[0].stdout) is not None:
            said.readline()

    def start(self, arguments: Sequence[str], log_file: Path) -> Worker:
        """Run a command whose output is appended to `log_file`."""
        with self._changing:
            variables = _variables()
            if self._standby is not None and self._is_ready(variables):
                order = json.dumps({"arguments": list(arguments), "log": str(log_file.resolve())})
                with contextlib.suppress(OSError):  # it died just now
                    return self._send(order + "\n")
            self._dismiss()
        with log_file.open("ab") as log:
            return _popen(_WORKER, arguments, variables, subprocess.DEVNULL, log)

    def close(self) -> None:
        """End the process that stands by, and start none any more; it also ends with this one."""
        with self._changing:
            self._is_closed = True
            self._dismiss()

    def _is_ready(self, variables: dict[str, str]) -> bool:
        """Return whether a process stands by that was started with these variables."""
        return self._standby is not None and self._standby[0].poll() is None and self._standby[1] == variables

    def _send(self, order: str) -> Worker:
        """Send the process that stands by its command, or none; raises `OSError` if it is gone."""
        assert self._standby is not None
        (worker, _), self._standby = self._standby, None
        assert worker.stdin is not None
        assert worker.stdout is not None
        with worker.stdout, worker.stdin:
            worker.stdin.write(order.encode())
        return worker

    def _dismiss(self) -> None:
        if self._standby is not None:
            worker = self._standby[0]
            with contextlib.suppress(OSError):
                self._send("")
            worker.wait()


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
