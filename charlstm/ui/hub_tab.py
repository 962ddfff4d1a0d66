"""The Share tab: publish a model to the Hub after a preview of what will be sent, and fetch one."""

import base64
import html
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr

from charlstm.environment import is_public
from charlstm.errors import CharLSTMError, HubError
from charlstm.formatting import error_text, escape_html
from charlstm.hub.card import CURVE_FILE
from charlstm.hub.client import BackgroundCall, Progress, hub_address
from charlstm.hub.loss_plot import MAX_POINTS, loss_plot_png
from charlstm.hub.pull import pull
from charlstm.hub.push import ModelFiles, build_files, push
from charlstm.hub.repo_names import validate_repo_id
from charlstm.runs.store import RunStore
from charlstm.ui.card_viewer import EMPTY, Card, build_card_viewer
from charlstm.ui.components import GROWING, PRIVATE, has_sign_in
from charlstm.ui.hub_login import describe_login, token_for
from charlstm.ui.models import LIVE, ModelRegistry

_PRIVATE, _PUBLIC = "private", "public"
_CONCURRENCY = 4  # visitors who publish or fetch at the same time
_LONGEST = 200  # characters of what is typed
_NO_DIGEST = ""
_PUBLISH, _PUBLISH_BOTH = "Publish", "Publish with its page"


@dataclass(frozen=True)
class HubTab:
    """Components and handlers of the tab that the rest of the page uses."""

    registry: ModelRegistry
    login: gr.HTML  # filled by `describe_login`
    model: gr.Dropdown  # filled by `offer_models`
    chosen: gr.State  # the model that the visitor chose here, if any

    def offer_models(self, chosen: str | None, written: str | None) -> Any:
        """Return an update that offers the models that can be published: all but those of runs in training.

        It selects the first of these that is among them: what the visitor chose here, what the Write tab writes with.
        """
        names = [each for each in self.registry.names() if not each.startswith(LIVE)]
        wanted = [each for each in (chosen, written) if each in names]
        return gr.update(choices=names, value=next(iter((*wanted, *names)), None))

    @staticmethod
    def describe_login(request: gr.Request, profile: gr.OAuthProfile | None, oauth: gr.OAuthToken | None) -> str:
        """Describe who would publish now; asks the Hub, so it comes after what needs no network."""
        return describe_login(request, profile, oauth)


class _PublishForm(NamedTuple):
    """Components of what is published, as whom, and for whom."""

    model: gr.Dropdown
    repo: gr.Textbox
    visibility: gr.Radio
    page: gr.Checkbox
    language: gr.Textbox


class _Publication(NamedTuple):
    """A model to publish, its repository, and whether a page of its own goes with it."""

    model: str | None
    repo_id: str | None
    language: str | None
    has_page: bool = False


def build_hub_tab(registry: ModelRegistry, store: RunStore) -> HubTab:
    """Lay out the tab and connect its events."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            login, model = _build_publish(registry, store)
            chosen = gr.State(None)
            model.input(_limit_name, model, chosen, queue=False, **PRIVATE)
        with gr.Column(scale=1, min_width=300):
            _build_fetch(store)
    return HubTab(registry, login, model, chosen)


def _limit_name(name: Any) -> str | None:
    """Return the name of a model; a session keeps it, so nothing longer than a name is."""
    return name if isinstance(name, str) and len(name) <= _LONGEST else None


def _build_publish(registry: ModelRegistry, store: RunStore) -> tuple[gr.HTML, gr.Dropdown]:
    gr.HTML("<h2>Publish a model of yours</h2>", elem_classes="hub-title", padding=False)
    login = gr.HTML(elem_id="hub-login", padding=False)
    if has_sign_in():
        gr.LoginButton(size="sm")
    form = _build_publish_form()
    with gr.Row():
        show = gr.Button("Show what will be sent")
        publish = gr.Button(_PUBLISH, variant="primary", interactive=False)
    message = gr.HTML(elem_id="publish-said", padding=False)
    files = gr.HTML(elem_id="publish-files", padding=False)
    card = build_card_viewer("card")
    shown = gr.State(_NO_DIGEST)

    def look(*publication: Any) -> list[Any]:
        try:
            model_files = _build_files(registry, store, _Publication(*publication))
        except CharLSTMError as error:
            return [_problem(error), *_clear_preview()[1:]]
        button = gr.update(interactive=True, value=_PUBLISH_BOTH if model_files.page else _PUBLISH)
        return ["", _files_html(model_files), _card(model_files), model_files.digest, button]

    def send(
        request: gr.Request, oauth: gr.OAuthToken | None, digest: str, visible: str, *publication: Any
    ) -> Iterator[list[Any]]:
        yield [_step_html(Progress("packing")), gr.update(interactive=False)]
        try:
            token = token_for(request, oauth)
            model_files = _build_files(registry, store, _Publication(*publication))
            if model_files.digest != digest:
                raise HubError("this is not what was shown; press Show what will be sent, then Publish.")
            call = BackgroundCall(lambda report: push(model_files, token, visible != _PUBLIC, None, report))
            for step in call:
                yield [_step_html(step), gr.skip()]
            yield [_describe_publication(call.result, model_files), gr.update(interactive=True)]
        except CharLSTMError as error:
            yield [_problem(error), gr.update(interactive=True)]

    publication = [form.model, form.repo, form.language, form.page]
    previews = [message, files, card, shown, publish]
    show.click(look, publication, previews, **PRIVATE)
    publish.click(
        send, [shown, form.visibility, *publication], [message, publish], concurrency_limit=_CONCURRENCY, **PRIVATE
    )
    gr.on(
        [form.model.change, form.repo.change, form.language.change, form.page.change],
        _clear_preview,
        None,
        previews,
        queue=False,
        **PRIVATE,
    )
    return login, form.model


def _build_publish_form() -> _PublishForm:
    with gr.Row():
        model = gr.Dropdown(label="1 · Model to publish", choices=[], min_width=180, **GROWING)
        repo = gr.Textbox(
            label="2 · Name on the Hub",
            placeholder="you/my-model",
            max_lines=1,
            max_length=_LONGEST,
            min_width=180,
            elem_id="hub-repo",
        )
        visibility = gr.Radio(
            label="3 · Who sees it",
            choices=[("Only you", _PRIVATE), ("Everyone", _PUBLIC)],
            value=_PRIVATE,
            min_width=180,
        )
    page = gr.Checkbox(
        label="4 · With a page of its own",
        info="A free static Space of the same name: whoever may see it writes with the model in their own browser",
    )
    with gr.Accordion("Language of the text, for the card", open=False):
        language = gr.Textbox(
            label="Language",
            placeholder="en",
            info="A code such as en or de; may stay empty",
            max_lines=1,
            max_length=12,
        )
    return _PublishForm(model, repo, visibility, page, language)


def _clear_preview() -> list[Any]:
    """Return updates that empty the preview and disable Publish: the form has changed since the preview was made."""
    return ["", "", EMPTY, _NO_DIGEST, gr.update(interactive=False, value=_PUBLISH)]


def _build_fetch(store: RunStore) -> None:
    gr.HTML("<h2>Fetch a model</h2>", elem_classes="hub-title", padding=False)
    repo = gr.Textbox(
        label="Model on the Hub",
        placeholder="somebody/their-model",
        max_lines=1,
        max_length=_LONGEST,
        info="Public models only" if is_public() else "Its safetensors file is fetched, checked and kept here",
    )
    with gr.Accordion("A certain version", open=False):
        revision = gr.Textbox(
            label="Revision", info="Branch, tag or commit; may stay empty", max_lines=1, max_length=_LONGEST
        )
    fetch = gr.Button("Fetch")
    message = gr.HTML(elem_id="fetch-said", padding=False)

    def bring(repo_id: str | None, wanted: str | None) -> Iterator[list[Any]]:
        yield [_step_html(Progress("asking the Hub")), gr.update(interactive=False)]
        try:
            name = (wanted or "").strip()[:_LONGEST] or None  # a program may omit the field
            asked_for = _require_name(repo_id)
            call = BackgroundCall(lambda report: pull(asked_for, store, None, name, report))
            for step in call:
                yield [_step_html(step), gr.skip()]
            here = f"<b>{escape_html(call.result)}</b> is among your models now; choose it in the tab Write."
            yield [f'<div class="hub-said" role="status">{here}</div>', gr.update(interactive=True)]
        except CharLSTMError as error:
            yield [_problem(error), gr.update(interactive=True)]

    gr.on(
        [fetch.click, repo.submit], bring, [repo, revision], [message, fetch], concurrency_limit=_CONCURRENCY, **PRIVATE
    )


def _build_files(registry: ModelRegistry, store: RunStore, publication: _Publication) -> ModelFiles:
    """Build a model's files for the Hub; only a name in the registry opens anything, never a visitor's path."""
    registry.load(publication.model)
    with registry.history(str(publication.model)) as history:
        series = history.series(MAX_POINTS)
    try:
        repo_id, language = _require_name(publication.repo_id), (publication.language or "").strip() or None
        space = validate_repo_id(repo_id) if publication.has_page else None
        return build_files(store.root / str(publication.model), repo_id, loss_plot_png(series), language, space=space)
    except CharLSTMError as error:
        raise HubError(str(error).replace(f"{store.root}{os.sep}", "")) from None


def _require_name(given: str | None) -> str:
    """Return the name that was typed; raises `HubError` where there is none."""
    name = (given or "").strip()[:_LONGEST]
    if not name:
        raise HubError("Enter a name such as you/my-model.")
    return name


def _card(model_files: ModelFiles) -> Card:
    picture = model_files.files.get(CURVE_FILE)
    encoded = f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else ""
    return Card(text=model_files.card, pictures={CURVE_FILE: encoded} if picture else {})


def _files_html(model_files: ModelFiles) -> str:
    tables = [_table(f"To {model_files.repo_id}, these files and nothing else", model_files.files)]
    if page := model_files.page:
        tables.append(_table(f"To the static Space {page.repo_id}, these files and nothing else", page.files))
    return "".join(tables)


def _table(caption: str, files: dict[str, bytes]) -> str:
    rows = "".join(f"<tr><td>{escape_html(name)}</td><td>{len(data):,} bytes</td></tr>" for name, data in files.items())
    return f'<table class="hub-files"><caption>{escape_html(caption)}</caption><tbody>{rows}</tbody></table>'


def _step_html(step: Progress) -> str:
    share = f'value="{step.num_bytes / step.total_bytes:.4f}"' if step.total_bytes else ""
    size = f" · {step.num_bytes / 1e6:,.1f} of {step.total_bytes / 1e6:,.1f} MB" if step.total_bytes else ""
    return (
        f'<div class="hub-said" role="status">{escape_html(step.words)}{size}</div>'
        f'<progress class="share" max="1" {share} aria-label="how much has travelled"></progress>'
    )


def _describe_publication(address: str, model_files: ModelFiles) -> str:
    """Return the message that a model was published, with links to what is on the Hub."""
    page = f"<br>Its page: {_link(model_files.page.address)}" if model_files.page else ""
    return f'<div class="hub-said" role="status">Published: {_link(address)}{page}</div>'


def _link(address: str) -> str:
    """Return a link, or only the text of an address that is not on the Hub."""
    if not address.startswith(f"{hub_address()}/"):
        return escape_html(address)
    return f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">{escape_html(address)}</a>'


def _problem(error: Exception) -> str:
    return f'<div class="problem" role="alert">{escape_html(error_text(error))}</div>'
