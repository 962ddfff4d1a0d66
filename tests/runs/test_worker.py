"""One worker in one run folder: what it leaves behind, and that stopping, resuming and failing lose nothing."""

import json
import math
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import assert_same_weights
from worked import TINY, counted, header_of, last_weights, lines_of, new_run, of_kind, provenance_of

from charlstm.config import Settings
from charlstm.errors import CorpusError, RunError
from charlstm.events import Record
from charlstm.language_model import LanguageModel
from charlstm.runs.control import Control
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training

_HANDLERS = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]  # before any run


def naive_loss(path: Path, text: str, window: int | None = None) -> float:
    """Mean nats per character over the last tenth of `text`, in one piece or in cold windows, in double precision."""
    language_model = LanguageModel.load(path)
    model = language_model.model.double()
    ids = torch.tensor([language_model.vocabulary.characters.index(char) for char in text])
    validation = ids[len(ids) - round(len(ids) / 10) :]
    nats = []
    with torch.no_grad():
        for begin in range(0, len(validation) - 1, window or len(validation)):
            piece = validation[begin : begin + (window or len(validation)) + 1]
            log_probabilities = model(piece[None, :-1])[0].log_softmax(-1)[0]
            nats += [-log_probabilities[place, target].item() for place, target in enumerate(piece[1:])]
    assert len(nats) == len(validation) - 1
    return sum(nats) / len(nats)


def ask_at(folder: RunDir, kind: str, step: int) -> Callable[[Record], None]:
    def on_record(record: Record) -> None:
        if (record.kind, record.step) == (kind, step):
            folder.request(Control(stop=True))

    return on_record


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> RunDir:
    """A run that went through undisturbed, with what its consumer saw beside it."""
    folder = new_run(tmp_path_factory.mktemp("undisturbed"), pangrams)
    shown: list[Record] = []
    finished = run_training(folder, on_record=shown.append)
    (folder.path.parent / "shown.jsonl").write_text("".join(record.model_dump_json() + "\n" for record in shown))
    assert finished == shown[-1]
    return folder


@pytest.fixture
def copied(completed: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(completed.path, tmp_path / "copied")))


class TestCompletedRun:
    def test_it_leaves_exactly_the_files_of_a_run(self, completed: RunDir):
        files = {path.relative_to(completed.path).as_posix() for path in completed.path.rglob("*") if path.is_file()}
        assert "snapshots/0.safetensors" in files  # how many follow is a matter of time
        assert {name for name in files if not name.startswith("snapshots/")} == {
            "answer.json",
            "config.json",
            "corpus.txt",
            "events.jsonl",
            "run.lock",
            "model.safetensors",
            "last/model.safetensors",
            "last/training_state.safetensors",
        }
        assert completed.status() == "completed"

    def test_it_begins_with_the_facts_of_the_text(self, completed: RunDir, pangrams: str):
        first = lines_of(completed)[0]
        num_val = round(len(pangrams) * 0.1)
        assert first["kind"] == "started"
        assert (first["num_chars"], first["num_distinct"]) == (len(pangrams), len(set(pangrams)))
        assert (first["num_train_chars"], first["num_val_chars"]) == (len(pangrams) - num_val, num_val)
        tensors = load_file(completed.path / "model.safetensors")
        assert first["num_parameters"] == sum(tensor.numel() for tensor in tensors.values())

    def test_records_come_at_the_steps_that_the_settings_ask_for(self, completed: RunDir):
        assert [line["step"] for line in of_kind(completed, "progress")] == [0, 10, 20, 30, 40, 50, 60]
        assert [line["step"] for line in of_kind(completed, "evaluated")] == [0, 25, 50, 60]
        assert [line["step"] for line in of_kind(completed, "sampled")] == [0, 25, 30, 50, 60]
        assert [line["kind"] for line in lines_of(completed)].count("finished") == 1
        assert lines_of(completed)[-1]["kind"] == "finished"

    def test_its_consumer_sees_every_record_that_is_written_and_no_other(self, completed: RunDir):
        assert (completed.path.parent / "shown.jsonl").read_bytes() == completed.events_file.read_bytes()

    def test_samples_continue_the_prompt_for_as_long_as_asked(self, completed: RunDir):
        texts = [line["text"] for line in of_kind(completed, "sampled")]
        assert all(text.startswith("the ") and len(text) == len("the ") + 20 for text in texts)
        assert len(set(texts)) > 3, "what was learned in between shows"

    def test_the_loss_begins_near_a_blind_guess_and_falls(self, completed: RunDir, pangrams: str):
        losses = [line["train_loss"] for line in of_kind(completed, "progress")]
        assert losses[0] == pytest.approx(math.log(len(set(pangrams))), abs=0.25)
        assert losses[-1] < losses[0] - 0.3

    def test_the_figures_of_the_end_are_those_in_the_model_and_can_be_measured_again(
        self, completed: RunDir, pangrams: str
    ):
        finished = lines_of(completed)[-1]
        model_file = completed.path / "model.safetensors"
        provenance = provenance_of(model_file)
        assert (finished["reason"], finished["step"]) == ("completed", 60)
        assert (finished["val_stateful"], finished["val_windows"]) == (
            provenance["val_stateful"],
            provenance["val_windows"],
        )
        assert finished["val_stateful"] == pytest.approx(naive_loss(model_file, pangrams), abs=1e-5)
        assert finished["val_windows"] == pytest.approx(naive_loss(model_file, pangrams, window=256), abs=1e-5)
        assert finished["val_windows"] != finished["val_stateful"]

    def test_the_last_weights_stand_beside_the_state(self, completed: RunDir):
        last = completed.path / "last"
        assert provenance_of(last / "model.safetensors")["step"] == 60
        assert (
            json.loads(header_of(last / "training_state.safetensors")["training_state"]).items() >= {"step": 60}.items()
        )

    def test_the_published_model_is_the_best_validated_even_if_training_made_it_worse(
        self, tmp_path: Path, pangrams: str
    ):
        # the rate rises until each step's decay turns the weights over and makes them larger: 1 - 0.3 x 10 = -2
        harmful = {"learning_rate": 0.3, "lr_schedule": "constant", "warmup_steps": 30, "weight_decay": 10}
        folder = new_run(tmp_path, pangrams, max_steps=30, eval_every=3, **harmful)
        run_training(folder)
        evaluated = of_kind(folder, "evaluated")
        best = min(evaluated, key=lambda line: line["val_loss"])
        assert 0 < best["step"] < 30, "premise: neither the beginning nor the end is the best"
        provenance = provenance_of(folder.path / "model.safetensors")
        assert (provenance["step"], provenance["val_loss"]) == (best["step"], best["val_loss"])
        assert naive_loss(folder.path / "model.safetensors", pangrams) == pytest.approx(best["val_loss"], abs=1e-5)
        lowest = [min(line["val_loss"] for line in evaluated[: number + 1]) for number in range(len(evaluated))]
        assert [line["is_best"] for line in evaluated] == [
            number == 0 or lowest[number] < lowest[number - 1] for number in range(len(evaluated))
        ]

    def test_the_signal_handlers_are_as_they_were(self, completed: RunDir):
        assert completed.exists
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == _HANDLERS

    def test_no_place_on_this_machine_is_told_in_what_may_be_published(self, tmp_path: Path, pangrams: str):
        text = tmp_path / "my secret folder" / "my text.txt"
        text.parent.mkdir()
        text.write_text(pangrams)
        settings = Settings.from_flat({**TINY, "corpus": str(text), "max_steps": 20})
        folder = RunStore(tmp_path / "checkpoints").create(settings, "run")
        run_training(folder)
        for path in (folder.events_file, folder.path / "model.safetensors", folder.path / "last" / "model.safetensors"):
            content = path.read_bytes()
            for place in (str(tmp_path), "my secret folder", str(Path.home()), str(Path.cwd()), "checkpoints"):
                assert len(place) > 4
                assert place.encode() not in content, (path.name, place)
        provenance = provenance_of(folder.path / "model.safetensors")
        assert provenance["corpus"] == provenance["train_config"]["corpus"] == "my text.txt"


@pytest.mark.usefixtures("attentive")
class TestStopAndResume:
    # 25: validated there and between two points of the curve; 30: sampled there; 50: in the second pass
    @pytest.mark.parametrize(("kind", "step"), [("evaluated", 25), ("sampled", 30), ("progress", 50)])
    def test_a_run_that_was_stopped_and_resumed_equals_one_that_never_was(
        self, tmp_path: Path, pangrams: str, completed: RunDir, kind: str, step: int
    ):
        folder = new_run(tmp_path, pangrams)
        stopped = run_training(folder, on_record=ask_at(folder, kind, step))
        assert (stopped.reason, stopped.step) == ("stopped", step)
        assert folder.status() == "stopped"
        assert folder.state_file.exists()
        folder.request(Control())
        finished = run_training(folder)
        assert (finished.reason, finished.step, folder.status()) == ("completed", 60, "completed")
        assert [line["step"] for line in of_kind(folder, "resumed")] == [step]
        # the stop itself adds a validation where none was due
        extra = [] if step in (25, 50) else [{"kind": "evaluated", "step": step}]
        ours, theirs = counted(folder), counted(completed)
        assert [{"kind": each["kind"], "step": each["step"]} for each in ours if each not in theirs] == extra
        assert [each for each in ours if each in theirs] == theirs
        assert_same_weights(last_weights(folder), last_weights(completed))
        assert finished.val_stateful == lines_of(completed)[-1]["val_stateful"]

    def test_what_was_learned_since_the_last_validation_is_validated_and_published(self, tmp_path: Path, pangrams: str):
        folder = new_run(tmp_path, pangrams, eval_every=1000)
        run_training(folder, on_record=ask_at(folder, "progress", 40))
        assert [line["step"] for line in of_kind(folder, "evaluated")] == [0, 40]
        assert provenance_of(folder.path / "model.safetensors")["step"] == 40
        assert lines_of(folder)[-1]["reason"] == "stopped"

    def test_a_request_made_before_the_worker_comes_is_honoured(self, tmp_path: Path, pangrams: str):
        folder = new_run(tmp_path, pangrams)
        folder.request(Control(stop=True))
        assert (run_training(folder).reason, folder.status()) == ("stopped", "stopped")

    def test_a_broken_last_line_is_cut_off_before_anything_is_appended(self, tmp_path: Path, pangrams: str):
        folder = new_run(tmp_path, pangrams)
        run_training(folder, on_record=ask_at(folder, "progress", 20))
        before = folder.events_file.read_bytes()
        with folder.events_file.open("ab") as file:
            file.write(b'{"kind":"sampled","step":27,"text":"half an \xe6\x97')
        folder.request(Control())
        run_training(folder)
        after = folder.events_file.read_bytes()
        assert after.startswith(before)
        assert json.loads(after[len(before) :].splitlines()[0])["kind"] == "resumed"
        assert lines_of(folder)[-1]["kind"] == "finished"

    def test_another_text_is_refused_and_the_right_one_still_continues(
        self, tmp_path: Path, pangrams: str, completed: RunDir
    ):
        folder = new_run(tmp_path, pangrams)
        run_training(folder, on_record=ask_at(folder, "evaluated", 25))
        folder.request(Control())
        state = folder.state_file.read_bytes()
        folder.corpus_file.write_text(pangrams.replace("lazy", "ZEAL"), encoding="utf-8")
        with pytest.raises(CorpusError, match="pangrams is not the text this run began with") as caught:
            run_training(folder)
        assert "\n" not in str(caught.value)
        assert folder.status() == "stopped", "what can't go on has not failed"
        assert folder.state_file.read_bytes() == state
        folder.corpus_file.write_text(pangrams, encoding="utf-8")
        assert run_training(folder).reason == "completed"
        assert_same_weights(last_weights(folder), last_weights(completed))

    def test_a_large_text_is_encoded_once_for_the_whole_run_and_gives_the_same_weights(
        self, tmp_path: Path, pangrams: str, completed: RunDir, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("charlstm.corpus.corpus.HELD_BYTES", 0)
        folder = new_run(tmp_path, pangrams)
        readings: list[tuple[int, int]] = []
        run_training(folder, on_record=ask_at(folder, "evaluated", 25), report=lambda *each: readings.append(each))
        assert readings == [(len(pangrams), len(pangrams))] * 2, "read for its facts, then encoded"
        folder.request(Control())
        run_training(folder, report=lambda *each: readings.append(each))
        assert len(readings) == 3, "read again, to know that it is the same text, and not encoded"
        assert folder.status() == "completed"
        assert_same_weights(last_weights(folder), last_weights(completed))

    def test_a_completed_run_is_refused_and_stays_completed(self, copied: RunDir):
        before = copied.events_file.read_bytes()
        with pytest.raises(RunError, match="has reached its planned end") as caught:
            run_training(copied)
        assert "\n" not in str(caught.value)
        assert copied.events_file.read_bytes() == before
        assert copied.status() == "completed"

    def test_a_run_cut_off_between_its_last_step_and_its_last_record_can_be_finished(
        self, copied: RunDir, completed: RunDir
    ):
        whole = copied.events_file.read_bytes().splitlines(keepends=True)
        copied.events_file.write_bytes(b"".join(whole[:-1]))
        assert copied.status() == "interrupted"
        finished = run_training(copied)
        expected = lines_of(completed)[-1]
        assert {key: expected[key] for key in ("reason", "step", "val_stateful", "val_windows")} == {
            "reason": finished.reason,
            "step": finished.step,
            "val_stateful": finished.val_stateful,
            "val_windows": finished.val_windows,
        }
        assert copied.status() == "completed"

    def test_the_state_is_saved_as_often_as_asked_and_a_short_run_not_before_its_end(
        self, tmp_path: Path, pangrams: str, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("charlstm.runs.worker_session._FIRST_SAVE_SECONDS", 1e9)  # however busy the machine is
        for name, seconds, is_saved in (("often", 0.0, True), ("seldom", 1e9, False)):
            folder = new_run(tmp_path, pangrams, name)
            at_step_50: list[bool] = []
            run_training(
                folder,
                on_record=lambda record, at=at_step_50, state=folder.state_file: (
                    at.append(state.exists()) if record.kind == "progress" and record.step == 50 else None
                ),
                save_seconds=seconds,
            )
            assert at_step_50 == [is_saved], name
            assert folder.state_file.exists()

    def test_a_failed_run_can_be_resumed_once_its_cause_is_gone(self, tmp_path: Path, pangrams: str, completed: RunDir):
        folder = new_run(tmp_path, pangrams)
        right = folder.settings_file.read_text()
        folder.settings_file.write_text("{")
        with pytest.raises(RunError):
            run_training(folder)
        folder.settings_file.write_text(right)
        assert run_training(folder).reason == "completed"
        assert counted(folder) == counted(completed)
