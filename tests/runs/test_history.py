"""What a page draws of a run: bounded, steady, with its spikes, and only of records that count."""

import json
import math
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlstm.config import Settings
from charlstm.events import (
    Baselines,
    Evaluated,
    Extended,
    Paused,
    Progress,
    Record,
    Resumed,
    RolledBack,
    Sampled,
    Saved,
    Started,
)
from charlstm.runs.history import RunHistory
from charlstm.runs.points import downsample
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

STARTED = Started(
    step=0,
    started_at="2024-02-29T12:00:00+00:00",
    num_chars=1000,
    num_distinct=65,
    num_train_chars=900,
    num_val_chars=100,
    num_parameters=12345,
    hardware="a processor",
)


def point(step: int, loss: float = 2.0, **changes: Any) -> Progress:
    return Progress(
        **{
            "step": step,
            "train_loss": loss,
            "smooth_loss": loss,
            "learning_rate": 1 / 3,
            "grad_norm": 1.5,
            "num_passes": step / 40,
            "chars_per_second": 12345.678,
            "elapsed_seconds": step * 0.6,
            "fraction": 0.5,
            **changes,
        }
    )


def validation(step: int, loss: float) -> Evaluated:
    return Evaluated(step=step, val_loss=loss, method="stateful", is_best=False, elapsed_seconds=step * 0.6)


def append(folder: RunDir, *records: Record) -> None:
    with folder.events_file.open("ab") as file:
        file.writelines(record.model_dump_json().encode() + b"\n" for record in records)


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    return RunStore(tmp_path).create(Settings(), "run")


@pytest.mark.parametrize("num", [1, 7, 100, 101, 12_345])
def test_least_and_greatest_and_last_stay_among_few(num: int) -> None:
    values = np.random.default_rng(num).normal(size=num)
    kept = downsample(values, 100)
    assert len(kept) <= 100
    assert set(kept) >= {int(values.argmin()), int(values.argmax()), num - 1}
    assert list(kept) == sorted(set(kept.tolist()))


def test_what_is_drawn_stays_until_the_next_doubling() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    before = downsample(values[:3000], 240)
    after = downsample(values[:3100], 240)
    whole = [place for place in before.tolist() if place < 2976]  # the last whole bucket of 32 ends there
    assert [place for place in after.tolist() if place < 2976] == whole


def test_what_is_no_number_is_not_drawn() -> None:
    values = np.ones(1000)
    values[[3, 500]] = math.inf, math.nan
    values[501] = 7.0
    assert 501 in downsample(values, 50)
    assert not {3, 500} & set(downsample(values, 50).tolist())
    assert downsample(np.array([1.0, math.inf, 2.0]), 50).tolist() == [0, 2]


def test_a_tick_is_small_however_long_the_run_and_nothing_new_is_said_to_be_so(folder: RunDir) -> None:
    draw = random.Random(1)
    append(folder, STARTED, *(point(step * 20, draw.uniform(1, 4)) for step in range(3000)))
    append(folder, *(validation(step * 50, draw.uniform(1, 4)) for step in range(1000)))
    history = RunHistory(folder)
    assert history.poll()
    version = history.version
    assert not history.poll()
    assert history.version == version
    curves = history.series(max_points=200)
    for curve in curves.values():
        assert len(curve.steps) == len(curve.values) <= 200
    drawn = ("training", "smoothed", "validation")
    rows = [[*each, name] for name in drawn for each in zip(curves[name].steps, curves[name].values, strict=True)]
    assert len(json.dumps(rows)) < 20_000
    assert curves["training"].steps[-1] == 2999 * 20
    zoomed = history.series(max_points=240, begin_step=1000, end_step=1400, names=["training"])
    assert {name: curve.steps for name, curve in zoomed.items()} == {"training": list(range(1000, 1401, 20))}
    clock = history.clock(60)
    assert clock[0][0] == 0
    assert clock[-1][0] == 2999 * 20
    assert len(clock) <= 60
    assert [passes for _, passes, _ in clock] == pytest.approx([step / 40 for step, _, _ in clock])
    assert [minutes for _, _, minutes in clock] == pytest.approx([step * 0.01 for step, _, _ in clock], rel=1e-5)


def test_a_run_is_remembered_in_some_bytes_a_point_and_none_of_its_texts(folder: RunDir) -> None:
    num_points = 4000
    append(folder, STARTED, *(point(step) for step in range(num_points)))
    append(folder, *(Sampled(step=step, text="x" * 10_000, temperature=1, seed=1) for step in range(0, num_points, 40)))
    history = RunHistory(folder)
    tracemalloc.start()
    try:
        history.poll()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert history.num_samples == 100  # a megabyte of text
    assert kept < 100 * num_points


@pytest.mark.parametrize("num_points", [0, 1, 2, 24, 25, 1000])
def test_the_outline_goes_from_the_first_point_to_the_last_in_few(folder: RunDir, num_points: int) -> None:
    append(folder, STARTED, *(point(step, loss=5000.0 - step) for step in range(num_points)))
    history = RunHistory(folder)
    history.poll()
    outline = history.sparkline(24)
    assert len(outline) == min(num_points, 24)
    assert list(outline) == sorted(set(outline), reverse=True)
    if num_points:
        assert (outline[0], outline[-1]) == (5000.0, 5001.0 - num_points)


def test_what_a_resume_or_a_divergence_takes_back_is_forgotten(folder: RunDir) -> None:
    append(folder, STARTED, point(0, 4.0), validation(0, 4.0), point(20, 3.0), validation(20, 3.5))
    append(
        folder, point(40, 1.0), validation(40, 2.0), Paused(step=40), Sampled(step=40, text="x", temperature=1, seed=1)
    )
    history = RunHistory(folder)
    history.poll()
    assert (history.best.val_loss, history.num_samples) == (2.0, 1) if history.best else False
    append(folder, Resumed(step=30, started_at="2024-02-29T13:00:00+00:00"), point(50, 2.5))
    assert history.poll()
    assert history.best is not None
    assert (history.best.step, history.best.val_loss, history.num_samples) == (20, 3.5, 0)
    curves = history.series()
    assert curves["training"].steps == [0, 20, 50]
    assert curves["validation"].values == [4.0, 3.5]
    assert [(mark.kind, mark.step) for mark in history.marks()] == [("best", 20), ("resumed", 30)]
    append(folder, RolledBack(step=20, diverged_step=60, rate_factor=0.5))
    history.poll()
    assert history.series()["training"].steps == [0, 20]
    fresh = RunHistory(folder)
    fresh.poll()
    assert (fresh.series(), fresh.marks()) == (history.series(), history.marks())


def test_samples_are_read_when_asked_for_with_the_losses_of_their_moment(folder: RunDir) -> None:
    append(folder, STARTED, point(0, 4.0), validation(0, 4.5), Sampled(step=0, text="é\n<b>", temperature=0.5, seed=7))
    append(folder, point(20, 3.0), point(40, 2.0), Sampled(step=40, text="later", temperature=0.5, seed=7))
    history = RunHistory(folder)
    history.poll()
    first, last = history.sample(0), history.sample(-1)
    assert first is not None
    assert last is not None
    assert (first.text, first.step, first.val_loss, first.train_loss) == ("é\n<b>", 0, 4.5, 4.0)
    assert (last.text, last.step, last.val_loss, last.train_loss) == ("later", 40, 4.5, 2.0)
    assert (last.passes, last.seconds, last.prompt_chars) == (1.0, pytest.approx(24), 0)
    assert history.sample(2) is None
    assert history.sample(-3) is None


def test_the_time_left_is_that_of_the_part_that_is_worked_on(folder: RunDir) -> None:
    history = RunHistory(folder)
    append(folder, STARTED, point(10, elapsed_seconds=60.0, fraction=0.005))
    history.poll()
    assert history.time_left() is None
    append(folder, point(20, elapsed_seconds=120.0, fraction=0.25))
    history.poll()
    assert history.time_left() == pytest.approx(360)
    extended = {"minutes": 1, "passes": 0, "steps": 0, "learning_rate": 0.1, "lr_schedule": "linear"}
    append(folder, Extended(step=20, elapsed_seconds=120.0, command="", note="", **extended))
    append(folder, point(30, elapsed_seconds=150.0, fraction=0.5))
    history.poll()
    assert history.time_left() == pytest.approx(30)


def test_how_far_a_run_is_is_said_by_its_last_record_of_any_kind_that_counts(folder: RunDir) -> None:
    history = RunHistory(folder)
    assert history.progress() == (0, 0.0)
    append(
        folder, STARTED, point(0), point(20, elapsed_seconds=12.0), Saved(step=27, cause="stop", elapsed_seconds=15.0)
    )
    history.poll()
    assert history.progress() == (27, 15.0)
    append(folder, Evaluated(step=30, val_loss=2.0, method="", is_best=True, elapsed_seconds=18.0))
    history.poll()
    assert history.progress() == (30, 18.0)
    append(folder, Resumed(step=27, started_at="", elapsed_seconds=15.0))
    history.poll()
    assert history.progress() == (27, 15.0)


def test_marks_are_few_and_the_rare_ones_are_not_crowded_out(folder: RunDir) -> None:
    append(folder, STARTED, point(0), Paused(step=0), *(Saved(step=step, cause="timer") for step in range(1000)))
    history = RunHistory(folder)
    history.poll()
    marks = history.marks()
    assert len(marks) <= 100
    assert [mark.kind for mark in marks].count("paused") == 1
    assert marks[-1].step == 999


def quick(step: int, loss: float, **values: Any) -> Sampled:
    return Sampled(step=step, text="x", temperature=1, seed=1, quick_loss=loss, elapsed_seconds=step * 0.6, **values)


def full(step: int, loss: float, quick_loss: float) -> Evaluated:
    return validation(step, loss).model_copy(update={"quick_loss": quick_loss})


def test_quick_estimates_are_shifted_by_what_they_were_off_at_the_full_validation_before(folder: RunDir) -> None:
    """By hand: off by 0.1 at step 0, by 0.25 at step 40; a full validation takes the place of its own estimate."""
    append(folder, STARTED, quick(0, 4.1), full(0, 4.2, 4.1), point(0, 4.1), quick(8, 4.0), quick(16, 3.5))
    history = RunHistory(folder)
    history.poll()
    assert history.val_loss == pytest.approx(3.6)
    append(folder, full(40, 3.0, 2.75), quick(40, 2.75), quick(60, 2.0), point(60, 2.5))
    history.poll()
    curve = history.series()["validation"]
    assert curve.steps == [0, 8, 16, 40, 60]
    assert curve.values == pytest.approx([4.2, 4.1, 3.6, 3.0, 2.25])
    assert history.latest_validation == (60, pytest.approx(2.25), True)
    assert history.best is not None
    assert history.best.step == 40
    assert history.val_loss == 3.0  # the best full one, whatever an estimate says
    append(folder, Resumed(step=50, started_at=""), quick(55, 2.0))
    history.poll()
    assert history.series()["validation"].values == pytest.approx([4.2, 4.1, 3.6, 3.0, 2.25])
    append(folder, RolledBack(step=20, diverged_step=60, rate_factor=0.5), quick(24, 2.0))
    history.poll()
    assert history.series()["validation"].values == pytest.approx([4.2, 4.1, 3.6, 2.1])


def test_phases_stand_where_a_measurement_first_crossed_a_line(folder: RunDir) -> None:
    """By hand: ln 65 is 4.17; of two lines that one measurement crosses the second alone is told."""
    lines = {"uniform": math.log(65), "frequencies": 3.3, "fivegram": 1.9}
    told = Baselines(step=0, **lines, method="", num_train_chars=1, num_val_chars=1, seconds=1)
    append(folder, STARTED, full(0, 4.1, 4.1), quick(8, 4.15), quick(16, 4.0), quick(32, 3.2), quick(64, 2.0))
    append(folder, quick(128, 1.85), quick(256, 1.95), quick(512, 1.5), full(600, 1.4, 1.4), told)
    history = RunHistory(folder)
    history.poll()
    assert [(mark.step, mark.text) for mark in history.marks() if mark.kind == "phase"] == [
        (16, "no longer guesses blindly"),
        (32, "knows how often each letter comes"),
        (128, "better than a 5-gram"),
    ]
    append(folder, Resumed(step=20, started_at=""), quick(30, 1.0))
    history.poll()
    assert [(mark.step, mark.text) for mark in history.phases()] == [
        (16, "no longer guesses blindly"),
        (30, "better than a 5-gram"),
    ]


def test_real_words_are_counted_over_the_last_samples_together_and_not_if_they_are_few(folder: RunDir) -> None:
    """By hand, 100 words a sample: the first two are too few, the third counts 60 of 300, the fourth 150 of 300."""
    append(folder, STARTED, *(quick(8 * i, 3.0, num_words=100, num_real_words=10 * i) for i in (0, 2, 4)))
    append(folder, quick(80, 2.0, num_words=100, num_real_words=90), quick(99, 2.0, num_words=400, num_real_words=360))
    history = RunHistory(folder)
    history.poll()
    found = [sample.words for index in range(5) if (sample := history.sample(index))]
    assert found == [None, None, (0.2, 300), (0.5, 300), (0.9, 400)]
    assert [(mark.step, mark.text) for mark in history.phases()] == [
        (80, "every second word is real"),
        (99, "9 of 10 words are real"),
    ]
    append(folder, quick(120, 2.0, num_words=400, num_real_words=340))
    history.poll()
    told = [(mark.step, mark.text) for mark in history.phases()]
    assert told[-1] == (99, "8 of 10 words are real"), "not 9 of 10 where the last sample has 85 %"
    append(folder, *(quick(step, 2.0, num_words=400, num_real_words=real) for step, real in ((130, 300), (140, 380))))
    history.poll()
    told = [(mark.step, mark.text) for mark in history.phases()]
    assert told[-1] == (140, "9 of 10 words are real"), "from where it stays"
