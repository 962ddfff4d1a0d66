"""The benchmark of training on a GPU, all of it in small on the processor. How fast anything is, no test asks."""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from training_runs import RHYME

from charlstm.bench import gpu, suites
from charlstm.bench.baseline_models import GPTRecipe
from charlstm.bench.gpu import Check, GpuSizes, Stopwatch, check_gpt, check_ours, compare_seconds, measure, seconds_to
from charlstm.bench.report import Baseline, BenchConfig, Result, Skipped
from charlstm.bench.timing import Meter
from charlstm.cli import main
from charlstm.config import Settings
from charlstm.corpus import Corpus, Split
from charlstm.errors import TrainingDiverged
from charlstm.evaluation import Loss, evaluate_stateful
from charlstm.events import Evaluated, Sampled, StepDone
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

CPU = torch.device("cpu")
SMALL = {"embedding_dim": 4, "batch_size": 4, "seq_len": 8, "precision": "float32"}
TINY = GpuSizes(
    networks=(Settings.preset("minute", hidden_size=8, **SMALL), Settings.preset("best", hidden_size=12, **SMALL)),
    gpt=GPTRecipe(num_layers=1, num_heads=2, width=8, context=8, batch_size=4, num_steps=40, warmup_steps=5),
    steps_at_once=3,
    gpt_steps_at_once=2,
    goals=("2.5", "1.5"),
    seconds=10.0,
    check_seconds=3.0,
    validated_chars=40,
)
SIZES = suites.Sizes()
NAMES = ["gpu/train/1x8", "gpu/train/1x8/nanoGPT", "gpu/train/1x12", "gpu/train/1x12/nanoGPT"]
GOALS = [f"gpu/seconds-to/{goal}/{label}" for label in ("1x8", "1x12") for goal in ("2.5", "1.5")]


class Clock:
    """Stands still but for what adds to it."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Ticking:
    """A clock that moves a little whenever it is looked at, so that no unit of work takes no time."""

    STEP = 2.0**-10

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self) -> float:
        self._clock.now += self.STEP
        return self._clock.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every update of either network takes a second, every validation and sample very long."""
    clock = Clock()

    class Timed(Trainer):
        def _update(self, *batch: object) -> None:
            super()._update(*batch)
            clock.now += 1

        def evaluate(self) -> Evaluated:
            clock.now += 1000
            return super().evaluate()

        def sample(self, is_last: bool = False, estimates: bool = True) -> Sampled:
            clock.now += 10_000
            return super().sample(is_last, estimates)

    class TimedGPT(gpu.GPTTraining):
        def step(self, fraction: float = 0.0) -> torch.Tensor:
            clock.now += 1
            return super().step(fraction)

        def evaluate(self, tokens: torch.Tensor) -> float:
            clock.now += 500
            return super().evaluate(tokens)

    def evaluate_batched(*wanted: object) -> tuple[Loss, str]:
        clock.now += 500
        return real(*wanted)

    real = gpu.evaluate_batched
    monkeypatch.setattr(gpu, "Trainer", Timed)
    monkeypatch.setattr(gpu, "GPTTraining", TimedGPT)
    monkeypatch.setattr(gpu, "evaluate_batched", evaluate_batched)
    return clock


@pytest.fixture(scope="module")
def split() -> Split:
    return Corpus("rhyme", RHYME).split(TINY.networks[0].model, TINY.networks[0].train)


class TestSuite:
    def test_the_default_sizes_are_those_of_two_presets_with_more_streams_and_end_within_four_minutes(self):
        sizes = GpuSizes()
        shown = [
            (each.model.hidden_size, each.model.dropout, each.train.batch_size, each.train.seq_len)
            for each in sizes.networks
        ]
        assert shown == [(384, 0.0, 64, 64), (768, 0.2, 64, 64)]
        assert sizes.goals == ("1.60", "1.4697", "1.40")
        turns = 2.5 * BenchConfig().seconds * len(sizes.networks)  # ours, nn.LSTM, and a GPT for half as long
        assert sizes.seconds * (1 + len(sizes.networks)) + turns <= 200

    def test_without_a_gpu_every_figure_is_skipped_with_the_reason(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        monkeypatch.setattr(suites, "find_gpu", lambda: None)
        monkeypatch.setattr(suites, "Sizes", lambda: replace(SIZES, gpu=TINY))
        assert main(["bench", "gpu", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["results"] == []
        skipped = shown["environment"]["skipped"]
        assert [each["name"] for each in skipped] == [*NAMES, *GOALS]
        assert {each["why"] for each in skipped} == {"this machine has no CUDA GPU to train on"}

    def test_every_network_stands_beside_nn_lstm_and_nano_gpt_measured_in_turns(self):
        said: list[str] = []
        found = list(measure(Meter(1e-9, rounds=1, progress=said.append), TINY, RHYME, CPU))
        results = [each for each in found if isinstance(each, Result)]
        assert [each.name for each in results] == NAMES
        for result in results:
            assert result.unit == "chars/s"
            assert result.value > 0
            assert result.yardstick is not None
            assert result.ratio == pytest.approx(result.value / result.yardstick.value), "of one round"
            assert ("nanoGPT" in result.yardstick.name) == result.name.endswith("/nanoGPT")
        bare = results[0].yardstick
        assert bare is not None
        assert bare.name == "nn.LSTM and nn.Linear, no update, float32, 1x8"
        assert [each.split(":")[0] for each in said[3:6]] == [NAMES[0], bare.name, "nanoGPT's recipe, not compiled"]

    def test_without_shakespeare_or_a_network_to_fetch_it_the_goals_are_skipped(self):
        found = list(measure(Meter(1e-9, rounds=1), replace(TINY, networks=TINY.networks[:1]), RHYME, CPU))
        skipped = [each for each in found if isinstance(each, Skipped)]
        assert [each.name for each in skipped] == GOALS[:2]
        assert all("tiny-shakespeare is not on this machine" in each.why for each in skipped)

    def test_a_rate_is_the_characters_of_the_updates_that_were_made(self, clock: Clock):
        """An update takes a second, so a rate is the characters of one: 4 streams of 8, of a GPT 5 windows of 8."""
        sizes = replace(TINY, gpt=replace(TINY.gpt, batch_size=5))
        _, beside = itertools.islice(measure(Meter(1e-9, 1, clock=Ticking(clock)), sizes, RHYME, CPU), 2)
        assert isinstance(beside, Result)
        assert beside.yardstick is not None
        assert beside.value == pytest.approx(4 * 8, rel=1e-3)
        assert beside.yardstick.value == pytest.approx(5 * 8, rel=1e-3)

    def test_a_gpu_is_waited_for_and_the_processor_is_not(self, monkeypatch: pytest.MonkeyPatch):
        waited: list[torch.device] = []
        monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
        gpu.wait_for(CPU)
        gpu.wait_for(torch.device("cuda", 0))
        assert waited == [torch.device("cuda", 0)]


class TestSecondsTo:
    def test_the_stopwatch_counts_only_while_it_runs(self):
        clock = Clock()
        watch = Stopwatch(clock)
        for is_running, passes, seconds in [(False, 7, 0), (True, 2, 2), (True, 1, 3), (False, 9, 3), (True, 4, 7)]:
            (watch.start if is_running else watch.stop)()
            clock.now += passes
            assert watch() == seconds

    def test_a_goal_is_reached_by_the_first_check_at_or_below_it_whatever_comes_after(self):
        checks = iter([Check(1, 3.0), Check(2, 2.0), Check(3, 2.4), Check(4, 1.2), Check(5, 0.1)])
        assert seconds_to(("2.5", "2.0", "1.5"), checks) == {"2.5": 2, "2.0": 2, "1.5": 4}
        assert next(checks) == Check(5, 0.1), "nothing is trained on once the last goal is reached"

    def test_a_goal_that_is_missed_says_how_close_it_came(self):
        found = seconds_to(("2.5", "1.5"), iter([Check(1, 2.0), Check(2, math.nan), Check(9, 1.9)]))
        assert found == {"2.5": 1, "1.5": "the lowest of 9.0 s was 1.9000"}

    def test_training_that_diverges_ends_in_words_and_keeps_what_was_reached(self):
        def diverging() -> Iterator[Check]:
            yield Check(1, 2.0)
            raise TrainingDiverged("the loss is NaN.")

        assert seconds_to(("2.5", "1.5"), diverging()) == {
            "2.5": 1,
            "1.5": "the lowest of 1.0 s was 2.0000; the loss is NaN.",
        }

    def test_our_seconds_are_those_of_updates_alone(self, clock: Clock, split: Split):
        settings = TINY.networks[0]
        checks = list(check_ours(TINY, settings, split, CPU, clock))
        assert [each.seconds for each in checks] == [3, 6, 9, 10]
        assert all(0 < each.loss < 4 for each in checks)

    def test_the_gpts_seconds_are_those_of_updates_alone(self, clock: Clock, split: Split):
        assert [each.seconds for each in check_gpt(TINY, split, CPU, clock)] == [3, 6, 9, 10]

    def test_the_gpt_ends_with_its_steps_where_these_are_fewer(self, clock: Clock, split: Split):
        few = replace(TINY, gpt=replace(TINY.gpt, num_steps=4))
        assert [each.seconds for each in check_gpt(few, split, CPU, clock)] == [3, 4]

    @pytest.mark.parametrize("settings", TINY.networks, ids=["minute", "best"])
    def test_the_loss_is_the_exact_one_of_the_weights_that_the_trainer_would_save(
        self, settings: Settings, split: Split
    ):
        """A validation text this short is read in one stream. On a clock that stands still the steps end training."""
        train = settings.train.model_copy(update={"max_passes": 1.0})
        checks = list(check_ours(TINY, Settings(model=settings.model, train=train), split, CPU, lambda: 0.0))
        quiet = {"eval_every": 10**6, "sample_chars": 1, "calibrate": "off"}
        by_hand = train.model_copy(update={"max_minutes": 0.0, "device": "cpu", **quiet})
        trainer = Trainer(LanguageModel.create(split.vocabulary, settings.model, train.seed), split, by_hand)
        steps = [event.step for event in trainer.run() if isinstance(event, StepDone)]
        assert len(steps) == math.ceil(len(split.train) / (4 * 8))
        expected = evaluate_stateful(trainer.language_model.model, split.validation).nats
        assert [each.loss for each in checks] == [pytest.approx(expected, rel=1e-6)]

    def test_what_was_reached_stands_beside_nano_gpts_seconds_and_what_was_not_is_skipped(
        self, monkeypatch: pytest.MonkeyPatch, split: Split
    ):
        lengths: list[int] = []

        def ours(_: GpuSizes, settings: Settings, given: Split, *__: object) -> Iterator[Check]:
            lengths.append(len(given.validation))
            return iter([Check(2, 2.4), Check(3, 1.4)] if settings.model.hidden_size == 8 else [Check(5, 2.5)])

        monkeypatch.setattr(gpu, "check_ours", ours)
        monkeypatch.setattr(gpu, "check_gpt", lambda *_: iter([Check(4, 2.5), Check(10, 1.6)]))
        beside = Baseline(name="nanoGPT's recipe, not compiled", value=4)
        assert list(compare_seconds(TINY, split, CPU)) == [
            Result(name=GOALS[0], value=2, unit="s", yardstick=beside, ratio=0.5),
            Result(name=GOALS[1], value=3, unit="s"),
            Result(name=GOALS[2], value=5, unit="s", yardstick=beside, ratio=1.25),
            Skipped(name=GOALS[3], why="the lowest of 5.0 s was 2.5000"),
        ]
        assert lengths == [40, 40], "as much of the validation part as it says"
