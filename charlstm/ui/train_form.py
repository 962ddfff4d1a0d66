"""The form of a new run: a text, a preset, minutes, and under Advanced every setting there is.

What the visitor chose is kept in their browser. A value that can't be is refused beside its field.
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
_OWN_PLACE = ("corpus", "encoding", "max_minutes")  # not under Advanced: they have a place of their own
MODEL_FIELDS = tuple(ModelConfig.model_fields)
TRAIN_FIELDS = tuple(name for name in TrainConfig.model_fields if name not in _OWN_PLACE)
ADVANCED = (*MODEL_FIELDS, *TRAIN_FIELDS)
_BEFORE_ADVANCED = 6  # values that are kept in front of those under Advanced
_PASTED_INFO = "This browser keeps up to a million characters of it; choose a longer one as a file"
_ADDRESS_INFO = "https://host/text.txt, or hf://datasets/user/name/file.txt for a file of a dataset on the Hub"
# Not a gr.BrowserState: one in a tab that is not open yet is empty when the page asks for it.
_KEEP = "(...values) => { window.charlstm.store.keepForm(values); }"
KEPT = "() => [window.charlstm.store.formKept()]"


@dataclass(frozen=True)
class Form:
    """The components; `values` are those whose values a run is made of, in the order of `Chosen`."""

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
    upload: gr.Textbox  # the id of the file, by which it is found again
    kept: gr.Textbox  # what the browser kept of the form, as JSON

    @property
    def source(self) -> list[Any]:
        """What says which text to learn from."""
        return [self.corpus, self.file, self.pasted, self.encoding]

    @property
    def values(self) -> list[Any]:
        """Everything a run is made of."""
        return [*self.source, self.preset, self.parent, self.minutes, *self.advanced.values()]


@dataclass(frozen=True)
class FormValues:
    """The values of the form, in the order of `Form.values`."""

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
        """From the values of `Form.values`."""
        corpus, file, pasted, encoding, preset, parent, minutes, *advanced = values
        named = dict(zip(ADVANCED, advanced, strict=True))
        return cls(corpus, file, pasted, encoding, preset, parent, minutes, named)

    def flat(self) -> dict[str, Any]:
        """The settings as one flat mapping, without the text."""
        numbers = {"max_minutes": self.minutes, **self.advanced}
        return {name: _whole(value) for name, value in numbers.items()}

    def name(self) -> str:
        """The preset's, or `presets.OWN` where its values were changed."""
        preset = Settings.preset(self.preset).flat() if self.preset in PRESETS else {}
        is_plain = all(preset.get(name) == value for name, value in self.flat().items())
        return self.preset if is_plain and self.parent == NEW_MODEL else OWN


def build_form(watch: RunCache, uploads: Uploads) -> Form:
    """Lay the form out and wire what needs nothing but itself."""
    first, preset = default_corpus(), Settings.preset(_FIRST_PRESET)
    summary = escape_html(preset_summary(_FIRST_PRESET, first, watch.runs()))
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
    _wire(form, watch, uploads)
    return form


def _build_advanced(preset: Settings) -> dict[str, Any]:
    with gr.Accordion("Advanced", open=False, elem_classes="advanced") as more:
        parent = gr.Dropdown(
            label="Begin with",
            choices=[NEW_MODEL],
            value=NEW_MODEL,
            allow_custom_value=True,  # checked by hand: the list may have grown since the page was opened
            info="A model that goes on learning from this text; it brings its own size and layers",
        )
        gr.HTML("<h2>The network</h2>", elem_classes="facts")
        advanced = {name: build_free_control(preset.model, name) for name in MODEL_FIELDS}
        gr.HTML("<h2>How it learns</h2>", elem_classes="facts")
        advanced |= {name: build_free_control(preset.train, name) for name in TRAIN_FIELDS}
    return {"more": more, "parent": parent, "advanced": advanced}


def _wire(form: Form, watch: RunCache, uploads: Uploads) -> None:
    """What is chosen shows its box, its facts and its values; what is wrong is said on leaving a field."""
    boxes = [form.file, form.pasted, form.encoding, form.problem]
    form.corpus.change(_source_updates, form.corpus, boxes, queue=False, **PRIVATE)
    changes = [form.corpus.change, form.file.change, form.pasted.blur, form.encoding.change]
    gr.on(changes, corpus_picker.corpus_summary, form.source, form.facts, **PRIVATE)

    def summary(preset: str, corpus: str) -> str:
        return escape_html(preset_summary(preset, corpus, watch.runs()))

    gr.on([form.preset.change, form.corpus.change], summary, [form.preset, form.corpus], form.summary, **PRIVATE)
    numbers = [form.minutes, *form.advanced.values()]
    form.preset.input(lambda name: _values_of(Settings.preset(name)), form.preset, numbers, queue=False, **PRIVATE)
    left = [each.blur for each in numbers]
    gr.on(left, lambda *_: None, numbers, None, validator=lambda *values: _verdicts(values), **PRIVATE)
    gr.on([form.file.upload, form.file.clear], uploads.keep, form.file, form.upload, queue=False, **PRIVATE)
    kept = [form.corpus, form.pasted, form.encoding, form.preset, form.parent, *numbers, form.upload]
    gr.on([each.change for each in kept], None, kept, None, js=_KEEP, queue=False, **PRIVATE)


def restore(kept_json: str, uploads: Uploads) -> list[Any]:
    """Updates that put what the browser kept back into the form; for `[*restores(form), form.upload, form.file]`."""
    num_kept = 7 + len(ADVANCED)
    try:
        kept = json.loads(kept_json)
    except (TypeError, ValueError, RecursionError):
        kept = None
    if isinstance(kept, list) and len(kept) == num_kept - 1:  # kept before there was this setting
        kept.insert(_BEFORE_ADVANCED + ADVANCED.index("state_reset"), TrainConfig().state_reset)
    if not isinstance(kept, list) or len(kept) != num_kept:
        return [gr.skip()] * (num_kept + 1)
    corpus, pasted, encoding, preset, parent, *numbers, upload = kept
    file = uploads.find(upload)
    return [
        _one_of((*DATASETS, corpus_picker.UPLOAD, corpus_picker.PASTE, corpus_picker.ADDRESS), corpus),
        pasted if isinstance(pasted, str) else gr.skip(),
        encoding if isinstance(encoding, str) and not _problem("encoding", encoding) else gr.skip(),
        _one_of(tuple(PRESETS), preset),
        parent if isinstance(parent, str) else gr.skip(),
        *(value if isinstance(value, str | int | float) else gr.skip() for value in numbers),
        upload if file else "",
        serve_copy(file) if file else gr.skip(),
    ]


def _one_of(choices: tuple[str, ...], value: Any) -> Any:
    return value if value in choices else gr.skip()


def restorable(form: Form) -> list[Any]:
    """The components that settings are put into."""
    return [form.corpus, form.pasted, form.encoding, form.preset, form.parent, form.minutes, *form.advanced.values()]


def fill(settings: Settings) -> list[Any]:
    """Updates that put the settings of a run into `restores(form)`; its own text stays with it."""
    train = settings.train
    corpus = train.corpus if train.corpus in DATASETS else gr.skip()
    return [corpus, gr.skip(), gr.skip(), gr.skip(), NEW_MODEL, *_values_of(settings)]


def _values_of(settings: Settings) -> list[Any]:
    flat = settings.flat()
    return [flat["max_minutes"], *(flat[name] for name in ADVANCED)]


def validate_fields(*values: Any) -> list[Any]:
    """For each of `Form.values` whether it can be, and else why not."""
    fine = [gr.validate(True, "")] * 6
    return [*fine, *_verdicts(values[6:])]


def first_error(*values: Any) -> list[Any]:
    """The first of `verdicts` that is a refusal, for the line below Start, with Advanced opened to show its field."""
    names = ("max_minutes", *ADVANCED)
    for name, verdict in zip(names, _verdicts(values[6:]), strict=True):
        if not verdict["is_valid"]:
            words = name.replace("_", " ").capitalize()
            return [
                escape_html(f"{words}: {verdict['message']}"),
                gr.update(open=True) if name in ADVANCED else gr.skip(),
            ]
    return [gr.skip(), gr.skip()]


def _verdicts(numbers: tuple[Any, ...]) -> list[Any]:
    problems = [_problem(name, value) for name, value in zip(("max_minutes", *ADVANCED), numbers, strict=True)]
    if not any(problems):
        try:
            flat = dict(zip(("max_minutes", *ADVANCED), map(_whole, numbers), strict=True))
            Settings.from_flat(flat)
        except ConfigError as error:
            problems[0] = error_text(error)
    return [gr.validate(not problem, problem) for problem in problems]


def _problem(name: str, value: Any) -> str:
    """What is wrong with a value, without the name that stands beside it anyway; empty where nothing is."""
    if value is None or (value == "" and name != "sample_prompt"):
        return "Missing."
    cls = ModelConfig if name in ModelConfig.model_fields else TrainConfig
    try:
        cls(**{name: _whole(value)})
    except CharLSTMError as error:
        return capitalize(str(error).split("; ", 1)[-1])
    return ""


def _whole(value: Any) -> Any:
    """A number of the page, where 8 may arrive as 8.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _source_updates(kind: str) -> list[Any]:
    """Show the box that the chosen kind of text needs."""
    is_file, is_address = kind == corpus_picker.UPLOAD, kind == corpus_picker.ADDRESS
    box = gr.update(
        visible=is_address or kind == corpus_picker.PASTE,
        label="Address" if is_address else "Pasted text",
        info=_ADDRESS_INFO if is_address else _PASTED_INFO,
    )
    return [gr.update(visible=is_file), box, gr.update(visible=is_file or is_address), ""]


class _Recorded(NamedTuple):
    val_loss: float
    seconds: float


# On 2 cores, auto for 3 minutes (docs/results.md, "Presets").
_RECORDED = {
    "auto": _Recorded(1.4088, 180),
    "minute": _Recorded(1.4790, 60),
    "best": _Recorded(1.3769, 53 * 60),
    "blog": _Recorded(1.6353, 93),
}
_RECORDED_RATE = 5289 / 60  # steps per second of `minute` there (docs/results.md, "Presets")
_TELLING_SECONDS = 20  # a run that was shorter says little of the machine
OWN = "own"  # in the name of a run whose settings are no preset's


def new_run_name(store: RunStore, corpus: str, preset: str) -> str:
    """A free name for a run of `preset` (or `OWN`) on a text."""
    return store.free_name(f"{Path(corpus).stem}-{preset}")


def preset_summary(preset: str, corpus: str, runs: Iterable[RunSummary]) -> str:
    """What the preset is, when it ends, and what it reached."""
    settings = Settings.preset(preset)
    model, train = settings.model, settings.train
    shape = f"{model.num_layers} × {model.hidden_size} LSTM, batch {train.batch_size}, window {train.seq_len}"
    if train.plan == "on":
        shape = "size, batch and dropout are chosen at the start"
    limits = ((train.max_minutes, "minutes"), (train.max_passes, "passes over the text"), (train.max_steps, "steps"))
    end = ", ".join(f"{limit:g} {unit}" for limit, unit in limits if limit).replace("1 minutes", "1 minute")
    what = f"{capitalize(PRESET_SUMMARIES[preset])}: {shape}; {end.replace('1 passes', '1 pass')}."
    return f"{what} {_reached(preset, corpus, runs)}"


def _reached(preset: str, corpus: str, runs: Iterable[RunSummary]) -> str:
    named = re.compile(re.escape(f"{Path(corpus).stem}-{preset}") + r"(-\d+)?")
    here = [
        (run.val_loss, run.elapsed_seconds)
        for run in runs
        if run.status == "completed" and run.corpus == corpus and run.val_loss and named.fullmatch(run.name)
    ]
    if here:  # the newest first
        loss, seconds = here[0]
        return f"Here it reached {format_nats(loss)} in {format_duration(seconds)}."
    recorded = _RECORDED[preset]
    shown, duration = format_nats(recorded.val_loss), format_duration(recorded.seconds)
    said = f"Recorded on 2 cores: {shown} on tiny-shakespeare in {duration}"
    speed = _speed(runs)
    if speed is None:
        return f"{said}."
    if Settings.preset(preset).train.max_minutes:
        return f"{said}; this machine did {speed:.1f} times as much in its time."
    return f"{said}; here, by the speed so far, about {format_duration(recorded.seconds / speed)}."


def _speed(runs: Iterable[RunSummary]) -> float | None:
    """How fast the newest run of `minute` was here, beside the recorded one; `None` without one that says it."""
    named = re.compile(r".*-minute(-\d+)?")
    rates = (
        run.step / run.elapsed_seconds
        for run in runs
        if run.elapsed_seconds > _TELLING_SECONDS and named.fullmatch(run.name)
    )
    rate = next(rates, None)
    return rate and rate / _RECORDED_RATE
