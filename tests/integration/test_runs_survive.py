"""Runs outlive whoever started them, and a killed worker loses time but not one bit of its result."""

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Fork
from records import counting
from safetensors.torch import load_file
from waiting import wait_until

from charlstm.config import Settings
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

# More kills, at other moments: CHARLSTM_KILLS=20 CHARLSTM_KILLS_SEED=7 python -m pytest tests/integration
NUM_KILLS = int(os.environ.get("CHARLSTM_KILLS", "3"))
KILLS_SEED = int(os.environ.get("CHARLSTM_KILLS_SEED", "20"))
NUM_STEPS = 100 * NUM_KILLS
SETTINGS = Settings.from_flat(
    {
        "corpus": "pangrams",
        "hidden_size": 16,  # for the compiled recurrence, in bfloat16 where the processor has it
        "num_layers": 2,
        "dropout": 0.3,
        "weight_dropout": 0.2,
        "weight_average": 0.9,
        "precision": "auto",
        "batch_size": 2,
        "seq_len": 16,
        "lr_schedule": "cosine",
        "max_steps": NUM_STEPS,
        "max_minutes": 0,
        "log_every": 7,
        "eval_every": 50,
        "sample_every": 200,
        "sample_chars": 20,
    }
)
# A worker that spends half its time on saving its state, so that a short run is resumed from its midst.
SAVING_WORKER = """
import sys
from pathlib import Path
from charlstm.runs import worker, worker_session
from charlstm.runs.run_dir import RunDir
worker_session._SAVE_SHARE = 0.5
worker.run_training(RunDir(Path(sys.argv[1])), save_seconds=0.0)
"""
STARTER = """
import signal, sys
from pathlib import Path
from charlstm.config import Settings
from charlstm.runs.manager import RunManager
manager = RunManager(Path(sys.argv[1]))
manager.start(Settings.from_flat({settings!r}), "orphan", {text!r})
print(manager._children["orphan"][1].pid, flush=True)
signal.pause()
"""


def lines_of(folder: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.events_file.read_bytes().splitlines()]


def losses_of(folder: RunDir) -> list[tuple[str, int, float]]:
    """Every recorded loss that counts, in order: the points of the curve and the validations."""
    records = counting(folder)
    points = [(record.kind, record.step, record.train_loss) for record in records if record.kind == "progress"]
    checks = [(record.kind, record.step, record.val_loss) for record in records if record.kind == "evaluated"]
    return points + checks


def whole_lines_of(folder: RunDir) -> list[dict[str, Any]]:
    """As `lines_of`, while it is being written."""
    data = folder.events_file.read_bytes() if folder.events_file.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def has_reached(folder: RunDir, num_workers: int, step: int) -> bool:
    """Whether the last of so many workers, one after another, has begun and got to `step`."""
    lines = whole_lines_of(folder)
    begun = sum(line["kind"] in ("started", "resumed") for line in lines)
    return begun == num_workers and lines[-1]["step"] >= step


def test_a_run_goes_on_and_completes_when_the_process_that_started_it_is_killed(
    tmp_path: Path, fork: Fork, pangrams: str
):
    starter = fork(STARTER.format(settings=SETTINGS.flat(), text=pangrams), tmp_path)
    worker_id = int(wait_until(starter.printed_line))
    try:
        folder = RunDir(tmp_path / "orphan")
        wait_until(folder.is_alive)
        starter.send_signal(signal.SIGKILL)
        assert starter.wait(20) == -signal.SIGKILL
        manager = RunManager(tmp_path)
        active = manager.active()
        assert active is not None
        assert (active.name, active.status) == ("orphan", "running")
        wait_until(lambda: manager.active() is None)
    finally:
        if RunDir(tmp_path / "orphan").is_alive():
            os.kill(worker_id, signal.SIGKILL)
    assert [(run.name, run.status) for run in manager.runs()] == [("orphan", "completed")]
    assert [line["kind"] for line in lines_of(folder)].count("started") == 1
    assert lines_of(folder)[-1]["step"] == NUM_STEPS


@pytest.mark.timeout(60 + 20 * NUM_KILLS)
def test_a_worker_killed_at_random_and_resumed_ends_exactly_as_one_that_was_left_alone(
    tmp_path: Path, fork: Fork, pangrams: str
):
    store = RunStore(tmp_path)
    quiet, harried = (store.create(SETTINGS, name, pangrams) for name in ("quiet", "harried"))
    undisturbed = fork(SAVING_WORKER, quiet.path)
    for number, step in enumerate(
        sorted(random.Random(KILLS_SEED).sample(range(30, NUM_STEPS // 2), NUM_KILLS)), start=1
    ):
        worker = fork(SAVING_WORKER, harried.path)
        wait_until(lambda number=number, step=step: has_reached(harried, number, step))
        worker.send_signal(signal.SIGKILL)
        assert worker.wait(20) == -signal.SIGKILL
        assert harried.status() == "interrupted"
    for worker in (fork(SAVING_WORKER, harried.path), undisturbed):
        _, complaint = worker.communicate(timeout=60)
        assert worker.returncode == 0, complaint

    resumed_at = [line["step"] for line in lines_of(harried) if line["kind"] == "resumed"]
    assert len(resumed_at) == NUM_KILLS
    assert resumed_at == sorted(resumed_at)
    assert resumed_at[0] > 0
    assert resumed_at[-1] < NUM_STEPS
    assert losses_of(harried) == losses_of(quiet)
    assert [step for kind, step, _ in losses_of(harried) if kind == "progress"] == [*range(0, NUM_STEPS, 7), NUM_STEPS]
    for place in ("last/model", "model", "last/training_state"):
        ours, theirs = (load_file(run.path / f"{place}.safetensors") for run in (harried, quiet))
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    ends = [lines_of(run)[-1] for run in (harried, quiet)]
    assert ends[0]["val_stateful"] == ends[1]["val_stateful"] is not None
