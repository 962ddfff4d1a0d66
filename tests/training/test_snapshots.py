"""Snapshots of a network while it learns: when they are taken, that they are whole, and that training never notices."""

import os
from pathlib import Path

import pytest
import torch
from training_runs import assert_same_weights, config, run_until, trainer_of, weights
from worked import new_run

from charlstm import LanguageModel, ModelConfig
from charlstm.errors import CheckpointError
from charlstm.events import Record, RolledBack, StepDone
from charlstm.hub.push import build_files
from charlstm.runs.control import Control
from charlstm.runs.retention import Trash, remove_abandoned
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training
from charlstm.training import Trainer, snapshots
from charlstm.training.snapshots import SnapshotTaker, list_snapshots, load_snapshot

STEPS = [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32]  # 2^(k/2), rounded by hand
UNHURRIED = 1e9  # seconds that may go into snapshots: how long one takes is no matter here


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_FREE_SECONDS", UNHURRIED)


def train(trainer: Trainer, taker: SnapshotTaker, until: int = 10**6) -> Trainer:
    """Train as a run does, up to step `until`."""
    taker.begin(trainer)
    for event in trainer.run():
        if isinstance(event, StepDone):
            taker.take(trainer)
            if event.step == until:
                break
        elif isinstance(event, RolledBack):
            taker.discard_after(event.step)
    return trainer


def steps_in(folder: Path) -> list[int]:
    return [each.step for each in list_snapshots(folder)]


def file_size(trainer: Trainer) -> int:
    return 2 * sum(each.numel() for each in trainer.language_model.model.parameters())


def test_each_holds_the_network_of_its_step_in_16_bits_and_training_is_the_same_without_any(tmp_path: Path) -> None:
    plan = config(max_steps=40)
    watched = train(trainer_of(plan), SnapshotTaker(tmp_path))
    alone = trainer_of(plan)
    run_until(alone, 40)
    assert_same_weights(weights(watched), weights(alone))
    found = list_snapshots(tmp_path)
    assert [each.step for each in found] == STEPS
    assert [each.seconds for each in found] == sorted(each.seconds for each in found)
    assert found[-1].seconds <= round(watched.elapsed_seconds, 3)
    for at in (0, 6):
        stopped = trainer_of(plan)
        if at:
            run_until(stopped, at)
        shown = load_snapshot(tmp_path / "snapshots" / f"{at}.safetensors", watched.language_model)
        assert shown.vocabulary == watched.language_model.vocabulary
        for name, tensor in shown.model.named_parameters():
            torch.testing.assert_close(tensor, weights(stopped)[name], rtol=2**-11, atol=2**-25)


def test_what_a_run_writes_with_is_kept_where_that_is_an_average(tmp_path: Path) -> None:
    trainer = train(trainer_of(config(max_steps=4, weight_average=0.9)), SnapshotTaker(tmp_path))
    shown = load_snapshot(tmp_path / "snapshots" / "4.safetensors", trainer.language_model)
    moving = dict(trainer._model.named_parameters())
    for name, tensor in shown.model.named_parameters():
        torch.testing.assert_close(tensor, weights(trainer)[name], rtol=2**-11, atol=2**-25)
    assert not torch.allclose(dict(shown.model.named_parameters())["head.bias"], moving["head.bias"], atol=1e-4)


@pytest.mark.parametrize(("room", "kept"), [(11, STEPS), (10, STEPS[::2]), (4, STEPS[::4]), (2, STEPS[::8]), (0, [])])
def test_every_second_one_goes_when_the_room_is_full(tmp_path: Path, room: int, kept: list[int]) -> None:
    trainer = trainer_of(config(max_steps=40))
    most = int((room + 0.1) * (file_size(trainer) + 256 * 7))  # of 6 tensors and a header
    train(trainer, SnapshotTaker(tmp_path, most))
    assert steps_in(tmp_path) == kept
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= most


def test_a_run_that_goes_on_keeps_the_earlier_ones_and_takes_the_later_ones_anew(tmp_path: Path) -> None:
    plan = config(max_steps=40)
    first = train(trainer_of(plan), SnapshotTaker(tmp_path), until=10)
    state = first.state_dict()
    train(first, SnapshotTaker(tmp_path), until=20)
    place = tmp_path / "snapshots"
    (place / ".23.safetensors.abc.tmp").write_bytes(b"half of a fil")
    early = (place / "8.safetensors").read_bytes()
    second = trainer_of(plan)
    second.load_state_dict(*state)
    taker = SnapshotTaker(tmp_path)
    taker.begin(second)
    assert steps_in(tmp_path) == [0, 1, 2, 3, 4, 6, 8]
    train(second, taker)
    assert steps_in(tmp_path) == STEPS
    assert (place / "8.safetensors").read_bytes() == early
    assert not list(place.glob(".*"))


def test_discarded_steps_take_their_snapshots_along(tmp_path: Path) -> None:
    trainer, taker = trainer_of(config(max_steps=12)), SnapshotTaker(tmp_path)
    train(trainer, taker)
    taker.discard_after(5)
    assert steps_in(tmp_path) == [0, 1, 2, 3, 4]


def test_a_kill_while_one_is_written_leaves_no_half_of_it(tmp_path: Path) -> None:
    """The process ends at the moment before the file gets its name, and tidies nothing up."""
    trainer = trainer_of(config(max_steps=4))
    taker = SnapshotTaker(tmp_path)
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr("charlstm.files.replace_patiently", _die)
        killed.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            taker.begin(trainer)
    assert [path.suffix for path in (tmp_path / "snapshots").iterdir()] == [".tmp"]
    assert list_snapshots(tmp_path) == []
    train(trainer, SnapshotTaker(tmp_path))
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == [f"{at}.safetensors" for at in range(5)]


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_neither_time_nor_room_nor_broken_weights_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_FREE_SECONDS", 0.0)
    monkeypatch.setattr(snapshots, "_SHARE", 1e-9)
    busy = tmp_path / "busy"
    busy.mkdir()
    assert train(trainer_of(config(max_steps=4)), SnapshotTaker(busy)).step == 4
    assert steps_in(busy) == [0]  # how long one takes is known after the first
    monkeypatch.setattr(snapshots, "_FREE_SECONDS", UNHURRIED)

    gone = tmp_path / "deleted meanwhile"
    assert train(trainer_of(config(max_steps=4)), SnapshotTaker(gone)).step == 4
    assert not gone.exists()

    trainer = trainer_of(config(max_steps=4))
    with torch.no_grad():
        next(trainer.language_model.model.parameters())[0, 0] = torch.nan
    SnapshotTaker(busy).begin(trainer)
    assert steps_in(busy) == [0]


def test_weights_beyond_float16_are_kept_in_the_other_16_bits(tmp_path: Path) -> None:
    trainer = trainer_of(config(max_steps=4))
    with torch.no_grad():
        trainer.language_model.model.head.bias[0] = 1e6
    SnapshotTaker(tmp_path).begin(trainer)
    shown = load_snapshot(tmp_path / "snapshots" / "0.safetensors", trainer.language_model)
    assert shown.model.head.bias[0].item() == pytest.approx(1e6, rel=2**-8)


def test_what_is_damaged_is_refused_in_a_sentence(tmp_path: Path) -> None:
    trainer = train(trainer_of(config(max_steps=2)), SnapshotTaker(tmp_path))
    like, place = trainer.language_model, tmp_path / "snapshots"
    data = bytearray((place / "2.safetensors").read_bytes())
    data[-3] ^= 8
    (place / "2.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"^snapshot 2 can't be read; choose another age"):
        load_snapshot(place / "2.safetensors", like)
    (place / "1.safetensors").write_bytes(data[:100])
    (place / "notes.txt").write_text("mine")
    assert steps_in(tmp_path) == [0, 2]
    wider = LanguageModel.create(like.vocabulary, ModelConfig(hidden_size=9), 1)
    with pytest.raises(CheckpointError, match="another size"):
        load_snapshot(place / "0.safetensors", wider)


def test_a_run_takes_them_over_a_stop_and_they_go_where_it_goes_but_not_to_the_hub(
    tmp_path: Path, pangrams: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlstm.runs.worker_session._LOOK_SECONDS", 0.0)
    folder = new_run(tmp_path, pangrams)

    def stop_at_20(record: Record) -> None:
        if (record.kind, record.step) == ("progress", 20):
            folder.request(Control(stop=True))

    run_training(folder, on_record=stop_at_20)
    assert [step for step in steps_in(folder.path) if step <= 20] == STEPS[:9]
    left = folder.path / "snapshots" / ".99.safetensors.abc.tmp"
    left.write_bytes(b"half")
    run_training(folder)
    assert steps_in(folder.path) == [*STEPS, 45]
    assert [each.seconds for each in list_snapshots(folder.path)] == sorted(
        each.seconds for each in list_snapshots(folder.path)
    )
    assert not left.exists()
    assert not any("snapshot" in name or name[0].isdigit() for name in build_files(folder.path, "me/model").files)

    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    store = RunStore(tmp_path)
    remove_abandoned(store)
    assert not left.exists()
    trash = Trash(store)
    trash_id = trash.add(folder)
    assert not folder.path.exists()
    assert steps_in(trash.restore(trash_id).path) == [*STEPS, 45]
