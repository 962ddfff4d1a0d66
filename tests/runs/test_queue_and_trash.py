"""The queue, names, the way back from a deletion, and who may do what: without a single process, but for one queue."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import spawn_forked
from waiting import wait_until
from windows import refuse_replacing

from charlstm.cli import main
from charlstm.config import Settings
from charlstm.errors import ConfigError, RunError
from charlstm.runs.access import can_control, require_control, token_hash
from charlstm.runs.control import Control
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir

TINY: dict[str, Any] = {
    "corpus": "pangrams",
    "hidden_size": 8,
    "batch_size": 2,
    "seq_len": 16,
    "max_minutes": 0,
    "log_every": 10,
    "sample_chars": 5,
}
SHORT = Settings.from_flat({**TINY, "max_steps": 30})
ENDLESS = Settings.from_flat({**TINY, "max_steps": 10**6})


class Living:
    """Stands for a worker that is still loading."""

    def poll(self) -> None:
        return None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose workers would have been started, in order."""
    names: list[str] = []

    def spawn(_: RunManager, folder: RunDir) -> Living:
        names.append(folder.name)
        return Living()

    monkeypatch.setattr(RunManager, "_spawn", spawn)
    return names


@pytest.fixture
def manager(tmp_path: Path) -> RunManager:
    return RunManager(tmp_path)


def places(manager: RunManager) -> dict[str, tuple[str, int]]:
    return {run.name: (run.status, run.queue_position) for run in manager.runs()}


class TestQueue:
    def test_one_goes_on_and_the_others_have_their_places_for_every_manager(
        self, manager: RunManager, started: list[str], tmp_path: Path
    ):
        for name in ("first", "second", "third"):
            manager.start(SHORT, name, "a text")
        expected = {"first": ("starting", 0), "second": ("queued", 1), "third": ("queued", 2)}
        assert places(manager) == places(RunManager(tmp_path)) == expected
        assert started == ["first"]
        with pytest.raises(RunError, match="second waits for its turn already"):
            manager.resume("second")
        RunManager(tmp_path).start_queued()
        assert started == ["first"]
        manager.store.get("first").ticket_file.unlink()  # as its worker does when it has begun, and ended
        manager.store.get("first").request(Control(stop=True))
        RunManager(tmp_path).start_queued()
        assert started == ["first", "second"]
        assert places(manager)["third"] == ("queued", 1)

    def test_more_go_on_where_that_is_wished(self, tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("CHARLSTM_MAX_RUNS", "2")
        manager = RunManager(tmp_path)
        for name in ("first", "second", "third"):
            manager.start(SHORT, name, "a text")
        assert started == ["first", "second"]
        monkeypatch.setenv("CHARLSTM_MAX_RUNS", "many")
        with pytest.raises(ConfigError, match="CHARLSTM_MAX_RUNS is 'many'; it must be a whole number of 1 or more"):
            RunManager(tmp_path)

    def test_who_is_taken_out_has_stopped_and_can_wait_again_behind_the_others(
        self, manager: RunManager, started: list[str]
    ):
        for name in ("first", "second", "third"):
            manager.start(SHORT, name, "a text")
        assert manager.stop("second") == 0
        assert places(manager) == {"first": ("starting", 0), "second": ("stopped", 0), "third": ("queued", 1)}
        manager.resume("second")
        assert places(manager)["second"] == ("queued", 2)
        assert started == ["first"]

    def test_a_run_is_started_once_by_however_many_managers(self, tmp_path: Path, started: list[str]):
        managers = [RunManager(tmp_path) for _ in range(4)]
        managers[0].start(SHORT, "first", "a text")
        managers[0].start(SHORT, "second", "a text")
        started.clear()
        managers[0].store.get("first").ticket_file.unlink()
        managers[0].store.get("first").request(Control(stop=True))
        threads = [threading.Thread(target=manager.start_queued) for manager in managers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert started == ["second"]

    def test_a_worker_that_never_came_holds_nobody_up_for_ever(
        self, manager: RunManager, started: list[str], monkeypatch: pytest.MonkeyPatch
    ):
        for name in ("first", "second"):
            manager.start(SHORT, name, "a text")
        folder = manager.store.get("first")
        folder.log_file.touch()
        monkeypatch.setattr("charlstm.runs.run_dir._LOADING_SECONDS", -1)
        assert folder.status() == "interrupted"
        manager.start_queued()
        assert started == ["first", "second"]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunManager]:
    """With workers that are forks; what they start themselves is not."""
    monkeypatch.setattr(RunManager, "_spawn", spawn_forked)
    manager = RunManager(tmp_path)
    yield manager
    for _, process in manager._children.values():
        process.kill()
        process.wait()
    wait_until(lambda: manager.active() is None)


def test_a_run_that_ends_starts_the_next_without_any_app_and_a_request_is_heard_in_the_process(
    real: RunManager, pangrams: str, capsys: pytest.CaptureFixture[str]
):
    folder = real.start(ENDLESS, "first", pangrams)
    waiting = real.start(SHORT, "second", pangrams)
    wait_until(folder.events_file.exists)
    place = ["--checkpoints-dir", str(real.store.root)]
    assert main(["rate", "first", "0.5", *place]) == 0
    assert capsys.readouterr().out == "first is running, learning rate × 0.5.\n"
    assert main(["continue", "first", *place]) == 0
    assert capsys.readouterr().out == "first is running.\n"
    assert main(["pause", "first", *place]) == 0
    assert re.fullmatch(r"first is paused, saved at step \d+\.\n", capsys.readouterr().out)
    assert places(real) == {"first": ("paused", 0), "second": ("queued", 1)}
    with pytest.raises(RunError, match="first is training; stop it before you delete it"):
        real.delete("first")
    assert main(["stop", "first", *place]) == 0
    assert capsys.readouterr().out == "first is stopped.\n"
    wait_until(lambda: waiting.status() == "completed")
    assert main(["continue", "first", *place]) == 1
    assert capsys.readouterr().err == "first is not training (stopped); there is nothing to steer.\n"
    assert main(["stop", "first", *place]) == 0
    assert capsys.readouterr().out == "first is stopped; nothing was training.\n"
    assert list(real._children) == ["first"], "the worker of the first started that of the second"
    wait_until(lambda: "completed at step 30" in waiting.log_tail())  # said after it is recorded
    assert str(real.store.root) not in waiting.log_tail()


@pytest.mark.usefixtures("started")
class TestNames:
    def test_people_read_the_label_and_everything_else_stays(self, manager: RunManager):
        manager.start(SHORT, "run", "a text")
        manager.rename("run", "  Mein Lauf № 1 ")
        (summary,) = manager.runs()
        assert (summary.name, summary.label, summary.corpus, summary.size) == (
            "run",
            "Mein Lauf № 1",
            "pangrams",
            "1 × 8",
        )

    @pytest.mark.parametrize("label", ["", "  ", "a\nb", "x" * 81, "\x1b[1m"])
    def test_what_is_no_line_is_refused(self, manager: RunManager, label: str):
        manager.start(SHORT, "run", "a text")
        with pytest.raises(RunError, match="one line of up to 80 characters"):
            manager.rename("run", label)
        assert manager.store.get("run").label == "run"

    def test_no_two_are_called_the_same(self, manager: RunManager):
        for name in ("one", "two"):
            manager.start(SHORT, name, "a text")
        manager.rename("one", "uno")
        manager.rename("one", "uno")
        for taken in ("uno", "one"):
            with pytest.raises(RunError, match=f"another run is called {taken}"):
                manager.rename("two", taken)


@pytest.mark.usefixtures("started")
class TestDeletion:
    def test_a_deleted_run_is_gone_and_comes_back_as_it_was(self, manager: RunManager):
        manager.start(SHORT, "going", "a text")
        folder = manager.start(SHORT, "run", "another text")
        manager.rename("run", "mine")
        before = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.name != "queued.json"}
        trash_id = manager.delete("run")
        assert [run.name for run in manager.runs()] == ["going"]
        assert [(each.id, each.label) for each in manager.trash()] == [(trash_id, "mine")]
        restored = manager.restore(trash_id)
        assert restored == folder
        assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
        assert manager.trash() == []
        with pytest.raises(RunError, match="is not among the deleted ones any more"):
            manager.restore(trash_id)
        with pytest.raises(RunError, match="is not among the deleted ones any more"):
            manager.restore("../run")

    def test_a_file_that_is_read_for_a_moment_keeps_windows_from_neither(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ):
        """Windows refuses to rename a folder in which anybody has a file open."""
        manager.start(SHORT, "going", "a text")
        manager.start(SHORT, "one", "a text")
        left = refuse_replacing(3, monkeypatch)
        trash_id = manager.delete("one")
        assert left() < 0
        monkeypatch.undo()
        left = refuse_replacing(3, monkeypatch)
        manager.restore(trash_id)
        assert left() < 0

    def test_where_the_name_is_taken_since_it_comes_back_under_another(self, manager: RunManager):
        manager.start(SHORT, "going", "a text")
        manager.start(SHORT, "run", "a text")
        trash_id = manager.delete("run")
        manager.start(SHORT, "run", "a text")
        assert manager.restore(trash_id).name == "run-2"

    def test_it_is_kept_for_some_days(self, manager: RunManager, tmp_path: Path):
        manager.start(SHORT, "going", "a text")
        for name, days in (("old", 31), ("young", 29)):
            manager.start(SHORT, name, "a text")
            trash_id = manager.delete(name)
            milliseconds = int(trash_id.rpartition(".")[2]) - days * 86_400_000
            (tmp_path / ".trash" / trash_id).rename(tmp_path / ".trash" / f"{name}.{milliseconds}")
        RunManager(tmp_path).start_queued()
        assert [each.label for each in manager.trash()] == ["young"]


@pytest.mark.usefixtures("started")
class TestOwners:
    @pytest.mark.parametrize(
        ("variables", "token", "is_space_owner", "may"),
        [
            ({}, "", False, True),
            ({"SPACE_ID": "a/b"}, "", False, False),
            ({"SPACE_ID": "a/b"}, "theirs", False, False),
            ({"SPACE_ID": "a/b"}, "mine", False, True),
            ({"SPACE_ID": "a/b"}, "theirs", True, True),
            ({"CHARLSTM_PUBLIC": "1"}, "theirs", False, False),
        ],
    )
    def test_among_strangers_only_who_started_a_run_or_owns_the_space_may_steer_it(
        self,
        manager: RunManager,
        monkeypatch: pytest.MonkeyPatch,
        variables: dict[str, str],
        token: str,
        is_space_owner: bool,
        may: bool,
    ):
        folder = manager.start(SHORT, "run", "a text", owner=token_hash("mine"))
        assert "mine" not in {path.read_text() for path in folder.path.iterdir() if path.is_file()}
        for name in ("SPACE_ID", "CHARLSTM_PUBLIC"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert can_control(folder, token, is_space_owner) is may
        if not may:
            with pytest.raises(RunError, match="run was started by somebody else"):
                require_control(folder, token, is_space_owner)

    def test_nobody_owns_a_run_without_an_owner(self, manager: RunManager, monkeypatch: pytest.MonkeyPatch):
        folder = manager.start(SHORT, "run", "a text")
        monkeypatch.setenv("SPACE_ID", "a/b")
        assert not can_control(folder, "", False)
        assert not can_control(folder, os.urandom(8).hex(), False)
