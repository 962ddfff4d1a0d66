"""What the form of a new run says about the values in it: the sentence below, the marks, and the label of Start."""

import json
from typing import Any

import gradio as gr

from charlstm.config import PRESETS, Settings
from charlstm.data_folders import BUNDLED
from charlstm.environment import max_runs
from charlstm.formatting import escape_html, label_text
from charlstm.model_description import uses_code_font
from charlstm.runs.run_dir import ACTIVE
from charlstm.ui.corpus_picker import TextDescription
from charlstm.ui.form_marks import changed_values, flat_settings, marks, shows_minutes
from charlstm.ui.models import LIVE
from charlstm.ui.new_run_settings import ADVANCED, NEW_MODEL
from charlstm.ui.preset_summary import ChosenText, preset_summary, small_text_warning
from charlstm.ui.run_cache import RunCache
from charlstm.ui.setting_words import CHANGED_LABELS, PRESET_LABELS

_DEFAULT_PRESET = "minute"
_CODE_MODEL = "python-stdlib"  # the bundled model that knows code


def pack_text(described: TextDescription) -> str:
    """Return name and length of the chosen text for the page to send back."""
    return json.dumps([described.name, described.num_chars])


def _unpack_text(packed: Any) -> ChosenText:
    """Return what `pack_text` packed; a visitor may send anything."""
    try:
        name, num_chars = json.loads(packed)
    except (TypeError, ValueError, RecursionError):
        return ChosenText("")
    return ChosenText(str(name), num_chars if isinstance(num_chars, int) and num_chars > 0 else 0)


class FormView:
    """Sentences and marks of the form, which depend on the runs so far."""

    def __init__(self, cache: RunCache) -> None:
        self._cache = cache

    def reflect(self, *state: Any, before: list[Any] | None = None) -> list[Any]:
        """Return updates of `Form.shown` for the values of `Form.state`; `before` goes along with the marks."""
        packed, preset, parent, *numbers = state
        preset = preset if preset in PRESETS else _DEFAULT_PRESET
        text, settings = _unpack_text(packed), flat_settings(numbers)
        changed, runs = changed_values(preset, settings), self._cache.runs()
        is_full = sum(run.status in ACTIVE for run in runs) >= max_runs()
        is_new = parent in (None, "", NEW_MODEL)
        is_marked = bool(changed) or not is_new
        choices = [
            (CHANGED_LABELS[name] if is_marked and name == preset else label, name)
            for name, label in PRESET_LABELS.items()
        ]
        summary = preset_summary(preset, settings, changed, text, runs)
        beginning = "" if is_new else self.label_of(parent)
        model = self._bundled_for(text) if text.is_short and is_new else ""
        if text.is_small:
            summary += f' <strong class="warning">{small_text_warning(text, beginning)}</strong>'
        elif beginning:
            summary += escape_html(f" It begins with {beginning}, and with its size and layers.")
        elif model:
            summary += " The text is short: a model that can write already may learn it better than a new one."
        return [
            gr.update(choices=choices),
            gr.update(visible=shows_minutes(preset, settings)),
            summary,
            gr.update(value="Add to queue" if is_full else "Start"),
            gr.update(visible=bool(model), value=f"Begin with the {label_text(model)} model"),
            json.dumps(
                {
                    "preset": preset,
                    "fields": marks(preset, settings),
                    "is_full": is_full,
                    "has_parent": not is_new,
                    "before": before,
                }
            ),
        ]

    def refresh(self, *state: Any) -> list[Any]:
        """Return what `reflect` does, with the runs as they are at this moment."""
        self._cache.runs(is_fresh=True)
        return self.reflect(*state)

    def adopt(self, *state: Any) -> list[Any]:
        """Return updates of `[Form.parent, *Form.shown]` that begin the run with a bundled model."""
        packed, preset, _, *numbers = state
        model = self._bundled_for(_unpack_text(packed)) or NEW_MODEL
        return [self.parent_update([model], model), *self.reflect(packed, preset, model, *numbers)]

    def reset(self, name: Any, *state: Any) -> list[Any]:
        """Return updates of `[Form.parent, *Form.numbers, *Form.shown]`: setting `name` as in the preset, or all.

        One leaves all other fields alone, as several may be under way. After all of them the marks also hold what was
        there before, for `put_back`.
        """
        packed, preset, parent, *numbers = state
        before = [parent, *numbers] if name is None else None
        own = Settings.preset(preset if preset in PRESETS else _DEFAULT_PRESET).flat()
        names = ("max_minutes", *ADVANCED)
        numbers = [own[each] if name in (each, None) else value for each, value in zip(names, numbers, strict=True)]
        parent = NEW_MODEL if name in ("parent", None) else parent
        shown = self.reflect(packed, preset, parent, *numbers, before=before)
        pairs = zip(("parent", *names), (parent, *numbers), strict=True)
        return [*(value if name in (each, None) else gr.skip() for each, value in pairs), *shown]

    def put_back(self, values: Any, *state: Any) -> list[Any]:
        """Return what `reset` does, with `values` that a browser kept, from before; others change nothing."""
        packed, preset, *now = state
        is_whole = isinstance(values, list) and len(values) == len(now)
        if not is_whole or not all(isinstance(each, str | int | float | None) for each in values):
            values = now
        return [*values, *self.reflect(packed, preset, *values)]

    def parent_update(self, names: list[str], chosen: str) -> Any:
        """Return an update of `Form.parent` with the models to begin with, under the labels that people read."""
        if not isinstance(chosen, str):  # a call past the page can send anything
            chosen = NEW_MODEL
        offered = (name for name in dict.fromkeys((*names, chosen)) if name and name != NEW_MODEL)
        saved = [name for name in offered if not name.startswith(LIVE)]
        return gr.update(choices=[NEW_MODEL, *((self.label_of(name), name) for name in saved)], value=chosen)

    def label_of(self, name: str) -> str:
        """Return the label of a run that has this name, else the name."""
        return next((run.label for run in self._cache.runs() if run.name == name), str(name))

    def _bundled_for(self, text: ChosenText) -> str:
        """Return the bundled model that fits a text, if it is there."""
        there = {run.name for run in self._cache.runs()}
        fitting = sorted(BUNDLED, key=lambda name: (name == _CODE_MODEL) != uses_code_font(text.name))
        return next((name for name in fitting if name in there), "")
