"""The Generate tab: choose a model, write, stop."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlstm.config import SampleConfig, checked
from charlstm.errors import CharLSTMError
from charlstm.ui.controls import PRIVATE, control
from charlstm.ui.models import PROMPTS, ModelFacts, ModelShelf, facts_of
from charlstm.ui.sheet import Written, sheet, written
from charlstm.ui.views import plain, sentence

_FRAME_SECONDS = 0.04  # characters are gathered this long before they are sent: smooth, and few messages
_WRITERS_AT_ONCE = 16
_NUM_EXAMPLES = 3
_SETTINGS = ("num_chars", "temperature", "top_k", "top_p", "seed")
_LONGEST_PROMPT = 100_000
_Frame = tuple[Written, str, str, Any]  # what one message to the page updates


@dataclass(frozen=True)
class GenerateTab:
    """The components and functions that the rest of the page refers to."""

    shelf: ModelShelf
    model: gr.Dropdown
    outputs: list[Any]  # what `show_model` fills

    def show_model(self, name: str | None) -> list[Any]:
        """Updates that offer the models there are now, with `name` chosen, or the first if there is none so named."""
        names = self.shelf.names()
        chosen = name if name in names else next(iter(names), None)
        return [gr.update(choices=names, value=chosen), *_facts_updates(self.shelf, chosen)]


def build_generate_tab(shelf: ModelShelf) -> GenerateTab:
    """Lay the tab out and wire it."""
    defaults = SampleConfig()
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            model = gr.Dropdown(label="Model", choices=[], interactive=True)
            facts = gr.HTML(elem_classes="facts")
            prompt = gr.Textbox(label="Prompt", lines=2, max_lines=2, info="The model continues this text")
            with gr.Row(elem_classes="examples"):
                examples = [gr.Button(size="sm", visible=False) for _ in range(_NUM_EXAMPLES)]
            settings = [control(defaults, name, **_wording(name)) for name in _SETTINGS[:2]]
            with gr.Accordion("More", open=False):
                settings += [control(defaults, name, **_wording(name)) for name in _SETTINGS[2:]]
                seed = settings[-1]
                is_new_seed = gr.Checkbox(label="A new seed for each text", value=True)
            write = gr.Button("Write", variant="primary")
            stop = gr.Button("Stop", variant="stop", visible=False)
            problem = gr.HTML(elem_classes="problem", elem_id="generate-problem")
        with gr.Column(scale=2, min_width=300):
            text = sheet(
                "Text", "Press Write: the text appears here, character by character.", height_rem=29, elem_id="text"
            )
            rate = gr.HTML(elem_classes="rate", elem_id="generate-rate")

    example_outputs = [facts, *examples]
    model.input(lambda name: _facts_updates(shelf, name), model, example_outputs, **PRIVATE)
    for example in examples:
        example.click(lambda label: _PROMPT_OF_LABEL.get(label, label), example, prompt, **PRIVATE)

    # Sessions. With Gradio's `cancels`, a Write right after a Stop was seen to write nothing on a busy machine.
    asked_to_stop: set[str] = set()

    def stream(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        visitor = str(request.session_hash)
        asked_to_stop.discard(visitor)
        yield [*[gr.skip()] * 4, *_buttons(is_writing=True)]
        try:
            for frame in _stream(lambda: visitor in asked_to_stop, shelf, *values):
                yield [*frame, gr.skip(), gr.skip()]
        finally:
            asked_to_stop.discard(visitor)

    def ask_to_stop(request: gr.Request) -> None:
        asked_to_stop.add(str(request.session_hash))

    buttons = [write, stop]
    gr.on(
        [write.click, prompt.submit],
        stream,
        [model, prompt, is_new_seed, *settings],
        [text, rate, problem, seed, *buttons],
        concurrency_limit=_WRITERS_AT_ONCE,
        **PRIVATE,
    ).then(lambda: _buttons(is_writing=False), None, buttons, queue=False, **PRIVATE)
    stop.click(ask_to_stop, queue=False, **PRIVATE)
    return GenerateTab(shelf, model, [model, *example_outputs])


def _wording(name: str) -> dict[str, str]:
    return {"label": "Length"} if name == "num_chars" else {}


def _buttons(is_writing: bool) -> list[Any]:
    return [gr.update(visible=not is_writing), gr.update(visible=is_writing)]


# A button's label has no line end; what it stands for may.
_PROMPT_OF_LABEL = {prompt.strip(): prompt for prompts in PROMPTS.values() for prompt in prompts}


def _facts_updates(shelf: ModelShelf, name: str | None) -> list[Any]:
    """The facts of model `name` in a line, and its example prompts."""
    try:
        facts = facts_of(shelf.load(name))
    except CharLSTMError as error:
        facts = ModelFacts(sentence(error), ())
    labels = [prompt.strip() for prompt in facts.prompts]
    shown = [gr.update(value=label, visible=True) for label in labels]
    hidden = [gr.update(visible=False)] * (_NUM_EXAMPLES - len(shown))
    return [plain(facts.line), *shown, *hidden]


def _stream(
    is_over: Callable[[], bool], shelf: ModelShelf, model: str | None, prompt: str, is_new_seed: bool, *values: Any
) -> Iterator[_Frame]:
    """The text so far, its rate, a problem, and the seed that was used, about every 40 ms, until `is_over()`."""
    try:
        config = checked(SampleConfig, dict(zip(_SETTINGS, values, strict=True)))
        if is_new_seed:
            config = config.model_copy(update={"seed": random.randrange(2**31)})
        if len(prompt) > _LONGEST_PROMPT:
            raise CharLSTMError(f"the prompt has {len(prompt):,} characters; at most {_LONGEST_PROMPT:,} are read.")
        language_model = shelf.load(model)
        is_code = facts_of(language_model).is_code
        text, began = "", time.monotonic()
        shown = began
        for piece in language_model.stream(prompt, config):
            text += piece.text
            if is_over():
                break
            now = time.monotonic()
            if now - shown > _FRAME_SECONDS:
                shown = now
                yield written(prompt, text, True, is_code), _rate(len(text), now - began), "", config.seed
        yield written(prompt, text, True, is_code), _rate(len(text), time.monotonic() - began), "", config.seed
    except CharLSTMError as error:
        yield written(), "", plain(sentence(error)), gr.skip()


def _rate(num_chars: int, seconds: float) -> str:
    return f"{num_chars:,} characters · {num_chars / max(seconds, 1e-6):,.0f} per second"
