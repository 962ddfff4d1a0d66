"""The app in a process of its own, for tests of its page."""

import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from forked import Forked, logged, preload_app
from loopback import OWNER, LoopbackHub
from waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
preload_app()


@dataclass
class App:
    """`charlstm app` on a checkpoints folder of its own."""

    checkpoints_dir: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)  # goes over this process's
    process: Forked | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def log_file(self) -> Path:
        return self.checkpoints_dir.parent / "app.log"

    def start(self) -> None:
        # Among strangers: what the pages of these tests may steer, they started.
        environment = {"CHARLSTM_PUBLIC": "1", **self.environment}
        environment["GRADIO_TEMP_DIR"] = str(self.checkpoints_dir.parent / "gradio")
        script = logged("import forked_app\nforked_app.serve()", self.log_file)
        arguments = ["--host", "127.0.0.1", "--port", self.port, "--checkpoints-dir", self.checkpoints_dir]
        self.process = Forked(REPOSITORY, script, "app", *arguments, **environment)
        wait_until(self._answers, timeout=100)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        if self.process:
            self.process.end()
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log_file.read_text()
        try:
            with urllib.request.urlopen(self.url, timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(place: Path, hub: LoopbackHub, **environment_of_test: str) -> Iterator[App]:
    """Such an app in `place`."""
    checkpoints_dir = place / "checkpoints"
    shutil.copytree(REPOSITORY / "checkpoints" / "tiny-shakespeare", checkpoints_dir / "tiny-shakespeare")
    (place / "home").mkdir()
    (place / "home" / "token").write_text(OWNER, encoding="utf-8")
    environment = {"HF_ENDPOINT": hub.address(), "HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "0"}
    app = App(checkpoints_dir, free_port(), {**environment, "HF_HUB_DISABLE_XET": "1", **environment_of_test})
    try:
        app.start()
        yield app
    finally:
        app.kill()
        end_workers(checkpoints_dir)
    assert OWNER not in app.log_file.read_text(encoding="utf-8")


def end_workers(checkpoints_dir: Path) -> None:
    """Ask what still trains to stop, and wait for it, so that no process outlives the tests."""
    from charlstm.runs.manager import RunManager

    manager = RunManager(checkpoints_dir)
    for run in manager.runs():
        manager.stop(run.name)
    wait_until(lambda: manager.active() is None, timeout=60)
