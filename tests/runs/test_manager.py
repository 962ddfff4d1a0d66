"""The manager and the real processes it starts: seen while they wait, work and end, stopped, continued, survived."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import spawn_forked
from waiting import wait_until

from charlstm.config import Settings
from charlstm.errors import CorpusError, RunError
from charlstm.runs.control import Control, RequestListener
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import Extension, RunDir
from charlstm.runs.worker import run_training

TINY: dict[str, Any] = {
    "corpus": "pangrams",
    "hidden_size": 8,
    "batch_size": 2,
    "seq_len": 16,
    "max_minutes": 0,
    "log_every": 10,
    "eval_every": 10**6,
    "sample_every": 10**6,
    "sample_chars": 20,
}
ENDLESS = Settings.from_flat({**TINY, "max_steps": 10**6})
SHORT = Settings.from_flat({**TINY, "max_steps": 60})


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunManager]:
    """On a relative folder and far from the package's own, as an app may be started anywhere; leaves no process."""
    monkeypatch.chdir(tmp_path)
    manager = RunManager(Path("checkpoints"))
    yield manager
    for _, process in manager._children.values():
        process.kill()
        process.wait()


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are forks: what they do is the same, and two other tests here start the real ones."""
    monkeypatch.setattr(RunManager, "_spawn", spawn_forked)


def lines_of(folder: RunDir) -> list[dict[str, Any]]:
    try:
        return [
            json.loads(line) for line in folder.events_file.read_bytes().splitlines(keepends=True) if line[-1] == 10
        ]
    except FileNotFoundError:
        return []


def steps_of(folder: RunDir) -> int:
    return max((line["step"] for line in lines_of(folder)), default=0)


def statuses_until_the_process_ends(manager: RunManager, folder: RunDir) -> list[str]:
    """The states seen by somebody who never looks away, each once in a row."""
    _, process = manager._children[folder.name]
    seen: list[str] = []

    def look() -> bool:
        is_over = process.poll() is not None
        for _ in range(20):
            status = manager.status(folder)
            if [status] != seen[-1:]:
                seen.append(status)
        return is_over

    wait_until(look)
    return seen


def make_stopped(manager: RunManager, pangrams: str, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run of `SHORT` that was stopped at step 20, without a process of its own."""
    monkeypatch.setattr("charlstm.runs.worker_session._LOOK_SECONDS", 0.0)
    folder = manager.store.create(SHORT, "short", pangrams)
    run_training(folder, on_record=lambda record: folder.request(Control(stop=True)) if record.step == 20 else None)
    assert folder.status() == "stopped"
    return folder


def test_nothing_is_there_at_first(manager: RunManager):
    assert manager.runs() == []
    assert manager.active() is None
    with pytest.raises(RunError, match="no run named other"):
        manager.resume("other")
    with pytest.raises(RunError, match="no run named other"):
        manager.stop("other")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no sessions")
def test_a_run_works_in_a_session_of_its_own_alone_in_its_place_until_it_is_stopped(
    manager: RunManager, tmp_path: Path, pangrams: str
):
    folder = manager.start(ENDLESS, "endless", pangrams)
    assert manager.status(folder) in ("starting", "running")
    assert folder.corpus_file.read_text() == pangrams
    _, process = manager._children["endless"]
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    with pytest.raises(RunError, match="endless is training already; stop it or wait") as caught:
        manager.resume("endless")
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name[0] != "."] == ["endless"]

    wait_until(lambda: steps_of(folder) >= 20)
    another = RunManager(tmp_path / "checkpoints")
    for each in (manager, another):
        active = each.active()
        assert active is not None
        assert (active.name, active.status) == ("endless", "running")
        with pytest.raises(RunError, match="endless is training"):
            each.delete("endless")

    another.stop("endless")
    assert manager.status(folder) in ("stopping", "measuring", "stopped")
    wait_until(lambda: another.status(folder) == manager.status(folder) == "stopped", 20)
    assert manager.active() is None
    last = lines_of(folder)[-1]
    assert (last["kind"], last["reason"]) == ("finished", "stopped")
    assert folder.state_file.exists()
    assert process.wait(20) == 0
    assert "stopped at step" in folder.log_file.read_text()


def test_a_stopped_run_is_resumed_where_it_was_and_its_states_follow_in_order(
    manager: RunManager, pangrams: str, monkeypatch: pytest.MonkeyPatch
):
    folder = make_stopped(manager, pangrams, monkeypatch)
    manager.resume("short")
    assert folder.control() == Control(stop=False), "the request that stopped it is taken back"
    seen = statuses_until_the_process_ends(manager, folder)
    assert seen == [each for each in ("starting", "running", "measuring", "completed") if each in seen]
    assert {"starting", "completed"} <= set(seen)
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "resumed"] == [20]
    assert lines_of(folder)[-1]["step"] == 60
    assert [(run.name, run.status) for run in manager.runs()] == [("short", "completed")]


def test_a_halted_run_is_being_measured_until_its_lock_is_free(manager: RunManager, pangrams: str):
    folder = manager.store.create(SHORT, "short", pangrams)
    with folder.lock().acquire():
        with RequestListener(folder.mailbox) as listener:
            listener.answer(is_halted=True)
        assert folder.status() == "measuring"
        with RequestListener(folder.mailbox):
            assert folder.status() == "running", "what an earlier worker answered is gone"


@pytest.mark.usefixtures("forked")
def test_a_run_asked_to_stop_while_it_waits_stops_as_soon_as_it_can_and_resumed_again(
    manager: RunManager, pangrams: str
):
    folder = manager.start(ENDLESS, "endless", pangrams)
    manager.stop("endless")
    assert folder.control().stop is True
    wait_until(lambda: manager.status(folder) == "stopped")
    assert not folder.state_file.exists(), "no step was made that would have to be saved"
    wait_until(lambda: manager._children["endless"][1].poll() is not None)
    before = len(lines_of(folder))
    manager.resume("endless")
    manager.stop("endless")
    wait_until(lambda: manager.status(folder) == "stopped" and len(lines_of(folder)) > before)
    assert folder.control().stop is False, "a request that was done is taken back"


def test_a_run_that_has_ended_is_asked_nothing(manager: RunManager, pangrams: str, monkeypatch: pytest.MonkeyPatch):
    folder = make_stopped(manager, pangrams, monkeypatch)
    assert manager.stop("short") == 0
    assert folder.control() == Control()
    with pytest.raises(RunError, match=r"short is not training \(stopped\)"):
        manager.steer("short", pause=True)
    assert manager.status(folder) == "stopped"


def test_a_taken_name_is_refused_and_no_process_is_started(manager: RunManager, pangrams: str):
    folder = manager.store.create(SHORT, "taken", pangrams)
    os.utime(folder.settings_file, (1, 1))
    with pytest.raises(RunError, match="taken exists already"):
        manager.start(SHORT, "taken", pangrams)
    with pytest.raises(RunError, match="not a name for a run"):
        manager.start(SHORT, "../x", pangrams)
    assert manager._children == {}
    assert not folder.log_file.exists()


def test_a_run_that_can_not_go_on_is_refused_at_once_and_stays_what_it_is(
    manager: RunManager, pangrams: str, monkeypatch: pytest.MonkeyPatch
):
    folder = make_stopped(manager, pangrams, monkeypatch)
    before = folder.events_file.read_bytes()
    folder.corpus_file.unlink()
    folder.save_settings(Settings.from_flat({**SHORT.flat(), "corpus": str(folder.path.resolve() / "gone.txt")}))
    for go_on in (lambda: manager.resume("short"), lambda: manager.extend("short", Extension(steps=5))):
        with pytest.raises(CorpusError, match=r"^gone\.txt, the text of this run, is no longer where.*--corpus"):
            go_on()
    folder.settings_file.write_text("{")
    with pytest.raises(RunError, match="settings of run short can't be read"):
        manager.resume("short")
    assert (folder.status(), folder.events_file.read_bytes()) == ("stopped", before)
    assert not folder.extensions_file.exists()
    assert not folder.ticket_file.exists()


def test_modules_beside_whoever_starts_a_run_are_not_taken_for_pythons_own(
    manager: RunManager, pangrams: str, tmp_path: Path
):
    for name in ("token", "random", "types", "charlstm"):
        (tmp_path / f"{name}.py").write_text(
            "raise SystemExit('not this one')"
        )  # the fixture made it the current folder
    folder = manager.start(SHORT, "short", pangrams)
    assert statuses_until_the_process_ends(manager, folder)[-1] == "completed", folder.log_tail()


@pytest.mark.usefixtures("forked")
def test_a_worker_that_finds_a_damaged_text_says_why_in_its_log_and_leaves_the_run_as_it_was(
    manager: RunManager, pangrams: str, monkeypatch: pytest.MonkeyPatch
):
    folder = make_stopped(manager, pangrams, monkeypatch)
    folder.corpus_file.write_text("another text")
    manager.resume("short")
    seen = statuses_until_the_process_ends(manager, folder)
    assert seen[-1] == "stopped"
    log = folder.log_file.read_text()
    assert "pangrams is not the text this run began with" in log
    assert "Traceback" not in log
    assert manager.active() is None


@pytest.mark.skipif(not shutil.which("false"), reason="needs a command that fails")
def test_a_worker_that_can_not_even_begin_is_interrupted_and_blocks_nobody(
    manager: RunManager, pangrams: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    folder = manager.start(SHORT, "hopeless", pangrams)
    manager._children["hopeless"][1].wait(20)
    assert manager.status(folder) == "interrupted"
    assert manager.active() is None
    manager.start(SHORT, "next", pangrams)
