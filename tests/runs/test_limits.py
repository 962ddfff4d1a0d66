"""On a Space a run stays within the limits of the place, and what visitors left goes in its time."""

import os
import time
from pathlib import Path

import pytest
from records import counting

from charlstm.config import Settings
from charlstm.errors import CharLSTMError, ConfigError, CorpusError, RunError
from charlstm.events import Failed
from charlstm.runs.limits import apply_limits, limit_size
from charlstm.runs.manager import RunManager
from charlstm.runs.retention import UPLOADS, remove_expired, require_disk, visitor_runs
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training

TINY = {"hidden_size": 8, "batch_size": 2, "seq_len": 16, "max_minutes": 0, "max_steps": 4, "sample_every": 10**9}


@pytest.fixture(autouse=True)
def _space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/space")


def test_a_run_without_a_time_limit_gets_the_longest_and_a_longer_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "3")
    endless, short = Settings.preset("best"), Settings.preset("minute", max_minutes=2)
    assert apply_limits(endless).train.max_minutes == 3
    assert apply_limits(endless).train.max_passes == endless.train.max_passes
    assert apply_limits(short) == short
    with pytest.raises(ConfigError, match="at most 3 minutes"):
        apply_limits(Settings.preset("minute", max_minutes=3.5))
    monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "0")
    assert apply_limits(endless) == endless


def test_a_text_is_refused_as_soon_as_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_MAX_CORPUS_MB", "0.000010")
    assert "".join(limit_size("1234567890")) == "1234567890"
    for text in ("12345678901", "éééééé"):  # in bytes of UTF-8
        with pytest.raises(CorpusError, match="may have at most"):
            list(limit_size(text))
    pieces = limit_size(iter(["12345", "67890", "x", "never"]))
    taken = [next(pieces), next(pieces)]
    with pytest.raises(CorpusError):
        next(pieces)
    assert taken == ["12345", "67890"]


def test_what_was_refused_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pangrams: str) -> None:
    manager = RunManager(tmp_path)
    settings = Settings.preset("minute", **TINY, corpus="mine")
    monkeypatch.setenv("CHARLSTM_MAX_CORPUS_MB", "0.001")
    with pytest.raises(CorpusError):
        manager.start(settings, "large", pangrams)
    monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "1")
    with pytest.raises(ConfigError):
        manager.start(Settings.preset("minute", max_minutes=2), "long")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_too_large_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pangrams: str
) -> None:
    monkeypatch.setenv("CHARLSTM_MAX_PARAMETERS", "100")
    folder = RunStore(tmp_path).create(Settings.preset("minute", **TINY, corpus="mine"), "large", pangrams)
    monkeypatch.setattr("charlstm.language_model.LanguageModel.create", None)
    with pytest.raises(CharLSTMError, match="at most 100 parameters"):
        run_training(folder)
    records = counting(folder)
    assert isinstance(records[-1], Failed)
    assert "at most 100 parameters" in records[-1].message


class TestCleaning:
    @pytest.fixture
    def store(self, tmp_path: Path) -> RunStore:
        """Three visitors' folders of 1,000 bytes (one of them pulled), 1, 2 and 3 hours old, and a bundled model."""
        for hours, (name, mark) in enumerate(
            [("new", "worker.log"), ("middle", "pulled.json"), ("old", "worker.log")], 1
        ):
            (tmp_path / name).mkdir()
            (tmp_path / name / mark).write_bytes(b"")
            (tmp_path / name / "model.safetensors").write_bytes(bytes(1000))
            for file in (tmp_path / name).iterdir():
                os.utime(file, (time.time() - hours * 3600,) * 2)
        (tmp_path / "bundled").mkdir()
        (tmp_path / "bundled" / "model.safetensors").write_bytes(bytes(10**6))
        os.utime(tmp_path / "bundled" / "model.safetensors", (0, 0))
        return RunStore(tmp_path)

    def test_what_visitors_made_is_known_and_what_is_bundled_is_not_theirs(self, store: RunStore) -> None:
        assert [folder.name for folder in visitor_runs(store)] == ["old", "middle", "new"]

    def test_what_is_old_goes(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_KEPT_HOURS", "1.5")
        for name in ("label.txt", "note.txt", "starred"):
            (store.root / "old" / name).write_text("1", encoding="utf-8")  # makes nothing younger
        assert remove_expired(store) == ["old", "middle"]
        assert sorted(path.name for path in store.root.iterdir()) == ["bundled", "new"]

    def test_the_oldest_goes_when_the_disk_is_full_and_no_more_than_needed(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "0.0025")
        assert remove_expired(store) == ["old"]
        assert remove_expired(store) == []

    def test_nothing_new_is_begun_on_a_disk_that_is_full(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        require_disk(store)
        monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "0.0025")
        with pytest.raises(RunError, match="disk for runs and models is full"):
            RunManager(store.root).start(Settings.preset("minute"), "another")
        assert not (store.root / "another").exists()
        remove_expired(store)
        require_disk(store)

    def test_what_was_deleted_and_what_was_kept_for_a_reload_count_and_go_before_any_run(
        self, store: RunStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        older, newer = (store.root / UPLOADS / name for name in ("older", "newer"))
        for minutes, place in ((2, older), (1, newer)):
            place.mkdir(parents=True)
            (place / "a.txt").write_bytes(bytes(1000))
            os.utime(place, (time.time() - 60 * minutes,) * 2)
        deleted = store.create(Settings.preset("minute"), "deleted")
        (deleted.path / "worker.log").write_bytes(bytes(1000))
        manager = RunManager(store.root)
        manager.delete("deleted")
        monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "0.0045")
        assert remove_expired(store) == []
        assert manager.trash() == []
        assert (older.exists(), newer.exists()) == (False, True)
        monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "0.0035")
        require_disk(store)  # there is room, once the last of them is gone
        assert not newer.exists()
        assert len(visitor_runs(store)) == 3

    def test_what_was_deleted_long_ago_goes(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        store.create(Settings.preset("minute"), "deleted").log_file.touch()
        manager = RunManager(store.root)
        trash_id = manager.delete("deleted")
        monkeypatch.setenv("CHARLSTM_MAX_KEPT_HOURS", "5")
        assert remove_expired(store) == []
        assert len(manager.trash()) == 1
        milliseconds = int(trash_id.rpartition(".")[2]) - 6 * 3_600_000
        (store.root / ".trash" / trash_id).rename(store.root / ".trash" / f"deleted.{milliseconds}")
        assert remove_expired(store) == []
        assert manager.trash() == []

    def test_a_run_that_is_going_stays(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_KEPT_HOURS", "0.5")
        with RunDir(store.root / "old").lock():
            assert remove_expired(store) == ["middle", "new"]

    def test_what_may_not_go_stays(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_KEPT_HOURS", "0.5")
        assert remove_expired(store, lambda folder: folder.name != "middle") == ["old", "new"]

    def test_at_home_nothing_goes(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SPACE_ID")
        assert remove_expired(store) == []
