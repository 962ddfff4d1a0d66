"""A run that is stopped: saved at once, measured after that, and exact when it goes on."""

import json
import shutil
from pathlib import Path

import pytest
import worked
from training_runs import assert_same_weights
from worked import last_weights

from charlstm.events import Record
from charlstm.runs.run_dir import RunDir
from charlstm.runs.worker import run_training

pytestmark = pytest.mark.usefixtures("attentive")


def new_run(place: Path, text: str) -> RunDir:
    return worked.new_run(place, text, max_steps=40, eval_every=20, sample_every=20)


def told(folder: RunDir) -> list[tuple[str, int]]:
    """Kind (of a save its cause) and step of every record, without the figures found beside the training."""
    lines = map(json.loads, folder.events_file.read_bytes().splitlines())
    return [(line.get("cause", line["kind"]), line["step"]) for line in lines if line["kind"] != "references"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> RunDir:
    folder = new_run(tmp_path_factory.mktemp("undisturbed"), pangrams)
    run_training(folder)
    return folder


def test_all_is_saved_before_the_model_is_measured_so_a_kill_meanwhile_loses_nothing(
    tmp_path: Path, pangrams: str, undisturbed: RunDir
):
    folder, killed, seen = new_run(tmp_path, pangrams), RunDir(tmp_path / "killed"), []

    def on_record(record: Record) -> None:
        if (record.kind, record.step) == ("progress", 30):
            folder.mailbox.request(stop=True)
        if record.kind == "saved" and record.cause == "stop":
            seen.append(folder.status())
            shutil.copytree(folder.path, killed.path, ignore=shutil.ignore_patterns("*.json.lock", "answer.json"))
        if (record.kind, record.step) == ("evaluated", 30):
            seen.append(folder.status())

    assert run_training(folder, on_record=on_record).reason == "stopped"
    assert seen == ["stopping", "measuring"]
    assert told(folder)[-5:] == [(kind, 30) for kind in ("stop", "evaluated", "sampled", "end", "finished")]
    killed.clear_requests()
    for each in (folder, killed):
        assert run_training(each).reason == "completed"
        assert_same_weights(last_weights(each), last_weights(undisturbed))


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("progress", ["stop", "evaluated", "sampled", "end", "finished"]),  # the validation is begun anew
        ("evaluated", ["evaluated", "stop", "sampled", "end", "finished"]),
        ("sampled", ["evaluated", "sampled", "stop", "finished"]),
    ],
)
def test_neither_a_validation_nor_a_sample_holds_a_stop_up_and_what_was_due_comes_once(
    tmp_path: Path, pangrams: str, undisturbed: RunDir, kind: str, after: list[str]
):
    folder = new_run(tmp_path, pangrams)

    def on_record(record: Record) -> None:
        if (record.kind, record.step) == (kind, 20):
            folder.mailbox.request(stop=True)

    run_training(folder, on_record=on_record)
    assert told(folder)[-len(after) :] == [(each, 20) for each in after]
    run_training(folder)
    measured = [each for each in told(folder) if each[0] in ("progress", "evaluated", "sampled")]
    assert measured == [each for each in told(undisturbed) if each[0] in ("progress", "evaluated", "sampled")]
    assert_same_weights(last_weights(folder), last_weights(undisturbed))


def test_a_run_stopped_before_its_first_step_begins_anew(tmp_path: Path, pangrams: str, undisturbed: RunDir):
    folder = new_run(tmp_path, pangrams)
    folder.mailbox.request(stop=True)
    finished = run_training(folder)
    assert (finished.reason, finished.step, finished.val_stateful) == ("stopped", 0, None)
    assert (folder.status(), folder.has_state, folder.live_model.exists()) == ("stopped", False, False)
    assert run_training(folder).reason == "completed"
    assert_same_weights(last_weights(folder), last_weights(undisturbed))
