"""The Train tab: the form of a new run, the progress of one run, and the table of all runs.

Training never happens in this process: the manager starts a worker, and the page's scripts ask about once a second what
that worker has reported.
"""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlstm.config import Settings
from charlstm.corpus import DATASETS
from charlstm.errors import CharLSTMError
from charlstm.formatting import error_text, escape_html
from charlstm.runs.access import token_hash
from charlstm.runs.memory_estimate import check_memory, num_parameters
from charlstm.runs.quotas import check_parameters
from charlstm.ui import corpus_picker, train_form
from charlstm.ui import train_form as forms
from charlstm.ui.components import PRIVATE, VISITOR, has_sign_in
from charlstm.ui.corpus_picker import Uploads
from charlstm.ui.models import ModelRegistry
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_endpoints import RunEndpoints
from charlstm.ui.train_form import Form, FormValues

_EMPTY_TEMPLATE = "<div></div>"  # filled by the page's scripts


@dataclass(frozen=True)
class TrainTab:
    """Components and handlers of the tab that the rest of the page uses."""

    form: Form
    stage: gr.HTML  # its events write, adapt and duplicate carry the name of a run
    cache: RunCache
    uploads: Uploads

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
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            uploads = Uploads(cache.manager.store.root)
            form = forms.build_form(cache, uploads)
            if has_sign_in():
                gr.LoginButton("Sign in to steer as the Space's owner", size="sm")
        with gr.Column(scale=2, min_width=300):
            stage = gr.HTML(
                html_template=_EMPTY_TEMPLATE,
                js_on_load="window.charlstm.stage(element, trigger, ['write', 'adapt', 'duplicate']);",
                elem_id="stage",
            )
    gr.HTML(html_template=_EMPTY_TEMPLATE, js_on_load="window.charlstm.runs(element);", elem_id="runs")
    tab = TrainTab(form, stage, cache, uploads)
    _wire(tab, registry)
    return tab


def _wire(tab: TrainTab, registry: ModelRegistry) -> None:
    form, cache = tab.form, tab.cache
    started = gr.Textbox(visible=False)  # the run just started, which the page then shows
    visitor = gr.Textbox(visible=False)

    def start(*values: Any, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008  Gradio looks for it here
        return _start(cache, registry, progress, *values)

    # First, because no later handler is called once the validator has refused a value.
    form.start.click(forms.first_error, form.values, [form.problem, form.more], queue=False, **PRIVATE)
    form.start.click(
        start,
        [*form.values, visitor],
        [form.problem, started],
        js=VISITOR,
        validator=lambda *values: [*forms.validate_fields(*values[:-1]), gr.validate(True, "")],
        show_progress_on=[form.facts],
        api_visibility="private",
    )
    started.change(None, started, None, js="(run) => { if (run) window.charlstm.store.show(run); }", **PRIVATE)

    def duplicate(event: gr.EventData) -> list[Any]:
        try:
            return [*forms.fill(cache.summary(run_of(event)).folder.settings()), ""]
        except CharLSTMError as error:
            return [*[gr.skip()] * len(forms.restorable(form)), escape_html(error_text(error))]

    def adapt(event: gr.EventData) -> list[Any]:
        return [
            gr.update(choices=[forms.NEW_MODEL, *registry.names()], value=run_of(event)),
            gr.update(open=True),
            escape_html(f"{run_of(event)} will go on learning: choose another text above, then press Start training."),
        ]

    tab.stage.duplicate(duplicate, None, [*forms.restorable(form), form.problem], queue=False, **PRIVATE)
    tab.stage.adapt(adapt, None, [form.parent, form.more, form.problem], queue=False, **PRIVATE)
    names = lambda: gr.update(choices=[forms.NEW_MODEL, *registry.names()])  # noqa: E731
    form.parent.focus(names, None, form.parent, queue=False, **PRIVATE)


def run_of(event: gr.EventData) -> str:
    """Return the run that an event of the stage names."""
    return str(event._data.get("run")) if isinstance(event._data, dict) else ""


def _start(cache: RunCache, registry: ModelRegistry, progress: gr.Progress, *values: Any) -> list[Any]:
    """Check the text, start or queue the run, and show it; on a problem, show that and start nothing."""
    *of_form, visitor = values
    chosen = FormValues.of(tuple(of_form))
    try:
        corpus = corpus_picker.select_corpus(
            chosen.corpus,
            chosen.file,
            chosen.pasted,
            chosen.encoding,
            lambda done, total: progress((done, total), unit="bytes"),
        )
        settings = Settings.from_flat({**chosen.flat(), "corpus": corpus.name})
        parent = None
        if chosen.parent and chosen.parent != forms.NEW_MODEL:
            parent = registry.path(chosen.parent)
        vocabulary = corpus.check(settings.model, settings.train)
        if parent is None and settings.train.plan == "off":  # else the worker checks, which knows the sizes
            check_parameters(num_parameters(settings.model, len(vocabulary)))
            check_memory(settings, len(vocabulary), corpus.num_chars)
        name = train_form.new_run_name(cache.manager.store, corpus.name, chosen.name())
        cache.manager.start(
            settings,
            name,
            None if chosen.corpus in DATASETS else corpus.pieces(),
            parent=parent,
            owner=token_hash(str(visitor)) if visitor else "",
        )
    except CharLSTMError as error:
        return [escape_html(error_text(error)), gr.skip()]
    cache.runs(is_fresh=True)
    return ["", name]
