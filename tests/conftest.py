"""What many tests share: the repository's place, small texts, and an environment that touches nothing outside."""

import contextlib
import gc
import importlib
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from xdist import get_xdist_worker_id, is_xdist_controller, is_xdist_worker
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from commands import Trained
    from forked import Fork
    from playwright.sync_api import Browser, BrowserContext

# Before gradio or huggingface_hub is imported anywhere: no telemetry, no network.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
# One thread, here and in every process a test starts: threads that wait for each other on a busy machine cost minutes.
os.environ["OMP_NUM_THREADS"] = "1"
# What is imported is compiled once and not in each of the hundred processes that tests start, whatever the caller's
# environment says: the package's modules alone cost each of them half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

REPOSITORY = Path(__file__).resolve().parents[1]
_SESSIONS_CACHE: list[Path] = []  # known once the session has begun

# The first is Debian's build without windows, in which a visit takes a sixth less processor time.
_CHROMIUM_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",  # drawn by the browser's own process anyway: a tenth of a visit's processor time
]
_LONGEST = (
    "tests/ui/",
    "tests/attack/",
    "tests/test_quality.py",
    "tests/test_packaging.py",
    "tests/export/",
    "tests/training/test_torchrun.py",
    "tests/integration/",
    "tests/training/test_distributed.py",
    "tests/runs/test_manager.py",
    "tests/kernel/test_build.py",
    "tests/bench/",
)
_ALONE = "run_endpoints|text_comparison|leaving|request_body|request_guard|server|remembered_sessions"
_ALONE += "|components|run_view_data|writing"
_PAGE = re.compile(rf"tests/ui/(?!test_({_ALONE})\.py)")  # the others open none


class _ByRoom(LoadFileScheduling):
    """The tests of the page go to one process, which needs one app and one browser; the others go file by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "tests/ui" if _PAGE.match(file) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    """The scheduler of `--numprocesses`."""
    return _ByRoom(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that both processes have something to do until the end."""

    def place(item: pytest.Item) -> int:
        return next((place for place, start in enumerate(_LONGEST) if item.nodeid.startswith(start)), len(_LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Leave what was imported out of every later search for garbage, which would look at a million objects."""
    gc.collect()
    gc.freeze()


def _import_libraries() -> None:
    """What most tests import anyway, while the kernel is compiled; none of it looks for the kernel."""
    for name in ("torch", "gradio", "hypothesis", "playwright.sync_api"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile before anything is imported that looks for the kernel, which would each compile one of its own."""
    if is_xdist_controller(session):  # it runs no tests
        return
    base = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    base = base.parent if is_xdist_worker(session) else base
    cache, kept = base / "compiled", base.parent / "compiled"  # pytest's own folder of this user, for all sessions
    os.environ["XDG_CACHE_HOME"] = str(cache)
    if get_xdist_worker_id(session) not in ("master", "gw0"):
        _import_libraries()
    with FileLock(cache.with_suffix(".lock")):
        if not cache.exists():
            kernels, is_pytests = cache / "charlstm" / "kernels", kept.parent.name.startswith("pytest-of-")
            if is_pytests:
                _hand_over(kept, kernels)
            code = "from charlstm.kernel.build import load_library; load_library()"
            with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY) as compiling:
                if is_xdist_worker(session):
                    _import_libraries()
            assert compiling.returncode == 0
            if is_pytests:
                _hand_over(kernels, kept)
    _SESSIONS_CACHE.append(cache)


from charlstm.ui.gradio_import import skip_interface_files  # noqa: E402  once bytecode is kept

skip_interface_files()  # a test process imports Gradio too


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def _kernels() -> Path:
    """The recurrence, compiled once for all processes of this session, those that are killed amid it included."""
    return _SESSIONS_CACHE[0] / "charlstm" / "kernels"


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names for the caches of all tests; `mktemp` would look through all that are there, thousands, for each."""
    place = tmp_path_factory.mktemp("caches")
    return (place / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, _caches: Iterator[Path], _kernels: Path) -> Iterator[None]:
    """A user cache of the test's own, so that nothing is found in or written to the person's."""
    monkeypatch.delenv("CHARLSTM_CORPUS_DIR", raising=False)
    cache = next(_caches)
    cache.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    own = cache / "charlstm" / "kernels"
    _hand_over(_kernels, own)
    yield
    _hand_over(own, _kernels)


def _hand_over(source: Path, target: Path) -> None:
    """What was compiled in one private folder, for another one: a link from one to the other would not be trusted."""
    for file in source.glob("*") if source.is_dir() else ():
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(file, target / file.name)


@pytest.fixture(scope="session")
def pangrams() -> str:
    """A few thousand characters with plain structure, that a tiny model learns something from in seconds."""
    lines = ("the quick brown fox jumps over the lazy dog.", "pack my box with five dozen liquor jugs!")
    return "".join(f"{lines[number % 2]}\n" for number in range(100))


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that looks for requests at every step, so that a test can choose the step it heeds them at."""
    monkeypatch.setattr("charlstm.runs.worker_session._LOOK_SECONDS", 0.0)


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as large, and is read a few bytes at a time."""
    import charlstm.corpus
    from charlstm.corpus.decoding import TextChunks

    monkeypatch.setattr(charlstm.corpus.corpus, "HELD_BYTES", 0)
    monkeypatch.setattr("charlstm.corpus.corpus.TextChunks", partial(TextChunks, piece_bytes=1000))


@pytest.fixture
def novel(tmp_path: Path, all_large: None) -> tuple[Path, str]:  # noqa: ARG001  it only has to be there
    """A file with characters of every width, and the text it holds."""
    text = "".join(f"{number} Grüße, 日本 🙂 it’s fine\n" for number in range(200))
    (tmp_path / "novel.txt").write_text(text, encoding="utf-8", newline="\r\n")
    return tmp_path / "novel.txt", text


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> "Trained":
    """A tiny model, trained by the command."""
    from commands import TINY, Trained, run

    place = tmp_path_factory.mktemp("trained")
    text = place / "pangrams.txt"
    text.write_text(pangrams, encoding="utf-8")
    checkpoints = place / "checkpoints"
    command = ["train", "--corpus", text, "--name", "tiny", "--checkpoints-dir", checkpoints, *TINY, "--max-steps", 60]
    outcome = run(*command)
    assert outcome.code == 0, outcome
    return Trained(checkpoints, text, outcome)


@pytest.fixture
def fork(repository: Path) -> "Iterator[Fork]":
    """`fork(script, *arguments, **environment)` begins a `Forked` in the repository's root; none outlives the test."""
    from forked import Forked

    processes: list[Forked] = []

    def start(script: str, *arguments: object, **environment: str) -> Forked:
        processes.append(Forked(repository, script, *arguments, **environment))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[BrowserContext]":
    """Chromium with a profile on disk, which keeps what it has compiled of the page's scripts: half of a visit's cost.

    The tests that need it are skipped where there is none, unless one is required.
    """
    from playwright.sync_api import sync_playwright
    from visitors import VIEWPORT

    named = os.environ.get("CHARLSTM_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if path is None:
        ways = "Debian: apt-get install chromium-headless-shell; or name one in CHARLSTM_CHROMIUM"
        reason = f"no Chromium is installed ({ways})"
        if os.environ.get("CHARLSTM_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        profile = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=path,
            args=_CHROMIUM_FLAGS,
            viewport=VIEWPORT,  # type: ignore[arg-type]
            color_scheme="light",
            reduced_motion="reduce",  # a text is shown at once: at reading pace it would take seconds
        )
        profile.set_default_timeout(30_000)
        yield profile
        profile.close()


@pytest.fixture(scope="session")
def browser(profile: "BrowserContext") -> "Browser":
    """The browser itself, for visitors with a device of their own, or several at once."""
    assert profile.browser is not None
    return profile.browser


@pytest.fixture
def context(profile: "BrowserContext") -> "Iterator[BrowserContext]":
    """A visitor of its own, of whom the next one finds nothing."""
    from visitors import visitor

    with visitor(profile):
        yield profile
