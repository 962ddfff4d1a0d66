"""Cache of runs for all visitors: what is on disk is read once, however many pages are open.

The state is divided into sections. Each has a tag that changes with its contents: a page is sent only what it lacks.
"""

import json
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlstm.data_folders import BUNDLED, RECORDED_RUNS
from charlstm.errors import RunError
from charlstm.model_description import uses_code_font
from charlstm.model_paths import MODEL_FILE
from charlstm.runs.access import can_read
from charlstm.runs.history import RunHistory
from charlstm.runs.manager import RunManager, RunSummary
from charlstm.runs.retention import TrashedRun
from charlstm.runs.run_dir import ACTIVE
from charlstm.ui import run_view_data
from charlstm.ui.models import LIVE
from charlstm.ui.run_differences import read_settings
from charlstm.ui.run_sentences import Requests, Waiting
from charlstm.ui.run_view_data import Lines

_REFRESH_SECONDS = 0.4  # age up to which cached state is served
_HURRY_SECONDS = 0.1  # while a request to a run is not in effect yet
_MAX_HISTORIES = 24  # kept in memory
_LINES_KEPT = 8  # versions of each run: a page a few versions behind is sent only what is new
_SAMPLES_SENT = 300  # rows of the timeline per answer
_SHORT_TEXT_BYTES = 5000  # a latest sample up to this length is sent with the tick
_TEXTS_BYTES = 16_000
_RECORDED_PRESETS = ("minute", "auto")  # for which one of the recorded runs is shown first, not a bundled model's
_LIVE = tuple(status for status in ACTIVE if status != "measuring")  # then the best model is written with


@dataclass(frozen=True)
class VersionedPart:
    """One section of a page, with its tag and size."""

    tag: str
    value: Any
    num_bytes: int


def tag_part(value: Any) -> VersionedPart:
    """Tag a value by its contents, so that tags stay valid when the app is restarted."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return VersionedPart(f"{zlib.crc32(data):x}", value, len(data))


class CachedRun:
    """A run and its sections; to be used while the cache's lock is held."""

    def __init__(self, summary: RunSummary, history: RunHistory) -> None:
        self.summary, self.history = summary, history
        self.sections: dict[str, VersionedPart] = {}
        self.is_asked = False  # whether a request is not in effect yet
        self._read_at, self._version = -1e9, -1
        self._lines: dict[bool, OrderedDict[str, Lines]] = {False: OrderedDict(), True: OrderedDict()}
        self._lines_version = {False: -1, True: -1}
        self._clock: list[list[float]] = []
        self._samples: list[list[float | None]] = []
        self._latest_text = ""
        self._num_rewinds = 0

    def refresh(
        self, summary: RunSummary, manager: RunManager, is_fresh: bool = False, waiting: Waiting | None = None
    ) -> None:
        """Read new records, unless that was done a moment ago; `waiting` is the run that this one is queued behind."""
        now = time.monotonic()
        if not is_fresh and now - self._read_at < _REFRESH_SECONDS and summary is self.summary and not self.is_asked:
            return
        self._read_at, self.summary = now, summary
        history = manager.history(summary.folder)
        if history is not self.history:  # another run has taken the name
            self.history, self._version = history, -1
        history.poll()
        self.sections["state"] = tag_part(self._state(waiting))
        if self.history.version != self._version:
            self._version = self.history.version
            self.sections["refs"] = tag_part(run_view_data.baseline_lines(self.history))
            self.sections["marks"] = tag_part(run_view_data.chart_marks(self.history))
            self._read_samples()

    def _state(self, waiting: Waiting | None) -> dict[str, Any]:
        run, folder = self.summary, self.summary.folder
        asked = Requests(folder.control(), folder.worker_status()) if run.status in ACTIVE else Requests()
        has_model = (folder.path / MODEL_FILE).is_file()
        settings = read_settings(folder, run.created_at)
        train = settings.train if settings else None
        state = run_view_data.run_state(run, self.history, asked, has_model, comes_with_the_app(run), train, waiting)
        self.is_asked = state["is_asked"]
        return {**state, "is_code": uses_code_font(run.corpus)}

    def _read_samples(self) -> None:
        count = len(self._samples)
        latest = self.history.sample(count - 1) if count else None
        if count and (latest is None or latest.step != self._samples[-1][0] or latest.text != self._latest_text):
            self._samples.clear()
            self._num_rewinds += 1
        for index in range(max(0, len(self._samples) - 1), self.history.num_samples):
            if (sample := self.history.sample(index)) is not None:
                self._samples[index:] = [run_view_data.sample_row(sample)]
                self._latest_text = sample.text

    def curves(self, is_overlaid: bool, tag_of_page: str) -> VersionedPart:
        """Return the curves as a difference from those that the page has."""
        kept = self._lines[is_overlaid]
        if self._lines_version[is_overlaid] != self._version:
            self._lines_version[is_overlaid] = self._version
            lines = (
                run_view_data.overlaid_chart_lines(self.history)
                if is_overlaid
                else run_view_data.chart_lines(self.history)
            )
            self._clock = run_view_data.step_to_time(self.history)
            tag = tag_part([lines, self._clock]).tag
            kept[tag] = lines
            kept.move_to_end(tag)
            while len(kept) > _LINES_KEPT:
                kept.popitem(last=False)
        tag, lines = next(reversed(kept.items()))
        if tag == tag_of_page:
            return VersionedPart(tag, None, 0)
        value = {"clock": self._clock, "lines": run_view_data.delta(kept.get(tag_of_page), lines)}
        return VersionedPart(tag, value, tag_part(value).num_bytes)

    def samples(self, epoch_of_page: Any, count_of_page: Any, hides_prompt: bool = False) -> VersionedPart:
        """Return the timeline of samples as a difference from the rows that the page has.

        `hides_prompt` leaves out what the samples continue, which comes from a text that not everybody may read.
        """
        epoch, count = f"{self.summary.name}/{self._num_rewinds}", len(self._samples)
        has = count_of_page if epoch_of_page == epoch and isinstance(count_of_page, int) else 0
        keep = max(0, min(has, count) - 2)  # the losses of the last rows may have been recorded after them
        rows = self._samples[keep : keep + _SAMPLES_SENT]
        add = [[*row[:-1], 0] for row in rows] if hides_prompt else rows
        is_whole = keep + len(add) == count
        latest = self._latest_text[int(rows[-1][-1] or 0) :] if hides_prompt and rows else self._latest_text
        text = latest if is_whole and len(latest.encode()) < _SHORT_TEXT_BYTES else None
        value = {"epoch": epoch, "keep": keep, "add": add, "count": count, "latest": text}
        tag = f"{epoch}/{keep + len(add)}/{tag_part([add[-2:], text]).tag}"
        return VersionedPart(tag, value, tag_part(value).num_bytes)

    def texts(self, index: int, hides_prompt: bool = False) -> list[str]:
        """Return the texts of samples from `index` on, as many as fit into one answer; for `hides_prompt` see above."""
        texts: list[str] = []
        num_bytes = 0
        while num_bytes < _TEXTS_BYTES and (sample := self.history.sample(index + len(texts))) is not None:
            texts.append(sample.text[sample.prompt_chars :] if hides_prompt else sample.text)
            num_bytes += len(sample.text.encode())
        return texts

    def hides_prompt(self, visitor: str, is_owner: bool) -> bool:
        """Return whether the visitor may not read the text that the run learns, nor what its samples continue."""
        return not can_read(self.summary, self.summary.folder.corpus_file.exists(), visitor, is_owner)


def comes_with_the_app(run: RunSummary) -> bool:
    """Return whether nobody here trained the run: its model is bundled, or it was recorded to be looked at."""
    return run.name in BUNDLED or run.folder.path.parent == RECORDED_RUNS


class RunCache:
    """Cached runs of a manager; thread-safe. With `shows_recorded` those too that come without a model, in no list."""

    def __init__(self, manager: RunManager, shows_recorded: bool = False) -> None:
        self.manager = manager
        self._recorder = RunManager(RECORDED_RUNS)
        self._recorded = self._recorder.runs() if shows_recorded else []  # which never change
        self.lock = manager.reading
        self._cached_runs: OrderedDict[str, CachedRun] = OrderedDict()
        self._runs: list[RunSummary] = []
        self._deleted: list[TrashedRun] = []
        self._rows: dict[tuple[str, bool, bool], tuple[RunSummary, VersionedPart]] = {}
        self._read_at = -1e9

    def runs(self, is_fresh: bool = False) -> list[RunSummary]:
        """Return all runs, the newest first, as of a moment ago."""
        with self.lock:
            is_hurried = any(cached.is_asked for cached in self._cached_runs.values())
            if is_fresh or time.monotonic() - self._read_at > (_HURRY_SECONDS if is_hurried else _REFRESH_SECONDS):
                self._runs, self._deleted = self.manager.runs(), self.manager.trash()
                names = {run.name for run in (*self._runs, *self._recorded)}
                self._rows = {key: row for key, row in self._rows.items() if key[0] in names}
                self._read_at = time.monotonic()
            return self._runs

    def deleted(self) -> list[TrashedRun]:
        """Return the deleted runs, as of when `runs` were read."""
        return self._deleted

    def row(self, run: RunSummary, may_change: bool, is_own: bool) -> VersionedPart:
        """Return a run's row in the table of runs, described anew only where the run has changed."""
        key = (run.name, may_change, is_own)
        known = self._rows.get(key)
        if known is None or known[0] != run:
            row = run_view_data.table_row(run, comes_with_the_app(run), may_change, is_own)
            known = self._rows[key] = (run, tag_part(row))
        return known[1]

    def summary(self, name: Any) -> RunSummary:
        """Return the run with this id, be it a recorded one; raises `RunError`."""
        found = next((run for run in (*self.runs(), *self._recorded) if run.name == name), None)
        if found is None:
            raise RunError("this run is no longer there; choose another one.")
        return found

    def cached_run(self, summary: RunSummary, is_fresh: bool = False) -> CachedRun:
        """Return a run and its sections, as of a moment ago; to be used while `lock` is held."""
        with self.lock:
            manager = self._recorder if summary in self._recorded else self.manager
            cached = self._cached_runs.pop(summary.name, None)
            cached = cached or CachedRun(summary, manager.history(summary.folder))
            self._cached_runs[summary.name] = cached  # least recently used ones are dropped first
            while len(self._cached_runs) > _MAX_HISTORIES:
                self._cached_runs.popitem(last=False)
            cached.refresh(summary, manager, is_fresh, self._waiting_for(summary))
            return cached

    def _waiting_for(self, summary: RunSummary) -> Waiting | None:
        """Return the run that will make place for a queued one."""
        active = self.active() if summary.status == "queued" else None
        if active is None:
            return None
        history = self.manager.history(active.folder)
        return Waiting(active.label, history.time_left() if active.status == "running" else None)

    def active(self) -> RunSummary | None:
        """Return the run in progress, if any."""
        return next((run for run in self.runs() if run.status in ACTIVE), None)

    def to_show(self, preset: Any = _RECORDED_PRESETS[0]) -> str | None:
        """Return the run that a page opens with: the one in progress, else the newest, else one of the app's own.

        Of those it is one of the `preset` in the page's form, as far as there is one.
        """
        active = self.active()
        names = [active.name] if active else [run.name for run in self.runs()]
        own = [name for name in names if name not in BUNDLED]
        bundled, recorded = [name for name in BUNDLED if name in names], [run.name for run in self._recorded]
        shown = [*recorded, *bundled] if preset in _RECORDED_PRESETS else [*bundled, *recorded]
        return next(iter((*own, *shown)), None)

    def labels(self) -> dict[str, str]:
        """Return the names that people read, by run: a renamed run's model is listed under its new one."""
        return {run.name: run.label for run in self.runs()}

    def live_models(self) -> dict[str, Path]:
        """Return the files of models in training, as last saved, by the names that visitors know them by."""
        active = (run for run in self.runs() if run.status in _LIVE)
        return {f"{LIVE}{run.label}": run.folder.live_model for run in active if run.folder.live_model.is_file()}

    def model_of(self, run_name: str) -> str:
        """Return the name of a run's model: the live one while there is one, else the run's name."""
        active = (run for run in self.runs(is_fresh=True) if run.name == run_name and run.status in _LIVE)
        live = (f"{LIVE}{run.label}" for run in active)
        return next((name for name in live if name in self.live_models()), run_name)
