"""The process that stands by: it does what a fresh one does, at once, and is there no longer than who started it."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import Fork
from waiting import wait_until

from charlstm.config import Settings
from charlstm.runs import launcher
from charlstm.runs.launcher import Launcher
from charlstm.runs.manager import RunManager

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no sessions")
SHORT = Settings.from_flat(
    {"corpus": "pangrams", "hidden_size": 8, "batch_size": 2, "seq_len": 16, "max_minutes": 0, "max_steps": 20}
)
# A process that stands by, but for what it imports.
WITHOUT_TORCH = f"""
import sys
from types import ModuleType
for name in ("charlstm.runs.worker", "charlstm.kernel", "charlstm.kernel.build"):
    sys.modules[name] = ModuleType(name)
sys.modules["charlstm.kernel.build"].load_library = lambda: None
{launcher._STANDBY}
"""


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.setattr(launcher, "available_bytes", lambda: 1e12)
    made = Launcher()
    yield made
    made.close()


def standby_of(starting: Launcher) -> launcher.Worker:
    assert starting._standby is not None
    return starting._standby.worker


def test_a_run_is_trained_by_the_process_that_stood_by(starting: Launcher, tmp_path: Path, pangrams: str):
    starting.prepare()
    starting.wait_until_prepared()
    standby = standby_of(starting)
    starting.prepare()
    assert standby_of(starting) is standby, "one is enough"
    assert os.getsid(standby.pid) == standby.pid, "in a session of its own, as any run's process"
    manager = RunManager(tmp_path)
    manager.launcher = starting
    folder = manager.start(SHORT, "short", pangrams)
    assert manager._children["short"][1] is standby
    assert starting._standby is None
    assert standby.wait(60) == 0
    assert folder.status() == "completed"
    assert "completed at step 20" in folder.log_file.read_text()


def test_it_is_not_used_once_it_has_died_or_the_variables_are_others(
    starting: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launcher, "_STANDBY", WITHOUT_TORCH)
    for spoil in (lambda standby: standby.kill() or standby.wait(), lambda _: monkeypatch.setenv("XDG_DATA_HOME", "x")):
        starting._not_before = 0.0
        starting.prepare()
        starting.wait_until_prepared()
        standby = standby_of(starting)
        spoil(standby)
        worker = starting.start(["runs", "--checkpoints-dir", str(tmp_path)], tmp_path / "log")
        assert worker is not standby
        assert worker.wait(60) == 0
        assert standby.poll() is not None, "nothing is left standing by"
    assert (tmp_path / "log").read_text().count("no runs") == 2


def test_none_stands_by_where_memory_is_short(starting: Launcher, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher, "available_bytes", lambda: 1e9)
    starting.prepare()
    assert starting._standby is None


def test_it_ends_with_the_process_that_started_it(fork: Fork):
    script = """
import os, sys
from charlstm.runs import launcher
launcher.available_bytes = lambda: 1e12
launcher._STANDBY = sys.argv[1]
starting = launcher.Launcher()
starting.prepare()
print(starting._standby.worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    killed = fork(script, WITHOUT_TORCH)
    wait_until(lambda: killed.printed_line() != "", 30)
    standby = int(killed.printed_line())

    def is_gone() -> bool:
        try:
            state = Path(f"/proc/{standby}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"  # nobody here reaps it

    wait_until(is_gone, 60)


def test_the_scheduler_keeps_one_ready_while_nothing_trains(starting: Launcher, tmp_path: Path, pangrams: str):
    manager = RunManager(tmp_path)
    manager.launcher = starting
    folder = manager.store.create(SHORT, "busy", pangrams)
    looked = threading.Event()
    with folder.lock():  # as its worker holds it
        manager.start_queued = looked.set  # type: ignore[method-assign]
        manager.start_scheduler(stands_by=True)
        assert looked.wait(10)
        looked.clear()
        assert looked.wait(10), "a whole round later"
        assert starting._standby is None
    shutil.rmtree(folder.path)
    wait_until(lambda: starting.is_preparing, 10)


def test_one_that_ends_by_itself_is_not_started_again_at_once(starting: Launcher, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher, "_STANDBY", "raise SystemExit('no torch')")
    starting.prepare()
    starting.wait_until_prepared()
    first = standby_of(starting)
    assert first.wait(20) != 0
    starting.prepare()
    second = standby_of(starting)
    assert second.wait(20) != 0
    starting.prepare()
    assert standby_of(starting) is second


def test_a_log_that_cannot_be_opened_is_told_to_whoever_starts_the_run(starting: Launcher, tmp_path: Path):
    starting.prepare()
    with pytest.raises(FileNotFoundError):
        starting.start(["runs"], tmp_path / "none" / "log")
