"""A model card as people will see it on the Hub, with its source beside; nothing in it can act.

The page's own script builds it from text nodes. *Measured* on 2026-11-28 with gradio 6.31: `gr.Code` for the source
alone takes the page's first view from 334 to 462 kB, and a browser's search misses the lines that are out of view.
"""

from typing import TypedDict

import gradio as gr

# fmt: off
_TEMPLATE = (
    '<div class="card-head"><h3>The model card, as people will see it</h3>'
    '<button type="button" class="card-switch" aria-pressed="false" hidden>Source</button>'
    '<button type="button" class="card-copy" hidden>Copy</button></div>'
    '<p class="card-hint">It appears here, and nothing has been sent then.</p>'
    '<div class="card-seen" tabindex="0" role="document" aria-label="Model card" hidden></div>'
    '<div class="card-source" role="textbox" aria-readonly="true" aria-multiline="true"'
    ' aria-label="Source of the model card" tabindex="0" hidden></div>'
)
# fmt: on
_BEHAVIOUR = "window.charlstm.cardViewer(element, () => props.value, (draw) => watch('value', draw));"


class Card(TypedDict):
    """A card's text, and the pictures it names, as `data:` addresses."""

    text: str
    pictures: dict[str, str]


EMPTY = Card(text="", pictures={})


def build_card_viewer(elem_id: str) -> gr.HTML:
    """Make the view of a card, its value."""
    return gr.HTML(EMPTY, html_template=_TEMPLATE, js_on_load=_BEHAVIOUR, container=True, padding=True, elem_id=elem_id)
