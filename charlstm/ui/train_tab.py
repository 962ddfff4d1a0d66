"""The Train tab: the form of a new run, the progress of one run, and the table of all runs.

Training never happens in this process: the manager starts a worker, and the page's scripts ask about once a second what
that worker has reported.
"""

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlstm.errors import CharLSTMError
from charlstm.formatting import error_text, escape_html
from charlstm.runs.run_dir import RunDir
from charlstm.ui import train_form as forms
from charlstm.ui.components import PRIVATE, has_sign_in
from charlstm.ui.corpus_picker import Uploads
from charlstm.ui.form_feedback import FormView
from charlstm.ui.form_marks import first_problem
from charlstm.ui.models import ModelRegistry
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_endpoints import RunEndpoints
from charlstm.ui.run_start import start_run
from charlstm.ui.setting_words import name_as_labelled
from charlstm.ui.train_form import Form, FormValues

_EMPTY_TEMPLATE = "<div></div>"  # filled by the page's scripts
_FOLD_TEMPLATE = '<button type="button" aria-expanded="false" aria-controls="train-form">New run</button>'
_VISITOR_AND_CLOCK = """(...values) => [...values.slice(0, -2), window.charlstm.store.visitor,
  new Date().toTimeString().slice(0, 5)]"""


@dataclass(frozen=True)
class TrainTab:
    """Components and handlers of the tab that the rest of the page uses."""

    form: Form
    stage: gr.HTML  # its events write, adapt and duplicate carry the name of a run
    cache: RunCache
    uploads: Uploads
    view: FormView

    def restored(self, kept_json: str) -> list[Any]:
        """Return updates of `restores` from what the browser kept."""
        return forms.restore(kept_json, self.uploads)

    @property
    def restores(self) -> list[Any]:
        """Components that `restored` updates."""
        return [*forms.restorable(self.form), self.form.upload, self.form.file]


def build_status_line(cache: RunCache) -> gr.HTML:
    """Build the status line above the tabs; it also polls the server, whichever tab is open."""
    return gr.HTML(
        html_template=_EMPTY_TEMPLATE,
        js_on_load="window.charlstm.statusLine(element); window.charlstm.store.connect(server);",
        server_functions=RunEndpoints(cache).functions(),
        elem_id="status-line",
    )


def build_train_tab(cache: RunCache, registry: ModelRegistry) -> TrainTab:
    """Lay out the tab and connect its events."""
    uploads, view = Uploads(cache.manager.store.root), FormView(cache)
    gr.HTML(
        html_template=_FOLD_TEMPLATE,
        js_on_load="window.charlstm.formFold(element);",
        elem_id="form-fold",
        padding=False,
    )
    form = forms.build_form(view, uploads)
    if has_sign_in():
        gr.LoginButton("Sign in to steer as the Space's owner", size="sm")
    stage = gr.HTML(
        html_template=_EMPTY_TEMPLATE,
        js_on_load="window.charlstm.stage(element, trigger, ['write', 'adapt', 'duplicate']);",
        elem_id="stage",
    )
    gr.HTML(html_template=_EMPTY_TEMPLATE, js_on_load="window.charlstm.runs(element);", elem_id="runs")
    tab = TrainTab(form, stage, cache, uploads, view)
    _wire(tab, registry)
    return tab


def _wire(tab: TrainTab, registry: ModelRegistry) -> None:
    form, cache, view = tab.form, tab.cache, tab.view
    started = gr.Textbox(visible=False)  # id of the run just started, and whether it waits, which the page then shows
    visitor, clock = gr.Textbox(visible=False), gr.Textbox(visible=False)

    def start(*values: Any, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008  Gradio looks for it here
        return _start(cache, registry, progress, *values)

    form.start.click(
        start,
        [*form.values, visitor, clock],
        [form.problem, form.notice, started],
        js=_VISITOR_AND_CLOCK,
        show_progress_on=[form.facts],
        api_visibility="private",
    )
    started.change(None, started, None, js="(run) => { window.charlstm.runStarted(run); }", **PRIVATE)

    def duplicate(event: gr.EventData) -> list[Any]:
        try:
            filled = forms.fill(cache.summary(run_of(event)).folder.settings())
        except CharLSTMError as error:
            return [*[gr.skip()] * len(forms.restorable(form)), "", escape_html(error_text(error))]
        return [*filled, f"The form holds the settings of {escape_html(view.label_of(run_of(event)))}.", ""]

    def adapt(event: gr.EventData) -> list[Any]:
        run = run_of(event)
        notice = f"{view.label_of(run)} will go on learning. Choose the text that it is to learn, then press Start."
        return [view.parent_update(registry.names(), run), None, escape_html(notice), ""]

    told = [form.notice, form.problem]
    to_form = "() => { window.charlstm.showForm(); }"
    tab.stage.duplicate(duplicate, None, [*forms.restorable(form), *told], queue=False, **PRIVATE).then(
        None, None, None, js=to_form, queue=False, **PRIVATE
    )
    tab.stage.adapt(adapt, None, [form.parent, form.corpus, *told], queue=False, **PRIVATE).then(
        None, None, None, js="() => { window.charlstm.showForm(true); }", queue=False, **PRIVATE
    )
    names = lambda chosen: view.parent_update(registry.names(), chosen)  # noqa: E731
    form.parent.focus(names, form.parent, form.parent, queue=False, **PRIVATE)


def run_of(event: gr.EventData) -> str:
    """Return the run that an event of the stage names."""
    return str(event._data.get("run")) if isinstance(event._data, dict) else ""


def _start(cache: RunCache, registry: ModelRegistry, progress: gr.Progress, *values: Any) -> list[Any]:
    """Start or queue the run and show it; on a problem, show that and start nothing."""
    *of_form, visitor, clock = values
    chosen = FormValues.of(tuple(of_form))
    if words := first_problem(chosen.preset, chosen.settings):
        return [words, "", gr.skip()]
    try:
        folder = start_run(
            cache, registry, chosen, visitor, clock, lambda done, total: progress((done, total), unit="bytes")
        )
    except CharLSTMError as error:
        return [escape_html(name_as_labelled(error_text(error))), "", gr.skip()]
    is_waiting = cache.manager.status(folder) == "queued"
    return ["", _queue_notice(folder) if is_waiting else "", json.dumps([folder.name, is_waiting])]


def _queue_notice(folder: RunDir) -> str:
    show = f'<button type="button" class="to-run" data-run="{escape_html(folder.name)}">Show it</button>'
    return f"{escape_html(folder.label)} is in the queue and starts by itself. {show}"
