"""The benchmark's structure: what is compared, in which order, and how. How fast anything is, no test asks."""

import getpass
import itertools
import json
import platform
import re
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from forked import spawn_forked

from charlstm.bench import suites, timing
from charlstm.bench.baseline_models import (
    BaselineLSTM,
    BaselineTraining,
    evaluate_peer,
    generate_with_peer,
    prepare_for_peer,
)
from charlstm.bench.report import BenchConfig, BenchReport, Result, Skipped, table
from charlstm.bench.suites import Shape, Sizes, run
from charlstm.bench.timing import Meter, Task, compare, environment
from charlstm.cli import main
from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Split
from charlstm.evaluation import evaluate_windows
from charlstm.events import Progress
from charlstm.language_model import LanguageModel
from charlstm.runs.launcher import Launcher
from charlstm.runs.manager import RunManager
from charlstm.training import Trainer
from charlstm.vocabulary import Vocabulary

HAS_PRECISION = "precision" in TrainConfig.model_fields
FLOAT32 = {"precision": "float32"} if HAS_PRECISION else {}
TINY = Sizes(
    vocab_size=12,
    text_chars=600,
    matmul=8,
    train=(Shape(2, 4, 3, 8), Shape(1, 5, 2, 8)),
    one_stream=(Shape(2, 4), Shape(1, 5)),
    many_streams=Shape(2, 4, batch_size=3),
    written_chars=6,
    stepped_chars=5,
    evaluate=Shape(1, 4),
    stateful_chars=40,
    windows=2,
    prepare_bytes=2_000,
    prepare_naive_bytes=300,
)
ONCE = Meter(seconds=1e-9, rounds=1)
QUICK = BenchConfig(seconds=1e-9, threads=1)
TRAIN_NAMES = ["matmul/float32", "matmul/bfloat16"]
for _name in ("train/2x4", "train/1x5"):
    TRAIN_NAMES += [_name, *([f"{_name}/float32"] if HAS_PRECISION else []), f"{_name}/flops"]
NAMES = {
    "train": TRAIN_NAMES,
    "generate": ["generate/2x4/1", "generate/1x5/1", "generate/2x4/3"],
    "evaluate": ["evaluate/stateful", "evaluate/windows", "evaluate/streams"],
    "prepare": ["prepare"],
    "startup": ["startup/help", "startup/import", "startup/first-character", "startup/first-step"],
    "gpu": [],  # see test_gpu_suite.py
}


class Hands:
    """A clock that stands still but for the work of `task`, which takes the seconds it is given, in turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def task(self, name: str, seconds: list[float], amount: float = 1.0, share: float = 1.0) -> Task:
        left = iter(seconds)

        def work() -> float:
            self.now += next(left)
            self.log.append(name)
            return amount

        def tidy() -> None:
            self.now += 1000
            self.log.append("tidy")

        return Task(name, work, tidy, share)

    def meter(self, seconds: float, rounds: int = 3) -> Meter:
        return Meter(seconds, rounds, clock=lambda: self.now)


@pytest.fixture(scope="module")
def everything() -> Iterator[BenchReport]:
    """All suites once, tiny, on a processor that multiplies bfloat16, without a GPU."""
    take_turns = Meter.take_turns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suites, "multiplies_bfloat16", lambda: True)
        patch.setattr(suites, "find_gpu", lambda: None)
        patch.setattr(Meter, "take_turns", lambda meter, tasks, warm_up: take_turns(meter, tasks, 0))  # noqa: ARG005
        patch.setattr(Launcher, "prepare", lambda _: None)
        patch.setattr(RunManager, "_spawn", spawn_forked)
        yield run("all", QUICK, ONCE, TINY)


class TestTakingTurns:
    def test_tasks_take_turns_and_neither_warming_up_nor_tidying_is_timed(self):
        hands = Hands()
        tasks = [hands.task("a", [50, 60, 1, 2, 4], amount=8), hands.task("b", [70, 80, 2, 2, 2], amount=10)]
        rates = hands.meter(seconds=0.1).take_turns(tasks, warm_up=2)
        assert rates == {"a": [8, 4, 2], "b": [5, 5, 5]}
        assert [each for each in hands.log if each != "tidy"] == [*"aabb", *"ababab"]
        assert hands.log[1::2] == ["tidy"] * 10

    def test_a_turn_does_whole_units_until_its_share_of_the_seconds_is_over(self):
        hands = Hands()
        tasks = [hands.task("a", [1.0] * 9), hands.task("b", [1.0] * 9, share=0.5)]
        rates = hands.meter(seconds=8, rounds=3).take_turns(tasks, warm_up=0)
        assert rates == {"a": [1, 1, 1], "b": [1, 1, 1]}
        kinds = "".join(each for each in hands.log if each != "tidy")
        assert kinds == "aaabb" * 3, "8/3 of a second are 3 units, 4/3 are 2"

    def test_long_units_get_no_more_rounds_than_the_fewest(self):
        hands = Hands()
        rates = hands.meter(seconds=10, rounds=5).take_turns([hands.task("a", [30.0] * 5)], warm_up=0)
        assert len(rates["a"]) == 3
        hands = Hands()
        assert len(hands.meter(seconds=10, rounds=5).take_turns([hands.task("a", [2.0] * 5)], warm_up=0)["a"]) == 5

    def test_progress_names_the_task_and_the_round(self):
        said: list[str] = []
        Meter(1e-9, rounds=2, progress=said.append).take_turns([Task("a", lambda: 1.0)], warm_up=1)
        assert said == ["a: warming up", "a: round 1 of 2", "a: round 2 of 2"]

    def test_the_ratio_is_the_median_of_the_rounds_ratios(self):
        ours, theirs = [10.0, 30.0, 20.0], [10.0, 10.0, 40.0]
        result = compare("x", "chars/s", ours, ("y", theirs))  # ratios 1, 3 and 0.5
        assert (result.value, result.ratio) == (20, 1)
        assert result.yardstick is not None
        assert (result.yardstick.name, result.yardstick.value) == ("y", 10)
        assert result.ratio != result.value / result.yardstick.value

    def test_seconds_are_those_of_one_unit_and_their_ratio_is_below_one_where_we_are_faster(self):
        result = compare("x", "s", [4.0, 2.0, 1.0], ("y", [1.0, 1.0, 0.1]))
        assert (result.value, result.ratio) == (0.5, statistics.median([0.25, 0.5, 0.1]))
        assert result.yardstick is not None
        assert result.yardstick.value == 1

    def test_without_a_yardstick_there_is_no_ratio(self):
        assert compare("x", "GFLOP/s", [1.0, 3.0, 2.0]) == Result(name="x", value=2, unit="GFLOP/s")


class TestReport:
    def test_every_suite_has_its_results_in_order(self, everything: BenchReport):
        assert [result.name for result in everything.results] == list(itertools.chain(*NAMES.values()))
        assert everything.suite == "all"

    def test_every_figure_is_a_positive_number_beside_a_yardstick_but_the_first_matmul(self, everything: BenchReport):
        for result in everything.results:
            assert result.value > 0, result.name
            if result.name == "matmul/float32":
                assert (result.yardstick, result.ratio) == (None, None)
                continue
            assert result.yardstick is not None, result.name
            assert result.yardstick.value > 0
            assert result.ratio == pytest.approx(result.value / result.yardstick.value), "of one round"

    def test_units(self, everything: BenchReport):
        units = {result.name: result.unit for result in everything.results}
        kinds = {"matmul": "GFLOP/s", "prepare": "MB/s", "startup": "s"}
        for name, unit in units.items():
            expected = "GFLOP/s" if name.endswith("/flops") else kinds.get(name.split("/")[0], "chars/s")
            assert unit == expected, name

    def test_the_fraction_of_the_matmul_rate_is_that_of_the_step_measured(self, everything: BenchReport):
        results = {result.name: result for result in everything.results}
        step, flops = results["train/2x4"], results["train/2x4/flops"]
        assert flops.value == pytest.approx(step.value * 6 * (3 * 4 * 4 * 4 + 4 * 12) / 1e9)
        assert flops.yardstick is not None
        assert flops.yardstick.name == "matmul/bfloat16"

    def test_the_json_has_exactly_these_keys(self, everything: BenchReport):
        shown = json.loads(everything.model_dump_json())
        assert shown.keys() == {"suite", "environment", "results"}
        facts = {"processor", "features", "cores", "threads", "gpu", "python", "torch", "charlstm", "date", "skipped"}
        assert shown["environment"].keys() == facts
        for result in shown["results"]:
            assert result.keys() == {"name", "value", "unit", "yardstick", "ratio"}
            assert result["yardstick"] is None or result["yardstick"].keys() == {"name", "value"}

    def test_the_default_sizes_are_the_published_ones(self):
        sizes = Sizes()
        assert [(shape.label, shape.batch_size, shape.seq_len) for shape in sizes.train] == [
            ("2x512", 64, 128),
            ("1x384", 8, 64),
        ]
        assert [shape.label for shape in sizes.one_stream] == ["2x512", "1x384"]
        assert (sizes.many_streams.label, sizes.many_streams.batch_size) == ("2x512", 64)
        assert (sizes.evaluate.label, sizes.vocab_size, sizes.matmul, sizes.windows) == ("1x512", 65, 1024, 200)

    def test_the_multiplied_weights_are_all_matrices_but_the_one_hot_inputs(self):
        for shape in (Shape(1, 6), Shape(3, 4)):
            model = LanguageModel.create(Vocabulary(tuple("abcde")), shape.model, seed=1).model
            matrices = {name: each.numel() for name, each in model.named_parameters() if each.dim() > 1}
            first = next(name for name in matrices if "ih_l0" in name)
            assert shape.flops(5) == 6 * (sum(matrices.values()) - matrices[first])

    def test_the_environment_tells_nothing_about_whose_machine_it_is(self):
        where = environment([])
        shown = where.model_dump_json()
        folders = [str(Path.home()), str(Path.cwd()), str(Path(__file__).parent)]
        for secret in (socket.gethostname(), platform.node(), *folders):
            assert secret not in shown
        assert getpass.getuser() not in re.findall(r"\w+", shown)
        assert "/" not in shown
        assert "\\" not in shown
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", where.date)
        assert where.threads == torch.get_num_threads()

    def test_the_environment_names_the_gpu_if_there_is_one(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(timing, "find_gpu", lambda: torch.device("cuda"))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU 80GB")
        where = environment([])
        assert where.gpu == "Some GPU 80GB"
        assert "Some GPU 80GB" in table(BenchReport(suite="gpu", environment=where, results=())).splitlines()

    def test_the_table_is_aligned_and_says_what_was_skipped(self):
        skipped = Skipped(name="matmul/bfloat16", why="the processor has no instructions for it")
        results = (
            compare("train/2x512", "chars/s", [12_345.6], ("nn.LSTM", [1_000.0])),
            compare("train/2x512/flops", "GFLOP/s", [50.0], ("matmul/float32", [100.0])),
            compare("matmul/float32", "GFLOP/s", [0.1234]),
        )
        lines = table(BenchReport(suite="train", environment=environment([skipped]), results=results)).splitlines()
        header, *rows = lines[3:7]
        assert [line.split() for line in rows] == [
            ["train/2x512", "12,346", "chars/s", "1,000", "12.35", "nn.LSTM"],
            ["train/2x512/flops", "50", "GFLOP/s", "100", "0.50", "matmul/float32"],
            ["matmul/float32", "0.123", "GFLOP/s"],
        ]
        for column in ("unit", "yardstick"):
            at = header.rindex(column)
            assert all(len(row) < at or row[at - 1] == " " != row[at] for row in rows)
        assert "6 x weights" in lines[-2]
        assert lines[-1] == "matmul/bfloat16: skipped, the processor has no instructions for it"


class TestSuites:
    def test_without_instructions_for_bfloat16_it_is_skipped_and_float32_is_the_yardstick(
        self, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(suites, "multiplies_bfloat16", lambda: False)
        report = run("train", QUICK, ONCE, TINY)
        assert [result.name for result in report.results] == [name for name in TRAIN_NAMES if "bfloat16" not in name]
        assert [skipped.name for skipped in report.environment.skipped] == ["matmul/bfloat16"]
        flops = next(result for result in report.results if result.name.endswith("/flops"))
        assert flops.yardstick is not None
        assert flops.yardstick.name == "matmul/float32"

    def test_where_precision_is_a_setting_float32_is_measured_too(self, monkeypatch: pytest.MonkeyPatch):
        class WithPrecision(TrainConfig):
            precision: Literal["auto", "bfloat16", "float32"] = "auto"

        asked: list[str] = []

        class Spy(Trainer):
            def __init__(self, language_model: LanguageModel, split: Split, config: WithPrecision) -> None:
                asked.append(config.precision)
                super().__init__(language_model, split, config)

        monkeypatch.setattr(suites, "TrainConfig", WithPrecision)
        monkeypatch.setattr(suites, "Trainer", Spy)
        names = [result.name for result in run("train", QUICK, ONCE, TINY).results]
        assert {"train/2x4/float32", "train/1x5/float32"} < set(names)
        assert asked == ["auto", "float32"] * 2

    def test_without_a_bundled_model_its_first_character_is_skipped(self, tmp_path: Path):
        assert next(timing.measure_startup(ONCE, tmp_path / "none", "text")) == Skipped(
            name="startup/first-character", why="there is no bundled model beside this package"
        )

    def test_the_number_of_threads_is_the_one_asked_for_and_is_as_before_afterwards(self):
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            assert run("prepare", BenchConfig(seconds=1e-9), ONCE, TINY).environment.threads == 2
            assert run("generate", BenchConfig(seconds=1e-9), ONCE, TINY).environment.threads == 2
            assert run("generate", BenchConfig(seconds=1e-9, threads=3), ONCE, TINY).environment.threads == 3
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


class TestYardsticksDoTheSameWork:
    def test_the_same_weights_give_the_same_losses_step_by_step_and_over_the_end_of_a_pass(self):
        vocabulary = Vocabulary(tuple("abcdefg"))
        tokens = np.random.default_rng(0).integers(0, 7, 3 * 8 * 4 + 1).astype(np.uint8)  # 4 windows of 8, 3 streams
        ours = LanguageModel.create(vocabulary, ModelConfig(hidden_size=16, num_layers=2), seed=3)
        peer = BaselineLSTM(7, 16, 2)
        peer.load_state_dict(ours.model.state_dict())
        settings = {"batch_size": 3, "seq_len": 8, "max_steps": 6, "log_every": 1, "sample_chars": 1, "max_minutes": 0}
        config = TrainConfig(**settings, state_reset=0, lr_schedule="constant", learning_rate=1e-2, **FLOAT32)
        trainer = Trainer(ours, Split(vocabulary, tokens, tokens[:20]), config)
        losses = [event.train_loss for event in trainer.run() if isinstance(event, Progress) and event.step]
        training = BaselineTraining(peer, torch.from_numpy(tokens.astype(np.int64)), 3, 8, learning_rate=1e-2)
        assert [training.step() for _ in range(6)] == pytest.approx(losses, rel=1e-4)
        assert len({round(loss, 3) for loss in losses}) > 1, "something was learned"

    def test_a_cold_window_has_the_same_loss(self):
        vocabulary = Vocabulary(tuple("abcdefg"))
        tokens = np.random.default_rng(0).integers(0, 7, 257).astype(np.uint8)
        ours = LanguageModel.create(vocabulary, ModelConfig(hidden_size=16), seed=3)
        peer = BaselineLSTM(7, 16, 1)
        peer.load_state_dict(ours.model.state_dict())
        theirs = evaluate_peer(peer, torch.from_numpy(tokens.astype(np.int64)), windows=3, window=256, at_once=2)
        assert theirs == pytest.approx(evaluate_windows(ours.model, tokens).nats, rel=1e-5)

    def test_the_naive_loop_gives_the_same_ids(self, pangrams: str):
        assert prepare_for_peer(pangrams).tolist() == Vocabulary.from_text(pangrams).encode(pangrams).tolist()

    def test_the_peer_writes_as_many_characters_as_it_is_asked_for(self):
        texts = generate_with_peer(BaselineLSTM(3, 4, 1), streams=2, num_chars=5, characters="abc", temperature=0.8)
        assert [len(text) for text in texts] == [5, 5]
        assert set("".join(texts)) <= set("abc")


class TestCommand:
    @pytest.fixture(autouse=True)
    def _tiny(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(suites, "Sizes", lambda: TINY)

    def test_json_is_one_object_and_nothing_else(self, capsys: pytest.CaptureFixture[str]):
        assert main(["bench", "evaluate", "--json", "--seconds", "0.001"]) == 0
        out, err = capsys.readouterr()
        assert err == "", "no progress elsewhere than on a terminal"
        assert [result.name for result in BenchReport.model_validate_json(out).results] == NAMES["evaluate"]

    def test_without_it_a_table_is_printed(self, capsys: pytest.CaptureFixture[str]):
        assert main(["bench", "prepare", "--seconds", "0.001", "--threads", "1"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.startswith("prepare: ")
        assert re.search(r"^measured +figure +unit +yardstick's +ratio +yardstick$", out, re.MULTILINE)
        assert re.search(r"^prepare +[\d.,]+ +MB/s +[\d.,]+ +[\d.]+ +read, ", out, re.MULTILINE)

    def test_an_unknown_suite_is_wrong_usage(self, capsys: pytest.CaptureFixture[str]):
        with pytest.raises(SystemExit) as ended:
            main(["bench", "nothing"])
        assert ended.value.code == 2
        assert "startup" in capsys.readouterr().err, "it says what there is"

    @pytest.mark.parametrize("flags", [["--seconds", "0"], ["--seconds", "nan"], ["--threads", "-1"]])
    def test_values_out_of_bounds_are_wrong_usage_in_one_sentence(
        self, flags: list[str], capsys: pytest.CaptureFixture[str]
    ):
        assert main(["bench", "prepare", *flags]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert flags[0].removeprefix("--") in err
