"""Workers and managers killed at random moments: nothing is lost, and what is learned is the same to the bit.

python -m pytest tests/attack/test_kills.py
CHARLSTM_ATTACKS=20 python -m pytest tests/attack/test_kills.py                # 80 kills of each
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from forked import Fork
from mutations import TIMES
from waiting import wait_until
from worked import counted, last_weights, new_run

from charlstm import LanguageModel
from charlstm.config import Settings
from charlstm.kernel.build import load_library
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir
from charlstm.runs.worker import run_training

pytestmark = [
    pytest.mark.attack,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's"),
]
WORK = """
import sys
from pathlib import Path
from charlstm.runs.run_dir import RunDir
from charlstm.runs.worker import run_training
run_training(RunDir(Path(sys.argv[1])), save_seconds=0.02)
"""
START = """
import sys
from pathlib import Path
from charlstm.config import Settings
from charlstm.kernel.build import load_library
from charlstm.runs.manager import RunManager
manager = RunManager(Path(sys.argv[1]))
manager._spawn = lambda folder: None
for number in range(1000):
    manager.start(Settings(), f"run-{number}", sys.argv[2])
    print(number, flush=True)
"""
LONG = {"max_steps": 200, "eval_every": 60, "sample_every": 100}


@pytest.mark.skipif(TIMES == 1, reason="tests/integration/test_runs_survive.py kills one in every run of the suite")
def test_a_worker_that_is_killed_again_and_again_ends_with_the_same_numbers(
    tmp_path: Path, fork: Fork, pangrams: str
) -> None:
    reference = new_run(tmp_path, pangrams, "reference", **LONG)
    load_library()  # or compiling it would be counted as a part of the run
    began = time.monotonic()
    run_training(reference)
    seconds = time.monotonic() - began
    chance = random.Random(1)
    for number in range(TIMES):
        folder: RunDir = new_run(tmp_path, pangrams, f"killed-{number}", **LONG)
        for _ in range(4):
            worker = fork(WORK, folder.path)
            with contextlib.suppress(subprocess.TimeoutExpired):  # still at work, as it should be
                worker.wait(chance.uniform(0, seconds))
            worker.send_signal(signal.SIGKILL)
            worker.wait(60)
            for model in folder.path.glob("**/model.safetensors"):
                LanguageModel.load(model)
        if not folder.is_completed():
            run_training(folder)
        assert counted(folder) == counted(reference)
        for name, weight in last_weights(folder).items():
            assert torch.equal(weight, last_weights(reference)[name]), name


def test_of_a_manager_that_is_killed_no_acknowledged_start_is_lost(tmp_path: Path, fork: Fork) -> None:
    chance = random.Random(2)
    for number in range(4 * TIMES):
        place = tmp_path / str(number)
        place.mkdir()
        starter = fork(START, place, "some text of a visitor. " * 50)
        wait_until(starter.printed_line)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it starts one after the other
            starter.wait(chance.uniform(0, 0.3))
        starter.send_signal(signal.SIGKILL)
        starter.wait(60)
        acknowledged = starter.communicate(60)[0].count("\n")
        manager = RunManager(place)
        manager._spawn = lambda _: None  # type: ignore[assignment,method-assign,return-value]
        rows = manager.runs()
        assert len(rows) >= acknowledged > 0
        assert {row.status for row in rows} <= {"queued", "starting"}
        manager.start_queued()
        manager.start(Settings(), "after", "some text")
