"""The tab *Look inside*: what a network has learned, drawn by scripts that are fetched when somebody opens it."""

import gradio as gr

from charlstm.ui.inside_endpoints import InsideEndpoints
from charlstm.ui.insight_api import build_insight_api
from charlstm.ui.models import ModelRegistry

_SCRIPT = """
new IntersectionObserver(async (entries, seen) => {
  if (!entries.some((each) => each.isIntersecting)) return;
  seen.disconnect();
  (await window.charlstm.later('inside.js')).open(window.charlstm.h, element.querySelector('.inside'), server);
}).observe(element);
"""


def build_inside_tab(registry: ModelRegistry) -> gr.HTML:
    """Build the place where the scripts draw, with the functions of the server that they ask."""
    endpoints = InsideEndpoints(registry)
    build_insight_api(endpoints)
    return gr.HTML(
        html_template='<div class="inside" aria-busy="true">Loading …</div>',
        js_on_load=_SCRIPT,
        server_functions=endpoints.functions(),
        apply_default_css=False,
        elem_id="inside",
    )
