"""The form of a new run without a browser: what it says, what it marks, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from charlstm.config import PRESETS, ModelConfig, Settings, TrainConfig
from charlstm.data_folders import RECORDED_RUNS
from charlstm.events import Evaluated, Finished, Progress
from charlstm.runs.manager import RunManager, RunSummary
from charlstm.runs.run_dir import RunDir
from charlstm.ui import train_form as forms
from charlstm.ui.corpus_picker import Uploads, describe_text
from charlstm.ui.form_feedback import FormView
from charlstm.ui.form_marks import changed_values, first_problem, flat_settings, marks, problem, problems, shows_minutes
from charlstm.ui.new_run_settings import ADVANCED, MODEL_FIELDS, NEW_MODEL, TRAIN_FIELDS
from charlstm.ui.preset_summary import ChosenText, preset_summary
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_start import clock_time
from charlstm.ui.setting_words import GROUPS, LABELS, explanation, name_as_labelled, run_label

SHAKESPEARE = ChosenText("tiny-shakespeare", 1_115_394)
FOX = ChosenText("fox.txt", 1_800)
PROGRESS = {"train_loss": 1.0, "smooth_loss": 1.0, "learning_rate": 0.01, "grad_norm": 1.0, "num_passes": 1.0,
            "chars_per_second": 1000.0, "fraction": 1.0}  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> RunCache:
    return RunCache(RunManager(tmp_path))


def _settings(preset: str, **changes: Any) -> dict[str, Any]:
    return flat_settings([{**Settings.preset(preset).flat(), **changes}[name] for name in ("max_minutes", *ADVANCED)])


def _run(cache: RunCache, name: str, seconds: float, step: int = 5, loss: float = 0) -> RunDir:
    """A run that has ended, with its only validation at its end."""
    folder = cache.manager.store.create(Settings.preset("minute"), name)
    records: list[Any] = [Progress(**PROGRESS, step=step, elapsed_seconds=seconds)]
    if loss:
        records.append(Evaluated(step=step, val_loss=loss, method="", is_best=True, elapsed_seconds=seconds))
        records.append(Finished(step=step, reason="completed", elapsed_seconds=seconds))
    folder.events_file.write_text("".join(f"{each.model_dump_json()}\n" for each in records), encoding="utf-8")
    cache.runs(is_fresh=True)
    return folder


def _said(preset: str, text: ChosenText, runs: list[RunSummary], **changes: Any) -> str:
    """The sentence without its tags."""
    settings = _settings(preset, **changes)
    html = preset_summary(preset, settings, changed_values(preset, settings), text, runs)
    return re.sub(r" ?<button.*?</button>", "", html)


def _recorded_loss() -> float:
    """What the run came to that Train shows beside the form where nobody has trained yet."""
    last = (RECORDED_RUNS / "shakespeare-quick" / "events.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return float(json.loads(last)["val_stateful"])


def test_every_setting_has_a_label_and_an_explanation_without_its_unit_twice() -> None:
    assert {*ADVANCED, "max_minutes"} <= set(LABELS)
    learning = ("learning_rate", "layer_rates", "stretch_windows", "state_reset", "weight_decay", "device")
    assert {*learning} <= set(GROUPS["Learning"]), "not where reporting is"
    assert explanation("hidden_size") == "Units in each LSTM layer. From 1 to 4,096 · --hidden-size"
    assert explanation("adam_beta1").endswith("From 0 to below 1 · --adam-beta1")
    assert explanation("device").endswith("if there is one. --device")
    assert name_as_labelled("lower batch_size, or hidden_sizes") == "lower Batch size, or hidden_sizes"


def test_what_differs_from_the_preset_is_told_with_its_own_value() -> None:
    assert changed_values("minute", _settings("minute", max_minutes=1, hidden_size=384.0)) == {}
    changed = _settings("minute", max_minutes=3, num_layers=2, sample_prompt="O")
    assert changed_values("minute", changed) == {"max_minutes": 1.0, "num_layers": 1, "sample_prompt": ""}
    told = marks("minute", {**changed, "hidden_size": 99999})
    assert told["hidden_size"] == {"preset": "384", "problem": "Enter a number from 1 to 4,096"}
    assert told["sample_prompt"] == {"preset": "empty"}
    assert set(told) == {"max_minutes", "num_layers", "sample_prompt", "hidden_size"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("hidden_size", 0, "enter a number from 1 to 4,096"),
        ("hidden_size", None, "enter a number from 1 to 4,096"),
        ("hidden_size", 1.5, "enter a whole number from 1 to 4,096"),
        ("hidden_size", 24.0, ""),
        ("dropout", 1, "enter a number from 0 to below 1"),
        ("learning_rate", 0, "enter a number above 0, up to 1"),
        ("lr_schedule", "zigzag", "choose constant or linear or cosine"),
        ("sample_prompt", "", ""),
        ("sample_prompt", "x" * 1001, "enter a shorter text"),
        ("encoding", "utf-99", "enter the name of an encoding, such as utf-8 or cp1252"),
    ],
)
def test_a_wrong_value_is_told_in_words(name: str, value: Any, words: str) -> None:
    assert problem(name, value) == words


def test_the_first_problem_names_its_field_and_a_run_without_an_end_is_one() -> None:
    wrong = first_problem("minute", _settings("minute", hidden_size=99999, seed=-1))
    assert wrong.startswith("Hidden size: enter a number from 1 to 4,096. <button")
    assert 'data-field="hidden_size"' in wrong
    assert first_problem("best", _settings("best")) == ""
    assert problems("minute", _settings("minute", max_minutes=0)) == {
        "max_minutes": "nothing would end this run; enter minutes, passes or steps above 0"
    }
    assert set(problems("auto", _settings("auto", max_minutes=0, max_steps=5))) == {"max_minutes"}


@pytest.mark.parametrize("preset", ["best", "blog"])
def test_a_preset_without_minutes_has_its_problems_at_fields_that_are_shown(preset: str) -> None:
    endless = _settings(preset, max_passes=0)
    assert problems(preset, endless) == {"max_passes": "nothing would end this run; enter passes or steps above 0"}
    assert 'data-field="max_passes"' in first_problem(preset, endless)
    assert set(problems(preset, _settings(preset, plan="on"))) == {"plan"}
    emptied = _settings(preset, max_minutes=None)
    assert shows_minutes(preset, emptied)
    assert set(problems(preset, emptied)) == {"max_minutes"}


def test_a_preset_says_what_it_reached_here_as_soon_as_it_has(cache: RunCache) -> None:
    assert _said("minute", SHAKESPEARE, cache.runs()) == (
        f"A small network learns for 1 min. On 2 cores it reached {_recorded_loss():.2f} nats per character."
    )
    _run(cache, "tiny-shakespeare-minute-3", 61.0, step=5600, loss=1.571)
    runs = cache.runs()
    assert _said("minute", SHAKESPEARE, runs).endswith("Last time here: 1.57 nats per character after 1 min 1 s.")
    other = _said("minute", ChosenText("a", 10**6), runs)
    assert f"Shakespeare came to {_recorded_loss():.2f} nats per character in that time." in other


def test_a_slower_machine_is_told_what_to_expect_and_how_long_passes_take_with_the_length_of_the_text(
    cache: RunCache,
) -> None:
    assert "Takes about 54 min on 2 cores for 1,115,394 characters;" in _said("best", SHAKESPEARE, [])
    assert "Takes about 3 h 36 min on 2 cores" in _said("best", ChosenText("long", 4_461_576), [])  # four times as long
    _run(cache, "fox-minute", 180.0, step=4265)
    runs = cache.runs()
    # a third of the steps where `auto` was measured, 1,422 in a minute: less than 1.56, which 1,205 came to
    assert "this machine is about 4 times slower; expect about 1.54." in _said("minute", SHAKESPEARE, runs)
    assert "about 3 times slower; expect about 1.44." in _said("auto", SHAKESPEARE, runs)  # as in one minute there
    assert "about 2 h 22 min here for 1,115,394 characters (this machine is about 3 times slower)" in _said(
        "best", SHAKESPEARE, runs
    )


def test_a_machine_as_fast_as_the_recorded_one_is_called_neither_faster_nor_slower(cache: RunCache) -> None:
    _run(cache, "fox-minute", 60.0, step=5597)
    runs = cache.runs()
    assert _said("minute", SHAKESPEARE, runs).endswith(
        f"On 2 cores it reached {_recorded_loss():.2f} nats per character."
    )
    assert "this machine is somewhat faster" in _said("best", SHAKESPEARE, runs)  # which was measured on a slower one


def test_changes_are_named_and_nothing_is_promised_then_or_to_a_small_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _said("minute", SHAKESPEARE, [], max_minutes=3) == "A small network learns for 3 min instead of 1."
    many = {"hidden_size": 512, "num_layers": 2, "dropout": 0.25, "seed": 7, "seq_len": 32}
    assert _said("minute", SHAKESPEARE, [], **many) == (
        "A small network learns for 1 min. Changed: Hidden size 512 instead of 384, Layers 2 instead of 1, "
        "Dropout 0.25 instead of 0 and 2 more."
    )
    assert _said("minute", FOX, []) == "A small network learns for 1 min."
    assert "“PyTorch is great”" in _said("blog", SHAKESPEARE, [])
    monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "10")
    assert _said("best", SHAKESPEARE, []).endswith("Here a run ends after 10 min at the latest.")
    assert "at the latest" not in _said("minute", SHAKESPEARE, [])


def _reflected(view: FormView, text: ChosenText, parent: str = NEW_MODEL, **changes: Any) -> dict[str, Any]:
    state = [json.dumps([text.name, text.num_chars]), "minute", parent, *_settings("minute", **changes).values()]
    preset, minutes, summary, start, adopt, marked = view.reflect(*state)
    return {"preset": dict(map(reversed, preset["choices"])), "minutes": minutes["visible"], "summary": summary,
            "start": start["value"], "adopt": adopt, "marks": json.loads(marked)}  # fmt: skip


def test_the_form_reads_changed_proposes_a_bundled_model_and_says_that_a_run_will_wait(cache: RunCache) -> None:
    view = FormView(cache)
    plain = _reflected(view, SHAKESPEARE)
    assert plain["preset"] == {"auto": "Auto (3 min)", "minute": "Quick (1 min)", "best": "Best (about 1 h)",
                               "blog": "As in the blog post"}  # fmt: skip
    assert (plain["minutes"], plain["start"], plain["adopt"]["visible"]) == (True, "Start", False)
    assert _reflected(view, SHAKESPEARE, num_layers=2)["preset"]["minute"] == "Quick, changed"
    assert _reflected(view, FOX)["adopt"]["visible"] is False  # there is no model to begin with
    _run(cache, "tiny-shakespeare", 60.0)
    small = _reflected(view, FOX)
    assert (small["adopt"]["visible"], small["adopt"]["value"]) == (True, "Begin with the Shakespeare model")
    assert "1,800 characters are few: a new network learns them by heart" in small["summary"]
    parent, *shown = view.adopt(json.dumps(list(FOX)), "minute", NEW_MODEL, *_settings("minute").values())
    assert parent["value"] == "tiny-shakespeare"
    assert "tiny-shakespeare can write already" in shown[2]
    short, long = (_reflected(view, ChosenText("letters.txt", num_chars)) for num_chars in (99_999, 100_000))
    assert (short["adopt"]["visible"], long["adopt"]["visible"]) == (True, False)
    assert "The text is short: a model that can write already may learn it better" in short["summary"]
    assert "short" not in long["summary"]
    with _run(cache, "busy", 1.0).lock():
        cache.runs(is_fresh=True)
        assert _reflected(view, SHAKESPEARE)["start"] == "Add to queue"


def test_a_reset_puts_back_one_setting_or_all(cache: RunCache) -> None:
    state = ["", "minute", "busy", *_settings("minute", num_layers=2, seed=7).values()]
    names = ["parent", "max_minutes", *ADVANCED]
    one = dict(zip(names, FormView(cache).reset("seed", *state), strict=False))
    assert one.pop("seed") == 1
    assert all(each == gr.skip() for each in one.values())  # which another reset may be about to change
    every = dict(zip(names, FormView(cache).reset(None, *state), strict=False))
    assert (every["parent"], every["seed"], every["num_layers"]) == (NEW_MODEL, 1, 1)


def test_a_reset_of_all_settings_can_be_undone_and_forged_values_change_nothing(cache: RunCache) -> None:
    view = FormView(cache)
    shown = ['["a", 9]', "minute"]
    now = ["fox", *_settings("minute", seed=7, hidden_size="many").values()]
    before = json.loads(view.reset(None, *shown, *now)[-1])["before"]
    assert before == now
    plain = [NEW_MODEL, *_settings("minute").values()]
    assert view.put_back(before, *shown, *plain)[: len(now)] == now
    for forged in (None, "x", now[1:], [*now[1:], {}]):
        assert view.put_back(forged, *shown, *plain)[: len(now)] == plain


def test_a_text_is_described_once_and_a_picture_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = describe_text("pasted", None, "the quick brown fox\n" * 90, "auto")
    assert said.html.startswith("<p>1,800 characters, 17 different; the last 10 % are kept to test it. It stays with")
    assert "on the machine of this app" in said.html
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    said = describe_text("pasted", None, "the quick brown fox\n" * 90, "auto")
    assert "Other visitors can&#x27;t read it; they see" in said.html
    assert (said.name, said.num_chars) == ("", 1800)
    assert "the last 20 % are kept" in describe_text("pasted", None, "the quick brown fox\n" * 90, "auto", 0.2).html
    assert "the last 2 are kept" in describe_text("pasted", None, "abcdefghij", "auto").html  # as training does
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0")
    refused = describe_text("file", str(picture), None, "auto")
    assert refused.html.startswith('<p class="problem">picture.png is not a text file')
    assert refused.is_unreadable
    assert describe_text(None, None, None, "auto").html == ""


@pytest.mark.parametrize(("told", "clock"), [("14:05", "14:05"), ("24:00", ""), ("<b>1", ""), (None, ""), (5, "")])
def test_a_run_is_called_by_its_text_preset_and_time(told: Any, clock: str) -> None:
    assert clock_time(told) == clock
    assert run_label("tiny-shakespeare", "minute", False, "14:05") == "Shakespeare, quick, 14:05"
    assert run_label("of mice.txt", "best", True, "") == "of mice, best changed"


def test_what_a_browser_kept_is_put_back_and_what_was_forged_is_not(tmp_path: Path) -> None:
    numbers = [7.5, *(getattr(ModelConfig(), name) for name in MODEL_FIELDS)]
    numbers += [getattr(TrainConfig(), name) for name in TRAIN_FIELDS]
    chosen = ["python-stdlib", "some text", "latin-1", "blog", NEW_MODEL, *numbers]
    uploads = Uploads(tmp_path)
    assert forms.restore(json.dumps([*chosen, ""]), uploads) == [*chosen, "", gr.skip()]
    first = len(chosen) - len(numbers) + 1
    new = ("input_scale", "layer_rates", "stretch_windows")
    for missing in (new, ("state_reset", *new)):
        places = {first + ADVANCED.index(name) for name in missing}
        before = [value for place, value in enumerate(chosen) if place not in places]  # there were no such settings
        filled = list(chosen)
        for name in missing:
            filled[first + ADVANCED.index(name)] = Settings.preset("blog").flat()[name]
        assert forms.restore(json.dumps([*before, ""]), uploads) == [*filled, "", gr.skip()]
        before[3] = "minute"
        restored = forms.restore(json.dumps([*before, ""]), uploads)
        found = [restored[first + ADVANCED.index(name)] for name in new]
        assert found == [PRESETS["minute"][name] for name in new]
    forged = [{"path": "/etc/passwd"}, 5, "utf-99", "no-preset", None, *([["x"]] * len(numbers))]
    skipped = [gr.skip()] * len(chosen)
    for upload in ("../x", "/etc/passwd", 5, {"path": "/etc/passwd"}, "0" * 32):
        assert forms.restore(json.dumps([*forged, upload]), uploads) == [*skipped, "", gr.skip()]
    for each in (json.dumps(chosen[:-6]), "null", "[", "", "{}"):
        assert forms.restore(each, uploads) == [*skipped, gr.skip(), gr.skip()]
