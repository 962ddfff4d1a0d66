"""Workers that end early, by an error or a signal: what is recorded, said and kept."""

import json
import signal
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from forked import COMMAND, Fork
from records import counting
from waiting import wait_until
from worked import TINY, header_of, lines_of, new_run, provenance_of

from charlstm.config import Settings
from charlstm.errors import CorpusError, RunError
from charlstm.events import Record
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training


class TestOneWorkerAtATime:
    def test_a_second_worker_is_refused_and_writes_nothing(
        self, tmp_path: Path, pangrams: str, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("charlstm.runs.run_dir._LOCK_SECONDS", 0.1)
        folder = new_run(tmp_path, pangrams)
        with FileLock(folder.path / "run.lock", timeout=0):
            with pytest.raises(RunError, match="worked on by another process") as caught:
                run_training(folder)
            assert not folder.events_file.exists()
        assert "\n" not in str(caught.value)

    def test_a_worker_that_ended_in_an_error_lets_go_of_the_lock(self, tmp_path: Path):
        folder = new_run(tmp_path, "ab")
        with pytest.raises(CorpusError) as caught:
            run_training(folder)
        assert caught.tb is not None, "the error is still alive, and with it the frames it passed"
        assert not folder.is_alive()
        assert folder.status() == "failed"


class TestFailing:
    def test_a_text_that_is_gone_is_recorded_in_the_sentence_that_is_raised(self, tmp_path: Path):
        settings = Settings.from_flat({**TINY, "corpus": "gone.txt"})
        folder = RunStore(tmp_path).create(settings, "run")
        with pytest.raises(CorpusError, match=r"there is no file gone\.txt") as caught:
            run_training(folder)
        assert lines_of(folder) == [{"kind": "failed", "step": 0, "message": str(caught.value)}]
        assert "\n" not in str(caught.value)
        assert folder.status() == "failed"

    def test_damaged_settings_are_recorded(self, tmp_path: Path, pangrams: str):
        folder = new_run(tmp_path, pangrams)
        folder.settings_file.write_text("{")
        with pytest.raises(RunError, match="settings of run run can't be read"):
            run_training(folder)
        assert folder.status() == "failed"

    def test_a_folder_that_takes_no_file_is_said_to_be_so(
        self, tmp_path: Path, pangrams: str, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("charlstm.runs.worker_session._FIRST_SAVE_SECONDS", 1e9)  # however busy the machine is
        folder = new_run(tmp_path, pangrams)
        (folder.path / "last").write_text("a file where a folder should be")
        with pytest.raises(RunError, match="folder can't be written") as caught:
            run_training(folder, save_seconds=1e9)
        assert lines_of(folder)[-1] == {"kind": "failed", "step": 60, "message": str(caught.value)}
        assert str(tmp_path) not in str(caught.value)

    def test_an_unexpected_error_is_recorded_by_its_kind_and_raised_as_it_is(self, tmp_path: Path, pangrams: str):
        def stumble(record: Record) -> None:
            if record.step == 10:
                raise LookupError("a secret of the machine")

        folder = new_run(tmp_path, pangrams)
        with pytest.raises(LookupError):
            run_training(folder, on_record=lambda record: None if record.kind == "failed" else stumble(record))
        last = lines_of(folder)[-1]
        assert (last["kind"], last["step"]) == ("failed", 10)
        assert "LookupError" in last["message"]
        assert "secret" not in last["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_makes_a_worker_save_and_end_well(tmp_path: Path, pangrams: str, fork: Fork, number: signal.Signals):
    folder = new_run(tmp_path, pangrams, max_steps=10**6, eval_every=10**6, sample_every=10**6)
    worker = fork(COMMAND, "resume", "run", "--checkpoints-dir", tmp_path)
    wait_until(lambda: folder.events_file.exists() and max((each.step for each in counting(folder)), default=0) >= 20)
    worker.send_signal(number)
    output, complaint = worker.communicate(timeout=30)
    assert (worker.returncode, complaint) == (0, ""), output
    finished = lines_of(folder)[-1]
    assert (finished["kind"], finished["reason"]) == ("finished", "stopped")
    assert folder.status() == "stopped"
    state = json.loads(header_of(folder.state_file)["training_state"])
    assert state["step"] == finished["step"] >= 20
    assert f"stopped at step {finished['step']:,}" in output
    assert provenance_of(folder.path / "last" / "model.safetensors")["step"] == finished["step"]
