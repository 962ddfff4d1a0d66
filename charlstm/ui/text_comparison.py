"""Comparison below the text: copied passages, the score of one's own text, another model side by side."""

import math
import secrets
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text, escape_html, escape_lines
from charlstm.generation.memorization import longest_stretch
from charlstm.model_description import describe_model
from charlstm.ui.components import GROWING, PRIVATE, VISITOR
from charlstm.ui.generation import MOST_CHARS, SETTINGS, ActiveRequests, GenerationRequest, generate
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import WIDTH, Page, TextBuilder, build_surprisal_text, parse_page

LONGEST_SCORED = 20_000
_STRETCH_CHARS_SHOWN = 200
_COPIED_CHARS = 50  # a shorter passage is a phrase that a language has, or a name
_ALIKE = 1.05  # times the chance of each letter
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
        raise CharLSTMError(f"{registry.label(name)} learned from somebody's own text; only they may compare with it.")
    texts = parse_page(page, MOST_CHARS)
    if texts is None or not any(texts):
        raise CharLSTMError("there is no text here to compare: write one first.")
    corpus = registry.corpus(name)
    if corpus is None:
        raise CharLSTMError("the text that this model learned from is not at hand, so nothing can be compared.")
    stretches = [longest_stretch(corpus, text) for text in texts]
    parts = []
    for number, (text, found) in enumerate(zip(texts, stretches, strict=True), start=1):
        which = f"{number} of {len(texts)}: " if len(texts) > 1 else ""
        shown = text[found.begin : found.end][:_STRETCH_CHARS_SHOWN].strip().replace("\n", " ↵ ")
        parts.append(f"{which}{_describe_copy(found.length, len(text))}: “{shown}”")
    copied = [[found.begin, found.end] for found in stretches]
    marked: Any = {**page, "copied": copied, "is_writing": False, "is_live": False}
    return marked, "\n".join(parts)


def _describe_copy(length: int, num_written: int) -> str:
    """Return the answer for a text of `num_written` characters whose longest copied passage has `length`."""
    if length >= _COPIED_CHARS:
        share = f" ({length / num_written:.0%} of the {num_written:,} written)"
        return f"Partly copied: a passage of {length:,} characters{share} stands in the training text word for word"
    return f"Not copied: the longest passage found in the training text has {length:,} characters"


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


def _figures_line(figures: dict[str, Any]) -> str:
    return (
        f"as if choosing among {figures['perplexity']:.1f} letters each time · {figures['nats']:.3f} nats per "
        f"character ({figures['bits']:.3f} bits) · {figures['characters']:,} characters"
    )


def compare_scores(scores: Mapping[str, float]) -> str:
    """Return one sentence about the nats per character of two models; empty for one."""
    if len(scores) != 2:
        return ""
    (winner, least), (_, most) = sorted(scores.items(), key=lambda each: each[1])
    times = math.exp(most - least)
    figures = f"({least:.3f} against {most:.3f} nats)"
    if times < _ALIKE:
        return f"Both expect this text about equally {figures}."
    return f"{winner} gives each letter {_times(times)} the chance {figures}."


def _times(times: float) -> str:
    """Format a factor in words where it is round: `twice`, `2.4 times`."""
    return "twice" if 1.9 <= times < 2.1 else f"{times:.1f} times" if times < 10 else f"{times:,.0f} times"


def build_copied(registry: ModelRegistry, model: gr.Dropdown, text: gr.HTML) -> gr.HTML:
    """Build the button that compares the text with the corpus; return the place of its answer."""
    button = gr.Button("Is it copied?", size="sm", elem_id="check-copied")
    answer = gr.HTML(elem_classes="rate", elem_id="copied")

    visitor = gr.Textbox(visible=False)  # filled in when the button is pressed

    def compare(name: Any, page: Any, token: Any, profile: gr.OAuthProfile | None) -> list[Any]:
        try:
            writer = model_of(page, name)
            marked, message = mark_copied(registry, writer, page, str(token), profile.username if profile else None)
        except CharLSTMError as error:
            return [gr.skip(), escape_html(error_text(error))]
        return [marked, escape_lines(message)]

    at_once: dict[str, Any] = {"concurrency_limit": _COMPARED_AT_ONCE, **PRIVATE}
    button.click(compare, [model, text, visitor], [text, answer], js=VISITOR, **at_once)
    return answer


def model_of(page: Any, chosen: Any) -> Any:
    """Return the model that wrote `page`, as its address says, else the chosen one."""
    link = page.get("link") if isinstance(page, dict) else None
    return dict(parse_qsl(link)).get("model", chosen) if isinstance(link, str) else chosen


def build_comparison(
    registry: ModelRegistry, active_requests: ActiveRequests, model: gr.Dropdown, inputs: list[Any]
) -> gr.Dropdown:
    """Build the section that scores a text and shows two models side by side; return the second model's dropdown."""
    with gr.Accordion("How surprised is the model by your text? Or compare two models", open=False, elem_id="compare"):
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                own = gr.Textbox(label="Your text", lines=4, max_lines=8, info="Read by the model chosen above")
            with gr.Column(scale=1, min_width=240):
                second = gr.Dropdown(label="Second model", choices=[NO_MODEL], value=NO_MODEL, **GROWING)
                score_button = gr.Button("Score this text")
                both = gr.Button("Write with both")
        problem = gr.HTML(elem_classes="problem", elem_id="compare-problem")
        said = gr.HTML(elem_classes="rate", elem_id="verdict")
        scored = _build_views("view", ("First model's view", "Second model's view"))
        written = _build_views("both", ("First model's text", "Second model's text"))
    comparison = _Comparison(registry, active_requests)
    score_button.click(comparison.score, [model, second, own], [*scored, said, problem], **PRIVATE)
    wired: dict[str, Any] = {"concurrency_limit": 8, **PRIVATE}
    both.click(comparison.write, [second, *inputs], [*written, problem], **wired)
    return second


def _build_views(name: str, labels: tuple[str, str]) -> list[Any]:
    """Build two texts side by side; return their row, hidden until it is used, and the texts."""
    with gr.Row(visible=False, elem_classes="views") as row:
        views = [build_surprisal_text(label, "Nothing yet.", f"{name}-{number}") for number, label in enumerate(labels)]
    return [row, *views]


class _Comparison:
    """Event handlers of two models side by side; each answers with the row of both texts, the texts, and a problem."""

    def __init__(self, registry: ModelRegistry, active_requests: ActiveRequests) -> None:
        self._registry, self._active_requests = registry, active_requests

    def score(self, first: Any, second: Any, text: Any) -> list[Any]:
        pages: list[Any] = [gr.update(value=_empty_page(), visible=False) for _ in range(2)]
        scores: dict[str, float] = {}
        try:
            for place, name in enumerate([first] if second in (NO_MODEL, None) else [first, second]):
                builder, figures, _ = score_text(self._registry, name, text)
                page = builder.page(title=self._registry.label(name), caption=_figures_line(figures))
                pages[place] = gr.update(value=page, visible=True)
                scores[self._registry.label(name)] = figures["nats"]
        except CharLSTMError as error:
            return [*[gr.skip()] * 4, escape_html(error_text(error))]
        return [gr.update(visible=True), *pages, escape_html(compare_scores(scores)), ""]

    def write(self, second: Any, first: Any, prompt: Any, *values: Any) -> Iterator[list[Any]]:
        pages: list[Any] = [_empty_page(), _empty_page()]
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
                    pages[place] = {**frame.page, "link": "", "can_branch": False, "title": self._registry.label(name)}
                    yield [gr.update(visible=True), *pages, ""]
        except CharLSTMError as error:
            yield [*[gr.skip()] * 3, escape_html(error_text(error))]


def _empty_page() -> Page:
    return TextBuilder(secrets.token_hex(8)).page()
