"""The settings in which compared runs differ, for the table below their curves. Uses neither Gradio nor torch."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from charlstm.config import Settings
from charlstm.errors import RunError
from charlstm.formatting import label_text
from charlstm.runs.manager import RunSummary
from charlstm.runs.run_dir import RunDir
from charlstm.ui.setting_words import GROUPS, LIMITS, setting_label, shown_value

_LONGEST = 40  # characters of a value
_MAX_SETTINGS = 24  # kept in memory
_LEFT_OUT = ("corpus", "encoding", *GROUPS["Reporting"])


@lru_cache(maxsize=_MAX_SETTINGS)
def read_settings(folder: RunDir, _created_at: float) -> Settings | None:
    """Return the settings of a run's first part; `None` if they can't be read."""
    try:
        return folder.settings()
    except RunError:
        return None


def find_differences(runs: Sequence[RunSummary]) -> list[list[str]]:
    """Return a row for each setting that is not the same in all runs: its label, and its value in each."""
    known = [_describe(run) for run in runs]
    names = dict.fromkeys(name for each in known for name in each)
    rows = [[name, *(each.get(name, "–") for each in known)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def _describe(run: RunSummary) -> dict[str, str]:
    """Return what a run learned from and its settings, as people read them."""
    found = read_settings(run.folder, run.created_at)
    flat: dict[str, Any] = found.flat() if found else {}
    shown = {setting_label(name): _show(name, value) for name, value in flat.items() if name not in _LEFT_OUT}
    return {"Text": label_text(run.corpus), "Begins with": run.parent or "–", **shown}


def _show(name: str, value: Any) -> str:
    return "–" if name in LIMITS and not value else shown_value(value)[:_LONGEST]
