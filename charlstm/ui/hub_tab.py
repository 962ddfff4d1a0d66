"""The Hub tab: publish a model after a preview of what will be sent, and fetch one.

On a Space visitors sign in and publish as themselves; on a person's own machine that machine's login is used, and only
for requests from the machine itself.
"""

import base64
import html
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gradio as gr

from charlstm.environment import is_public
from charlstm.errors import CharLSTMError, HubError
from charlstm.formatting import error_text, escape_html
from charlstm.hub.card import CURVE_FILE
from charlstm.hub.client import BackgroundCall, Progress, hub_address, write_token
from charlstm.hub.pull import pull
from charlstm.hub.push import ModelFiles, build_files, push
from charlstm.runs.history import RunHistory
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore
from charlstm.ui.components import GROWING, PRIVATE, has_sign_in
from charlstm.ui.models import ModelRegistry
from charlstm.ui.text_viewer import build_text_viewer

_PRIVATE, _PUBLIC = "private", "public"
_CONCURRENCY = 4  # visitors who publish or fetch at the same time
_LONGEST = 200  # characters of what is typed
_NO_DIGEST = ""
_LOOPBACK = ("127.0.0.1", "::1")
_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


@dataclass(frozen=True)
class HubTab:
    """Components and handlers of the tab that the rest of the page uses."""

    registry: ModelRegistry
    model: gr.Dropdown  # filled by `refreshed`

    def refreshed(self, name: str | None) -> Any:
        """Return an update that offers the models available now, with `name` chosen if it is one, else the first."""
        names = self.registry.names()
        return gr.update(choices=names, value=name if name in names else next(iter(names), None))


class _Publication(NamedTuple):
    """A model to publish, and its repository."""

    model: str | None
    repo_id: str | None
    language: str | None


def build_hub_tab(registry: ModelRegistry, store: RunStore) -> HubTab:
    """Lay out the tab and connect its events."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            model = _build_publish(registry, store)
        with gr.Column(scale=1, min_width=300):
            _build_fetch(store)
    return HubTab(registry, model)


def _build_publish(registry: ModelRegistry, store: RunStore) -> gr.Dropdown:
    gr.HTML("<h2>Publish</h2>")
    if has_sign_in():
        gr.LoginButton(size="sm")
    with gr.Row():
        model = gr.Dropdown(label="Model to publish", choices=[], **GROWING)
        repo = gr.Textbox(
            label="Name on the Hub", placeholder="user/model", max_lines=1, max_length=_LONGEST, elem_id="hub-repo"
        )
    with gr.Row():
        visibility = gr.Radio(label="Who sees it", choices=[_PRIVATE, _PUBLIC], value=_PRIVATE)
        language = gr.Textbox(
            label="Language of the text", info="A code such as en; may be empty", max_lines=1, max_length=12
        )
    with gr.Row():
        show = gr.Button("Show what will be sent")
        publish = gr.Button("Publish", variant="primary", interactive=False)
    message = gr.HTML(elem_id="publish-said")
    files = gr.HTML(elem_id="publish-files")
    card = build_text_viewer("Model card", "What will be sent appears here before anything is.", elem_id="card")
    shown = gr.State(_NO_DIGEST)

    def look(*publication: Any) -> list[Any]:
        try:
            model_files = _build_files(registry, store, _Publication(*publication))
        except CharLSTMError as error:
            return [_problem(error), *_clear_preview()[1:]]
        return ["", _files_html(model_files), model_files.card, model_files.digest, gr.update(interactive=True)]

    def send(
        request: gr.Request, oauth: gr.OAuthToken | None, digest: str, visible: str, *publication: Any
    ) -> Iterator[list[Any]]:
        yield [_step_html(Progress("packing")), gr.update(interactive=False)]
        try:
            token = _token(request, oauth)
            model_files = _build_files(registry, store, _Publication(*publication))
            if model_files.digest != digest:
                raise HubError("this is not what was shown; press Show what will be sent, then Publish.")
            call = BackgroundCall(lambda report: push(model_files, token, visible != _PUBLIC, None, report))
            for step in call:
                yield [_step_html(step), gr.skip()]
            yield [_published_html(call.result), gr.update(interactive=True)]
        except CharLSTMError as error:
            yield [_problem(error), gr.update(interactive=True)]

    publication = [model, repo, language]
    previews = [message, files, card, shown, publish]
    show.click(look, publication, previews, **PRIVATE)
    publish.click(
        send, [shown, visibility, *publication], [message, publish], concurrency_limit=_CONCURRENCY, **PRIVATE
    )
    gr.on([model.change, repo.change, language.change], _clear_preview, None, previews, queue=False, **PRIVATE)
    return model


def _clear_preview() -> list[Any]:
    """Return updates that empty the preview and disable Publish: the form has changed since the preview was made."""
    return ["", "", "", _NO_DIGEST, gr.update(interactive=False)]


def _build_fetch(store: RunStore) -> None:
    gr.HTML("<h2>From the Hub</h2>")
    repo = gr.Textbox(
        label="Model on the Hub",
        placeholder="user/model",
        max_lines=1,
        max_length=_LONGEST,
        info="Public models only" if is_public() else "Its safetensors file is fetched, checked and kept here",
    )
    revision = gr.Textbox(
        label="Revision", info="Branch, tag or commit; may be empty", max_lines=1, max_length=_LONGEST
    )
    fetch = gr.Button("Fetch")
    message = gr.HTML(elem_id="fetch-said")

    def bring(repo_id: str | None, wanted: str | None) -> Iterator[list[Any]]:
        yield [_step_html(Progress("asking the Hub")), gr.update(interactive=False)]
        try:
            name = (wanted or "").strip()[:_LONGEST] or None  # a program may omit the field
            call = BackgroundCall(lambda report: pull((repo_id or "")[:_LONGEST], store, None, name, report))
            for step in call:
                yield [_step_html(step), gr.skip()]
            here = f"<b>{escape_html(call.result)}</b> is among your models now; choose it in the tab Write."
            yield [f'<div class="hub-said" role="status">{here}</div>', gr.update(interactive=True)]
        except CharLSTMError as error:
            yield [_problem(error), gr.update(interactive=True)]

    gr.on(
        [fetch.click, repo.submit], bring, [repo, revision], [message, fetch], concurrency_limit=_CONCURRENCY, **PRIVATE
    )


def _token(request: gr.Request, oauth: gr.OAuthToken | None) -> str:
    """Return the visitor's token on a Space, elsewhere this machine's; raises `HubError` for requests from others."""
    if not is_public() and not _is_local(request):
        raise HubError("the login of this machine acts only for whoever sits at it; publish from there.")
    return write_token(oauth.token if oauth else None)


def _is_local(request: gr.Request) -> bool:
    """Return whether the request comes from this machine itself, as far as that can be recognised.

    A proxy on this machine has a loopback address too. Most proxies name the client they act for, pass on the host that
    was asked for, or speak HTTP/1.0 (nginx by default). One that does none of these can't be distinguished from a local
    browser: its owner sets CHARLSTM_PUBLIC.
    """
    if request.client is None or request.client.host not in _LOOPBACK:
        return False
    headers = request.headers
    asked_for = urlsplit(f"//{headers.get('host', '')}").hostname
    is_direct = request.request is None or request.request.scope.get("http_version") != "1.0"
    return is_direct and asked_for in (*_LOOPBACK, "localhost") and not any(name in headers for name in _PROXY_HEADERS)


def _build_files(registry: ModelRegistry, store: RunStore, publication: _Publication) -> ModelFiles:
    """Build a model's files for the Hub; only a name in the registry opens anything, never a visitor's path."""
    registry.load(publication.model)
    folder = RunDir(store.root / str(publication.model))
    history = RunHistory(folder)
    history.poll()
    try:
        repo_id, language = (publication.repo_id or "")[:_LONGEST], (publication.language or "").strip() or None
        return build_files(folder.path, repo_id, history, language)
    except CharLSTMError as error:
        raise HubError(str(error).replace(f"{store.root}{os.sep}", "")) from None


def _files_html(model_files: ModelFiles) -> str:
    rows = "".join(
        f"<tr><td>{escape_html(name)}</td><td>{len(data):,} bytes</td></tr>" for name, data in model_files.files.items()
    )
    picture = base64.b64encode(model_files.files.get(CURVE_FILE, b"")).decode()
    drawn = f'<img src="data:image/png;base64,{picture}" alt="The loss curve that will be sent">' if picture else ""
    return (
        f'<table class="hub-files"><caption>To {escape_html(model_files.repo_id)}, these files and nothing else'
        f"</caption><tbody>{rows}</tbody></table>{drawn}"
    )


def _step_html(step: Progress) -> str:
    share = f'value="{step.num_bytes / step.total_bytes:.4f}"' if step.total_bytes else ""
    size = f" · {step.num_bytes / 1e6:,.1f} of {step.total_bytes / 1e6:,.1f} MB" if step.total_bytes else ""
    return (
        f'<div class="hub-said" role="status">{escape_html(step.words)}{size}</div>'
        f'<progress class="share" max="1" {share} aria-label="how much has travelled"></progress>'
    )


def _published_html(address: str) -> str:
    """Return the message that a model was published, with a link if the address is on the Hub."""
    if not address.startswith(f"{hub_address()}/"):
        return f'<div class="hub-said" role="status">Published: {escape_html(address)}</div>'
    link = f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">{escape_html(address)}</a>'
    return f'<div class="hub-said" role="status">Published: {link}</div>'


def _problem(error: Exception) -> str:
    return f'<div class="problem" role="alert">{escape_html(error_text(error))}</div>'


CSS = """
.gradio-container { width: 100%; }
#publish-said, #fetch-said { min-height: 2.4em; overflow-wrap: anywhere; }
.hub-said { font-size: 0.9rem; font-variant-numeric: tabular-nums; }
#publish-files .hub-files { font-size: 0.9rem; font-variant-numeric: tabular-nums; border-collapse: collapse; border: 0;
  width: min(100%, 26rem); }
#publish-files caption { text-align: left; padding-bottom: 0.3rem; overflow-wrap: anywhere; }
#publish-files tr { border: 0; }  /* Gradio gives tables of its Markdown a dark line around each row */
#publish-files td { padding: 0.15rem 0; border: 0; border-bottom: 1px solid var(--border-color-primary); }
#publish-files td:last-child { text-align: right; white-space: nowrap; }
#publish-files img { width: min(100%, 26rem); margin: 0.8rem 0 0; border-radius: 0.3rem; }
#card .sheet-head { display: flex; justify-content: space-between; align-items: baseline; font-size: 0.9rem; }
#card button { font-size: 0.8rem; padding: 0.1rem 0.6rem; border: 1px solid var(--border-color-primary);
  border-radius: 0.3rem; cursor: pointer; }
#card .sheet { height: 24rem; max-width: 100%; border: 0; }
#card .sheet:empty::before { content: attr(data-placeholder); opacity: 0.75; }
"""
