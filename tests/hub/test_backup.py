"""Runs are kept in a repository of the owner's and come back after a restart, exactly as they were."""

import shutil
from pathlib import Path

import pytest
from loopback import OWNER, Fault, LoopbackHub
from waiting import wait_until

from charlstm.errors import HubError
from charlstm.runs.manager import RunManager
from charlstm.runs.retention import Trash
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore
from charlstm.space.backup import Backup, BackupThread


@pytest.fixture
def store(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A Space with one visitor's run and one bundled model."""
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("CHARLSTM_BACKUP_REPO", "owner/runs")
    monkeypatch.setenv("HF_TOKEN", OWNER)
    root = tmp_path / "checkpoints"
    shutil.copytree(trained, root / "mine")
    (root / "mine" / "worker.log").write_text("started\n", encoding="utf-8")
    (root / "bundled").mkdir()
    shutil.copy(trained / "model.safetensors", root / "bundled")
    return RunStore(root)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("run.lock", "answer.json") and path.parent.name != "snapshots"
    }


def backup_of(store: RunStore) -> Backup:
    backup = Backup.from_environment(store)
    assert backup is not None
    return backup


def test_a_run_is_kept_privately_and_comes_back_byte_for_byte(hub: LoopbackHub, store: RunStore) -> None:
    first = backup_of(store)
    assert first.restore() == []
    assert first.upload_changed() == ["mine"]
    assert hub.model("owner/runs").private
    before = contents(store.root / "mine")
    assert (store.root / "mine" / "snapshots" / "0.safetensors").is_file()  # to look at only, and not kept
    assert not [name for name in hub.model("owner/runs").files() if "snapshots" in name]
    shutil.rmtree(store.root)  # the Space starts anew, on an empty disk
    store.root.mkdir()
    second = backup_of(store)
    assert second.restore() == ["mine"]
    assert contents(store.root / "mine") == before
    assert store.get("mine").status() == "completed"
    assert second.upload_changed() == []


def test_a_run_that_arrives_damaged_is_fetched_again_and_never_brought_back_so(
    hub: LoopbackHub, store: RunStore
) -> None:
    first = backup_of(store)
    first.restore()
    first.upload_changed()
    before = contents(store.root / "mine")
    shutil.rmtree(store.root)
    store.root.mkdir()
    hub.damage = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(HubError, match="arrives damaged"):
        backup_of(store).restore()
    assert not (store.root / "mine").exists()
    hub.damage = None
    assert backup_of(store).restore() == ["mine"]
    assert contents(store.root / "mine") == before


def test_what_is_bundled_is_not_kept(hub: LoopbackHub, store: RunStore) -> None:
    backup = backup_of(store)
    backup.restore()
    backup.upload_changed()
    assert not [name for name in hub.model("owner/runs").files() if "bundled" in name]


def test_only_what_changed_is_sent_again(hub: LoopbackHub, store: RunStore) -> None:
    backup = backup_of(store)
    backup.restore()
    backup.upload_changed()
    commits = len(hub.model("owner/runs").trees)
    assert backup.upload_changed() == []
    assert len(hub.model("owner/runs").trees) == commits
    log = store.root / "mine" / "worker.log"
    log.write_text("started again\n", encoding="utf-8")
    assert not backup.is_kept(RunDir(store.root / "mine"))
    assert backup.upload_changed() == ["mine"]
    assert backup.is_kept(RunDir(store.root / "mine"))


@pytest.mark.usefixtures("hub")
def test_a_star_that_was_taken_away_stays_away_after_a_restart(store: RunStore) -> None:
    backup, manager = backup_of(store), RunManager(store.root)
    backup.restore()
    for is_starred in (True, False):
        manager.star("mine", is_starred)
        assert backup.upload_changed() == ["mine"]
        shutil.rmtree(store.root / "mine")
        backup = backup_of(store)
        assert backup.restore() == ["mine"]
        assert RunDir(store.root / "mine").is_starred is is_starred


def test_a_deleted_run_is_forgotten_and_one_that_is_brought_back_is_kept_again(
    hub: LoopbackHub, store: RunStore
) -> None:
    backup, trash = backup_of(store), Trash(store)
    backup.restore()
    backup.upload_changed()
    before = _kept(hub)
    deleted = trash.add(RunDir(store.root / "mine"))
    after_a_restart = backup_of(store)
    assert after_a_restart.restore() == []
    assert after_a_restart.upload_changed() == []
    assert _kept(hub) == {}
    trash.restore(deleted)
    assert after_a_restart.upload_changed() == ["mine"]
    assert _kept(hub) == before
    trash.add(RunDir(store.root / "mine"))
    assert after_a_restart.upload_changed() == []
    assert _kept(hub) == {}


def test_without_a_token_of_its_own_the_wish_is_refused(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="HF_TOKEN is not"):
        Backup.from_environment(store)
    monkeypatch.delenv("CHARLSTM_BACKUP_REPO")
    assert Backup.from_environment(store) is None


def test_a_name_in_the_repository_that_is_none_of_a_run_is_left_alone(hub: LoopbackHub, store: RunStore) -> None:
    hub.add("owner/runs", {"runs/../../x": b"1", "runs/-/a": b"2", "other/file": b"3", "runs/mine": b"4"}, private=True)
    assert backup_of(store).restore() == []
    assert not (store.root.parent / "x").exists()


def test_the_housekeeper_keeps_what_there_is_and_outlives_a_hub_that_is_away(hub: LoopbackHub, store: RunStore) -> None:
    hub.faults.append(Fault("/commit/", 404, times=1))
    keeper = BackupThread(store, round_seconds=0.05)
    keeper.start()
    try:
        wait_until(lambda: "runs/mine/model.safetensors" in _files(hub), timeout=20)
    finally:
        keeper.stop()


def test_runs_come_back_also_when_the_hub_was_away_at_the_start(hub: LoopbackHub, store: RunStore) -> None:
    backup = backup_of(store)
    backup.restore()
    backup.upload_changed()
    before = contents(store.root / "mine")
    shutil.rmtree(store.root)
    store.root.mkdir()
    hub.faults.append(Fault("/api/repos/create", 502, times=2))
    keeper = BackupThread(store, round_seconds=0.05)
    keeper.start()
    try:
        wait_until((store.root / "mine").is_dir, timeout=20)
    finally:
        keeper.stop()
    assert contents(store.root / "mine") == before


def test_a_name_that_leads_out_of_a_runs_folder_is_left_out(hub: LoopbackHub, store: RunStore) -> None:
    hub.add("owner/runs", {"runs/evil/../../../x": b"1", "runs/good/config.json": b"2"}, private=True)
    assert backup_of(store).restore() == ["good"]
    assert not list(store.root.parent.rglob("x"))


def _kept(hub: LoopbackHub) -> dict[str, bytes]:
    return {name: data for name, data in _files(hub).items() if name.startswith("runs/")}


def _files(hub: LoopbackHub) -> dict[str, bytes]:
    return hub.model("owner/runs").files() if "model/owner/runs" in hub.repos else {}
