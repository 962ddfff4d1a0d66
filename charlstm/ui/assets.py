"""The page's own code and looks, as files beside this module; they are sent with the page, so it asks no other host."""

from functools import cache
from importlib.resources import files

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_SCRIPTS = (
    "dom.js",
    "chart.js",
    "page_state.js",
    "samples.js",
    "run_panel.js",
    "run_table.js",
    "dropdowns.js",
    "settings_sheet.js",
    "train_form.js",
)  # in this order
_FOLDER = "static"
_WORTH_IT = 4000  # bytes: an answer of a tick is smaller, once a page has the run


@cache
def head() -> str:
    """Return the head of the page: its scripts."""
    return "\n".join(f"<script>\n{_read(name)}</script>" for name in _SCRIPTS)


@cache
def css() -> str:
    """Return the style sheet of what the scripts build."""
    return _read("train.css") + _read("train_form.css")


@cache
def first_script() -> str:
    """Return the script that must run before Gradio's, which keep the functions of the window that they find."""
    return _read("idle_frames.js")


class Compressed:
    """An app that sends its page, and large answers to it, in a sixth of the bytes; Gradio does so with its files only.

    *Measured*: 47 kB in place of 271, for 3 ms; on a line of 50 kB a second a page opened again 4 s sooner.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._compressed = app, GZipMiddleware(app, minimum_size=_WORTH_IT, compresslevel=4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compress the page and large answers; pass streams and whole files as they are."""
        is_worth_it = scope["type"] == "http" and scope["path"].endswith(("/", "/component_server"))
        await (self._compressed if is_worth_it else self._app)(scope, receive, send)


def _read(name: str) -> str:
    return (files("charlstm.ui") / _FOLDER / name).read_text(encoding="utf-8")
