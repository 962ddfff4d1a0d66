"""The crossfader of the Write tab: a second model, its share, and a slider that is heard while a text is written.

What the browser sends is untrusted: a text is found by the random id of its page, which only its visitor knows.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text
from charlstm.generation.mixing import MOST_STEPS, Crossfade
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import replace_surrogates

_LEAD_CHARS = 10  # of each text, ahead of who reads it: an eighth of a second
_READ_PER_SECOND = 80  # characters, as `static/reader.js` shows them
_BUILD = "window.charlstm.later('crossfader.js').then(({ build }) => build(element, props, watch, server));"
_MOST_SENT = 10_000  # characters of a value


@dataclass
class Mix:
    """A wish to write with a second model, and whether the text is read while it is written."""

    other: str
    fade: Crossfade
    is_paced: bool = False

    def due_seconds(self, num_chars: float) -> float:
        """Return how long after its first characters a text may have so many: the slider acts on those that follow."""
        return (num_chars - _LEAD_CHARS) / _READ_PER_SECOND if self.is_paced else 0.0

    @property
    def fits_address(self) -> bool:
        """Whether an address can tell each change of the share."""
        return self.fade.num_steps <= MOST_STEPS

    def query(self) -> dict[str, str]:
        """Return what an address says of it."""
        return {"mix": self.other, "share": str(self.fade)}


def parse_mix(other: Any, share: Any) -> Mix | None:
    """Return the wish that an address or a program states, `None` without a second model; raises `ConfigError`."""
    if not isinstance(other, str) or not isinstance(share, str | int | float) or isinstance(share, bool):
        raise ConfigError("mix must be the name of a model, and its weight a number from 0 to 1.")
    if not other:
        return None
    return Mix(other, Crossfade.parse(share) if isinstance(share, str) else Crossfade(share))


def read_mix(value: Any) -> Mix | None:
    """Return the wish that the page's component holds, `None` for none; raises `ConfigError`."""
    try:
        wish = json.loads(value) if isinstance(value, str) and 0 < len(value) <= _MOST_SENT else None
    except ValueError:
        wish = None
    if not isinstance(wish, dict):
        return None
    mix = parse_mix(wish.get("other", ""), wish.get("share", "0.5"))
    if mix:
        mix.is_paced = wish.get("is_fast") is not True
    return mix


def write_mix(mix: Mix | None) -> str:
    """Return the component's value for a wish, as `read_mix` reads it."""
    return json.dumps({"other": mix.other, "share": str(mix.fade)}) if mix else ""


def continue_mix(page: Any, wish: Mix | None, num_written: int) -> Mix | None:
    """Return how the text of `page`, `num_written` characters long, goes on when the form holds `wish`.

    A mixed text goes on with its own second model, at the form's share if that is of the same model. One of a single
    model is mixed from now on.
    """
    link = page.get("link") if isinstance(page, dict) else None
    query = dict(parse_qsl(link)) if isinstance(link, str) else {}
    before = parse_mix(query.get("mix", ""), query.get("share", "0.5"))
    if before is None:
        if wish and num_written:
            share = wish.fade.at(0)
            wish = Mix(wish.other, Crossfade(0.0), wish.is_paced)
            wish.fade.turn(share)
        return wish
    if wish and wish.other == before.other:
        before.is_paced = wish.is_paced
        before.fade.turn(wish.fade.at(num_written))
    return before


class LiveMixes:
    """Mixed texts that are being written now, by the ids of their pages."""

    def __init__(self) -> None:
        self._mixes: dict[str, Mix] = {}

    @contextmanager
    def register(self, page_id: str, mix: Mix | None) -> Iterator[None]:
        """Let the slider change the text of a page inside the block, if it is a mixed one."""
        if mix is None:
            yield
            return
        self._mixes[page_id] = mix
        try:
            yield
        finally:
            if self._mixes.get(page_id) is mix:
                del self._mixes[page_id]

    def turn(self, request: Any) -> dict[str, Any]:
        """Change the share of the text `request["id"]` to `request["share"]` if there is one; anyone can call it."""
        values = request if isinstance(request, dict) else {}
        mix, share = self._mixes.get(str(values.get("id"))), values.get("share")
        if mix is None:
            return {"is_heard": False}
        mix.is_paced = values.get("is_fast") is not True
        if share is None:
            return {"is_heard": True}
        try:
            mix.fade.turn(float(share) if isinstance(share, int | float) else -1.0)
        except CharLSTMError as error:
            return {"is_heard": False, "problem": error_text(error)}
        return {"is_heard": True}


def build_crossfader(registry: ModelRegistry, live: LiveMixes) -> tuple[gr.Accordion, gr.HTML]:
    """Build the fold and what it holds; its value is what `read_mix` reads."""

    def turn_share(request: Any) -> dict[str, Any]:
        return live.turn(request)

    def mixable_models(_request: Any) -> dict[str, Any]:
        return {
            "models": [{"name": name, "label": replace_surrogates(label)} for label, name in registry.choices()],
        }

    with gr.Accordion("Mix two models", open=False, elem_id="mix-fold") as fold:
        crossfader = gr.HTML(
            "",
            html_template="<div></div>",
            js_on_load=_BUILD,
            server_functions=[turn_share, mixable_models],
            elem_id="crossfader",
            padding=False,
        )
    return fold, crossfader
