"""What the page asks the server, asked without a browser: sizes, differences, rights."""

import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from charlstm.config import Settings
from charlstm.events import Evaluated, Progress, Sampled
from charlstm.runs import event_log
from charlstm.runs.access import token_hash
from charlstm.runs.history import RunHistory
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_endpoints import RunEndpoints

MOST_BYTES = 20_000
STEERING = ("pause", "continue", "stop", "unqueue", "save", "rate", "resume", "extend")
ACTIONS = (*STEERING, "rename", "note", "star", "delete")


def _progress(step: int) -> str:
    return Progress(
        step=step,
        train_loss=3 / (1 + step / 5000) + (step % 7) / 10,
        smooth_loss=3.1 / (1 + step / 5000),
        learning_rate=0.0061 - step * 1e-8,
        grad_norm=0.731 + (step % 11) / 7,
        num_passes=step / 1234.5,
        chars_per_second=41_234.5 + step % 100,
        elapsed_seconds=step / 51.3,
        fraction=min(1.0, step / 10**6),
    ).model_dump_json()


def _evaluated(step: int) -> str:
    loss = 3.2 / (1 + step / 6000)
    return Evaluated(step=step, val_loss=loss, method="", is_best=True, elapsed_seconds=step / 51.3).model_dump_json()


def _sampled(step: int) -> str:
    return Sampled(step=step, text=f"{step} " + "ä" * 400, temperature=1.0, seed=1).model_dump_json()


def _append(folder: RunDir, *lines: str) -> None:
    with folder.events_file.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _long(folder: RunDir, num_points: int) -> None:
    """Records as of a run of hours: points, a validation for every tenth, a sample for every thirtieth."""
    lines = []
    for step in range(0, 50 * num_points, 50):
        lines += [_progress(step)]
        lines += [_evaluated(step)] if step % 500 == 0 else []
        lines += [_sampled(step)] if step % 1500 == 0 else []
    _append(folder, *lines)


class Page:
    """What an open page knows, kept as its own code keeps it."""

    def __init__(self, cache: RunCache, **asked: Any) -> None:
        self._functions = {function.__name__: function for function in RunEndpoints(cache).functions()}
        self._asked = {"run": None, "compared": [], **asked}
        self.sections: dict[str, Any] = {}
        self.tags: dict[str, str] = {}
        self.shown: str | None = None
        self.rows: list[Any] = []
        self.epoch: Any = None
        self.lines: dict[str, dict[str, list[tuple[int, float]]]] = {}

    def tick(self) -> int | None:
        """Bytes of the answer; `None` where nothing was new."""
        asked = {**self._asked, "shown": self.shown, "tags": self.tags, "samples": [self.epoch, len(self.rows)]}
        answer = self._functions["tick"](json.loads(json.dumps(asked)), None)
        if answer is None:
            return None
        self.shown = answer["run"]
        for name, (tag, value) in answer["sections"].items():
            self.tags[name] = tag
            self.sections[name] = value
            if name == "samples":
                self.epoch, self.rows = value["epoch"], self.rows[: value["keep"]] + value["add"]
            if name.startswith("curves/"):
                self._grow(name, value["lines"])
        return len(json.dumps(answer, ensure_ascii=False).encode())

    def _grow(self, name: str, sent: Mapping[str, Any]) -> None:
        held = self.lines.setdefault(name, {})
        for curve, each in sent.items():
            added = list(zip(each["steps"], each["values"], strict=True))
            held[curve] = held.get(curve, [])[: each["keep"]] + added

    def catch_up(self) -> list[int]:
        """Ticks until nothing is new; the bytes of each."""
        sizes = []
        while (size := self.tick()) is not None:
            sizes.append(size)
            assert len(sizes) < 50
        return sizes

    def call(self, name: str, **asked: Any) -> Any:
        return self._functions[name](asked, *((None,) if name in ("act", "samples") else ()))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCache:
    monkeypatch.setattr("charlstm.ui.run_cache._REFRESH_SECONDS", 0.0)  # every tick looks for itself
    return RunCache(RunManager(tmp_path))


def _make(cache: RunCache, name: str, owner: str = "") -> RunDir:
    folder = cache.manager.store.create(Settings.preset("minute"), name)
    if owner:
        (folder.path / "owner").write_text(token_hash(owner), encoding="utf-8")
    return folder


def test_a_tick_stays_below_20_kb_however_long_the_run_and_six_are_compared(cache: RunCache) -> None:
    for name in ("one", "two", "three", "four", "five", "six"):
        _long(_make(cache, name), 3_000)
    folder = _make(cache, "longest")
    _long(folder, 20_000)
    page = Page(cache, run="longest", compared=["one", "two", "three", "four", "five", "six"])
    assert max(page.catch_up()) <= MOST_BYTES
    assert len(page.rows) == 667  # one for every 1,500 of 1,000,000 steps
    assert page.lines["curves/longest"]["training"][-1][0] == 999_950
    assert set(page.lines) == {f"curves/{name}" for name in ("longest", "one", "two", "three", "four", "five", "six")}
    assert page.tick() is None
    assert page.sections["differences"]["rows"] == []


def test_a_page_that_grew_with_the_run_shows_what_a_fresh_one_does(cache: RunCache) -> None:
    folder = _make(cache, "one")
    _long(folder, 100)
    page = Page(cache)
    page.catch_up()
    for step in range(5_000, 20_000, 50):
        _append(folder, _progress(step), *([_evaluated(step), _sampled(step)] if step % 750 == 0 else []))
        if step % 250 == 0:
            page.catch_up()
    page.catch_up()
    fresh = Page(cache)
    fresh.catch_up()
    assert page.lines == fresh.lines
    assert page.rows == fresh.rows
    assert page.tags["state"] == fresh.tags["state"]
    history = RunHistory(folder)
    history.poll()
    curve = history.series(240)["smoothed"]
    assert page.lines["curves/one"]["smoothed"] == list(zip(curve.steps, curve.values, strict=True))


def test_one_more_point_costs_little_and_an_unchanged_run_nothing(cache: RunCache) -> None:
    folder = _make(cache, "one")
    _long(folder, 5_000)
    page = Page(cache)
    page.catch_up()
    assert page.tick() is None
    _append(folder, _progress(250_000))
    size = page.tick()
    assert size is not None
    assert size < 3_000
    assert page.tick() is None


def test_among_many_runs_a_tick_stays_small_and_only_the_row_that_changed_comes_again(cache: RunCache) -> None:
    names = [f"a-run-with-a-rather-long-name-{number}" for number in range(80)]
    for name in names:
        _append(_make(cache, name), *map(_progress, range(0, 1500, 50)))
    page = Page(cache)
    sizes = page.catch_up()
    assert len(sizes) > 1
    assert max(sizes) <= MOST_BYTES
    assert sorted(page.sections["runs"]) == sorted(names)
    assert {name for name in page.sections if name.startswith("row/")} == {f"row/{name}" for name in names}
    before = dict(page.tags)
    _append(RunDir(cache.manager.store.root / names[3]), _evaluated(2000))
    assert page.tick() is not None
    assert [name for name in page.tags if page.tags[name] != before[name]] == [f"row/{names[3]}"]


def test_of_many_deleted_runs_a_part_is_listed_at_a_time_and_each_can_be_reached(cache: RunCache) -> None:
    for number in range(70):
        folder = _make(cache, f"run-{number:02}")
        folder.log_file.touch()
        (folder.path / "label.txt").write_text("🙂" * 78 + f"{number:02}", encoding="utf-8")  # as long as may be
        cache.manager.delete(folder.name)
    listed: list[str] = []
    for begin in (0, 30, 60):
        page = Page(cache, deleted=begin)
        assert max(page.catch_up()) <= MOST_BYTES
        assert page.sections["trash"]["count"] == 70
        listed += [each["id"].partition(".")[0] for each in page.sections["trash"]["list"]]
    assert sorted(listed) == [f"run-{number:02}" for number in range(70)]
    for nonsense in (-5, 10**30, "x", None, [1]):
        page = Page(cache, deleted=nonsense)
        page.catch_up()
        assert page.sections["trash"]["list"]


def test_zooming_in_gives_the_points_of_that_part_alone_and_more_of_them(cache: RunCache) -> None:
    _long(_make(cache, "one"), 20_000)
    page = Page(cache)
    page.catch_up()
    sent = page.call("zoom", run="one", range=[400_000, 410_000])
    steps = sent["lines"]["training"]["steps"]
    whole = [step for step, _ in page.lines["curves/one"]["training"] if 400_000 <= step <= 410_000]
    assert (steps[0], steps[-1]) == (400_000, 410_000)
    assert len(steps) == 201  # every one, of 50 steps each
    assert len(whole) < 20
    assert len(json.dumps(sent)) <= MOST_BYTES
    for wrong in (None, [1], ["a", "b"], [1, 2, 3], [1.5, 2.5]):
        assert "problem" in page.call("zoom", run="one", range=wrong)


def test_samples_that_no_longer_count_are_taken_back_from_the_page(cache: RunCache) -> None:
    folder = _make(cache, "one")
    _append(folder, *(_sampled(step) for step in range(0, 1000, 100)))
    page = Page(cache)
    page.catch_up()
    assert [row[0] for row in page.rows] == list(range(0, 1000, 100))
    _append(folder, '{"kind":"resumed","step":300,"started_at":""}', _sampled(350))
    page.catch_up()
    assert [row[0] for row in page.rows] == [0, 100, 200, 300, 350]
    assert page.call("samples", run="one", number=4)["texts"] == ["350 " + "ä" * 400]
    assert page.call("samples", run="one", number=-1)["texts"] == []


def test_what_samples_continue_is_shown_to_those_alone_who_may_read_the_text(
    cache: RunCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    folder = _make(cache, "one", owner="mine")
    folder.corpus_file.write_text("a secret", encoding="utf-8")
    _append(folder, _sampled(0).replace('"prompt_chars":0', '"prompt_chars":12'), _sampled(8))
    for visitor, text, length in (("mine", "0 " + "ä" * 400, 12), ("theirs", "ä" * 390, 0), ("", "ä" * 390, 0)):
        page = Page(cache, visitor=visitor)
        page.catch_up()
        assert [row[-1] for row in page.rows] == [length, 0]
        assert page.call("samples", run="one", number=0, visitor=visitor)["texts"] == [text, "8 " + "ä" * 400]
    _append(folder, _sampled(16).replace('"prompt_chars":0', '"prompt_chars":13'))
    page = Page(cache, visitor="theirs")
    page.catch_up()
    assert page.sections["samples"]["latest"] == "ä" * 390


def test_five_pages_read_a_run_once(cache: RunCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.ui.run_cache._REFRESH_SECONDS", 3600.0)
    polled: list[str] = []
    parsed: list[bytes] = []
    poll, parse = RunHistory.poll, event_log.parse_record
    monkeypatch.setattr(RunHistory, "poll", lambda self: (polled.append(self.folder.name), poll(self))[1])
    monkeypatch.setattr(event_log, "parse_record", lambda line: (parsed.append(line), parse(line))[1])
    folder = _make(cache, "one")
    _long(folder, 100)
    pages = [Page(cache) for _ in range(5)]
    for page in pages:
        page.catch_up()
    assert all(page.lines == pages[0].lines for page in pages)
    assert len(polled) == 2  # the list of runs, and what is drawn
    points = [line for line in folder.events_file.read_bytes().splitlines(keepends=True) if b'"progress"' in line]
    assert [line for line in parsed if b'"progress"' in line] == points, "the list and the page share one history"


@pytest.mark.parametrize("asked", [None, [], "x", {"run": ["one"]}, {"tags": 5, "compared": [{}], "samples": "all"}])
def test_nonsense_is_answered_as_if_nothing_were_known(cache: RunCache, asked: Any) -> None:
    _long(_make(cache, "one"), 10)
    functions = {function.__name__: function for function in RunEndpoints(cache).functions()}
    assert functions["tick"](asked, None)["run"] == "one"
    assert functions["act"](asked, None)["problem"]
    assert functions["download"](asked)["problem"]


@pytest.mark.parametrize("action", ["rate", "extend", "rename", "note", "star"])
def test_an_action_without_its_value_is_told(cache: RunCache, action: str) -> None:
    _append(_make(cache, "one"), _progress(0))
    assert Page(cache).call("act", run="one", action=action)["problem"].endswith("try again.")


def test_a_disk_that_takes_nothing_is_told(cache: RunCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    _append(_make(cache, "one"), _progress(0))
    monkeypatch.setattr("charlstm.runs.manager.atomic_write_text", fail)
    monkeypatch.setattr(Path, "touch", fail)
    for action in ("rename", "note", "star"):
        told = Page(cache).call("act", run="one", action=action, label="other", note="good", is_starred=True)
        assert "(No space left on device)" in told["problem"], action
    deleted = cache.manager.delete("one")
    monkeypatch.setattr(Path, "replace", fail)
    told = Page(cache).call("act", run=deleted, action="restore")
    assert "(No space left on device)" in told["problem"]


def test_a_model_is_downloaded_whole_and_nothing_else_is(
    cache: RunCache, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlstm.ui.run_endpoints._PIECE_BYTES", 1_000_000)
    folder = _make(cache, "one")
    shutil.copy(repository / "checkpoints" / "tiny-shakespeare" / "model.safetensors", folder.path)
    page, data, total = Page(cache), b"", 1
    while len(data) < total:
        piece = page.call("download", run="one", offset=len(data))
        data, total = data + base64.b64decode(piece["data"]), piece["total"]
    assert data == (folder.path / "model.safetensors").read_bytes()
    for name in ("../one", "one/../one", "", None, "/etc"):
        assert "data" not in page.call("download", run=name, offset=0)


@pytest.mark.parametrize("place", ["CHARLSTM_PUBLIC", "SPACE_ID"])
def test_among_strangers_only_who_started_a_run_or_the_owner_of_the_space_may_steer_it(
    cache: RunCache, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv(place, "1" if place == "CHARLSTM_PUBLIC" else "the-owner/space")
    _append(_make(cache, "one", owner="mine"), _progress(0))
    functions = {function.__name__: function for function in RunEndpoints(cache).functions()}
    act = functions["act"]
    values = {"run": "one", "factor": 0.5, "minutes": 1, "label": "other"}
    values |= {"note": "the  best\nso far ", "is_starred": True}
    for action in ACTIONS:
        for visitor in ("", "theirs", None, token_hash("mine")):
            refused = act({**values, "action": action, "visitor": visitor}, None)["problem"]
            assert "started by somebody else" in refused, action
    mine = {**values, "visitor": "mine"}
    assert [act({**mine, "action": action}, None)["problem"] for action in ("rename", "note", "star")] == [""] * 3
    for visitor, may in (("mine", True), ("theirs", False), (None, False)):  # who may not change it gets no buttons
        page = Page(cache, visitor=visitor)
        page.catch_up()
        row = page.sections["row/one"]
        assert (row["label"], row["note"], row["is_starred"], row["may"]) == ("other", "the best so far", may, may)
    owner = gr.OAuthProfile({"preferred_username": "the-owner", "name": "", "profile": "", "picture": ""})
    of_owner = {"run": "one", "visitor": "theirs"}  # who steers every run, and sets no star for others
    assert "started by somebody else" in act({**of_owner, "action": "star", "is_starred": False}, owner)["problem"]
    seen = functions["tick"](of_owner, owner)["sections"]["row/one"][1]
    assert (seen["may"], seen["is_starred"], seen["may_star"]) == (place == "SPACE_ID", False, False)
    act({**mine, "action": "note", "note": "\U0001f600" * 100}, None)
    act({**mine, "action": "star", "is_starred": False}, None)
    run = cache.summary("one")
    assert (run.note, run.is_starred) == ("\U0001f600" * 100, False)
    assert act({**mine, "action": "delete"}, None)["problem"] == ""
    restore = {"run": cache.manager.trash()[0].id, "action": "restore", "visitor": ""}
    assert "started by somebody else" in act({**restore, "visitor": "theirs"}, None)["problem"]
    stranger = gr.OAuthProfile({"preferred_username": "somebody", "name": "", "profile": "", "picture": ""})
    assert act(restore, stranger)["problem"]
    problem = act(restore, owner)["problem"]
    assert (problem == "") == (place == "SPACE_ID")
