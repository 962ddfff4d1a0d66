"""The planner's rules, and that a planned run is planned once."""

import itertools
import json
import math
import random
import re
import statistics
import string
from pathlib import Path

import pytest
from records import counting

from charlstm import ModelConfig, TrainConfig, train
from charlstm.config import PRESETS, Level, Settings
from charlstm.corpus import Corpus, Split
from charlstm.corpus.ngram import compute_baselines
from charlstm.errors import ConfigError
from charlstm.events import Started
from charlstm.runs.store import RunStore
from charlstm.runs.training_inputs import RunPlan, resolve_auto_settings
from charlstm.runs.worker import run_training
from charlstm.training import auto_settings
from charlstm.training.auto_settings import choose_auto_settings as choose_plan
from charlstm.training.auto_settings import choose_gpu_settings, choose_settings, predict_loss, relative_speed
from charlstm.vocabulary import Vocabulary

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 60


def test_more_minutes_never_choose_a_smaller_network() -> None:
    sizes = [choose_settings(minutes, 50_000, 10**6)["hidden_size"] for minutes in (0.1, 0.5, 1, 3, 5, 20, 60, 600)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3


def test_no_fewer_than_128_units_are_chosen_but_for_a_short_text() -> None:
    assert choose_settings(0.01, 50_000, 10**6)["hidden_size"] == 128
    assert choose_settings(0.01, 50_000, 3_000)["hidden_size"] == 64  # which has 16,384 recurrent weights


def test_twice_as_fast_a_machine_is_twice_as_many_minutes() -> None:
    for minutes, text in itertools.product((1, 5, 20), (10**5, 10**6, 10**7)):
        assert choose_settings(minutes, 80_000, text) == choose_settings(2 * minutes, 40_000, text)


def test_one_minute_on_the_reference_machine_is_much_like_preset_minute() -> None:
    chosen = choose_settings(1, 50_000, 1_003_855)
    preset = PRESETS["minute"]
    assert abs(chosen["hidden_size"] - preset["hidden_size"]) <= 64
    assert {name: chosen[name] for name in ("batch_size", "seq_len", "dropout")} == {
        "batch_size": preset["batch_size"],
        "seq_len": preset["seq_len"],
        "dropout": 0.0,
    }


def dropped_by(chosen: dict[str, float]) -> tuple[float, float]:
    """The share of the units and that of the recurrent weights."""
    return chosen["dropout"], chosen["weight_dropout"]


def test_a_text_that_is_read_more_often_is_made_harder_to_learn_by_heart() -> None:
    dropped = [dropped_by(choose_settings(5, 50_000, chars)) for chars in (10**8, 10**7, 10**6, 3 * 10**5, 10**5)]
    assert dropped == sorted(dropped)
    assert dropped[0] == (0.0, 0.0)
    assert dropped[-1] == (0.2, 0.3)


def test_a_small_network_may_read_a_text_more_often_before_units_are_dropped() -> None:
    """Six passes: one layer of 192 units has a fifth of the text's number of weights, one of 448 nearly as many."""
    small, large = choose_settings(1, 18_000, 720_000), choose_settings(3, 40_000, 900_000)
    assert (small["hidden_size"], large["hidden_size"]) == (192, 448)
    assert (small["dropout"], large["dropout"]) == (0.0, 0.2)


def test_a_large_vocabulary_counts_for_the_size_as_a_machine_slower_by_the_root_of_what_it_costs() -> None:
    """At 1 x 384 the products of 2,200 characters are 2.195 times those of 65, by hand: 1,505,924 and 686,084."""
    for minutes in (0.5, 3, 10):
        of_signs = choose_settings(minutes, 37_600 / 2.195, 10**7, 2200)
        of_letters = choose_settings(minutes, 37_600 / 2.195**0.5, 10**7)
        assert of_signs == of_letters
    assert relative_speed(192, 65) == pytest.approx(686_084 / 231_236)
    assert relative_speed(192, 2200) == pytest.approx(1_505_924 / 641_156)


@pytest.mark.parametrize("num_chars", [1, 10, 1_000, 10**6, 10**9])
@pytest.mark.parametrize("minutes", [0.01, 1, 10**5])
@pytest.mark.parametrize("rate", [1.0, 10**7])
def test_whatever_is_chosen_is_within_the_bounds_of_the_settings(num_chars: int, minutes: float, rate: float) -> None:
    chosen = choose_settings(minutes, rate, num_chars)
    settings = Settings.from_flat({**chosen, "max_minutes": minutes})
    assert settings.model.hidden_size % 64 == 0
    assert settings.train.batch_size <= max(1, num_chars)


def test_a_gpu_trains_the_largest_network_the_text_allows_in_many_streams() -> None:
    chosen = choose_gpu_settings(1, 10**6, 10**6)
    assert (chosen["hidden_size"], chosen["batch_size"], chosen["max_passes"]) == (768, 64, 0.0)  # 60 passes
    assert choose_gpu_settings(1, 10**6, 10**5)["hidden_size"] == 384
    assert choose_gpu_settings(1, 10**6, 10**4)["batch_size"] == 39
    dropped = [dropped_by(choose_gpu_settings(minutes, 10**6, 10**6)) for minutes in (0.05, 0.08, 0.15, 0.5)]
    assert dropped == [(0.0, 0.0), (0.2, 0.0), (0.2, 0.2), (0.2, 0.3)]


def split_of(pieces: list[str], number: int) -> Split:
    """The split of a text of pieces drawn at random."""
    return Corpus("text", "".join(random.Random(1).choices(pieces, k=number))).split(ModelConfig(), TrainConfig())


def make_words(number: int) -> list[str]:
    draw = random.Random(number)
    return ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(3, 9))) + " " for _ in range(number)]


def test_letters_drawn_at_random_are_expected_to_cost_their_entropy() -> None:
    """Four equally likely letters cost ln 4, whatever the network and its time: no context tells more."""
    split = split_of([*"abcd"], 300_000)
    for num_seen, num_units in ((1e3, 64), (1e8, 1024)):
        assert predict_loss(split, num_seen, num_units) == pytest.approx(math.log(4), abs=0.005)


@pytest.mark.parametrize("num_words", [30, 200, 1000])
def test_words_drawn_at_random_are_expected_to_cost_about_their_entropy(num_words: int) -> None:
    """A word costs the logarithm of their number; what was fitted to languages comes within 0.1 nats per character."""
    words = make_words(num_words)
    entropy = math.log(num_words) / statistics.mean(map(len, words))
    assert predict_loss(split_of(words, 150_000), 4e6, 384) == pytest.approx(entropy, abs=0.1)


def test_a_network_is_expected_to_learn_what_five_characters_do_not_tell() -> None:
    """In words of six syllables, of four there are, the last four characters are two syllables."""
    split = split_of(
        ["".join(random.Random(word).choices(["ba", "be", "do", "da"], k=6)) for word in range(50)], 40_000
    )
    assert predict_loss(split, 4e6, 384) < 0.8 * compute_baselines(split).fivegram


def test_a_larger_network_is_expected_to_gain_more_where_more_text_tells_more() -> None:
    """A longer text of 3,000 words tells more of them than its first 130,000 characters."""
    short, long = (split_of(make_words(3000), number) for number in (18_000, 100_000))
    from_short, from_long = (predict_loss(each, 1e5, 512) / predict_loss(each, 1e5, 192) for each in (short, long))
    assert from_long < from_short - 0.02


def test_many_different_characters_are_expected_to_be_learned_later() -> None:
    split = split_of(make_words(100), 10_000)
    wide = Vocabulary((*split.vocabulary.characters, *map(chr, range(0x4E00, 0x4E00 + 2000))))
    one, other = (predict_loss(each, 4e6, 384) for each in (split, Split(wide, split.train, split.validation)))
    assert other > 1.05 * one


def test_less_is_expected_of_more_work_until_a_text_was_read_three_dozen_times() -> None:
    split = split_of(["ab", "bca", "dcb"], 9000)
    losses = [predict_loss(split, times * len(split.train), 192) for times in (0.01, 0.1, 1, 10, 20, 36, 37)]
    assert losses[:-1] == sorted(set(losses), reverse=True)
    assert losses[-1] == losses[-2]
    assert predict_loss(split, len(split.train), 256) < losses[2]


@pytest.mark.parametrize("text", ["ab" * 16, "😀😃" * 500, "x" * 1000, "".join(map(chr, range(0x4E00, 0x5E00)))])
@pytest.mark.parametrize("level", ["chars", "bytes"])
def test_no_more_is_expected_than_of_a_guess(text: str, level: Level) -> None:
    split = Corpus("text", text).split(ModelConfig(level=level), TrainConfig(batch_size=1))
    for num_seen in (0.0, 1e3, 1e9):
        assert 0 < predict_loss(split, num_seen, 64) <= max(1e-3, math.log(max(2, len(split.vocabulary))))


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_settings, "_PROBED_SECONDS", 0.0)
    monkeypatch.setattr(auto_settings, "_PROBED", {**auto_settings._PROBED, "hidden_size": 16})


@pytest.mark.usefixtures("quick_probe")
def test_a_plan_keeps_what_the_person_chose_and_says_what_it_chose_itself() -> None:
    asked = Settings.preset("auto", max_minutes=0.5, seed=7, val_fraction=0.2, sample_prompt="fox")
    planned, sentence = choose_plan(asked, Corpus("text", TEXT))
    assert planned.train.plan == "off"
    kept = ("max_minutes", "seed", "val_fraction", "sample_prompt")
    assert {name: planned.flat()[name] for name in kept} == {name: asked.flat()[name] for name in kept}
    assert f"{planned.model.hidden_size} units" in sentence
    assert "0.5 minutes" in sentence
    expected = float(re.search(r"about ([0-9.]+) nats per character\.$", sentence)[1])
    assert 0 < expected < 1, "of a sentence over and over"


@pytest.mark.usefixtures("quick_probe")
@pytest.mark.parametrize("length", [12, 60, 300, 2000])
def test_short_texts_can_be_planned_for(length: int) -> None:
    planned, _ = choose_plan(Settings.preset("auto", max_minutes=0.1), Corpus("text", TEXT[:length]))
    Corpus("text", TEXT[:length]).check(planned.model, planned.train)


def test_a_plan_needs_minutes() -> None:
    with pytest.raises(ConfigError, match="max_minutes"):
        Settings.preset("auto", max_minutes=0, max_steps=10)


@pytest.mark.usefixtures("quick_probe")
def test_train_plans_too() -> None:
    config = TrainConfig(plan="on", max_minutes=0.005, sample_every=10**6)
    assert train(TEXT, config, ModelConfig(hidden_size=8)).model.config.hidden_size == 64


@pytest.mark.usefixtures("quick_probe")
def test_a_run_is_planned_once_and_goes_on_with_what_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunStore(tmp_path).create(
        Settings.preset("auto", corpus="pangrams", max_minutes=0.005, sample_chars=5), "planned", TEXT
    )
    run_training(folder)
    settings = folder.settings()
    assert settings.train.plan == "off"
    assert json.loads((tmp_path / "planned" / "config.json").read_text())["hidden_size"] == 64
    records = counting(folder)
    started = next(record for record in records if isinstance(record, Started))
    assert any(note.startswith("Planned for 0.005 minutes") for note in started.notes)
    monkeypatch.setattr(auto_settings, "_measure_speed", lambda *_: pytest.fail("planned a second time"))
    assert RunStore(tmp_path).get("planned").settings() == settings


@pytest.mark.parametrize(("most", "units"), [("0", 1024), ("3000000", 768), ("1", 64)])
def test_a_planned_run_is_no_larger_than_the_place_allows(
    most: str, units: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A layer of H units has 4 H (64 + H + 2) weights and the output 28 H: 3,000,000 allow for 830, of steps of 64."""
    monkeypatch.setattr(auto_settings, "_measure_speed", lambda *_: 10.0**8)
    monkeypatch.setenv("CHARLSTM_MAX_PARAMETERS", most)
    text = TEXT * 300
    folder = RunStore(tmp_path).create(Settings.preset("auto", max_minutes=10), "planned", text)
    planned, _ = resolve_auto_settings(folder, RunPlan.load(folder), Corpus("text", text))
    assert planned.settings.model.hidden_size == units
