"""Form controls made from config fields, which give label, unit, value and help; buttons that explain a term."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import gradio as gr
from gradio.utils import get_space
from pydantic import BaseModel

from charlstm.config_fields import bounds_of, help_text, suggestions_of, unit_of
from charlstm.environment import OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET
from charlstm.formatting import escape_html

# For events of the page itself: not part of the API, and without the overlay on what they update.
PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# For a dropdown whose choices are sent later. An app that was restarted does not know which ones it sent to pages that
# are still open, and would refuse them all; so any name is accepted, and the handler that uses it reports unknown ones.
GROWING: dict[str, Any] = {"interactive": True, "allow_custom_value": True}
# Fills the last input of an event with the visitor's token, see `runs.access`.
VISITOR = "(...values) => [...values.slice(0, -1), window.charlstm.store.visitor]"
_SPELT = {"nats": "a nat", "parameters": "a parameter"}  # as in `static/info.js`


def has_sign_in() -> bool:
    """Return whether visitors can sign in with the Hub: only on a Space that is configured for it.

    Elsewhere Gradio's button would sign everyone in with the machine's own account.
    """
    return bool(get_space() and OAUTH_CLIENT_ID.text() and OAUTH_CLIENT_SECRET.text())


def info_button(term: str, facts: Mapping[str, float]) -> str:
    """Return a button as HTML that explains `term` (`static/info.js`); `facts` are numbers of the model in question."""
    packed = escape_html(json.dumps(dict(facts)))
    return (
        f'<button type="button" class="info-button" data-info="{term}" data-facts="{packed}"'
        f' aria-label="What is {_SPELT.get(term, term)}?">ⓘ</button>'
    )


def field_label(config: BaseModel, name: str) -> str:
    """Return the label of the control for field `name`, such as `Hidden size (units)`."""
    unit = unit_of(type(config).model_fields[name])
    words = name.replace("_", " ").capitalize()
    return f"{words} ({unit})" if unit else words


def build_free_control(config: BaseModel, name: str, **overrides: Any) -> Any:
    """Build a component that accepts any value, for a form that reports a problem beside the field."""
    field = type(config).model_fields[name]
    shared = {"label": field_label(config, name), "info": help_text(field), "value": getattr(config, name)} | overrides
    if choices := get_args(field.annotation):
        return gr.Dropdown(choices=list(choices), **shared)
    if suggestions := suggestions_of(field):
        return gr.Dropdown(choices=list(suggestions), allow_custom_value=True, **shared)
    return gr.Textbox(**shared) if bounds_of(field)[0] is None else gr.Number(**shared)
