"""The form of a new run: a text, a preset, minutes, and every other setting in a sheet of its own.

The visitor's choices are kept in their browser. What differs from the preset is marked, and so is what can't be.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlstm.config import PRESETS, Settings
from charlstm.corpus import DATASETS, default_corpus
from charlstm.formatting import label_text
from charlstm.ui import corpus_picker
from charlstm.ui.components import PRIVATE, build_free_control
from charlstm.ui.corpus_picker import Uploads, serve_copy
from charlstm.ui.form_feedback import FormView, pack_text
from charlstm.ui.form_marks import changed_values, flat_settings, problem
from charlstm.ui.new_run_settings import ADVANCED, NEW_MODEL, build_setting, build_sheet
from charlstm.ui.setting_words import LIMITS, PRESET_LABELS

OWN = "own"  # in the folder's name of a run whose settings differ from every preset
_FIRST_PRESET = "minute"
_BEFORE_ADVANCED = 6  # stored values that precede those of the sheet
_ADDED = (
    ("state_reset",),
    ("input_scale", "layer_rates", "stretch_windows"),
)  # to the sheet, time after time since browsers store it
_PASTED_INFO = "This browser keeps up to a million characters of it; choose a longer one as a file"
_ADDRESS_INFO = "https://host/text.txt, or hf://datasets/user/name/file.txt for a file of a dataset on the Hub"
# Not a gr.BrowserState, which is still empty on page load in a tab that is not open.
_KEEP = "(...values) => { window.charlstm.store.saveForm(values); }"
_CHANGED = "() => { window.charlstm.formChanged?.(); }"
KEPT = "() => [window.charlstm.store.storedForm()]"
_EDITED = "() => { window.charlstm.formEdited?.(); }"
_SCRIPT = "window.charlstm.trainForm(element, props, watch, trigger, ['reset', 'refresh', 'dropped', 'edited']);"


@dataclass(frozen=True)
class Form:
    """Components of the form; `values` are those that define a run, in the order of `FormValues`."""

    corpus: gr.Dropdown
    preset: gr.Radio
    minutes: gr.Number
    start: gr.Button
    more: gr.Button  # opens the sheet
    summary: gr.HTML
    problem: gr.HTML
    notice: gr.HTML
    box: gr.Column  # of the three that follow
    file: gr.File
    pasted: gr.Textbox
    encoding: gr.Dropdown
    facts: gr.HTML
    adopt: gr.Button  # begins with a bundled model
    parent: gr.Dropdown
    advanced: dict[str, Any]
    marks: gr.HTML  # what the page's script marks; its events: reset, refresh, dropped, edited
    text: gr.Textbox  # name and length of the chosen text, as JSON
    upload: gr.Textbox  # the id under which the file is kept
    kept: gr.Textbox  # the form's values kept by the browser, as JSON

    @property
    def source(self) -> list[Any]:
        """Components that choose the text."""
        return [self.corpus, self.file, self.pasted, self.encoding]

    @property
    def values(self) -> list[Any]:
        """Components whose values define a run."""
        return [*self.source, self.preset, self.parent, *self.numbers]

    @property
    def numbers(self) -> list[Any]:
        """Components of the settings that a preset has."""
        return [self.minutes, *self.advanced.values()]

    @property
    def state(self) -> list[Any]:
        """Inputs of `FormView.reflect`."""
        return [self.text, self.preset, self.parent, *self.numbers]

    @property
    def shown(self) -> list[Any]:
        """Outputs of `FormView.reflect`."""
        return [self.preset, self.minutes, self.summary, self.start, self.adopt, self.marks]


@dataclass(frozen=True)
class FormValues:
    """Values of the form, in the order of `Form.values`."""

    corpus: str | None
    file: str | None
    pasted: str | None
    encoding: Any
    preset: str
    parent: str
    settings: Mapping[str, Any]  # one flat mapping, without the text

    @classmethod
    def of(cls, values: tuple[Any, ...]) -> "FormValues":
        """Name the values of `Form.values`."""
        corpus, file, pasted, encoding, preset, parent, *numbers = values
        return cls(corpus, file, pasted, encoding, preset, parent, flat_settings(numbers))

    @property
    def is_changed(self) -> bool:
        """Whether the settings are not quite those of the preset, where the run ends aside."""
        changed = changed_values(self.preset, self.settings)
        return any(name not in LIMITS for name in changed) or self.parent != NEW_MODEL

    def folder_word(self) -> str:
        """Return the preset's name, or `OWN` where its values were changed, for the name of the run's folder."""
        return OWN if self.is_changed or self.preset not in PRESETS else self.preset


def build_form(view: FormView, uploads: Uploads) -> Form:
    """Lay out the form and connect the events that concern only the form."""
    preset, first = Settings.preset(_FIRST_PRESET), default_corpus()
    with gr.Column(elem_id="train-form"):
        with gr.Row(elem_id="train-bar"):
            top = _build_bar(preset, first)
        notes: dict[str, Any] = {
            "summary": gr.HTML(elem_classes="facts", elem_id="preset-facts", padding=False),
            "adopt": gr.Button(visible=False, size="sm", elem_id="adopt"),
            "notice": gr.HTML(elem_classes="notice", elem_id="train-notice", padding=False),
            "problem": gr.HTML(elem_classes="problem", elem_id="train-problem", padding=False),
        }
        with gr.Column(elem_id="text-box", visible=False) as box:
            source: dict[str, Any] = {
                "file": gr.File(label="Text file", visible=False, height=150, elem_id="text-file"),
                "pasted": gr.Textbox(label="Pasted text", info=_PASTED_INFO, lines=4, max_lines=8, visible=False),
                "encoding": build_free_control(
                    preset.train,
                    "encoding",
                    label="Encoding of the file",
                    info="How its bytes become text, such as cp1252",
                    visible=False,
                ),
            }
        notes["marks"] = gr.HTML(html_template="<div></div>", js_on_load=_SCRIPT, elem_id="form-marks", padding=False)
        described = corpus_picker.describe_text(first, None, None, "auto")
        facts = gr.HTML(described.html, elem_classes="facts", elem_id="corpus-facts", padding=False)
        parent, advanced = build_sheet(preset)
        text = gr.Textbox(pack_text(described), visible=False)
        form = Form(
            **top, **notes, **source, box=box, facts=facts, parent=parent, advanced=advanced,
            text=text, upload=gr.Textbox(visible=False), kept=gr.Textbox(visible=False),
        )  # fmt: skip
    _wire(form, view, uploads)
    return form


def _build_bar(preset: Settings, first: str) -> dict[str, Any]:
    texts = [
        *((label_text(name), name) for name in DATASETS),
        ("Upload a file", corpus_picker.UPLOAD),
        ("Paste text", corpus_picker.PASTE),
        ("A web address", corpus_picker.ADDRESS),
    ]
    presets = [(label, name) for name, label in PRESET_LABELS.items()]
    return {
        "corpus": gr.Dropdown(
            label="Text to learn",
            choices=texts,
            value=first,
            filterable=False,
            elem_id="corpus",
            scale=0,
            min_width=180,
        ),
        "preset": gr.Radio(label="Preset", choices=presets, value=_FIRST_PRESET, elem_id="preset", scale=1),
        "minutes": build_setting(preset, "max_minutes", label="Stop after (min)", info=None, scale=0, min_width=115),
        "start": gr.Button("Start", variant="primary", elem_id="start", scale=0, min_width=140),
        "more": gr.Button("Advanced…", elem_id="advanced-open", scale=0, min_width=120),
    }


def _wire(form: Form, view: FormView, uploads: Uploads) -> None:
    """Update boxes, sentences and marks when a choice changes."""
    shown_boxes = [form.box, form.file, form.pasted, form.notice, form.problem]
    form.corpus.change(_source_updates, form.corpus, shown_boxes, queue=False, **PRIVATE)
    changes = [form.corpus.change, form.file.change, form.pasted.blur, form.pasted.submit, form.encoding.change]
    share = form.advanced["val_fraction"]

    def describe(*source: Any) -> list[Any]:
        described = corpus_picker.describe_text(*source)
        is_asked = described.is_unreadable or (source[0] == corpus_picker.UPLOAD and source[3] != "auto")
        return [described.html, pack_text(described), gr.update(visible=is_asked)]

    described = [form.facts, form.text, form.encoding]
    gr.on([*changes, share.change], describe, [*form.source, share], described, **PRIVATE)

    # By the page's script, a moment after the last change: a preset changes many fields at once.
    form.text.change(None, None, None, js=_CHANGED, queue=False, **PRIVATE)
    changes = [form.file.change, form.parent.change, *(each.change for each in form.numbers)]
    gr.on(changes, None, None, None, js=_EDITED, queue=False, **PRIVATE)
    form.marks.refresh(view.refresh, form.state, form.shown, queue=False, trigger_mode="always_last", **PRIVATE)
    form.marks.edited(None, None, form.problem, js="() => ['']", queue=False, **PRIVATE)

    def choose(*state: Any) -> list[Any]:
        numbers = values_of(Settings.preset(state[1]))
        return [*numbers, *view.reflect(*state[:3], *numbers), ""]

    form.preset.input(choose, form.state, [*form.numbers, *form.shown, form.problem], queue=False, **PRIVATE)
    form.adopt.click(view.adopt, form.state, [form.parent, *form.shown], queue=False, **PRIVATE)

    def reset(event: gr.EventData, *state: Any) -> list[Any]:
        data = event._data if isinstance(event._data, dict) else {}
        if "values" in data:
            return view.put_back(data["values"], *state)
        return view.reset(data.get("name"), *state)

    outputs = [form.parent, *form.numbers, *form.shown]
    # Each of several resets under way, where Gradio's own mode drops a second one, and *always_last* forgets its name.
    form.marks.reset(reset, form.state, outputs, queue=False, trigger_mode="multiple", **PRIVATE)
    form.marks.dropped(lambda: corpus_picker.UPLOAD, None, form.corpus, queue=False, **PRIVATE)
    form.more.click(None, None, None, js="() => { window.charlstm.openSheet(); }", **PRIVATE)
    gr.on([form.file.upload, form.file.clear], uploads.keep, form.file, form.upload, queue=False, **PRIVATE)
    kept = [form.corpus, form.pasted, form.encoding, form.preset, form.parent, *form.numbers, form.upload]
    gr.on([each.change for each in kept], None, kept, None, js=_KEEP, queue=False, **PRIVATE)


def restore(kept_json: str, uploads: Uploads) -> list[Any]:
    """Return updates from what the browser kept, for `[*restorable(form), form.upload, form.file]`."""
    num_kept = 7 + len(ADVANCED)
    try:
        kept = json.loads(kept_json)
    except (TypeError, ValueError, RecursionError):
        kept = None
    for number in range(len(_ADDED)):
        missing = [name for names in _ADDED[number:] for name in names]
        if isinstance(kept, list) and len(kept) == num_kept - len(missing):  # kept before these settings existed
            own = PRESETS.get(str(kept[3]), {})  # what the preset has now, so that an unchanged one stays so
            for name in sorted(missing, key=ADVANCED.index):
                kept.insert(_BEFORE_ADVANCED + ADVANCED.index(name), own.get(name, Settings().flat()[name]))
    if not isinstance(kept, list) or len(kept) != num_kept:
        return [gr.skip()] * (num_kept + 1)
    corpus, pasted, encoding, preset, parent, *numbers, upload = kept
    file = uploads.find(upload)
    return [
        _choice_or_skip((*DATASETS, corpus_picker.UPLOAD, corpus_picker.PASTE, corpus_picker.ADDRESS), corpus),
        pasted if isinstance(pasted, str) else gr.skip(),
        encoding if isinstance(encoding, str) and not problem("encoding", encoding) else gr.skip(),
        _choice_or_skip(tuple(PRESETS), preset),
        parent if isinstance(parent, str) else gr.skip(),
        *(value if isinstance(value, str | int | float) else gr.skip() for value in numbers),
        upload if file else "",
        serve_copy(file) if file else gr.skip(),
    ]


def _choice_or_skip(choices: tuple[str, ...], value: Any) -> Any:
    return value if value in choices else gr.skip()


def restorable(form: Form) -> list[Any]:
    """Return the components that `fill` and `restore` update."""
    return [form.corpus, form.pasted, form.encoding, form.preset, form.parent, *form.numbers]


def fill(settings: Settings) -> list[Any]:
    """Return updates of `restorable(form)` with the settings of a run; a text that it brought is not copied."""
    train = settings.train
    corpus = train.corpus if train.corpus in DATASETS else gr.skip()
    return [corpus, gr.skip(), gr.skip(), gr.skip(), NEW_MODEL, *values_of(settings)]


def values_of(settings: Settings) -> list[Any]:
    """Return the values of `Form.numbers` for some settings."""
    flat = settings.flat()
    return [flat["max_minutes"], *(flat[name] for name in ADVANCED)]


def _source_updates(kind: str | None) -> list[Any]:
    """Return updates that show the box for the chosen kind of text."""
    is_file, is_address = kind == corpus_picker.UPLOAD, kind == corpus_picker.ADDRESS
    is_typed = is_address or kind == corpus_picker.PASTE
    typed = gr.update(
        visible=is_typed,
        label="Address" if is_address else "Pasted text",
        info=_ADDRESS_INFO if is_address else _PASTED_INFO,
    )
    notice = "" if kind else gr.skip()  # which asks for a text
    return [gr.update(visible=is_file or is_typed), gr.update(visible=is_file), typed, notice, ""]
