"""Several processes learn what one would, one of them writes, and a death costs time but not one bit of the result.

The processes are real: torchrun on this machine's loopback, with gloo.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from grouped import CASES
from safetensors.torch import load_file
from torch import Tensor
from waiting import wait_until

from charlstm import kernel
from charlstm.cli import main
from charlstm.config import Settings
from charlstm.corpus import StreamBatches
from charlstm.corpus.batches import IGNORED
from charlstm.distributed import ALONE, World
from charlstm.errors import ConfigError, GroupError
from charlstm.runs.control import Control
from charlstm.runs.store import RunFolder, RunStore
from charlstm.runs.worker import work
from charlstm.vocabulary import Vocabulary

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not torch.distributed.is_gloo_available(),  # noqa: TID251
    reason="there is no torchrun with gloo",
)

REPOSITORY = Path(__file__).resolve().parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
NUM_STEPS = 300
FLAGS = {
    "hidden_size": 8,
    "dropout": 0.2,
    "batch_size": 5,
    "seq_len": 16,
    "max_minutes": 0.0,
    "max_steps": NUM_STEPS,
    "log_every": 10,
    "eval_every": 100,
    "sample_every": 200,
    "sample_chars": 10,
    "weight_average": 0.9,
    "precision": "float32",
    "device": "cpu",
}
# The command, with a worker that saves all the time. DEATHS kills the second process, and after the restart the first,
# each once there is something saved to go on from; PAUSE leaves time to interfere.
COMMAND = """
import functools, os, signal, sys, time
from pathlib import Path
from charlstm.cli import main
from charlstm.runs import worker
from charlstm.training import Trainer
worker._SAVE_SHARE = 0.5
worker.work = functools.partial(worker.work, save_seconds=0.0)
rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
state = Path(sys.argv[sys.argv.index("--checkpoints-dir") + 1]) / "mine" / "last" / "training_state.safetensors"
agreed = Trainer.agreed
def interrupted(self, stop, save):
    time.sleep(float(os.environ.get("PAUSE", "0")))
    if "DEATHS" in os.environ and rank == 1 - attempt and self.step > 70 * (attempt + 1) and state.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return agreed(self, stop, save)
Trainer.agreed = interrupted
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


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


def finished(command: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    process = begun(command, **environment)
    try:
        out, err = process.communicate(timeout=90)
    finally:
        process.terminate()  # a torchrun ends what it started
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def begun(command: list[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "CHARLSTM_KERNEL": "off", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(folder: RunFolder) -> list[dict[str, Any]]:
    """Every line of a run's records; each must be whole."""
    return [json.loads(line) for line in folder.events_file.read_bytes().splitlines()] if folder.exists else []


def weights_of(folder: RunFolder) -> dict[str, Tensor]:
    return load_file(folder.path / "last" / "model.safetensors")


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """How far apart tensors of the same names are, in terms of their lengths."""
    assert ours.keys() == theirs.keys()
    return {name: float((ours[name] - theirs[name]).norm() / (theirs[name].norm() + 1e-9)) for name in ours}


# What two processes compute.


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes found in all cases."""
    place = tmp_path_factory.mktemp("together")
    names = [name for name in CASES if name != "bfloat16" or kernel.is_available(torch.bfloat16, 16)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        for _ in range(3):  # seen once: all was done, and a thread of PyTorch's aborted the process at its exit (-6)
            done = finished([*TORCHRUN, "tests/grouped.py", str(place), *names], CHARLSTM_KERNEL="")
            if "terminate called without an active exception" not in done.stderr:
                break
    assert done.returncode == 0, done.stderr
    return place


def found(together: Path, case: str, rank: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    place = together / f"{case}-{rank}"
    return json.loads(place.with_suffix(".json").read_text()), load_file(place.with_suffix(".safetensors"))


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [
        # Sums in another order: float32 rounds them by 6e-8 each. *Measured*: at most 6.4e-7 after 60 steps.
        ("even", 1e-5),
        ("uneven", 1e-5),
        ("fused", 1e-5),
        # Each process rounds its own sums over its own streams to 8 bits, 4e-3. *Measured*: 3.4e-4 in the losses,
        # 1.4e-3 in the weights.
        pytest.param(
            "bfloat16",
            1e-2,
            marks=pytest.mark.skipif(not kernel.is_available(torch.bfloat16, 16), reason="needs AVX512-BF16"),
        ),
    ],
)
def test_two_processes_learn_what_one_does(together: Path, case: str, tolerance: float):
    """With dropout, dropped recurrent weights, averaged weights and the last window of a pass shorter than others."""
    alone, state = CASES[case](ALONE)
    ours, our_state = found(together, case, 0)
    assert len(alone["losses"]) == 61
    assert ours["losses"] == pytest.approx(alone["losses"], rel=tolerance)
    assert alone["losses"][-1] < 0.95 * alone["losses"][0]  # something is learned
    weights = {name: each for name, each in differences(our_state, state).items() if not name.startswith("optimizer")}
    assert {name for name in weights if name.startswith("carried")} == {"carried.h", "carried.c"}
    assert max(weights.values()) < 10 * tolerance
    told = {"best_val_loss", "smooth_loss"}
    assert ours["facts"] | dict.fromkeys(told) == alone["facts"] | dict.fromkeys(told)
    assert {name: ours["facts"][name] for name in told} == pytest.approx(
        {name: alone["facts"][name] for name in told}, rel=tolerance
    )


@pytest.mark.parametrize("case", ["even", "uneven", "fused", "timed", "spoiled", "wished", "stated"])
def test_both_processes_hold_the_same_bits(together: Path, case: str):
    (facts, tensors), (their_facts, their_tensors) = (found(together, case, rank) for rank in (0, 1))
    assert tensors.keys() == their_tensors.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], their_tensors[name])] == []
    assert facts.get("losses") == their_facts.get("losses")


def test_only_the_first_validates_and_samples(together: Path):
    assert set(found(together, "even", 0)[0]["kinds"]) == {"progress", "evaluated", "sampled"}
    assert set(found(together, "even", 1)[0]["kinds"]) == {"progress"}


def test_a_run_limited_by_time_goes_by_the_first_ones_clock(together: Path):
    ends = [found(together, "timed", rank)[0]["facts"] for rank in (0, 1)]
    assert ends[0]["step"] == ends[1]["step"] > 60
    assert ends[0]["elapsed_seconds"] == ends[1]["elapsed_seconds"] == 300


def test_both_go_back_when_one_of_them_meets_what_is_no_number(together: Path):
    runs = [found(together, "spoiled", rank)[0] for rank in (0, 1)]
    assert [run["kinds"].count("rewound") for run in runs] == [1, 1]
    assert [(run["facts"]["step"], run["facts"]["rate_factor"]) for run in runs] == [(60, 0.5)] * 2


def test_a_wish_is_heard_by_both_after_the_next_step_and_once(together: Path):
    heard = [found(together, "wished", rank)[0]["heard"] for rank in (0, 1)]
    assert heard[0] == heard[1]
    assert [step for step, _, save in heard[0] if save] == [6]
    assert [step for step, stop, _ in heard[0] if stop] == [10]


def test_what_the_first_gives_arrives_as_it_is(together: Path):
    (facts, tensors), (their_facts, _) = (found(together, "stated", rank) for rank in (0, 1))
    assert facts == their_facts
    assert facts["text"] == "ä\n"
    assert facts["facts"]["step"] == 0
    assert "average.head.weight" in tensors


# One process on its own, and shares.


def test_a_process_on_its_own_is_a_world_that_does_nothing():
    assert World.from_environment({}) is World.from_environment({"RANK": "1", "WORLD_SIZE": "2"}) is ALONE
    assert (ALONE.is_writer, ALONE.share(7), ALONE.shared("x"), ALONE.num_restarts) == (True, slice(0, 7), "x", 0)
    tensor = torch.ones(2)
    with ALONE as world, world.first_goes_first():
        world.add_up_([tensor])
        world.barrier()
    assert tensor.tolist() == [1, 1]
    assert not torch.distributed.is_initialized()  # noqa: TID251


@pytest.mark.parametrize(("num_streams", "size"), [(5, 2), (7, 3), (4, 4), (4096, 7)])
def test_the_shares_are_all_streams_and_differ_by_one_at_most(num_streams: int, size: int):
    shares = [World(rank, size).share(num_streams) for rank in range(size)]
    assert [place for share in shares for place in range(num_streams)[share]] == list(range(num_streams))
    sizes = {share.stop - share.start for share in shares}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_batches_of_all_shares_are_that_of_one_process(size: int):
    tokens = Vocabulary.from_text("abcdefgh").encode("abcdefgh" * 11)
    whole = StreamBatches(tokens, 7, 5)
    shares = [StreamBatches(tokens, 7, 5, share=World(rank, size).share(7)) for rank in range(size)]
    for step in range(2 * whole.windows_per_pass):
        batch, parts = whole[step], [share[step] for share in shares]
        assert torch.equal(torch.cat([part.tokens for part in parts]), batch.tokens)
        assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)
        assert {part.num_targets for part in parts} == {batch.num_targets}
        assert batch.num_targets == int((batch.targets != IGNORED).sum())
        assert {part.is_first for part in parts} == {batch.is_first}


def test_more_processes_than_streams_are_refused_in_one_sentence_said_once(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(ConfigError, match="2 processes can't share 1 streams"):
        World(0, 2).share(1)
    for rank, said in (("0", "2 processes can't share 1 streams; start at most 1, or raise batch_size.\n"), ("1", "")):
        for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        assert main(train_command(text_file, tmp_path, batch_size=1)) == 2
        assert tuple(capsys.readouterr()) == ("", said)
    assert list(tmp_path.glob("mine*")) == []


def test_a_job_is_told_by_its_torchrun_and_a_restart_by_its_count():
    started = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "0"}
    first = World.from_environment(started)
    again = World.from_environment({**started, "TORCHELASTIC_RESTART_COUNT": "2", "RANK": "0"})
    assert (first.rank, first.size, first.is_writer, first.num_restarts) == (1, 2, False, 0)
    assert (again.job, again.num_restarts, again.is_writer) == (first.job, 2, True)
    assert World.from_environment({**started, "TORCHELASTIC_RUN_ID": "other"}).job != first.job


def test_a_restart_finds_the_run_of_its_own_job_only(tmp_path: Path):
    store, settings = RunStore(tmp_path), Settings.preset("minute")
    mine = store.create(settings, "mine", job="a")
    store.create(settings, "foreign", job="b")
    store.create(settings, "by-hand")
    assert store.of_job("a") == mine
    assert store.of_job("c") is None


def test_whoever_is_left_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def broken(_: Tensor) -> None:
        raise RuntimeError("Connection closed by peer [127.0.0.1]:17590. GLHF!")

    monkeypatch.setattr("torch.distributed.all_reduce", broken)
    with pytest.raises(GroupError) as caught:
        dataclasses.replace(ALONE, size=2).add_up_([torch.zeros(1)])
    assert str(caught.value).startswith("another process of the group has ended early; ")
    assert caught.value.__cause__ is None


# The command.


@pytest.fixture(scope="module")
def undisturbed(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    """A run of two processes that nobody interfered with, and what it printed."""
    place = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        done = finished([*TORCHRUN, "-m", "charlstm", *train_command(text_file, place)])
    assert done.returncode == 0, done.stderr
    return RunFolder(place / "mine"), done.stdout


def test_one_process_writes_and_speaks(undisturbed: tuple[RunFolder, str]):
    folder, printed = undisturbed
    kinds = [line["kind"] for line in lines_of(folder)]
    assert (kinds[0], kinds.count("started"), kinds[-1], kinds.count("finished")) == ("started", 1, "finished", 1)
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "progress"] == [*range(0, NUM_STEPS + 1, 10)]
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "evaluated"] == [0, 100, 200, 300]
    names = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    expected = {"config.json", "events.jsonl", "job", "run.lock", "model.safetensors"}
    assert names == expected | {"last/model.safetensors", "last/training_state.safetensors"}
    assert [path.name for path in folder.path.parent.iterdir()] == ["mine"]
    for line in ("run mine, in", "data has", "step 100: validation", f"completed at step {NUM_STEPS}"):
        assert printed.count(line) == 1, printed


def test_killed_processes_are_started_again_and_end_with_the_same_bits(
    undisturbed: tuple[RunFolder, str], text_file: Path, command_file: Path, tmp_path: Path
):
    """First the second process is killed, then the first: the same command goes on with the run it began."""
    restarting = [*TORCHRUN, "--max-restarts", "3", str(command_file), *train_command(text_file, tmp_path)]
    done = finished(restarting, DEATHS="1")
    assert done.returncode == 0, done.stderr
    folder = RunFolder(tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("mine")] == ["mine"]
    records = lines_of(folder)
    resumed_at = [line["step"] for line in records if line["kind"] == "resumed"]
    assert len(resumed_at) == 2
    assert 0 < resumed_at[0] < resumed_at[1] < NUM_STEPS
    assert [line["kind"] for line in records].count("started") == 1
    assert [line["message"] for line in records if line["kind"] == "failed"] == [
        "another process of the group has ended early; what it said tells why, and the run can be resumed."
    ]  # the first process said so of the second; killed itself, it says nothing
    ours, theirs = weights_of(folder), weights_of(undisturbed[0])
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert records[-1] == lines_of(undisturbed[0])[-1] | {"elapsed_seconds": records[-1]["elapsed_seconds"]}


def test_a_run_is_stopped_and_goes_on_in_another_number_of_processes(
    undisturbed: tuple[RunFolder, str], command_file: Path, tmp_path: Path
):
    """One for some steps, two, with a pause, until torchrun is told to end, and one to the end."""
    settings = Settings.from_flat(json.loads(undisturbed[0].settings_file.read_text()))
    folder = RunStore(tmp_path).create(settings, "mine")
    work(folder, on_record=lambda record: folder.ask(Control(stop=record.step >= 20)))
    steps = [lines_of(folder)[-1]["step"]]
    torchrun = begun([*TORCHRUN, str(command_file), "resume", "mine", "--checkpoints-dir", str(tmp_path)], PAUSE="0.01")
    wait_until(lambda: lines_of(folder)[-1]["step"] >= steps[0] + 10)
    folder.mailbox.request(pause=True)
    wait_until(lambda: folder.answer().is_paused)
    folder.mailbox.request(pause=False)
    wait_until(lambda: lines_of(folder)[-1]["step"] >= steps[0] + 20)
    torchrun.send_signal(signal.SIGTERM)
    torchrun.communicate(timeout=60)
    assert folder.status() == "stopped"
    steps.append(lines_of(folder)[-1]["step"])
    assert work(folder).reason == "completed"
    assert [line["step"] for line in lines_of(folder) if line["kind"] == "resumed"] == steps == sorted(set(steps))
    assert steps[1] < NUM_STEPS
    # Differences of float32's rounding grow from step to step, but not far in 300. *Measured*: 1.4e-6.
    assert max(differences(weights_of(folder), weights_of(undisturbed[0])).values()) < 1e-3


def test_a_first_process_that_can_not_go_on_ends_the_group_with_its_sentence(
    undisturbed: tuple[RunFolder, str], text_file: Path
):
    folder, _ = undisturbed
    before = folder.events_file.read_bytes()
    done = finished([*TORCHRUN, "-m", "charlstm", *train_command(text_file, folder.path.parent)])
    assert done.returncode != 0
    assert done.stderr.count("mine exists already among the models and runs; choose another name.\n") == 1
    assert "another process of the group" not in done.stderr
    assert folder.events_file.read_bytes() == before
