"""A run whose loss becomes NaN: what its worker records, publishes and keeps."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import counting

from charlstm.config import Settings
from charlstm.corpus.batches import Batch
from charlstm.errors import TrainingDiverged
from charlstm.language_model import LanguageModel
from charlstm.runs.control import Control
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training
from charlstm.training import Trainer

SETTINGS: dict[str, Any] = {
    "corpus": "pangrams",
    "hidden_size": 8,
    "batch_size": 2,
    "seq_len": 48,
    "max_steps": 40,
    "max_minutes": 0,
    "log_every": 10,
    "eval_every": 15,
    "sample_every": 30,
    "sample_chars": 20,
}


@pytest.fixture
def folder(tmp_path: Path, pangrams: str, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setattr("charlstm.runs.worker_session._LOOK_SECONDS", 0.0)
    return RunStore(tmp_path).create(Settings.from_flat(SETTINGS), "run", pangrams)


def break_after(monkeypatch: pytest.MonkeyPatch, *updates: int, next_step: Callable[[], None] = lambda: None) -> None:
    """After so many updates, counted over the whole run, a bias is NaN; the update after it learns so."""
    real, count = Trainer._update, [0]

    def update(trainer: Trainer, batch: Batch) -> None:
        real(trainer, batch)
        count[0] += 1
        if count[0] in updates:
            trainer._model.head.bias.data[0] = math.nan
        if count[0] - 1 in updates:
            next_step()

    monkeypatch.setattr(Trainer, "_update", update)


def lines_of(folder: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.events_file.read_bytes().splitlines()]


def counted(folder: RunDir) -> list[tuple[str, int]]:
    records = counting(folder)
    return [(record.kind, record.step) for record in records]


def test_a_run_that_went_back_is_recorded_so_and_completes(folder: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    break_after(monkeypatch, 22)
    assert run_training(folder).reason == "completed"
    rewound = {"kind": "rewound", "step": 0, "diverged_step": 30, "rate_factor": 0.5}
    assert [line for line in lines_of(folder) if line["kind"] == "rewound"] == [rewound]
    assert [step for kind, step in counted(folder) if kind == "progress"] == [0, 10, 20, 30, 40]
    assert [step for kind, step in counted(folder) if kind == "evaluated"] == [0, 15, 30, 40]
    assert folder.status() == "completed"
    assert LanguageModel.load(folder.path).generate("the ")


def test_a_second_time_is_recorded_in_a_sentence_and_the_best_model_stays(
    folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_after(monkeypatch, 22, 48)  # the second run of 30 steps begins with the 31st update
    with pytest.raises(TrainingDiverged, match="at half the learning rate too") as caught:
        run_training(folder)
    assert lines_of(folder)[-1]["message"] == str(caught.value)
    assert "\n" not in str(caught.value)
    assert folder.status() == "failed"
    origin = LanguageModel.load(folder.path).provenance
    assert origin is not None
    assert origin.val_loss == min(line["val_loss"] for line in lines_of(folder) if line["kind"] == "evaluated")


def test_a_run_stopped_while_its_weights_are_broken_keeps_none_of_them_and_can_go_on(
    folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at step 8, before the report at 10 would have noticed."""
    with monkeypatch.context() as patched:
        break_after(patched, 7, next_step=lambda: folder.request(Control(stop=True)))
        finished = run_training(folder)
    assert (finished.reason, finished.step, folder.status()) == ("stopped", 8, "stopped")
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "evaluated"] == [0]
    assert LanguageModel.load(folder.path).generate("the ")
    assert not folder.state_file.exists()
    assert run_training(folder).reason == "completed"
    assert all(math.isfinite(line["train_loss"]) for line in lines_of(folder) if line["kind"] == "progress")
    assert LanguageModel.load(folder.path / "last").generate("the ")


def test_a_figure_of_a_step_that_no_longer_counts_is_not_given_to_its_second_go(
    folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validated at 15, back at 0 from 20, then stopped at 15 before its report: that is validated anew."""
    break_after(monkeypatch, 17)
    step_done = Trainer._report

    def stop_at_15(trainer: Trainer, is_last: bool) -> Any:
        if trainer.step == 15 and trainer.course.rate_factor < 1:
            folder.request(Control(stop=True))
            return
        yield from step_done(trainer, is_last)

    monkeypatch.setattr(Trainer, "_report", stop_at_15)
    assert run_training(folder).step == 15
    evaluated = [line for line in lines_of(folder) if line["kind"] == "evaluated"]
    assert [line["step"] for line in evaluated] == [0, 15, 15]
    assert evaluated[1]["val_loss"] != evaluated[2]["val_loss"]
    origin = LanguageModel.load(folder.path / "last").provenance
    assert origin is not None
    assert origin.val_loss == evaluated[2]["val_loss"]
