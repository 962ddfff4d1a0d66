"""Run in a process into which `failing_calls.c` was loaded: `failing.py LIBRARY FOLDER TEXT STRIDE`.

Every operation is tried with the first, then the second, ... call of each kind failing, until none is left to fail;
after each failure what was there before is whole, everything opens, and the operation works when it is tried again.
Prints a line for each operation: how many calls of each kind failed.
"""

import ctypes
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from charlstm.checkpoint import load_model, load_training_state, save_model, save_training_state
from charlstm.cli.control import describe_run
from charlstm.config import ModelConfig, Settings
from charlstm.errors import CharLSTMError
from charlstm.model import CharLSTM
from charlstm.runs.manager import RunManager
from charlstm.runs.worker import run_training
from charlstm.training import samples
from charlstm.vocabulary import Vocabulary

KINDS = ("write", "fsync", "rename")
VOCABULARY = Vocabulary.from_text("abc")
RUN = {"corpus": "rhyme", "hidden_size": 4, "batch_size": 2, "seq_len": 64, "max_minutes": 0, "max_steps": 6}
RUN |= {"log_every": 2, "eval_every": 3, "sample_every": 3, "sample_chars": 5}
samples._COUNTED_CHARS = 50  # at the end of a run; as many as are counted otherwise would take half of the time
FAULTS = ctypes.CDLL(sys.argv[1])
PLACE, TEXT, STRIDE = Path(sys.argv[2]), Path(sys.argv[3]).read_text(encoding="utf-8"), int(sys.argv[4])


def attack(
    name: str,
    prepare: Callable[[], None],
    operation: Callable[[], None],
    check: Callable[[], None],
    stride: int = 1,
) -> None:
    """`check` is made after each failure, and after the operation that follows it without one."""
    counts = []
    for kind, _ in enumerate(KINDS):
        number, count = 1, 0
        while True:
            prepare()
            FAULTS.attack_arm(kind, number)
            try:
                operation()
            except (OSError, CharLSTMError) as error:
                told = str(error)
                assert told.isprintable(), told
            finally:
                failed = FAULTS.attack_disarm()
            check()
            if not failed:
                break
            operation()
            check()
            count += 1
            number += stride
        counts.append(count)
    sys.stdout.write(f"{name}: {counts[0]} {counts[1]} {counts[2]}\n")


def models() -> None:
    path = PLACE / "model.safetensors"
    old, new = (CharLSTM(len(VOCABULARY), ModelConfig(hidden_size=4)) for _ in range(2))

    def check() -> None:
        bias = load_model(path)[0].head.weight
        assert torch.equal(bias, old.head.weight) or torch.equal(bias, new.head.weight)

    attack(
        "save_model",
        lambda: save_model(path, old, VOCABULARY, None),
        lambda: save_model(path, new, VOCABULARY, None),
        check,
    )


def states() -> None:
    path = PLACE / "state.safetensors"

    def save(step: int) -> None:
        save_training_state(path, {"weight": torch.full((999,), float(step), dtype=torch.float32)}, {"step": step})

    def check() -> None:
        tensors, facts = load_training_state(path)
        assert facts["step"] in (1, 2)
        assert tensors["weight"].unique().tolist() == [facts["step"]]

    attack("save_training_state", lambda: save(1), lambda: save(2), check)


def runs() -> None:
    manager = RunManager(PLACE / "runs")

    def prepare() -> None:
        shutil.rmtree(PLACE / "runs", ignore_errors=True)
        manager.store.create(Settings.from_flat(RUN), "run", TEXT)

    def operation() -> None:
        run_training(manager.store.get("run"))

    def check() -> None:
        (row,) = manager.runs()
        assert row.status in ("completed", "failed", "interrupted", "starting"), row
        describe_run(row.folder)
        for model in row.folder.path.glob("**/model.safetensors"):
            load_model(model)
        if row.folder.has_state:
            load_training_state(row.folder.state_file)
        if row.status == "completed":
            assert describe_run(row.folder)["step"] == RUN["max_steps"]
            prepare()  # it is worked through, so that another time begins anew

    attack("run", prepare, operation, check, STRIDE)


def starts() -> None:
    manager = RunManager(PLACE / "started")
    manager._spawn = lambda _: None  # type: ignore[assignment,method-assign,return-value]

    def prepare() -> None:
        shutil.rmtree(PLACE / "started", ignore_errors=True)
        manager.store.root.mkdir()

    def operation() -> None:
        if not manager.runs():
            manager.start(Settings.from_flat(RUN), "run", TEXT, owner="0" * 64)

    def check() -> None:
        for row in manager.runs():
            assert row.status in ("queued", "starting"), row
            assert row.folder.settings().train.max_steps == RUN["max_steps"]
            assert row.folder.corpus_file.read_text(encoding="utf-8") == TEXT

    attack("start", prepare, operation, check)


def changes() -> None:
    manager = RunManager(PLACE / "changed")

    def prepare() -> None:
        shutil.rmtree(PLACE / "changed", ignore_errors=True)
        folder = manager.store.create(Settings.from_flat(RUN), "run", TEXT)
        folder.events_file.touch()

    def operation() -> None:
        if not manager.trash():
            manager.rename("run", "another name")
            manager.delete("run")
        manager.restore(manager.trash()[0].id)

    def check() -> None:
        labels = [row.label for row in manager.runs()] + [row.label for row in manager.trash()]
        assert labels in (["run"], ["another name"]), labels

    attack("rename, delete, restore", prepare, operation, check)


if __name__ == "__main__":
    for each in (models, states, starts, changes, runs):
        each()
