"""`torchrun -m charlstm`: one process writes, and a death costs time but not one bit of the result.

The processes are real, on this machine's loopback, with gloo.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Fork, Forked
from grouped import differences
from training_runs import assert_same_weights
from waiting import wait_until
from worked import last_weights

from charlstm.cli import main
from charlstm.config import Settings
from charlstm.errors import ConfigError
from charlstm.runs.control import Control
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training
from charlstm.training.distributed import World

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not torch.distributed.is_gloo_available(),  # noqa: TID251
    reason="there is no torchrun with gloo",
)

REPOSITORY = Path(__file__).resolve().parents[2]
TWO = ["--standalone", "--nproc-per-node", "2"]
AS_TYPED = [sys.executable, "-m", "torch.distributed.run", *TWO, "-m", "charlstm"]
FORKED = ["--start-method", "fork", "--run-path"]  # torchrun's own way to save its processes the imports
NUM_STEPS = 150
FLAGS = {
    "hidden_size": 8,
    "dropout": 0.2,
    "batch_size": 5,
    "seq_len": 16,
    "max_minutes": 0.0,
    "max_steps": NUM_STEPS,
    "log_every": 10,
    "eval_every": 50,
    "sample_every": 100,
    "sample_chars": 10,
    "weight_average": 0.9,
    "precision": "float32",
    "device": "cpu",
}
# The command, with a worker that saves all the time. DEATHS kills the second process, and after the restart the first,
# each once there is something saved to go on from. After step WAITS the first one waits until a pause is asked for,
# and three steps later both wait for a signal. When the first one has lost the second, torchrun's signal reaches it
# before it has recorded so, which is up to chance otherwise.
COMMAND = """
import contextlib, functools, os, signal, sys
from pathlib import Path
from waiting import wait_until
from charlstm.cli import main
from charlstm.errors import DistributedError
from charlstm.runs import worker, worker_session
from charlstm.runs.run_dir import RunDir
from charlstm.training.distributed import DistributedTrainer
worker_session._LOOK_SECONDS = 0.0
worker_session._SAVE_SHARE = 0.5
worker.run_training = functools.partial(worker.run_training, save_seconds=0.0)
real_signals, signalled = worker.stop_signals, []
@contextlib.contextmanager
def stop_signals():
    with real_signals() as is_signalled:
        signalled.append(is_signalled)
        yield is_signalled
worker.stop_signals = stop_signals
rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
state = Path(sys.argv[sys.argv.index("--checkpoints-dir") + 1]) / "mine" / "last" / "training_state.safetensors"
agreed = DistributedTrainer.agree_on
def interrupted(self, stop, save):
    since = self.step - int(os.environ.get("WAITS", "1000"))
    if since == 0 and rank == 0:
        wait_until(lambda: RunDir(state.parents[1]).control().pause)
    if since == 3:  # the next step carries the wish to the second one, after which both heed it
        wait_until(signalled[-1])
    if "DEATHS" in os.environ and rank == 1 - attempt and self.step > 40 * (attempt + 1) and state.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return agreed(self, stop, save)
DistributedTrainer.agree_on = interrupted
leave = worker.RequestListener.__exit__
def leave_when_signalled(self, kind, *error):
    if kind is DistributedError:
        wait_until(signalled[-1])
    leave(self, kind, *error)
worker.RequestListener.__exit__ = leave_when_signalled
if "WAITS" in os.environ:  # torchrun told to end waits for its processes, which when forked would wait for it
    os._exit(main(sys.argv[1:]))
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> Path:
    file = tmp_path_factory.mktemp("text") / "pangrams.txt"
    file.write_text(pangrams, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def command_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("command") / "command.py"
    file.write_text(COMMAND, encoding="utf-8")
    return file


def train_command(text_file: Path, place: Path, **values: object) -> list[str]:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in (FLAGS | values).items()]
    return ["train", "--corpus", str(text_file), "--name", "mine", "--checkpoints-dir", str(place), *flags]


def environment_of(**more: str) -> dict[str, str]:
    paths = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests" / "support")))
    # Should one be aborted, as was seen once at an exit, it tells where.
    return {"CHARLSTM_KERNEL": "off", "PYTHONPATH": paths, "PYTHONFAULTHANDLER": "1", **more}


@pytest.fixture
def torchrun(fork: Fork) -> Iterator[Callable[..., Forked]]:
    """`torchrun(*arguments, **environment)` begins one for two processes, which need not import PyTorch anew."""
    begun: list[Forked] = []

    def begin(*arguments: object, **environment: str) -> Forked:
        script = "from torch.distributed.run import main\nmain()"
        begun.append(fork(script, *TWO, *arguments, **environment_of(**environment)))
        return begun[-1]

    yield begin
    for each in begun:
        each.send_signal(signal.SIGTERM)  # it ends what it started
        each.wait(60)


def lines_of(folder: RunDir) -> list[dict[str, Any]]:
    """Every line of a run's records; each must be whole."""
    return [json.loads(line) for line in folder.events_file.read_bytes().splitlines()] if folder.exists else []


def test_more_processes_than_streams_are_refused_in_one_sentence_said_once(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(ConfigError, match="2 processes can't share 1 streams"):
        World(0, 2).shard(1)
    for rank, said in (("0", "2 processes can't share 1 streams; start at most 1, or raise batch_size.\n"), ("1", "")):
        for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        assert main(train_command(text_file, tmp_path, batch_size=1)) == 2
        assert tuple(capsys.readouterr()) == ("", said)
    assert list(tmp_path.glob("mine*")) == []


@pytest.fixture(scope="module")
def undisturbed(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, str]:
    """A run of two processes that nobody interfered with, and what it printed."""
    place = tmp_path_factory.mktemp("undisturbed")
    with subprocess.Popen(
        [*AS_TYPED, *train_command(text_file, place)],
        cwd=REPOSITORY,
        env={**os.environ, **environment_of()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            printed, complaint = process.communicate(timeout=90)
        finally:
            process.terminate()  # a torchrun ends what it started
    assert process.returncode == 0, complaint
    return RunDir(place / "mine"), printed


def test_one_process_writes_and_speaks(undisturbed: tuple[RunDir, str]):
    folder, printed = undisturbed
    kinds = [line["kind"] for line in lines_of(folder)]
    assert (kinds[0], kinds.count("started"), kinds[-1], kinds.count("finished")) == ("started", 1, "finished", 1)
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "progress"] == [*range(0, NUM_STEPS + 1, 10)]
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "evaluated"] == [0, 50, 100, 150]
    names = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    expected = {"answer.json", "config.json", "events.jsonl", "job", "run.lock", "model.safetensors"}
    kept = {name for name in names if name.startswith("snapshots/")}
    assert {"snapshots/0.safetensors", "snapshots/64.safetensors"} <= kept
    assert names - kept == expected | {"last/model.safetensors", "last/training_state.safetensors"}
    assert [path.name for path in folder.path.parent.iterdir()] == ["mine"]
    for line in ("run mine, in", "data has", "step 100: validation", f"completed at step {NUM_STEPS}"):
        assert printed.count(line) == 1, printed


def test_killed_processes_are_started_again_and_end_with_the_same_bits(
    undisturbed: tuple[RunDir, str],
    text_file: Path,
    command_file: Path,
    tmp_path: Path,
    torchrun: Callable[..., Forked],
):
    """First the second process is killed, then the first: the same command goes on with the run it began."""
    command = train_command(text_file, tmp_path)
    restarting = torchrun("--max-restarts", 3, *FORKED, command_file, *command, DEATHS="1")
    _, complaint = restarting.communicate(timeout=90)
    assert restarting.returncode == 0, complaint
    folder = RunDir(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("mine")] == ["mine"]
    records = lines_of(folder)
    resumed_at = [line["step"] for line in records if line["kind"] == "resumed"]
    assert len(resumed_at) == 2
    assert 0 < resumed_at[0] < resumed_at[1] < NUM_STEPS
    assert [line["kind"] for line in records].count("started") == 1
    # The first process says so of the second; killed itself, it says nothing.
    lost = "another process of the group has ended early; what it said tells why, and the run can be resumed."
    assert [line["message"] for line in records if line["kind"] == "failed"] == [lost], complaint
    assert_same_weights(last_weights(folder), last_weights(undisturbed[0]))
    assert records[-1] == lines_of(undisturbed[0])[-1] | {"elapsed_seconds": records[-1]["elapsed_seconds"]}


def test_a_run_is_stopped_and_goes_on_in_another_number_of_processes(
    undisturbed: tuple[RunDir, str],
    command_file: Path,
    tmp_path: Path,
    attentive: None,  # noqa: ARG001  it only has to be there
    torchrun: Callable[..., Forked],
):
    """One for some steps, two, with a pause, until torchrun is told to end, and one to the end."""
    settings = Settings.from_flat(json.loads(undisturbed[0].settings_file.read_text()))
    folder = RunStore(tmp_path).create(settings, "mine")
    run_training(folder, on_record=lambda record: folder.request(Control(stop=record.step >= 20)))
    steps = [lines_of(folder)[-1]["step"]]
    waits = steps[0] // 10 * 10 + 20  # at a point of the curve
    pair = torchrun(*FORKED, command_file, "resume", "mine", "--checkpoints-dir", tmp_path, WAITS=str(waits))
    wait_until(lambda: lines_of(folder)[-1]["step"] >= waits)
    folder.mailbox.request(pause=True)
    wait_until(lambda: folder.worker_status().is_paused)
    folder.mailbox.request(pause=False)
    wait_until(lambda: not folder.worker_status().is_paused)
    pair.send_signal(signal.SIGTERM)
    pair.wait(60)
    assert folder.status() == "stopped"
    steps.append(lines_of(folder)[-1]["step"])
    assert run_training(folder).reason == "completed"
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "resumed"] == steps == sorted(set(steps))
    assert waits < steps[1] < NUM_STEPS
    # Differences of float32's rounding grow from step to step, but not far in 150. *Measured*: 1.4e-6.
    assert max(differences(last_weights(folder), last_weights(undisturbed[0])).values()) < 1e-3


def test_a_first_process_that_can_not_go_on_ends_the_group_with_its_sentence(
    undisturbed: tuple[RunDir, str], text_file: Path, torchrun: Callable[..., Forked]
):
    folder, _ = undisturbed
    before = folder.events_file.read_bytes()
    program = REPOSITORY / "charlstm" / "__main__.py"
    pair = torchrun(*FORKED, program, *train_command(text_file, folder.path.parent))
    _, complaint = pair.communicate(timeout=90)
    assert pair.returncode != 0
    assert complaint.count("mine exists already among the models and runs; choose another name.\n") == 1
    assert "another process of the group" not in complaint
    assert folder.events_file.read_bytes() == before
