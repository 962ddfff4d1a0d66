"""The Train tab: three decisions, Start, and a run growing in front of one's eyes.

Training never happens here: the manager starts a process of its own, and a timer looks at what that process reports.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from charlstm.config import PRESET_SUMMARIES, PRESETS, Encoding, Settings
from charlstm.corpus import DESCRIPTIONS, Corpus, decode, default_corpus, is_at_hand, open_corpus, open_file
from charlstm.errors import CharLSTMError, CorpusError
from charlstm.hosting import BUNDLED
from charlstm.runs.manager import RunSummary
from charlstm.ui.controls import PRIVATE, control
from charlstm.ui.sheet import sheet, written
from charlstm.ui.style import CURVE_COLORS
from charlstm.ui.views import (
    STATE_WORDS,
    capitalised,
    curve_rows,
    house_html,
    legend_html,
    plain,
    sample_of,
    sentence,
    state_html,
    text_facts,
)
from charlstm.ui.watch import Look, RunWatch

_UPLOAD, _PASTE = "file", "pasted"
_RESUMABLE = ("stopped", "crashed", "failed")
_EMPTY_STATE = (
    '<div class="run-state"><span>No run yet: choose a text, press <b>Start training</b>, and the curve grows here.'
    "</span></div>"
)
_RAREST_SHOWN = 8
Seen = tuple[str | None, str | None]  # versions of the picture and of the list that a page has
NOTHING_SEEN: Seen = (None, None)
_LONGEST_NAME = 80


@dataclass(frozen=True)
class TrainTab:
    """The components and functions that the rest of the page refers to."""

    run: gr.Dropdown
    write: gr.Button  # "write with it": goes to the other tab
    seen: gr.State
    watch: RunWatch
    drawn: list[Any]  # what `draw` fills, without the line on top

    def draw(self, name: str | None, seen: Seen = NOTHING_SEEN) -> list[Any]:
        """Updates for everything that shows runs, or `gr.skip()` for what is as the page has it already.

        Shows the run named `name`; where there is none so named (any more), the one going on or the newest.
        """
        runs = self.watch.runs()
        names = [run.name for run in runs]
        shown = name if name in names else self.watch.to_show()
        look = self.watch.look(shown)
        now = (look.version if look else "", repr([(run.name, run.status) for run in runs]))
        picture = [gr.skip()] * 6 if now[0] == seen[0] else _picture(look)
        # The value is sent only where it changes: a tick must not undo a choice made while it was on its way.
        value: dict[str, Any] = {} if shown == name and seen != NOTHING_SEEN else {"value": shown}
        choices = [(f"{run.name} · {_state_word(run)}", run.name) for run in runs]
        return [gr.skip() if now[1] == seen[1] else gr.update(choices=choices, **value), *picture, now]

    def house(self) -> str:
        """The line on top of the page."""
        active = self.watch.active()
        return house_html((active.name, active.status, active.records) if active else None)


@dataclass(frozen=True)
class _Form:
    """The three decisions and Start."""

    corpus: gr.Radio
    file: gr.File
    pasted: gr.Textbox
    encoding: gr.Dropdown
    facts: gr.HTML
    preset: gr.Radio
    summary: gr.HTML
    minutes: gr.Number
    start: gr.Button
    problem: gr.HTML

    @property
    def source(self) -> list[Any]:
        """What says which text to learn from."""
        return [self.corpus, self.file, self.pasted, self.encoding]


@dataclass(frozen=True)
class _Stage:
    """The run that is shown, and its controls."""

    run: gr.Dropdown
    state: gr.HTML
    curve: gr.LinePlot
    origin: gr.HTML
    sample: gr.HTML
    stop: gr.Button
    resume: gr.Button
    write: gr.Button


def build_train_tab(watch: RunWatch) -> TrainTab:
    """Lay the tab out and wire it."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            form = _build_form()
        with gr.Column(scale=2, min_width=300):
            stage = _build_stage()
    seen = gr.State(NOTHING_SEEN)
    shown = [stage.run, stage.state, stage.curve, stage.origin, stage.sample, stage.stop, stage.resume]
    tab = TrainTab(stage.run, stage.write, seen, watch, [*shown, seen])
    _wire_form(form)
    _wire_run(tab, form, stage)
    return tab


def _build_form() -> _Form:
    first, minute = default_corpus(), Settings.preset("minute").train
    sources = [*((name, name) for name in DESCRIPTIONS), ("a file of mine", _UPLOAD), ("pasted text", _PASTE)]
    return _Form(
        corpus=gr.Radio(label="Text to learn from", choices=sources, value=first),
        file=gr.File(label="Text file", visible=False, height=110),
        pasted=gr.Textbox(label="Pasted text", lines=4, max_lines=8, visible=False),
        encoding=control(minute, "encoding", visible=False),
        facts=gr.HTML(_named_facts(first), elem_classes="facts", elem_id="corpus-facts"),
        preset=gr.Radio(label="Preset", choices=list(PRESETS), value="minute"),
        summary=gr.HTML(_preset_summary("minute"), elem_classes="facts"),
        minutes=control(
            minute,
            "max_minutes",
            label="Training time",
            value=0,
            info="0 for the preset's own length",
        ),
        start=gr.Button("Start training", variant="primary"),
        problem=gr.HTML(elem_classes="problem", elem_id="train-problem"),
    )


def _build_stage() -> _Stage:
    with gr.Row(elem_classes="run-row"):
        run = gr.Dropdown(label="Run", choices=[], interactive=True, scale=4)
        stop = gr.Button("Stop", variant="stop", interactive=False, scale=0, min_width=100)
        resume = gr.Button("Resume", visible=False, scale=0, min_width=100)
        write = gr.Button("Write with it", scale=0, min_width=140)
    state = gr.HTML(_EMPTY_STATE, elem_id="run-state")
    gr.HTML(legend_html(CURVE_COLORS), elem_classes="legend-box")
    curve = gr.LinePlot(
        _plot([]),
        x="step",
        y="loss",
        color="curve",
        color_map=CURVE_COLORS,
        x_title="step",
        y_title="nats",
        colors_in_legend=[],
        tooltip="all",
        height=250,
        label="Loss in nats per character, lower is better",
    )
    origin = gr.HTML(elem_classes="facts", elem_id="sample-origin")
    sample = sheet("Latest sample", "The model writes here as soon as a run begins.", height_rem=12, elem_id="sample")
    return _Stage(run, state, curve, origin, sample, stop, resume, write)


def _wire_form(form: _Form) -> None:
    """What is chosen shows its box, its facts and its minutes."""
    boxes = [form.file, form.pasted, form.encoding, form.problem]
    form.corpus.change(_source_updates, form.corpus, boxes, queue=False, **PRIVATE)
    changes = [form.corpus.change, form.file.change, form.pasted.blur, form.encoding.change]
    gr.on(changes, _facts, form.source, form.facts, **PRIVATE)
    form.preset.change(_preset_summary, form.preset, form.summary, queue=False, **PRIVATE)


def _wire_run(tab: TrainTab, form: _Form, stage: _Stage) -> None:
    """Start, stop, resume, and the choice of the run that is shown."""

    def start(*values: Any, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008  Gradio looks for it here
        return _start(tab, progress, *values)

    def act(name: str | None, action: Callable[[str | None], None]) -> list[Any]:
        try:
            action(name)
        except CharLSTMError as error:
            return [plain(sentence(error)), *tab.draw(name)]
        return ["", *tab.draw(name)]

    drawn = [form.problem, *tab.drawn]
    form.start.click(
        start,
        [*form.source, form.preset, form.minutes, stage.run],
        drawn,
        show_progress_on=[form.facts],
        api_visibility="private",
    )
    stage.stop.click(lambda name: act(name, tab.watch.stop), stage.run, drawn, queue=False, **PRIVATE)
    stage.resume.click(lambda name: act(name, tab.watch.resume), stage.run, drawn, queue=False, **PRIVATE)
    stage.run.input(tab.draw, stage.run, tab.drawn, queue=False, **PRIVATE)


def _start(
    tab: TrainTab,
    progress: gr.Progress,
    kind: str,
    file: str | None,
    pasted: str,
    encoding: Encoding,
    preset: str,
    minutes: float | None,
    shown: str | None,
) -> list[Any]:
    """Check the text, start the run, and show it; a problem is said and nothing is started."""
    try:
        corpus = _corpus(kind, file, pasted, encoding, lambda done, total: progress((done, total), unit="bytes"))
        own_end = {"max_minutes": minutes} if minutes else {}
        settings = Settings.preset(preset, corpus=corpus.name, **own_end)
        corpus.check(settings.model, settings.train)
        name = tab.watch.manager.store.free_name(f"{Path(corpus.name).stem}-{preset}")
        tab.watch.manager.start(settings, name, None if kind in DESCRIPTIONS else corpus.pieces())
    except CharLSTMError as error:
        return [plain(sentence(error)), *tab.draw(shown)]
    tab.watch.runs(fresh=True)
    return ["", *tab.draw(name)]


def _corpus(kind: str, file: str | None, pasted: str, encoding: Encoding, report: Any = None) -> Corpus:
    """The text of the form. Only a name of the list, an upload or the pasted text: never a path that was typed."""
    if kind in DESCRIPTIONS:
        return open_corpus(kind, report=report)
    if kind == _UPLOAD:
        if not file:
            raise CorpusError("no file is chosen yet; drop a text file into the box.")
        return open_file(Path(file), encoding, name=Path(file).name[-_LONGEST_NAME:], report=report)
    if not pasted.strip():
        raise CorpusError("the text is empty; paste some text into the box.")
    name = "pasted text"
    try:
        return Corpus(name, *decode(pasted.encode("utf-8"), name, "utf-8"))
    except UnicodeEncodeError:
        raise CorpusError(f"{name} holds half a character (a lone surrogate); paste it again without it.") from None


def _facts(kind: str, file: str | None, pasted: str, encoding: Encoding) -> str:
    """The chosen text in one line: length, alphabet, rarest characters; or what is wrong with it."""
    if kind in DESCRIPTIONS:
        return _named_facts(kind)
    if (kind == _UPLOAD and not file) or (kind == _PASTE and not pasted):
        return ""
    try:
        return plain(_statistics(_corpus(kind, file, pasted, encoding)))
    except CharLSTMError as error:
        return plain(sentence(error))


def _named_facts(name: str) -> str:
    """Description of a named corpus, and its statistics unless it would have to be fetched for them."""
    statistics = f": {_named_statistics(name)}" if is_at_hand(name) else "."
    return plain(capitalised(DESCRIPTIONS[name]) + statistics)


@lru_cache
def _named_statistics(name: str) -> str:
    return _statistics(open_corpus(name))


def _statistics(corpus: Corpus) -> str:
    rare = [char for char, _ in corpus.frequencies[::-1][:_RAREST_SHOWN]]
    rarest = " ".join(char if char.isprintable() else repr(char)[1:-1] for char in rare)
    facts = f"{corpus.num_chars:,} characters, {len(corpus.frequencies):,} distinct; the rarest: {rarest}"
    return " ".join((facts, *corpus.notes))


def _source_updates(kind: str) -> list[Any]:
    """Show the box that the chosen kind of text needs."""
    return [
        gr.update(visible=kind == _UPLOAD),
        gr.update(visible=kind == _PASTE),
        gr.update(visible=kind == _UPLOAD),
        "",
    ]


def _preset_summary(name: str) -> str:
    model, train = Settings.preset(name).model, Settings.preset(name).train
    shape = f"{model.num_layers} × {model.hidden_size} LSTM, batch {train.batch_size}, window {train.seq_len}"
    if train.plan == "on":
        shape = "size, batch and dropout are chosen at the start"
    limits = ((train.max_minutes, "minutes"), (train.max_passes, "passes over the text"), (train.max_steps, "steps"))
    end = ", ".join(f"{limit:g} {unit}" for limit, unit in limits if limit).replace("1 minutes", "1 minute")
    return plain(f"{capitalised(PRESET_SUMMARIES[name])}: {shape}; {end.replace('1 passes', '1 pass')}.")


def _state_word(run: RunSummary) -> str:
    return "comes with the app" if run.name in BUNDLED else STATE_WORDS[run.status][1]


def _picture(look: Look | None) -> list[Any]:
    """State, curve, where the sample comes from, the sample, and the run's buttons."""
    if look is None:
        idle = gr.update(interactive=False), gr.update(visible=False)
        return [_EMPTY_STATE, _plot([]), "", written(), *idle]
    text, origin = sample_of(look.records)
    return [
        state_html(look.name, look.status, look.records),
        _plot(curve_rows(look.records)),
        plain(f"{origin} {text_facts(look.records)}"),
        written(text=text),
        gr.update(interactive=look.status in ("queued", "running")),
        gr.update(visible=look.status in _RESUMABLE),
    ]


def _plot(rows: list[list[Any]]) -> dict[str, Any]:
    """What a line plot draws, without the detour over a data frame."""
    kinds = {"step": "quantitative", "loss": "quantitative", "curve": "nominal"}
    return {"columns": list(kinds), "data": rows or curve_rows([]), "datatypes": kinds, "mark": "line"}
