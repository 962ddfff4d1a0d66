"""What a run looks like, from records made by hand."""

import html
import re
from typing import Any

import pytest

from charlstm.events import Evaluated, Failed, Finished, Progress, Record, Sampled, Started
from charlstm.runs.store import Status
from charlstm.ui import views
from charlstm.wording import duration


def _progress(step: int, **values: Any) -> Progress:
    defaults: dict[str, Any] = {
        "train_loss": 2.0,
        "smooth_loss": 2.5,
        "learning_rate": 0.01,
        "grad_norm": 1.0,
        "num_passes": 0.5,
        "chars_per_second": 1000.0,
        "elapsed_seconds": 30.0,
        "fraction": 0.25,
    }
    return Progress(step=step, **{**defaults, **values})


def _evaluated(step: int, val_loss: float) -> Evaluated:
    return Evaluated(step=step, val_loss=val_loss, method="stateful", is_best=True, elapsed_seconds=1.0)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "${alert(1)}", "{{value}}", "`x`", "a & b", "'\""])
def test_plain_text_shows_itself_and_holds_nothing_a_template_or_browser_acts_on(text: str) -> None:
    made = views.plain(text)
    assert html.unescape(made) == text
    assert not set("<>${}`\"'") & set(made)


@pytest.mark.parametrize("num_points", [0, 1, 239, 240, 241, 1_000, 100_000])
def test_a_curve_has_a_bounded_number_of_points_and_keeps_its_first_and_last(num_points: int) -> None:
    kept = views.thinned(list(range(num_points)))
    assert len(kept) <= views.MAX_POINTS + 1
    assert len(kept) >= min(num_points, views.MAX_POINTS // 2)
    assert kept == sorted(set(kept))
    if num_points:
        assert (kept[0], kept[-1]) == (0, num_points - 1)


def test_a_point_once_drawn_stays_until_the_stride_doubles() -> None:
    for num_points in range(241, 480):
        shorter, longer = views.thinned(list(range(num_points))), views.thinned(list(range(num_points + 1)))
        assert set(shorter[:-1]) <= set(longer)


def test_every_series_is_in_the_first_frame() -> None:
    assert views.curve_rows([]) == [[None, None, curve] for curve in ("training", "smoothed", "validation")]


def test_curve_rows_hold_each_loss_under_its_name() -> None:
    rows = views.curve_rows([_evaluated(0, 4.1), _progress(10), _evaluated(10, 3.0)])
    assert rows == [
        [10, 2.0, "training"],
        [10, 2.5, "smoothed"],
        [0, 4.1, "validation"],
        [10, 3.0, "validation"],
    ]


def test_time_left_is_the_pace_so_far_carried_on() -> None:
    assert views.time_left(_progress(1, elapsed_seconds=30.0, fraction=0.25)) == pytest.approx(90.0)
    assert views.time_left(_progress(1, elapsed_seconds=1.0, fraction=0.001)) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (133, "2 min 13 s"), (3600, "1 h"), (3725, "1 h 2 min"), (7, "7 s")],
)
def test_durations_are_human(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("status", list(views.STATE_WORDS))
def test_each_state_is_said_in_a_word_and_a_sign(status: Status) -> None:
    made = views.state_html("my-run", status, [_progress(1_240)])
    sign, word = views.STATE_WORDS[status]
    assert f'<span aria-hidden="true">{sign}</span> {word}' in made
    assert "<b>my-run</b>" in made


def test_the_four_numbers_have_units() -> None:
    records: list[Record] = [_progress(100), _evaluated(100, 1.386294)]
    text = re.sub("<[^>]+>", " ", views.state_html("my-run", "running", records))
    assert "1.386" in text
    assert "nats per character (2.00 bits)" in text  # 1.386294 = 2 ln 2
    assert "1,000" in text
    assert "characters per second" in text
    assert "1 min 30 s" in text


def test_a_completed_run_shows_the_figure_measured_at_its_end() -> None:
    finished = Finished(step=100, reason="completed", elapsed_seconds=60.0, val_stateful=1.5, val_windows=1.53)
    made = views.state_html("my-run", "completed", [_evaluated(50, 1.6), _progress(100, fraction=0.9), finished])
    assert "1.500" in made
    assert 'value="1.0000"' in made


def test_a_failure_is_told_in_its_own_sentence_and_as_plain_text() -> None:
    made = views.state_html("my-run", "failed", [Failed(step=3, message="<b>lower</b> the rate")])
    assert "&lt;b&gt;lower" in made


def test_the_line_on_top_says_idle_or_what_is_trained() -> None:
    assert "idle" in views.house_html(None)
    line = views.house_html(("my-run", "running", [_progress(1_240), _evaluated(1_000, 1.6149)]))
    text = re.sub("<[^>]+>", "", line)
    assert text == "● training my-run · step 1,240 · validation 1.61 · 1 min 30 s left"


def test_the_sample_shown_is_the_latest() -> None:
    records: list[Record] = [Sampled(step=step, text=f"text {step}", temperature=1.0, seed=1) for step in (0, 500)]
    assert views.sample_of(records) == ("text 500", "Sample of step 500, temperature 1, seed 1.")
    assert views.sample_of([]) == ("", "")


def test_the_text_learned_from_is_described_by_its_size_and_alphabet() -> None:
    started = Started(
        step=0,
        started_at="",
        num_chars=1_115_394,
        num_distinct=65,
        num_train_chars=1_003_854,
        num_val_chars=111_540,
        num_parameters=333_315,
        hardware="",
    )
    assert "1,003,854 characters, validated on 111,540, 65 distinct" in views.text_facts([started])
