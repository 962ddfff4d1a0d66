"""The line above the tabs: the name, what this is, links, the theme, and the state of the run in progress."""

from typing import Any

import gradio as gr

from charlstm.formatting import escape_html
from charlstm.ui import project_links
from charlstm.ui.explanation_numbers import ExampleFacts
from charlstm.ui.how_it_works import passages
from charlstm.ui.models import ModelRegistry
from charlstm.ui.run_cache import RunCache
from charlstm.ui.train_tab import build_status_line

TITLE = "charlstm"
SENTENCE = "Watch a small network learn to write, letter by letter, on your own text"
_BEHAVIOUR = "window.charlstm.topLine(element, server);"


def build_top_line(registry: ModelRegistry, cache: RunCache) -> None:
    """Build the line; its scripts also ask for what the explanations need."""
    facts = ExampleFacts(registry)

    def model_facts(request: Any) -> dict[str, Any]:
        return facts.get(request.get("model") if isinstance(request, dict) else None)

    def code_passages(_request: Any) -> list[dict[str, Any]]:
        return [passage._asdict() for passage in passages()]

    with gr.Row(elem_id="top"):
        gr.HTML(
            html_template=_template(),
            js_on_load=_BEHAVIOUR,
            server_functions=[model_facts, code_passages],
            elem_id="top-words",
        )
        build_status_line(cache)


def _template() -> str:
    code = project_links.code_address()
    links = "".join(
        _link(address, words) for address, words in ((code, "code"), (project_links.post_address(), "post"))
    )
    if not code:  # the program can still show its own
        links = '<button type="button" class="top-link" data-how="code">code</button>' + links
    return f"""<div class="top-words"><h1>{TITLE}</h1><p>{SENTENCE}</p>
<nav aria-label="About this page">
<button type="button" class="top-link" data-how="pictures">How it works</button>{links}
<button type="button" class="top-sign" data-keys aria-label="Keyboard shortcuts" title="Keyboard (?)">?</button>
<button type="button" class="top-sign" data-theme-toggle aria-label="Dark theme" aria-pressed="false"
 title="Light or dark">◐</button></nav></div>"""


def _link(address: str, words: str) -> str:
    if not address:
        return ""
    return (
        f'<a class="top-link" href="{escape_html(address)}" target="_blank" rel="noopener noreferrer">{words}'
        '<span aria-hidden="true"> ↗</span></a>'
    )
