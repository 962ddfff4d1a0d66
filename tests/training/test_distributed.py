"""Several processes learn what one would: on this machine's loopback, with gloo."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked
from grouped import CASES, differences
from safetensors.torch import load_file
from torch import Tensor

from charlstm.config import Settings
from charlstm.corpus import StreamBatches
from charlstm.corpus.batches import IGNORED
from charlstm.errors import DistributedError
from charlstm.kernel import lstm as kernel
from charlstm.runs.store import RunStore
from charlstm.training.distributed import SINGLE_PROCESS, World
from charlstm.vocabulary import Vocabulary

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not torch.distributed.is_gloo_available(),  # noqa: TID251
    reason="there is no gloo",
)

# What two processes compute.


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The folder of what two processes found in all cases."""
    place = tmp_path_factory.mktemp("together")
    names = [name for name in CASES if name != "bfloat16" or kernel.is_available(torch.bfloat16, 16)]
    # As torchrun does it, which keeps the store where they meet; test_torchrun has the real one.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # noqa: TID251
    job = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": "2"}
    job |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    script = "import sys, grouped; grouped.take_part(*sys.argv[1:])"
    processes = [Forked(repository, script, place, *names, **job, RANK=str(rank)) for rank in (0, 1)]
    try:
        said = [process.communicate(timeout=90) for process in processes]
    finally:
        for process in processes:
            process.end()
    assert [process.returncode for process in processes] == [0, 0], said
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
    alone, state = CASES[case](SINGLE_PROCESS)
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
    assert 300 <= ends[0]["elapsed_seconds"] == ends[1]["elapsed_seconds"] < 320  # the last step's looks included
    for shared in ("num_samples", "sampled_seconds"):  # or one of them would roll back alone
        assert ends[0][shared] == ends[1][shared] > 3


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
    assert World.from_environment({}) is World.from_environment({"RANK": "1", "WORLD_SIZE": "2"}) is SINGLE_PROCESS
    assert (
        SINGLE_PROCESS.is_rank_zero,
        SINGLE_PROCESS.shard(7),
        SINGLE_PROCESS.broadcast_object("x"),
        SINGLE_PROCESS.num_restarts,
    ) == (True, slice(0, 7), "x", 0)
    tensor = torch.ones(2)
    with SINGLE_PROCESS as world, world.rank_zero_first():
        world.all_reduce_sum_([tensor])
        world.barrier()
    assert tensor.tolist() == [1, 1]
    assert not torch.distributed.is_initialized()  # noqa: TID251


@pytest.mark.parametrize(("num_streams", "size"), [(5, 2), (7, 3), (4, 4), (4096, 7)])
def test_the_shares_are_all_streams_and_differ_by_one_at_most(num_streams: int, size: int):
    shares = [World(rank, size).shard(num_streams) for rank in range(size)]
    assert [place for share in shares for place in range(num_streams)[share]] == list(range(num_streams))
    sizes = {share.stop - share.start for share in shares}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_batches_of_all_shares_are_that_of_one_process(size: int):
    tokens = Vocabulary.from_text("abcdefgh").encode("abcdefgh" * 11)
    whole = StreamBatches(tokens, 7, 5)
    shares = [StreamBatches(tokens, 7, 5, share=World(rank, size).shard(7)) for rank in range(size)]
    for step in range(2 * whole.windows_per_pass):
        batch, parts = whole[step], [share[step] for share in shares]
        assert torch.equal(torch.cat([part.tokens for part in parts]), batch.tokens)
        assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)
        assert {part.num_targets for part in parts} == {batch.num_targets}
        assert batch.num_targets == int((batch.targets != IGNORED).sum())
        assert {part.starts_anew for part in parts} == {batch.starts_anew}


def test_a_job_is_told_by_its_torchrun_and_a_restart_by_its_count():
    started = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "0"}
    first = World.from_environment(started)
    again = World.from_environment({**started, "TORCHELASTIC_RESTART_COUNT": "2", "RANK": "0"})
    assert (first.rank, first.size, first.is_rank_zero, first.num_restarts) == (1, 2, False, 0)
    assert (again.job, again.num_restarts, again.is_rank_zero) == (first.job, 2, True)
    assert World.from_environment({**started, "TORCHELASTIC_RUN_ID": "other"}).job != first.job


def test_a_restart_finds_the_run_of_its_own_job_only(tmp_path: Path):
    store, settings = RunStore(tmp_path), Settings.preset("minute")
    mine = store.create(settings, "mine", job="a")
    store.create(settings, "foreign", job="b")
    store.create(settings, "by-hand")
    assert store.find_by_job("a") == mine
    assert store.find_by_job("c") is None


def test_whoever_is_left_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def broken(_: Tensor) -> None:
        raise RuntimeError("Connection closed by peer [127.0.0.1]:17590. GLHF!")

    monkeypatch.setattr("torch.distributed.all_reduce", broken)
    with pytest.raises(DistributedError) as caught:
        dataclasses.replace(SINGLE_PROCESS, size=2).all_reduce_sum_([torch.zeros(1)])
    assert str(caught.value).startswith("another process of the group has ended early; ")
    assert caught.value.__cause__ is None
