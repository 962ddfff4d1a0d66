"""The page's own code and looks, as files beside this module; they are sent with the page, so it asks no other host."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_SCRIPTS = (  # in this order
    "dom.js",
    "toast.js",
    "info.js",
    "shortcuts.js",
    "chart.js",
    "page_state.js",
    "files.js",
    "run_curves.js",
    "run_sign.js",
    "top_line.js",
    "samples.js",
    "run_table.js",
    "run_panel.js",
    "dropdowns.js",
    "settings_dialog.js",
    "train_form.js",
    "reader_card.js",
    "reader.js",
    "next_letter.js",
    "writing.js",
)
_FIRST_STYLE = "first.css"
_FIRST_SCRIPTS = ("idle_frames.js", "message_stream.js", "theme_choice.js")
_LATER = (  # fetched by the others once they are needed
    *("how.js", "terms.js", "card.js", "film.js", "svg.js", "take_along.js"),
    *("crossfader.js", "crossfader.css", "read_first.js", "read_first.css"),
)
_FOLDER, _FRAME, _INSIDE = "static", "shell.css", "inside"  # the last begins the names of all that *Look inside* needs
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}
_ADDRESS = "/charlstm"  # of what the page fetches later
_WORTH_IT = 4000  # bytes: an answer of a tick is smaller, once a page has the run


@cache
def head() -> str:
    """Return the head of the page: its scripts, and the style sheet that Gradio must not rewrite."""
    scripts = "\n".join(f"<script>\n{_read(name)}</script>" for name in _SCRIPTS)
    return f"<style>\n{_read(_FRAME)}</style>\n{scripts}"


@cache
def css() -> str:
    """Return the style sheets beside the scripts, by name, but for that of the frame."""
    names = [name for name in _names() if name.endswith(".css") and name not in (_FIRST_STYLE, _FRAME, *later_files())]
    return "\n".join(map(_read, names))


@cache
def first_tags() -> str:
    """Return the beginning of the head: what must be known before Gradio's own styles and scripts."""
    return f"<style>\n{_read(_FIRST_STYLE)}</style>\n<script>\n{first_script()}</script>"


@cache
def first_script() -> str:
    """Return the scripts that must run before Gradio's, which keep the functions of the window that they find."""
    return "\n".join(map(_read, _FIRST_SCRIPTS))


def routes() -> list[Route]:
    """Return the routes of what the page fetches later.

    Gradio's view of its API asks for figures that are not kept here; refusing them leaves an error in the console.
    """
    scripts = [Route(f"{_ADDRESS}/{name}", _script) for name in later_files()]
    return [*scripts, Route("/monitoring/summary", _no_figures)]


@cache
def later_files() -> tuple[str, ...]:
    """Return the names of scripts and style sheets that the others fetch once they are needed."""
    return (*_LATER, *(name for name in _names() if name.startswith(_INSIDE)))


def _names() -> list[str]:
    return sorted(each.name for each in (files("charlstm.ui") / _FOLDER).iterdir())


async def _no_figures(_request: Request) -> JSONResponse:
    return JSONResponse({"functions": {}})


async def _script(request: Request) -> FileResponse:
    place = Path(__file__).with_name(_FOLDER) / Path(request.url.path).name  # one of `later_files`
    return FileResponse(place, media_type=_MEDIA_TYPES[place.suffix], headers={"Cache-Control": "no-cache"})


class Compressed:
    """An app that sends its page, and large answers to it, in a sixth of the bytes; Gradio does so with its files only.

    *Measured* on 2026-11-29: 85 kB in place of 464 for 10 ms of a processor; at level 4 91 kB for 5 ms. On a line of
    50 kB a second a page opened again 4 s sooner.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._compressed = app, GZipMiddleware(app, minimum_size=_WORTH_IT, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compress the page, its scripts and large answers; pass streams and whole files as they are."""
        endings = ("/", "/component_server", *later_files())
        is_worth_it = scope["type"] == "http" and scope["path"].endswith(endings)
        await (self._compressed if is_worth_it else self._app)(scope, receive, send)


def _read(name: str) -> str:
    """Return a script or style sheet without its comments, a twelfth of what is sent, but for those amid code."""
    text = (files("charlstm.ui") / _FOLDER / name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        return re.sub(r"\s*/\*.*?\*/", "", text, flags=re.DOTALL)
    lines = text.split("\n")
    return "\n".join(line for line in lines if not line.lstrip().startswith("//"))
