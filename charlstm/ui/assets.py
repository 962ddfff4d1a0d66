"""The page's own code and looks, as files beside this module; they are sent with the page, so it asks no other host."""

from functools import cache
from importlib.resources import files

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


def _read(name: str) -> str:
    return (files("charlstm.ui") / _FOLDER / name).read_text(encoding="utf-8")
