"""The Generate tab: choose a model, write, stop, continue, inspect the text, branch."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlstm.config import SampleConfig
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text, escape_html, escape_lines
from charlstm.ui.api import build_api
from charlstm.ui.compare import NO_MODEL, build_comparison, build_copied
from charlstm.ui.components import GROWING, PRIVATE, build_control
from charlstm.ui.generation import SETTINGS, ActiveRequests, GenerationRequest, Update, generate, parse_link
from charlstm.ui.models import ModelRegistry, describe_model
from charlstm.ui.surprisal_text import build_surprisal_text

WRITERS_AT_ONCE = 64
_NUM_EXAMPLES = 3
_NUM_VISIBLE = 2  # settings outside More
_LABELS = {
    "num_chars": "Length",
    "no_repeat": "No repeats of",
    "stop": "Stop after",
    "num_samples": "Texts",
    "top_k": "Top-k",
    "top_p": "Top-p",
}
# An address with a seed starts writing at once, so that its reader sees the same text as its sender.
_WRITE_IF_LINKED = """(problem) => {
  if (!problem && new URLSearchParams(location.search).has('seed')) document.querySelector('#write').click();
}"""


@dataclass(frozen=True)
class GenerateTab:
    """Components and handlers of the tab that the rest of the page uses."""

    registry: ModelRegistry
    model: gr.Dropdown
    outputs: list[Any]  # what `show_model` fills
    form: list[Any]  # what `read_address` fills: prompt, whether seeds are new, settings, problem

    def show_model(self, name: str | None) -> list[Any]:
        """Return updates that offer the models available now, with `name` chosen if it is one, else the first."""
        names = self.registry.names()
        chosen = name if name in names else next(iter(names), None)
        second = gr.update(choices=[NO_MODEL, *names])
        return [gr.update(choices=names, value=chosen), second, *_facts_updates(self.registry, chosen)]

    def read_address(self, request: gr.Request) -> list[Any]:
        """Read the page's address; return updates of the model and its facts, then of the form."""
        try:
            generation_request = parse_link(dict(request.query_params))
        except ConfigError as error:
            skipped = [gr.skip()] * (len(self.form) - 1)
            return [*self.show_model(None), *skipped, escape_html(f"The address can't be used: {error}")]
        if generation_request is None:
            return [*self.show_model(None), *[gr.skip()] * len(self.form)]
        model, prompt, values = generation_request
        problem = "" if model is None or model in self.registry.names() else "The model of this address is not here."
        return [*self.show_model(model), prompt, False, *(values[name] for name in SETTINGS), escape_html(problem)]

    def start_if_linked(self, loaded: Any) -> None:
        """Start writing once the address has been read, if it has a seed."""
        loaded.then(None, self.form[-1], None, js=_WRITE_IF_LINKED, queue=False, **PRIVATE)


@dataclass(frozen=True)
class _Form:
    """Components of the form."""

    model: gr.Dropdown
    facts: gr.HTML
    prompt: gr.Textbox
    examples: list[gr.Button]
    settings: list[Any]  # in the order of SETTINGS
    is_new_seed: gr.Checkbox
    problem: gr.HTML


def build_generate_tab(registry: ModelRegistry) -> GenerateTab:
    """Lay out the tab and connect its events."""
    active_requests = ActiveRequests()
    build_api(registry, active_requests, WRITERS_AT_ONCE)  # first, so that no private function takes one of its names
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            form = _build_form()
            write_button = gr.Button("Write", variant="primary", elem_id="write")
            stop = gr.Button("Stop", variant="stop", visible=False)
        with gr.Column(scale=2, min_width=300):
            text = build_surprisal_text("Text", "Press Write: the text appears here, character by character.", "text")
            rate = gr.HTML(elem_classes="rate", elem_id="generate-rate")
            with gr.Row(elem_classes="after"):
                continue_button = gr.Button("Continue", size="sm")
                same = gr.Button("Again, same seed", size="sm")
                new = gr.Button("Again, new seed", size="sm")
            build_copied(registry, form.model, text)
    shown = [form.facts, *form.examples]
    form.model.input(lambda name: _facts_updates(registry, name), form.model, shown, **PRIVATE)
    for number, example in enumerate(form.examples):
        example.click(
            lambda name, number=number: _example(registry, name, number),
            form.model,
            form.prompt,
            queue=False,
            **PRIVATE,
        )
    events = _GenerateEvents(registry, active_requests)
    inputs = [form.model, form.prompt, *form.settings]
    outputs = [text, rate, form.problem, form.settings[-1], write_button, stop]
    wired: dict[str, Any] = {
        "outputs": outputs,
        "concurrency_limit": WRITERS_AT_ONCE,
        "concurrency_id": "write",
        **PRIVATE,
    }
    begun = [
        gr.on([write_button.click, form.prompt.submit], events.write, [form.is_new_seed, *inputs], **wired),
        same.click(events.again, inputs, **wired),
        new.click(events.afresh, inputs, **wired),
        continue_button.click(events.go_on, [text, *inputs], **wired),
        text.select(events.branch, inputs, **{**wired, "outputs": [form.prompt, *outputs]}),
    ]
    for event in begun:
        event.then(lambda: _buttons(is_writing=False), None, [write_button, stop], queue=False, **PRIVATE)
    stop.click(events.stop, queue=False, **PRIVATE)
    second = build_comparison(registry, active_requests, form.model, inputs)
    return GenerateTab(
        registry,
        form.model,
        [form.model, second, *shown],
        [form.prompt, form.is_new_seed, *form.settings, form.problem],
    )


def _build_form() -> _Form:
    defaults = SampleConfig()
    model = gr.Dropdown(label="Model", choices=[], **GROWING)
    facts = gr.HTML(elem_classes="facts")
    prompt = gr.Textbox(label="Prompt", lines=2, max_lines=4, info="The model continues this text")
    with gr.Row(elem_classes="examples"):
        examples = [gr.Button(size="sm", visible=False) for _ in range(_NUM_EXAMPLES)]
    settings = [build_control(defaults, name, **_label_override(name)) for name in SETTINGS[:_NUM_VISIBLE]]
    with gr.Accordion("More", open=False):
        settings += [build_control(defaults, name, **_label_override(name)) for name in SETTINGS[_NUM_VISIBLE:]]
        is_new_seed = gr.Checkbox(label="A new seed for each text", value=True)
    problem = gr.HTML(elem_classes="problem", elem_id="generate-problem")
    return _Form(model, facts, prompt, examples, settings, is_new_seed, problem)


def _label_override(name: str) -> dict[str, str]:
    return {"label": _LABELS[name]} if name in _LABELS else {}


def _buttons(is_writing: bool) -> list[Any]:
    return [gr.update(visible=not is_writing), gr.update(visible=is_writing)]


class _GenerateEvents:
    """Event handlers for all visitors; yield updates of text, rate, problem, seed, and the buttons Write and Stop."""

    def __init__(self, registry: ModelRegistry, active_requests: ActiveRequests) -> None:
        self._registry, self._active_requests = registry, active_requests
        # Session ids. With Gradio's `cancels`, a Write right after a Stop wrote nothing on a busy machine.
        self._asked_to_stop: set[str] = set()

    def write(self, request: gr.Request, is_new_seed: bool, *inputs: Any) -> Iterator[list[Any]]:
        yield from self._write(request, inputs, is_new_seed=is_new_seed)

    def again(self, request: gr.Request, *inputs: Any) -> Iterator[list[Any]]:
        yield from self._write(request, inputs)

    def afresh(self, request: gr.Request, *inputs: Any) -> Iterator[list[Any]]:
        yield from self._write(request, inputs, is_new_seed=True)

    def go_on(self, request: gr.Request, page: Any, *inputs: Any) -> Iterator[list[Any]]:
        yield from self._write(request, inputs, page={} if page is None else page)

    def branch(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> Iterator[list[Any]]:
        prompt = getattr(event, "prompt", None)
        for updates in self._write(request, (inputs[0], prompt, *inputs[2:])):
            yield [prompt if isinstance(prompt, str) else gr.skip(), *updates]

    def stop(self, request: gr.Request) -> None:
        self._asked_to_stop.add(str(request.session_hash))

    def _write(
        self, request: gr.Request, inputs: tuple[Any, ...], is_new_seed: bool = False, page: Any = None
    ) -> Iterator[list[Any]]:
        visitor = str(request.session_hash)
        self._asked_to_stop.discard(visitor)
        yield [*[gr.skip()] * 4, *_buttons(is_writing=True)]
        try:
            model, prompt, *values = inputs
            named = dict(zip(SETTINGS, values, strict=True))
            if is_new_seed:
                named["seed"] = random.randrange(2**31)
            generation_request = GenerationRequest.of(model, prompt, named, page)
            for frame in generate(
                self._registry, generation_request, self._active_requests, lambda: visitor in self._asked_to_stop
            ):
                yield [*_updates(frame), generation_request.config.seed, gr.skip(), gr.skip()]
        except CharLSTMError as error:
            yield [gr.skip(), "", escape_html(error_text(error)), *[gr.skip()] * 3]
        finally:
            self._asked_to_stop.discard(visitor)


def _updates(frame: Update) -> list[Any]:
    return [frame.page, escape_lines(frame.caption), ""]


def _example(registry: ModelRegistry, name: str | None, number: int) -> Any:
    try:
        return registry.prompts(name)[number]
    except (CharLSTMError, IndexError):
        return gr.skip()


def _facts_updates(registry: ModelRegistry, name: str | None) -> list[Any]:
    """Return updates of the facts of model `name`, in one line, and of the buttons of its example prompts."""
    try:
        line, prompts = describe_model(registry.load(name)).line, registry.prompts(name)
    except CharLSTMError as error:
        line, prompts = error_text(error), ()
    labels = [prompt.strip() for prompt in prompts]
    shown = [gr.update(value=label, visible=True) for label in labels]
    hidden = [gr.update(visible=False)] * (_NUM_EXAMPLES - len(shown))
    return [escape_html(line), *shown, *hidden]
