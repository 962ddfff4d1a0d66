"""A full disk, a folder taken away, a permission lost: one sentence, and what was published still loads."""

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forked import COMMAND, Fork
from waiting import wait_until

from charlstm.config import Settings
from charlstm.errors import RunError
from charlstm.events import Record
from charlstm.language_model import LanguageModel
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training

SETTINGS: dict[str, Any] = {
    "corpus": "pangrams",
    "hidden_size": 32,
    "batch_size": 2,
    "seq_len": 16,
    "max_steps": 100,
    "max_minutes": 0,
    "log_every": 5,
    "eval_every": 20,
    "sample_every": 50,
    "sample_chars": 20,
}
LIMITED = """
import resource, sys
from charlstm.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(["resume", "run", "--checkpoints-dir", sys.argv[2]]))
"""


@pytest.fixture
def folder(tmp_path: Path, pangrams: str) -> RunDir:
    return RunStore(tmp_path / "runs").create(Settings.from_flat(SETTINGS), "run", pangrams)


def records_of(folder: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.events_file.read_bytes().splitlines()]


def assert_one_sentence(said: str) -> None:
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    assert said.rstrip().endswith(".")


def assert_published_model_loads(folder: RunDir) -> None:
    assert LanguageModel.load(folder.path).generate("the ")
    assert [path.name for path in folder.path.rglob("*.tmp")] == [], "half a file was left"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize(
    ("limit", "has_model"), [(60_000, True), (45_000, True), (20_000, False), (500, False)],
    ids=["no room for the state", "nor for many records", "none for a model", "none for two records"],
)  # fmt: skip
def test_files_that_may_not_grow_as_a_full_disk_lets_none(
    folder: RunDir, fork: Fork, limit: int, has_model: bool
) -> None:
    """A model takes 39 kB here, the training state 113."""
    # the compiled recurrence is a larger file, and not what this is about
    limited = fork(LIMITED, limit, folder.path.parent, CHARLSTM_KERNEL="off")
    _, said = limited.communicate(timeout=60)
    assert limited.returncode == 1
    complaint = said.splitlines()[-1]
    assert_one_sentence(complaint)
    assert complaint == "the run's folder can't be written (File too large); free it up and resume the run."
    assert "Traceback" not in said
    assert (folder.path / "model.safetensors").exists() == has_model
    if has_model:
        assert_published_model_loads(folder)
        assert folder.status() == "failed"
    assert run_training(folder).reason == "completed"  # there is room again
    assert_published_model_loads(folder)


def failing_publish(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
    """From the `after`th file on nothing can be published: it is written, and then the disk refuses."""
    from charlstm import checkpoint

    real, count = checkpoint.atomic_write, [0]

    @contextmanager
    def publish(path: Path, *rest: bool, **named: bool) -> Iterator[Path]:
        with real(path, *rest, **named) as temporary:
            yield temporary
            count[0] += path.parent.name != "snapshots"
            if count[0] > after:
                raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint, "atomic_write", publish)


@pytest.mark.parametrize(
    ("number", "after"),  # which file it is and what the system says do not depend on each other
    [(errno.ENOSPC, 1), (errno.EACCES, 2), (errno.EROFS, 3), (errno.EIO, 1), (errno.EDQUOT, 2)],
)
def test_whatever_the_system_refuses_is_told_in_its_words_and_the_last_model_stays(
    folder: RunDir, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    with monkeypatch.context() as patched:
        failing_publish(patched, number, after)
        with pytest.raises(RunError, match=os.strerror(number)) as caught:
            run_training(folder, save_seconds=0.0)
    assert_one_sentence(str(caught.value))
    assert records_of(folder)[-1]["message"] == str(caught.value)
    assert folder.status() == "failed"
    assert_published_model_loads(folder)
    assert run_training(folder).reason == "completed"


def remove(path: Path) -> None:
    """As a person does it, who tries again if something was written there just then."""
    while path.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(path)


def removing(folder: RunDir, step: int) -> Callable[[Record], None]:
    def on_record(record: Record) -> None:
        if record.kind == "progress" and record.step == step:
            remove(folder.path)

    return on_record


@pytest.mark.skipif(sys.platform == "win32", reason="open files can't be removed there")
@pytest.mark.parametrize("step", [0, 20, 100])
def test_a_folder_that_is_removed_ends_the_run_and_is_not_made_anew(folder: RunDir, step: int) -> None:
    with pytest.raises(RunError, match="the folder of run run is gone") as caught:
        run_training(folder, on_record=removing(folder, step))
    assert_one_sentence(str(caught.value))
    assert not folder.path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="open files can't be removed there")
def test_a_folder_that_is_removed_ends_its_process_soon(folder: RunDir, fork: Fork, pangrams: str) -> None:
    endless = {**SETTINGS, "max_steps": 10**8, "eval_every": 10**8, "sample_every": 10**8}
    shutil.rmtree(folder.path)
    folder = RunStore(folder.path.parent).create(Settings.from_flat(endless), "run", pangrams)
    worker = fork(COMMAND, "resume", "run", "--checkpoints-dir", folder.path.parent)
    wait_until(lambda: folder.events_file.exists() and folder.events_file.stat().st_size > 2000)
    remove(folder.path)
    _, said = worker.communicate(timeout=20)
    assert worker.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "the folder of run run is gone, and the run with it; start it anew."
    assert not folder.path.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser may write anywhere")
def test_a_permission_that_is_lost_ends_the_run_in_a_sentence(folder: RunDir) -> None:
    def on_record(record: Record) -> None:
        if record.kind == "progress" and record.step == 20:
            folder.path.chmod(0o500)

    try:
        with pytest.raises(RunError, match="Permission denied") as caught:
            run_training(folder, on_record=on_record)
    finally:
        folder.path.chmod(0o700)
    assert_one_sentence(str(caught.value))
    assert_published_model_loads(folder)
