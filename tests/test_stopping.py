"""A run that is stopped: saved at once, measured after that, and exact when it goes on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from charlstm.config import Settings
from charlstm.events import Record
from charlstm.runs.store import RunFolder, RunStore
from charlstm.runs.worker import work

TINY: dict[str, Any] = {
    "corpus": "pangrams",
    "hidden_size": 8,
    "dropout": 0.2,
    "batch_size": 2,
    "seq_len": 48,
    "learning_rate": 0.02,
    "max_steps": 40,
    "max_minutes": 0,
    "log_every": 10,
    "eval_every": 20,
    "sample_every": 20,
    "sample_chars": 20,
    "precision": "float32",
}


@pytest.fixture(autouse=True)
def _attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.runs.worker._LOOK_SECONDS", 0.0)


def new_run(place: Path, text: str) -> RunFolder:
    return RunStore(place).create(Settings.from_flat(TINY), "run", text)


def told(folder: RunFolder) -> list[tuple[str, int]]:
    """Kind (of a save its cause) and step of every record, without the figures found beside the training."""
    lines = map(json.loads, folder.events_file.read_bytes().splitlines())
    return [(line.get("cause", line["kind"]), line["step"]) for line in lines if line["kind"] != "references"]


def assert_as_undisturbed(folder: RunFolder, undisturbed: RunFolder) -> None:
    ours, theirs = (load_file(each.path / "last" / "model.safetensors") for each in (folder, undisturbed))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> RunFolder:
    folder = new_run(tmp_path_factory.mktemp("undisturbed"), pangrams)
    work(folder)
    return folder


def test_all_is_saved_before_the_model_is_measured_so_a_kill_meanwhile_loses_nothing(
    tmp_path: Path, pangrams: str, undisturbed: RunFolder
):
    folder, killed, seen = new_run(tmp_path, pangrams), RunFolder(tmp_path / "killed"), []

    def on_record(record: Record) -> None:
        if (record.kind, record.step) == ("progress", 30):
            folder.mailbox.request(stop=True)
        if record.kind == "saved" and record.cause == "stop":
            seen.append(folder.status())
            shutil.copytree(folder.path, killed.path, ignore=shutil.ignore_patterns("*.json.lock", "answer.json"))
        if (record.kind, record.step) == ("evaluated", 30):
            seen.append(folder.status())

    assert work(folder, on_record=on_record).reason == "stopped"
    assert seen == ["stopping", "measuring"]
    assert told(folder)[-5:] == [(kind, 30) for kind in ("stop", "evaluated", "sampled", "end", "finished")]
    killed.take_back_requests()
    for each in (folder, killed):
        assert work(each).reason == "completed"
        assert_as_undisturbed(each, undisturbed)


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("progress", ["stop", "evaluated", "sampled", "end", "finished"]),  # the validation is begun anew
        ("evaluated", ["evaluated", "stop", "sampled", "end", "finished"]),
        ("sampled", ["evaluated", "sampled", "stop", "finished"]),
    ],
)
def test_neither_a_validation_nor_a_sample_holds_a_stop_up_and_what_was_due_comes_once(
    tmp_path: Path, pangrams: str, undisturbed: RunFolder, kind: str, after: list[str]
):
    folder = new_run(tmp_path, pangrams)

    def on_record(record: Record) -> None:
        if (record.kind, record.step) == (kind, 20):
            folder.mailbox.request(stop=True)

    work(folder, on_record=on_record)
    assert told(folder)[-len(after) :] == [(each, 20) for each in after]
    work(folder)
    measured = [each for each in told(folder) if each[0] in ("progress", "evaluated", "sampled")]
    assert measured == [each for each in told(undisturbed) if each[0] in ("progress", "evaluated", "sampled")]
    assert_as_undisturbed(folder, undisturbed)


def test_a_run_stopped_before_its_first_step_begins_anew(tmp_path: Path, pangrams: str, undisturbed: RunFolder):
    folder = new_run(tmp_path, pangrams)
    folder.mailbox.request(stop=True)
    finished = work(folder)
    assert (finished.reason, finished.step, finished.val_stateful) == ("stopped", 0, None)
    assert (folder.status(), folder.has_state, folder.live_model.exists()) == ("stopped", False, False)
    assert work(folder).reason == "completed"
    assert_as_undisturbed(folder, undisturbed)
