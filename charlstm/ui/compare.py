"""Comparison below the text: copied passages, the score of one's own text, another model side by side."""

import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text, escape_html, escape_lines
from charlstm.generation.memorization import longest_stretch
from charlstm.ui.components import GROWING, PRIVATE, VISITOR
from charlstm.ui.generation import MOST_CHARS, SETTINGS, ActiveRequests, GenerationRequest, generate
from charlstm.ui.models import ModelRegistry, describe_model
from charlstm.ui.surprisal_text import WIDTH, Page, TextBuilder, build_surprisal_text, parse_page

LONGEST_SCORED = 20_000
_STRETCH_CHARS_SHOWN = 200
NO_MODEL = "none"
_COMPARED_AT_ONCE = 4  # comparisons, of different visitors


def mark_copied(
    registry: ModelRegistry, name: Any, page: Any, visitor: str = "", username: str | None = None
) -> tuple[Page, str]:
    """Mark the longest stretch of each text that is in the model's corpus; return the page and a message about it.

    Anyone who may compare any text any number of times can recover the corpus from the answers, character by
    character: so a corpus that a visitor brought is compared only for those who may control its run. Raises
    `CharLSTMError`.
    """
    if not registry.may_read(name, visitor, username):
        raise CharLSTMError(f"{name} learned from somebody's own text; only they may compare with it.")
    texts = parse_page(page, MOST_CHARS)
    if texts is None or not any(texts):
        raise CharLSTMError("there is no text here to compare: write one first.")
    corpus = registry.corpus(name)
    if corpus is None:
        raise CharLSTMError("the text that this model learned from is not at hand, so nothing can be compared.")
    stretches = [longest_stretch(corpus, text) for text in texts]
    parts = []
    for number, (text, found) in enumerate(zip(texts, stretches, strict=True), start=1):
        which = f"{number} of {len(texts)}. " if len(texts) > 1 else ""
        shown = text[found.begin : found.end][:_STRETCH_CHARS_SHOWN].strip().replace("\n", " ↵ ")
        parts.append(
            f"{which}The longest stretch that stands word for word in {corpus.name} has {found.length:,} characters, "
            f"{found.length / max(1, len(text)):.1%} of the {len(text):,} written: “{shown}”"
        )
    marked: Any = {**page, "copied": [[found.begin, found.end] for found in stretches], "is_writing": False}
    return marked, "\n".join(parts)


def score_text(registry: ModelRegistry, name: Any, text: Any) -> tuple[TextBuilder, dict[str, Any], tuple[float, ...]]:
    """Return a page of `text` with the model's predictions, its scores, and the surprise of each character in nats."""
    if not isinstance(text, str) or not isinstance(name, str | None):
        raise ConfigError("model and text must be texts.")
    if len(text) > LONGEST_SCORED:
        raise ConfigError(f"the text has {len(text):,} characters; at most {LONGEST_SCORED:,} are scored: shorten it.")
    language_model = registry.load(name)
    found = language_model.score(text, WIDTH)
    builder = TextBuilder(
        secrets.token_hex(8),
        "",
        1,
        is_code=describe_model(language_model).is_code,
        is_bytes=language_model.vocabulary.level == "bytes",
    )
    builder.add(found.chunk)
    figures = {"nats": found.nats, "bits": found.bpc, "perplexity": found.perplexity, "characters": found.num_chars}
    return builder, figures, found.chunk.surprises


def _figures_line(name: str | None, figures: dict[str, Any]) -> str:
    return (
        f"{name}: {figures['nats']:.3f} nats per character ({figures['bits']:.3f} bits), "
        f"perplexity {figures['perplexity']:.2f}, {figures['characters']:,} characters"
    )


def build_copied(registry: ModelRegistry, model: gr.Dropdown, text: gr.HTML) -> None:
    """Build the button that compares the text with the corpus, and the place of its answer."""
    button = gr.Button("Copied from the corpus?", size="sm")
    answer = gr.HTML(elem_classes="rate", elem_id="copied")

    visitor = gr.Textbox(visible=False)  # filled in when the button is pressed

    def compare(name: Any, page: Any, token: Any, profile: gr.OAuthProfile | None) -> list[Any]:
        try:
            marked, message = mark_copied(registry, name, page, str(token), profile.username if profile else None)
        except CharLSTMError as error:
            return [gr.skip(), escape_html(error_text(error))]
        return [marked, escape_lines(message)]

    at_once: dict[str, Any] = {"concurrency_limit": _COMPARED_AT_ONCE, **PRIVATE}
    button.click(compare, [model, text, visitor], [text, answer], js=VISITOR, **at_once)


def build_comparison(
    registry: ModelRegistry, active_requests: ActiveRequests, model: gr.Dropdown, inputs: list[Any]
) -> gr.Dropdown:
    """Build the section that scores a text and shows two models side by side; return the second model's dropdown."""
    with gr.Accordion("Score your own text, or compare two models", open=False):
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                own = gr.Textbox(label="Your text", lines=4, max_lines=8, info="Scored by the model chosen above")
            with gr.Column(scale=1, min_width=240):
                second = gr.Dropdown(label="Second model", choices=[NO_MODEL], value=NO_MODEL, **GROWING)
                score_button = gr.Button("Score this text")
                both = gr.Button("Write with both")
        problem = gr.HTML(elem_classes="problem", elem_id="compare-problem")
        with gr.Row():
            pages, lines = [], []
            for number, label in enumerate(("First model's view", "Second model's view")):
                with gr.Column(min_width=280):
                    pages.append(build_surprisal_text(label, "Nothing yet.", f"view-{number}"))
                    lines.append(gr.HTML(elem_classes="rate", elem_id=f"view-line-{number}"))
    outputs = [*pages, *lines, problem]
    comparison = _Comparison(registry, active_requests)
    score_button.click(comparison.score, [model, second, own], outputs, **PRIVATE)
    wired: dict[str, Any] = {"concurrency_limit": 8, **PRIVATE}
    both.click(comparison.write, [second, *inputs], outputs, **wired)
    return second


class _Comparison:
    """Event handlers of two models side by side; each returns or yields both pages, both lines and a problem."""

    def __init__(self, registry: ModelRegistry, active_requests: ActiveRequests) -> None:
        self._registry, self._active_requests = registry, active_requests

    def score(self, first: Any, second: Any, text: Any) -> list[Any]:
        pages: list[Any] = [TextBuilder(secrets.token_hex(8)).page() for _ in range(2)]
        lines = ["", ""]
        try:
            for place, name in enumerate([first] if second in (NO_MODEL, None) else [first, second]):
                builder, figures, _ = score_text(self._registry, name, text)
                pages[place], lines[place] = builder.page(), escape_html(_figures_line(name, figures))
        except CharLSTMError as error:
            return [*pages, *lines, escape_html(error_text(error))]
        return [*pages, *lines, ""]

    def write(self, second: Any, first: Any, prompt: Any, *values: Any) -> Iterator[list[Any]]:
        pages: list[Any] = [TextBuilder(secrets.token_hex(8)).page() for _ in range(2)]
        lines = ["", ""]
        try:
            if second in (NO_MODEL, None):
                raise ConfigError("choose a second model to compare with.")
            named = dict(zip(SETTINGS, values, strict=True))
            if not named["num_chars"]:
                raise ConfigError("two models are compared on a text that ends: set a length.")
            for place, name in enumerate((first, second)):
                for frame in generate(
                    self._registry, GenerationRequest.of(name, prompt, named), self._active_requests, lambda: False
                ):
                    pages[place], lines[place] = (
                        {**frame.page, "link": "", "can_branch": False},
                        escape_lines(f"{name}: {frame.caption}"),
                    )
                    yield [*pages, *lines, ""]
        except CharLSTMError as error:
            yield [*pages, *lines, escape_html(error_text(error))]
