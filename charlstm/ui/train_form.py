"""The form of a new run: a text, a preset, minutes, and every other setting under Advanced.

The visitor's choices are kept in their browser. An invalid value is refused beside its field.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from charlstm.config import PRESET_SUMMARIES, PRESETS, ModelConfig, Settings, TrainConfig
from charlstm.corpus import DATASETS, default_corpus
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import capitalize, error_text, escape_html, format_duration, format_nats
from charlstm.runs.manager import RunSummary
from charlstm.runs.store import RunStore
from charlstm.ui import corpus_picker
from charlstm.ui.components import PRIVATE, build_free_control
from charlstm.ui.corpus_picker import Uploads, serve_copy
from charlstm.ui.run_cache import RunCache

NEW_MODEL = "a new model"
_FIRST_PRESET = "minute"
_OUTSIDE_ADVANCED = ("corpus", "encoding", "max_minutes")  # fields outside Advanced
MODEL_FIELDS = tuple(ModelConfig.model_fields)
TRAIN_FIELDS = tuple(name for name in TrainConfig.model_fields if name not in _OUTSIDE_ADVANCED)
ADVANCED = (*MODEL_FIELDS, *TRAIN_FIELDS)
_BEFORE_ADVANCED = 6  # stored values that precede those under Advanced
_PASTED_INFO = "This browser keeps up to a million characters of it; choose a longer one as a file"
_ADDRESS_INFO = "https://host/text.txt, or hf://datasets/user/name/file.txt for a file of a dataset on the Hub"
# Not a gr.BrowserState, which is still empty on page load in a tab that is not open.
_KEEP = "(...values) => { window.charlstm.store.saveForm(values); }"
KEPT = "() => [window.charlstm.store.storedForm()]"


@dataclass(frozen=True)
class Form:
    """Components of the form; `values` are those that define a run, in the order of `FormValues`."""

    corpus: gr.Radio
    file: gr.File
    pasted: gr.Textbox
    encoding: gr.Dropdown
    facts: gr.HTML
    preset: gr.Radio
    summary: gr.HTML
    minutes: gr.Number
    more: gr.Accordion
    parent: gr.Dropdown
    advanced: dict[str, Any]
    start: gr.Button
    problem: gr.HTML
    upload: gr.Textbox  # the id under which the file is kept
    kept: gr.Textbox  # the form's values kept by the browser, as JSON

    @property
    def source(self) -> list[Any]:
        """Components that choose the text."""
        return [self.corpus, self.file, self.pasted, self.encoding]

    @property
    def values(self) -> list[Any]:
        """Components whose values define a run."""
        return [*self.source, self.preset, self.parent, self.minutes, *self.advanced.values()]


@dataclass(frozen=True)
class FormValues:
    """Values of the form, in the order of `Form.values`."""

    corpus: str
    file: str | None
    pasted: str | None
    encoding: Any
    preset: str
    parent: str
    minutes: float | None
    advanced: Mapping[str, Any]

    @classmethod
    def of(cls, values: tuple[Any, ...]) -> "FormValues":
        """Name the values of `Form.values`."""
        corpus, file, pasted, encoding, preset, parent, minutes, *advanced = values
        named = dict(zip(ADVANCED, advanced, strict=True))
        return cls(corpus, file, pasted, encoding, preset, parent, minutes, named)

    def flat(self) -> dict[str, Any]:
        """Return the settings as one flat mapping, without the text."""
        numbers = {"max_minutes": self.minutes, **self.advanced}
        return {name: _integral(value) for name, value in numbers.items()}

    def name(self) -> str:
        """Return the preset's name, or `OWN` where its values were changed."""
        preset = Settings.preset(self.preset).flat() if self.preset in PRESETS else {}
        is_plain = all(preset.get(name) == value for name, value in self.flat().items())
        return self.preset if is_plain and self.parent == NEW_MODEL else OWN


def build_form(cache: RunCache, uploads: Uploads) -> Form:
    """Lay out the form and connect the events that concern only the form."""
    first, preset = default_corpus(), Settings.preset(_FIRST_PRESET)
    summary = escape_html(preset_summary(_FIRST_PRESET, first, cache.runs()))
    sources = [
        *((name, name) for name in DATASETS),
        ("a file of mine", corpus_picker.UPLOAD),
        ("pasted text", corpus_picker.PASTE),
    ]
    sources.append(("a web address", corpus_picker.ADDRESS))
    form = Form(
        corpus=gr.Radio(label="Text to learn from", choices=sources, value=first, elem_id="corpus"),
        file=gr.File(label="Text file", visible=False, height=110),
        pasted=gr.Textbox(label="Pasted text", info=_PASTED_INFO, lines=4, max_lines=8, visible=False),
        encoding=build_free_control(preset.train, "encoding", visible=False),
        facts=gr.HTML(corpus_picker.dataset_summary(first), elem_classes="facts", elem_id="corpus-facts"),
        preset=gr.Radio(label="Preset", choices=list(PRESETS), value=_FIRST_PRESET),
        summary=gr.HTML(summary, elem_classes="facts", elem_id="preset-facts"),
        minutes=build_free_control(
            preset.train, "max_minutes", label="Training time (minutes)", info="0 where passes or steps are the limit"
        ),
        start=gr.Button("Start training", variant="primary"),
        problem=gr.HTML(elem_classes="problem", elem_id="train-problem"),
        **_build_advanced(preset),
        upload=gr.Textbox(visible=False),
        kept=gr.Textbox(visible=False),
    )
    _wire(form, cache, uploads)
    return form


def _build_advanced(preset: Settings) -> dict[str, Any]:
    with gr.Accordion("Advanced", open=False, elem_classes="advanced") as more:
        parent = gr.Dropdown(
            label="Begin with",
            choices=[NEW_MODEL],
            value=NEW_MODEL,
            allow_custom_value=True,  # checked in `_start`: the list may have grown since the page was opened
            info="A model that goes on learning from this text; it brings its own size and layers",
        )
        gr.HTML("<h2>The network</h2>", elem_classes="facts")
        advanced = {name: build_free_control(preset.model, name) for name in MODEL_FIELDS}
        gr.HTML("<h2>How it learns</h2>", elem_classes="facts")
        advanced |= {name: build_free_control(preset.train, name) for name in TRAIN_FIELDS}
    return {"more": more, "parent": parent, "advanced": advanced}


def _wire(form: Form, cache: RunCache, uploads: Uploads) -> None:
    """Update boxes, facts and values when a choice changes, and validate a field when it loses the focus."""
    boxes = [form.file, form.pasted, form.encoding, form.problem]
    form.corpus.change(_source_updates, form.corpus, boxes, queue=False, **PRIVATE)
    changes = [form.corpus.change, form.file.change, form.pasted.blur, form.encoding.change]
    gr.on(changes, corpus_picker.corpus_summary, form.source, form.facts, **PRIVATE)

    def summary(preset: str, corpus: str) -> str:
        return escape_html(preset_summary(preset, corpus, cache.runs()))

    gr.on([form.preset.change, form.corpus.change], summary, [form.preset, form.corpus], form.summary, **PRIVATE)
    numbers = [form.minutes, *form.advanced.values()]
    form.preset.input(lambda name: _values_of(Settings.preset(name)), form.preset, numbers, queue=False, **PRIVATE)
    left = [each.blur for each in numbers]
    gr.on(left, lambda *_: None, numbers, None, validator=lambda *values: _check_numbers(values), **PRIVATE)
    gr.on([form.file.upload, form.file.clear], uploads.keep, form.file, form.upload, queue=False, **PRIVATE)
    kept = [form.corpus, form.pasted, form.encoding, form.preset, form.parent, *numbers, form.upload]
    gr.on([each.change for each in kept], None, kept, None, js=_KEEP, queue=False, **PRIVATE)


def restore(kept_json: str, uploads: Uploads) -> list[Any]:
    """Return updates from what the browser kept, for `[*restorable(form), form.upload, form.file]`."""
    num_kept = 7 + len(ADVANCED)
    try:
        kept = json.loads(kept_json)
    except (TypeError, ValueError, RecursionError):
        kept = None
    if isinstance(kept, list) and len(kept) == num_kept - 1:  # kept before this setting existed
        kept.insert(_BEFORE_ADVANCED + ADVANCED.index("state_reset"), TrainConfig().state_reset)
    if not isinstance(kept, list) or len(kept) != num_kept:
        return [gr.skip()] * (num_kept + 1)
    corpus, pasted, encoding, preset, parent, *numbers, upload = kept
    file = uploads.find(upload)
    return [
        _choice_or_skip((*DATASETS, corpus_picker.UPLOAD, corpus_picker.PASTE, corpus_picker.ADDRESS), corpus),
        pasted if isinstance(pasted, str) else gr.skip(),
        encoding if isinstance(encoding, str) and not _problem("encoding", encoding) else gr.skip(),
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
    return [form.corpus, form.pasted, form.encoding, form.preset, form.parent, form.minutes, *form.advanced.values()]


def fill(settings: Settings) -> list[Any]:
    """Return updates of `restorable(form)` with the settings of a run; a text that it brought is not copied."""
    train = settings.train
    corpus = train.corpus if train.corpus in DATASETS else gr.skip()
    return [corpus, gr.skip(), gr.skip(), gr.skip(), NEW_MODEL, *_values_of(settings)]


def _values_of(settings: Settings) -> list[Any]:
    flat = settings.flat()
    return [flat["max_minutes"], *(flat[name] for name in ADVANCED)]


def validate_fields(*values: Any) -> list[Any]:
    """Validate each of `Form.values`, with a message for each invalid one."""
    fine = [gr.validate(True, "")] * 6
    return [*fine, *_check_numbers(values[6:])]


def first_error(*values: Any) -> list[Any]:
    """Return the first problem, for the line below Start, and an update that opens Advanced to show its field."""
    names = ("max_minutes", *ADVANCED)
    for name, verdict in zip(names, _check_numbers(values[6:]), strict=True):
        if not verdict["is_valid"]:
            words = name.replace("_", " ").capitalize()
            return [
                escape_html(f"{words}: {verdict['message']}"),
                gr.update(open=True) if name in ADVANCED else gr.skip(),
            ]
    return [gr.skip(), gr.skip()]


def _check_numbers(numbers: tuple[Any, ...]) -> list[Any]:
    problems = [_problem(name, value) for name, value in zip(("max_minutes", *ADVANCED), numbers, strict=True)]
    if not any(problems):
        try:
            flat = dict(zip(("max_minutes", *ADVANCED), map(_integral, numbers), strict=True))
            Settings.from_flat(flat)
        except ConfigError as error:
            problems[0] = error_text(error)
    return [gr.validate(not problem, problem) for problem in problems]


def _problem(name: str, value: Any) -> str:
    """Return the problem of a value without the field's name, which is beside it; empty if it is valid."""
    if value is None or (value == "" and name != "sample_prompt"):
        return "Missing."
    cls = ModelConfig if name in ModelConfig.model_fields else TrainConfig
    try:
        cls(**{name: _integral(value)})
    except CharLSTMError as error:
        return capitalize(str(error).split("; ", 1)[-1])
    return ""


def _integral(value: Any) -> Any:
    """Convert an integral float to int: the page may send 8 as 8.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _source_updates(kind: str) -> list[Any]:
    """Return updates that show the box for the chosen kind of text."""
    is_file, is_address = kind == corpus_picker.UPLOAD, kind == corpus_picker.ADDRESS
    box = gr.update(
        visible=is_address or kind == corpus_picker.PASTE,
        label="Address" if is_address else "Pasted text",
        info=_ADDRESS_INFO if is_address else _PASTED_INFO,
    )
    return [gr.update(visible=is_file), box, gr.update(visible=is_file or is_address), ""]


class _ReferenceResult(NamedTuple):
    val_loss: float
    seconds: float


# Measured on 2 cores, auto for 3 minutes (docs/results.md, "Presets").
_REFERENCE_RESULTS = {
    "auto": _ReferenceResult(1.4088, 180),
    "minute": _ReferenceResult(1.4790, 60),
    "best": _ReferenceResult(1.3769, 53 * 60),
    "blog": _ReferenceResult(1.6353, 93),
}
_REFERENCE_RATE = 5289 / 60  # steps per second of `minute` there (docs/results.md, "Presets")
_MIN_SPEED_SECONDS = 20  # a shorter run says little about the machine
OWN = "own"  # in the name of a run whose settings differ from every preset


def new_run_name(store: RunStore, corpus: str, preset: str) -> str:
    """Return a free name for a run of `preset` (or `OWN`) on a text."""
    return store.free_name(f"{Path(corpus).stem}-{preset}")


def preset_summary(preset: str, corpus: str, runs: Iterable[RunSummary]) -> str:
    """Describe a preset: its model, when it ends, and the validation loss it reached."""
    settings = Settings.preset(preset)
    model, train = settings.model, settings.train
    shape = f"{model.num_layers} × {model.hidden_size} LSTM, batch {train.batch_size}, window {train.seq_len}"
    if train.plan == "on":
        shape = "size, batch and dropout are chosen at the start"
    limits = ((train.max_minutes, "minutes"), (train.max_passes, "passes over the text"), (train.max_steps, "steps"))
    end = ", ".join(f"{limit:g} {unit}" for limit, unit in limits if limit).replace("1 minutes", "1 minute")
    what = f"{capitalize(PRESET_SUMMARIES[preset])}: {shape}; {end.replace('1 passes', '1 pass')}."
    return f"{what} {_result_text(preset, corpus, runs)}"


def _result_text(preset: str, corpus: str, runs: Iterable[RunSummary]) -> str:
    named = re.compile(re.escape(f"{Path(corpus).stem}-{preset}") + r"(-\d+)?")
    here = [
        (run.val_loss, run.elapsed_seconds)
        for run in runs
        if run.status == "completed" and run.corpus == corpus and run.val_loss and named.fullmatch(run.name)
    ]
    if here:  # the newest first
        loss, seconds = here[0]
        return f"Here it reached {format_nats(loss)} in {format_duration(seconds)}."
    reference = _REFERENCE_RESULTS[preset]
    shown, duration = format_nats(reference.val_loss), format_duration(reference.seconds)
    text = f"Recorded on 2 cores: {shown} on tiny-shakespeare in {duration}"
    speed = _relative_speed(runs)
    if speed is None:
        return f"{text}."
    if Settings.preset(preset).train.max_minutes:
        return f"{text}; this machine did {speed:.1f} times as much in its time."
    return f"{text}; here, by the speed so far, about {format_duration(reference.seconds / speed)}."


def _relative_speed(runs: Iterable[RunSummary]) -> float | None:
    """Return the speed of the newest run of `minute` here relative to the recorded one; `None` without such a run."""
    named = re.compile(r".*-minute(-\d+)?")
    rates = (
        run.step / run.elapsed_seconds
        for run in runs
        if run.elapsed_seconds > _MIN_SPEED_SECONDS and named.fullmatch(run.name)
    )
    rate = next(rates, None)
    return rate and rate / _REFERENCE_RATE
