"""A real app in a process of its own, and a real browser to drive it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loopback import OWNER, LoopbackHub, loopback_hub
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

expect.set_options(timeout=30_000)  # for what must come, however busy the machine is; Playwright's own 5 s are short


@dataclass
class App:
    """`python app.py` on a checkpoints folder of its own."""

    checkpoints_dir: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)  # goes over this process's
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, str(REPOSITORY / "app.py"), "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--checkpoints-dir", str(self.checkpoints_dir)]
        # Among strangers: what the pages of these tests may steer, they started.
        environment = {**os.environ, "CHARLSTM_PUBLIC": "1", **self.environment}
        environment["GRADIO_TEMP_DIR"] = str(self.checkpoints_dir.parent / "gradio")
        with (self.checkpoints_dir.parent / "app.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        wait_until(self._answers, timeout=60)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.checkpoints_dir.parent / "app.log").read_text()
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


@pytest.fixture(scope="session")
def hub() -> Iterator[LoopbackHub]:
    """The Hub that the app knows."""
    with loopback_hub() as server:
        yield server


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub) -> Iterator[App]:
    """The app with the bundled model, on a machine that is logged in to the Hub; one for all tests of the page."""
    with served(tmp_path_factory.mktemp("page"), hub) as app:
        yield app


@contextmanager
def served(place: Path, hub: LoopbackHub, **environment_of_test: str) -> Iterator[App]:
    """Such an app in `place`."""
    checkpoints_dir = place / "checkpoints"
    shutil.copytree(REPOSITORY / "checkpoints" / "tiny-shakespeare", checkpoints_dir / "tiny-shakespeare")
    (place / "home").mkdir()
    (place / "home" / "token").write_text(OWNER, encoding="utf-8")
    environment = {"HF_ENDPOINT": hub.address(), "HF_HOME": str(place / "home"), "HF_HUB_OFFLINE": "0"}
    app = App(checkpoints_dir, free_port(), {**environment, "HF_HUB_DISABLE_XET": "1", **environment_of_test})
    app.start()
    yield app
    app.kill()
    end_workers(checkpoints_dir)
    assert OWNER not in (place / "app.log").read_text(encoding="utf-8")


def end_workers(checkpoints_dir: Path) -> None:
    """Ask what still trains to stop, and wait for it, so that no process outlives the tests."""
    from charlstm.runs.manager import RunManager

    manager = RunManager(checkpoints_dir)
    for run in manager.runs():
        manager.stop(run.name)
    wait_until(lambda: manager.active() is None, timeout=60)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; the tests are skipped where there is none, unless one is required."""
    named = os.environ.get("CHARLSTM_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if path is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium; or name one in CHARLSTM_CHROMIUM)"
        if os.environ.get("CHARLSTM_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, app: App) -> Iterator[Page]:
    """The app's page, just opened; a run that a failed test leaves behind does not fail the next one."""
    page = context.new_page()
    page.goto(app.url, wait_until="load")
    yield page
    end_workers(app.checkpoints_dir)
