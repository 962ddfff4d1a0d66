"""Processes that need not import PyTorch, which takes longer than most of what tests have them do.

A server imports it once for all of them, and forks for each.
"""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from charlstm.runs.manager import RunManager
    from charlstm.runs.run_dir import RunDir

COMMAND = "import sys\nfrom charlstm.cli import main\nsys.exit(main(sys.argv[1:]))"  # `python -m charlstm`

_SERVER = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
if sys.platform != "win32":
    from multiprocessing import forkserver

    _SERVER.set_forkserver_preload(["torch.distributed", "charlstm.cli", "charlstm.runs.worker"])


def preload_app() -> None:
    """Have the server import the page as well; called before it is started."""
    if sys.platform != "win32":
        _SERVER.set_forkserver_preload(["torch.distributed", "charlstm.runs.worker", "forked_app"])


class Forked:
    """`python -c SCRIPT ARGUMENTS` by another way; the methods are those of `subprocess.Popen`."""

    def __init__(self, cwd: Path, script: str, *arguments: object, **environment: str) -> None:
        """What is in `environment` goes over this process's."""
        self._out, self._err = _Collected(), _Collected()
        printed = (self._out.writer, self._err.writer)
        given = (script, [str(each) for each in arguments], {**os.environ, **environment}, cwd, printed, _address())
        self._process = _SERVER.Process(target=_run, args=given)
        self._process.start()
        self._out.begin()
        self._err.begin()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.wait(timeout)
        return self._out.text(is_all=True), self._err.text(is_all=True)

    def printed_line(self) -> str:
        """The first line of what it has printed, once that is whole."""
        line, end, _ = self._out.text().partition("\n")
        return line if end else ""

    def send_signal(self, number: int) -> None:
        if self.returncode is None and self._process.pid:
            os.kill(self._process.pid, number)

    def end(self) -> None:
        """Wherever it is."""
        self._process.kill()
        self._process.join()


Fork = Callable[..., Forked]


def spawn_forked(manager: "RunManager", folder: "RunDir", command: str = COMMAND) -> Forked:
    """In place of `RunManager._spawn`, where the worker need not import PyTorch anew."""
    arguments = ["resume", folder.name, "--quiet", "--checkpoints-dir", manager.store.root.resolve()]
    return Forked(Path.cwd(), logged(command, folder.log_file), *arguments)


def logged(script: str, log_file: Path) -> str:
    """The script, its output appended to a file."""
    log = f"os.open({str(log_file)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)"
    return f"import os\nlog = {log}\nos.dup2(log, 1)\nos.dup2(log, 2)\n{script}"


class _Collected:
    """What comes through a pipe, taken out as it comes."""

    def __init__(self) -> None:
        self._reader, self.writer = _SERVER.Pipe(duplex=False)
        self._data = b""
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def begin(self) -> None:
        """Once the process has the other end."""
        self.writer.close()
        self._thread.start()

    def text(self, is_all: bool = False) -> str:
        if is_all:
            self._thread.join()
        return self._data.decode()

    def _collect(self) -> None:
        with self._reader:
            while piece := os.read(self._reader.fileno(), 65536):
                self._data += piece


def _address() -> Any:
    """Where the server is asked for forks, by its forks as well."""
    if sys.platform == "win32":
        return None
    with patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):  # before Python 3.12 it has no other path
        forkserver.ensure_running()
    return forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]


def _run(
    script: str,
    arguments: list[str],
    environment: Mapping[str, str],
    cwd: Path,
    printed: tuple[Connection, Connection],
    address: Any,
) -> None:
    if sys.platform != "win32":
        server: Any = forkserver._forkserver  # type: ignore[attr-defined]
        server._forkserver_address = address
        server.ensure_running = forkserver.ensure_running = lambda: None  # or a fork would start a server of its own
    for number, writer in enumerate(printed, start=1):
        os.dup2(writer.fileno(), number)
        writer.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["-c", *arguments]
    exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
