"""What a run looks like, from records made by hand."""

import html
import math
import random
from pathlib import Path
from typing import Any

import pytest

from charlstm.config import Settings
from charlstm.events import Baselines, Evaluated, Extended, Finished, Progress, Record, Sampled, Saved
from charlstm.formatting import escape_html, format_duration
from charlstm.runs.control import Control, WorkerStatus
from charlstm.runs.history import RunHistory
from charlstm.runs.manager import RunManager, RunSummary
from charlstm.runs.run_dir import RunDir, Status
from charlstm.ui import run_view_data
from charlstm.ui.run_view_data import Requests


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


def _sampled(step: int, **values: Any) -> Sampled:
    return Sampled(step=step, text="It was", temperature=1.0, seed=1, **values)


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    return RunManager(tmp_path).store.create(Settings.preset("minute"), "my-run")


def _history(folder: RunDir, *records: Record) -> RunHistory:
    folder.events_file.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")
    history = RunHistory(folder)
    history.poll()
    return history


def _summary(folder: RunDir, status: Status, **values: Any) -> RunSummary:
    facts = {
        "queue_position": 0,
        "label": "<b>my run</b>",
        "owner": "",
        "created_at": 0.0,
        "corpus": "fox.txt",
        "size": "1 × 8",
    }
    facts |= {"parent": "", "step": 5, "elapsed_seconds": 60.0, "val_loss": None, "problem": ""}
    return RunSummary(folder=folder, status=status, **{**facts, **values})


def _state(
    summary: RunSummary, history: RunHistory, asked: Requests | None = None, is_bundled: bool = False
) -> dict[str, Any]:
    return run_view_data.run_state(summary, history, asked or Requests(), has_model=True, is_bundled=is_bundled)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "${alert(1)}", "{{value}}", "`x`", "a & b", "'\""])
def test_plain_text_shows_itself_and_holds_nothing_a_template_or_browser_acts_on(text: str) -> None:
    made = escape_html(text)
    assert html.unescape(made) == text
    assert not set("<>${}`\"'") & set(made)


def test_the_time_left_of_an_extended_run_is_that_of_its_extension(folder: RunDir) -> None:
    """Ten minutes trained and half of one added minute: 30 s are left, in the run's figures and on the line on top."""
    before = _progress(10, elapsed_seconds=600.0, fraction=1.0)
    extension = {"minutes": 1.0, "passes": 0.0, "steps": 0, "learning_rate": 0.1, "lr_schedule": "linear"}
    extended = Extended(step=10, elapsed_seconds=600.0, num_passes=1.0, command="", note="", **extension)
    history = _history(folder, before, extended, _progress(11, elapsed_seconds=630.0, fraction=0.5))
    run = _summary(folder, "running")
    assert dict(row[:2] for row in _state(run, history)["figures"])["time left"] == "30 s"
    assert run_view_data.header_status(run, history)["text"].startswith("training <b>my run</b> · 30 s left")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (133, "2 min 13 s"), (3600, "1 h"), (3725, "1 h 2 min"), (7, "7 s")],
)
def test_durations_are_human(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_each_state_has_a_word_and_a_sign_of_its_own() -> None:
    assert len({word for _, word in run_view_data.STATE_WORDS.values()}) == len(run_view_data.STATE_WORDS)
    assert all(sign and word for sign, word in run_view_data.STATE_WORDS.values())


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        ("queued", {"unqueue", "rename"}),
        ("starting", {"stop"}),
        ("running", {"pause", "stop", "save", "rate", "rename"}),
        ("paused", {"continue", "stop", "save", "rate", "rename"}),
        ("stopping", set()),
        ("completed", {"extend", "rename", "delete"}),
        ("stopped", {"resume", "extend", "rename", "delete"}),
        ("failed", {"resume", "rename", "delete"}),
        ("interrupted", {"resume", "rename", "delete"}),
    ],
)
def test_what_can_be_done_follows_from_the_state_of_the_run(folder: RunDir, status: Status, actions: set[str]) -> None:
    folder.state_file.parent.mkdir()
    folder.state_file.touch()
    always = {"write", "adapt", "download", "duplicate"}
    history = _history(folder)
    assert set(_state(_summary(folder, status), history)["can"]) == actions | always
    bundled = _state(_summary(folder, status), history, is_bundled=True)["can"]
    assert set(bundled) == (actions | always) - {"rename", "delete"}


def test_nothing_saved_means_nothing_to_go_on_from_but_an_interrupted_run_can_begin_anew(folder: RunDir) -> None:
    history = _history(folder)
    assert "extend" not in _state(_summary(folder, "completed"), history)["can"]
    for status in ("interrupted", "stopped"):
        state = _state(_summary(folder, status), history)
        assert "resume" in state["can"]
        assert "begins it anew" in state["story"]


def test_who_stopped_a_run_may_write_with_its_best_model_while_that_is_still_measured(folder: RunDir) -> None:
    for fraction, word in ((0.4, "stopped"), (1.0, "completed")):
        run = _summary(folder, "measuring", fraction=fraction)
        history = _history(folder, _progress(100, fraction=fraction))
        state = _state(run, history)
        assert (state["word"], state["story"]) == (word, "took 30 s · step 100 · its model is being measured")
        row, line = (
            run_view_data.table_row(run, is_bundled=False, may_change=True, is_own=True),
            run_view_data.header_status(run, history),
        )
        assert row["cells"][-1].endswith(word), "one word in both places"
        assert line["text"].startswith(f"{word} <b>my run</b> · its model is being measured")
        assert {state["shown_status"], row["status"], line["status"]} == {word}, "and the colour of that word"
        assert set(state["can"]) == {"rename", "write", "adapt", "download", "duplicate"}


@pytest.mark.parametrize(
    ("control", "answer", "word"),
    [
        (Control(number=5, pause=True), WorkerStatus(number=5, done=4), "pausing"),
        (Control(number=5), WorkerStatus(number=5, done=4, is_paused=True), "continuing"),
        (Control(number=5, save=5), WorkerStatus(number=5, done=4), "saving"),
        (Control(number=5, rate_factor=0.5), WorkerStatus(number=5, done=4), "changing the learning rate"),
        (Control(number=5, stop=True), WorkerStatus(number=5, done=4), "stopping"),
    ],
)
def test_what_was_asked_for_is_said_until_it_is_in_effect(
    folder: RunDir, control: Control, answer: WorkerStatus, word: str
) -> None:
    history = _history(folder, _progress(100))
    asked = _state(_summary(folder, "running"), history, Requests(control, answer))
    assert asked["is_asked"]
    assert asked["story"] == f"step 100 · {word}"
    done = _state(_summary(folder, "running"), history, Requests(control, answer.model_copy(update={"done": 5})))
    assert not done["is_asked"]
    assert done["story"] == "step 100"


def test_the_four_numbers_have_units(folder: RunDir) -> None:
    state = _state(_summary(folder, "running"), _history(folder, _progress(100), _evaluated(100, 2 * math.log(2))))
    assert state["figures"] == [
        ["validation", "1.39", "nats per character (2.00 bits)", "validation"],
        ["speed", "1,000", "characters per second", ""],
        ["time left", "1 min 30 s", "30 s so far", ""],
        ["read the text", "50 % of it", "", "pass"],
    ]


def test_a_completed_run_shows_the_figure_measured_at_its_end(folder: RunDir) -> None:
    finished = Finished(step=100, reason="completed", elapsed_seconds=60.0, val_stateful=1.5, val_windows=1.53)
    history = _history(folder, _evaluated(50, 1.6), _progress(100, fraction=0.9), finished)
    state = _state(_summary(folder, "completed"), history)
    assert state["figures"][0][1] == "1.50"
    assert state["figures"][2] == ["took", "1 min", "of training", ""]
    assert state["fraction"] == 1.0


def test_before_the_first_validation_the_loss_is_that_of_training_and_then_the_quick_estimate(folder: RunDir) -> None:
    """Untrained 4.18, then a step without a figure, then an estimate that was 0.1 too low at step 0."""
    run = _summary(folder, "running")
    untrained = _evaluated(0, 4.2).model_copy(update={"quick_loss": 4.1})
    begun = _history(folder, untrained, _progress(50, smooth_loss=2.01))
    assert _state(run, begun)["figures"][0] == [
        "training loss",
        "2.01",
        "nats per character, not validated yet",
        "nats",
    ]
    assert "training loss 2.01 nats" in run_view_data.header_status(run, begun)["text"]
    estimated = _history(folder, untrained, _progress(50), _sampled(64, quick_loss=2.3))
    assert _state(run, estimated)["figures"][0] == [
        *("validation, quick estimate", "2.40", "nats per character", "validation")
    ]
    assert "quick estimate 2.40 nats" in run_view_data.header_status(run, estimated)["text"]
    assert estimated.val_loss == pytest.approx(2.4)
    rows = [run_view_data.sample_row(sample) for index in (0, 1) if (sample := estimated.sample(index))]
    assert [row[5] for row in rows] == [True], "also where its text is shown"


def test_the_speed_of_a_run_that_is_over_is_the_usual_one(folder: RunDir) -> None:
    speeds = (0.0, 900.0, 1000.0, 1100.0, 3.0)
    history = _history(folder, *(_progress(step, chars_per_second=speed) for step, speed in enumerate(speeds)))
    assert dict(row[:2] for row in _state(_summary(folder, "completed"), history)["figures"])["speed"] == "1,000"
    assert dict(row[:2] for row in _state(_summary(folder, "running"), history)["figures"])["speed"] == "3"


FACTS: dict[str, Any] = {"method": "", "num_train_chars": 1, "num_val_chars": 1, "seconds": 0.1}
REFERENCES = Baselines(step=0, uniform=math.log(65), frequencies=3.35, fivegram=1.58, **FACTS)


def test_the_end_is_told_in_one_sentence_of_what_was_measured(folder: RunDir) -> None:
    records = (REFERENCES, _evaluated(0, 4.2), _evaluated(100, 1.44), _progress(100, elapsed_seconds=60.0))
    run = _summary(folder, "completed")
    first = "In 1 min: from 65 equally likely letters to about 4 (perplexity 4.2); better than a 5-gram"
    assert _state(run, _history(folder, *records))["summary"] == f"{first}."
    counted = _history(folder, *records, _sampled(100, num_words=320, num_real_words=287))
    state = _state(run, counted)
    assert (state["words"], state["vocabulary"]) == ({"percent": 89, "real": 287, "count": 320}, 65)
    told = (state["summary"], dict(row[:2] for row in state["figures"])["real words"], counted.phases()[-1].text)
    assert told == (f"{first}; 8 of 10 words are real.", "89 %", "8 of 10 words are real"), "89.7 % are not 9 of 10"
    assert state["best"] == {"step": 100, "loss": 1.44}
    assert _state(_summary(folder, "running"), counted)["summary"] == ""


def test_weights_that_learned_nothing_or_too_much_are_told_of(folder: RunDir) -> None:
    run = _summary(folder, "completed")
    nothing = _state(run, _history(folder, _evaluated(0, 2.229), _evaluated(40, 2.6), _progress(40)))
    assert "the untrained model is the one that is kept" in nothing["warning"]
    assert nothing["summary"] == ""
    risen = _history(folder, _evaluated(0, 4.2), _evaluated(40, 1.9), _evaluated(80, 1.93), _progress(80))
    assert "the model of step 40 is kept" in _state(run, risen)["warning"]
    steady = _history(folder, _evaluated(0, 4.2), _evaluated(40, 1.9), _evaluated(80, 1.91), _progress(80))
    assert _state(run, steady)["warning"] == ""


def test_preparing_is_a_list_that_ticks(folder: RunDir) -> None:
    def shown(status: Status, *records: Record, **answer: Any) -> list[str]:
        requests = Requests(answer=WorkerStatus(**answer))
        rows = _state(_summary(folder, status), _history(folder, *records), requests)["preparation"]
        return [f"{row['state']}: {row['text']} {row['detail']}".strip() for row in rows]

    stages = {"stages": ("compiling", "reading", "building")}
    assert shown("starting")[0] == "now: starting the trainer"
    compiling = shown("running", stage="compiling", **stages)
    assert compiling[:3] == [
        "done: starting the trainer",
        "now: compiling the kernel for this processor",
        "next: reading the text",
    ]
    writing = shown("running", _sampled(0), stage="writing", **stages)
    assert [row.split(":")[0] for row in writing] == ["done"] * 5 + ["now"]
    measured = shown("running", _sampled(0), _evaluated(0, 4.18), stage="writing", **stages)
    assert measured[-1] == "done: the untrained model is measured 4.18 nats per character"
    assert shown("running", _progress(50), stage="writing", **stages) == []
    assert shown("running", stage="training", **stages) == []
    early = (_progress(0, elapsed_seconds=0.0), _sampled(0), _evaluated(0, 4.18), _sampled(8, elapsed_seconds=3.0))
    assert shown("running", *early, stage="writing", **stages) == []
    assert run_view_data.step_to_time(_history(folder, *early)) == [[0, 0, 0], [8, 0, 0.05]]


def test_the_planned_end_is_there_before_the_first_step_and_stays(folder: RunDir) -> None:
    run, train = _summary(folder, "running"), Settings.preset("minute").train

    def ends(*records: Record) -> dict[str, float | None]:
        found = run_view_data.run_state(run, _history(folder, *records), Requests(), True, False, train)["plan_end"]
        assert isinstance(found, dict)
        return found

    assert ends() == {"minutes": 1.0, "steps": None, "passes": None}
    assert ends(_progress(1000, elapsed_seconds=15.0, num_passes=0.4)) == {"minutes": 1.0, "steps": 4000, "passes": 1.6}
    extension = {"minutes": 0.0, "passes": 2.0, "steps": 0, "learning_rate": 0.1, "lr_schedule": "linear"}
    extended = Extended(step=4000, elapsed_seconds=60.0, num_passes=1.6, command="", note="", **extension)
    assert ends(extended) == {"minutes": None, "steps": None, "passes": 3.6}
    assert _state(_summary(folder, "stopped"), _history(folder, _progress(9)))["plan_end"]["minutes"] is None


@pytest.mark.parametrize(
    ("status", "values", "story"),
    [
        ("failed", {"problem": "the loss is NaN; lower the rate."}, "The loss is NaN; lower the rate."),
        ("queued", {"queue_position": 1}, "starts in a moment"),
        ("queued", {"queue_position": 3}, "place 3 in the queue"),
        ("completed", {}, "took 30 s · step 100"),
    ],
)
def test_the_state_is_told_in_a_sentence(folder: RunDir, status: Status, values: dict[str, Any], story: str) -> None:
    assert _state(_summary(folder, status, **values), _history(folder, _progress(100)))["story"] == story


def test_a_queued_run_names_the_one_it_waits_for_and_a_cut_off_one_where_it_goes_on(folder: RunDir) -> None:
    queued = _summary(folder, "queued", queue_position=1)
    for seconds, end in ((38.0, ", in about 40 s"), (None, "")):
        waiting = run_view_data.Waiting("minute-3", seconds)
        state = run_view_data.run_state(queued, _history(folder), Requests(), False, False, None, waiting)
        assert state["story"] == f"starts when minute-3 is done{end}"
    folder.state_file.parent.mkdir()
    folder.state_file.touch()
    saved = _history(folder, _progress(120), Saved(step=120, cause="timer"), _progress(154))
    told = "was cut off at step 154; Resume goes on from step 120"
    assert _state(_summary(folder, "interrupted"), saved)["story"] == told


def test_a_row_tells_when_a_run_began_and_what_was_changed(folder: RunDir) -> None:
    folder.save_settings(Settings.preset("minute", learning_rate=0.01, max_minutes=0.5, sample_every=100))
    folder.events_file.write_text("", encoding="utf-8")
    row = run_view_data.table_row(
        RunManager(folder.path.parent).runs()[0], is_bundled=False, may_change=True, is_own=True
    )
    assert row["changes"] == "Learning rate 0.01 · Stop after 0.5 min"
    assert row["started"] == round(folder.creation_time())


def test_a_row_has_a_tiny_curve_of_its_own_scale(folder: RunDir) -> None:
    row = run_view_data.table_row(
        _summary(folder, "running", sparkline=(4.0, 3.0, math.inf, 2.5, 2.0)),
        is_bundled=False,
        may_change=True,
        is_own=True,
    )
    assert row["curve"] == [20, 10, 5, 0]
    for losses in ((), (3.0,), (3.0, 3.0)):
        assert (
            run_view_data.table_row(
                _summary(folder, "running", sparkline=losses), is_bundled=False, may_change=True, is_own=True
            )["curve"]
            == []
        )


def test_the_line_on_top_says_idle_or_what_is_trained(folder: RunDir) -> None:
    assert run_view_data.header_status(None, None)["text"] == "idle"
    line = run_view_data.header_status(
        _summary(folder, "running"), _history(folder, _progress(1_240), _evaluated(1_000, 1.6149))
    )
    assert line["text"] == "training <b>my run</b> · 1 min 30 s left · validation 1.61 nats · step 1,240"
    assert (line["sign"], line["run"]) == ("●", "my-run")


def test_reference_lines_carry_a_name_and_a_value(folder: RunDir) -> None:
    found = _history(folder, Baselines(step=0, uniform=4.174, frequencies=3.31, fivegram=1.89, **FACTS))
    lines = [(line["name"], line["value"]) for line in run_view_data.baseline_lines(found)]
    assert lines == [("guessing", 4.174), ("letter frequencies", 3.31), ("5-gram", 1.89)]
    assert run_view_data.baseline_lines(RunHistory(folder)) == []


def test_points_that_a_page_has_and_those_it_is_sent_make_up_the_curve() -> None:
    rng = random.Random(1)
    before: run_view_data.Lines | None = None
    held: dict[str, list[tuple[int, float]]] = {"a": [], "b": []}
    for _ in range(200):
        now = {}
        for name in held:
            same = [] if before is None else list(zip(*before[name], strict=True))[: rng.randrange(30)]
            points = same + [(rng.randrange(50), rng.random()) for _ in range(rng.randrange(5))]
            now[name] = ([step for step, _ in points], [value for _, value in points])
        for name, sent in run_view_data.delta(before, now).items():
            held[name] = held[name][: sent["keep"]] + list(zip(sent["steps"], sent["values"], strict=True))
            assert held[name] == list(zip(*now[name], strict=True))
        before = now
