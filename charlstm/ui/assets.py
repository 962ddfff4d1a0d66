"""The page's own code and looks, as files beside this module; they are sent with the page, so it asks no other host."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files

from gradio.routes import templates
from jinja2 import BaseLoader, Environment

_FIRST = "frames.js"  # before Gradio's own, which keep the functions of the window that they find
_SCRIPTS = ("dom.js", "chart.js", "store.js", "samples.js", "stage.js", "runs.js")  # each builds on those before it
_FOLDER = "static"


@cache
def head() -> str:
    """What goes into the head of the page: the scripts."""
    return "\n".join(f"<script>\n{_read(name)}</script>" for name in _SCRIPTS)


@cache
def css() -> str:
    """The looks of what the scripts build."""
    return _read("train.css")


def put_first() -> None:
    """Have every page of this process begin with the script that must run before Gradio's; `head` comes after those."""
    if not isinstance(templates.env.loader, _WithFirst):
        templates.env.loader = _WithFirst(templates.env.loader)


class _WithFirst(BaseLoader):
    """Templates of `loader`, with our script at the beginning of their heads."""

    def __init__(self, loader: BaseLoader | None) -> None:
        self._loader = loader or BaseLoader()

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, path, is_current = self._loader.get_source(environment, template)
        script = f"<script>\n{{% raw %}}{_read(_FIRST)}{{% endraw %}}</script>"
        return source.replace("<head>", f"<head>\n{script}", 1), path, is_current


def _read(name: str) -> str:
    return (files("charlstm.ui") / _FOLDER / name).read_text(encoding="utf-8")
