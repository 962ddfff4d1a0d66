"""*Take it along*: a model as one web page, made when a visitor or a program asks for it, and kept to be fetched."""

import re
import secrets
import threading
import time
from collections import OrderedDict
from typing import Any, NamedTuple
from urllib.parse import quote

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.export.page import build_page
from charlstm.formatting import error_text
from charlstm.ui.models import ModelRegistry

_ADDRESS = "/charlstm/page"
_LONGEST_NAME = 300  # characters of a model's name or a title that a visitor sends
_MOST_BYTES, _KEPT_SECONDS = 200_000_000, 120.0
_LABEL = "Take it along"
_SCRIPT = """element.querySelector('button').addEventListener('click', async (event) => {
  (await window.charlstm.later('take_along.js')).takeAlong(server, event.target);
});"""


class _KeptPage(NamedTuple):
    data: bytes
    name: str
    made_at: float


class PageStore:
    """Pages that wait for the visitor who asked for them, by a token that nobody else knows."""

    def __init__(self, most_bytes: int = _MOST_BYTES, seconds: float = _KEPT_SECONDS) -> None:
        self._most_bytes, self._seconds = most_bytes, seconds
        self._pages: OrderedDict[str, _KeptPage] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, data: bytes, name: str) -> str:
        """Keep a page, in place of the oldest where all are too large together; return its token."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._drop_old()
            while self._pages and len(data) + sum(len(each.data) for each in self._pages.values()) > self._most_bytes:
                self._pages.popitem(last=False)
            self._pages[token] = _KeptPage(data, name, time.monotonic())
        return token

    def get(self, token: str) -> _KeptPage | None:
        """Return the page of a token that is still kept."""
        with self._lock:
            self._drop_old()
            return self._pages.get(token)

    def _drop_old(self) -> None:
        now = time.monotonic()
        for token in [each for each, page in self._pages.items() if now - page.made_at > self._seconds]:
            del self._pages[token]


PAGES = PageStore()
_one_at_a_time = threading.Lock()


def route() -> Route:
    """Return the route of pages that were made."""
    return Route(f"{_ADDRESS}/{{token}}", _send)


async def _send(request: Request) -> Response:
    page = PAGES.get(request.path_params["token"])
    if page is None:
        return JSONResponse({"problem": "This page is no longer kept here; make it again."}, 404)
    disposition = f"attachment; filename*=utf-8''{quote(page.name)}"
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    # Not as HTML: opened under this app's own address, a page might read what belongs to the app.
    return Response(page.data, media_type="application/octet-stream", headers=headers)


def build_take_along(registry: ModelRegistry) -> gr.HTML:
    """Build the button."""

    def take_along(request: Any) -> dict[str, Any]:
        return make_page(registry, request)

    return gr.HTML(
        html_template=f'<button type="button">{_LABEL}</button>',
        js_on_load=_SCRIPT,
        server_functions=[take_along],
        elem_id="take-along",
        padding=False,
    )


def make_page(registry: ModelRegistry, request: Any) -> dict[str, Any]:
    """Make the page of `request["model"]`; return where it is and its size, or a problem. Anyone can call it."""
    values = request if isinstance(request, dict) else {}
    try:
        page, name = export_model(registry, values.get("model"), values.get("title", ""))
    except CharLSTMError as error:
        return {"problem": error_text(error)}
    return {"address": f"{_ADDRESS}/{PAGES.put(page, name)}".lstrip("/"), "name": name, "bytes": len(page)}


def export_model(registry: ModelRegistry, model: Any, title: Any) -> tuple[bytes, str]:
    """Return the page of a model and the name of its file; raise `CharLSTMError` for what anyone may have sent."""
    if not isinstance(model, str | None) or not isinstance(title, str) or len(title) + len(model or "") > _LONGEST_NAME:
        raise ConfigError(f"model and title must be texts of at most {_LONGEST_NAME} characters together.")
    language_model, prompts = registry.load(model), registry.prompts(model)
    with _one_at_a_time:
        page = build_page(language_model, title, prompts=prompts)
    return page, f"{file_stem(title or registry.label(registry.find(model)) or '')}.html"


def file_stem(title: str) -> str:
    """Return the name of a file for what is called `title`, without its ending."""
    return re.sub(r"[^\w-]+", "-", title.lower()).strip("-")[:60] or "page"
