"""The Write tab: choose a model, write, stop, continue, inspect the text, branch."""

import dataclasses
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text, escape_html
from charlstm.model_description import Figure, describe_model
from charlstm.ui.api import build_api
from charlstm.ui.components import PRIVATE, info_button
from charlstm.ui.crossfader import build_crossfader, continue_mix, read_mix, write_mix
from charlstm.ui.export_page import build_take_along
from charlstm.ui.generation import MOST_CHARS, SETTINGS, ActiveRequests, GenerationRequest, generate, parse_link
from charlstm.ui.models import ModelRegistry
from charlstm.ui.next_letter import build_next_letter
from charlstm.ui.read_first import build_read_first, read_wish
from charlstm.ui.surprisal_text import build_surprisal_text, parse_page
from charlstm.ui.text_comparison import NO_MODEL, build_comparison, build_copied, model_of
from charlstm.ui.write_form import WriteForm, build_form, check_values

WRITERS_AT_ONCE = 64
_ARRIVED = "(problem) => { window.charlstm.writing.arrive(problem); }"
_DONE = "(problem) => { window.charlstm.writing.done(problem); }"
_OTHER_MODEL = "() => { window.charlstm.writing.edited(); return ''; }"
_EARLIER = "window.charlstm.writing.earlier(element);"


@dataclass(frozen=True)
class GenerateTab:
    """Components and handlers of the tab that the rest of the page uses."""

    registry: ModelRegistry
    model: gr.Dropdown
    outputs: list[Any]  # what `show_model` fills
    form: list[Any]  # what `read_address` fills: prompt, settings, held units, mix, problem

    def show_model(self, name: str | None) -> list[Any]:
        """Return updates that offer the models available now, with `name` chosen if it is one, else the first."""
        choices, wanted = self.registry.choices(), self.registry.find(name)
        names = [each for _, each in choices]
        chosen = wanted if wanted in names else next(iter(names), None)
        second = gr.update(choices=[NO_MODEL, *choices])
        return [gr.update(choices=choices, value=chosen), second, *_facts_updates(self.registry, chosen)]

    def read_address(self, request: gr.Request) -> list[Any]:
        """Read the page's address; return updates of the model and its facts, then of the form."""
        try:
            generation_request = parse_link(dict(request.query_params))
        except ConfigError as error:
            skipped = [gr.skip()] * (len(self.form) - 1)
            return [*self.show_model(None), *skipped, escape_html(f"The address can't be used: {error}")]
        if generation_request is None:
            return [*self.show_model(None), *[gr.skip()] * len(self.form)]
        model, prompt, values, hold, mix = generation_request
        is_here = model is None or self.registry.find(model) in self.registry.names()
        problem = "" if is_here else f"The model {str(model)[:80]} of this address is not here; another one is chosen."
        return [
            *self.show_model(model),
            prompt,
            *(values[name] for name in SETTINGS),
            hold,
            gr.update(open=mix is not None),
            write_mix(mix),
            escape_html(problem),
        ]

    def start_if_linked(self, loaded: Any) -> None:
        """Write a text once the address has been read: that of the address, or a new one."""
        loaded.then(None, self.form[-1], None, js=_ARRIVED, queue=False, **PRIVATE)


def build_generate_tab(registry: ModelRegistry) -> GenerateTab:
    """Lay out the tab and connect its events."""
    active_requests = ActiveRequests()
    build_api(registry, active_requests, WRITERS_AT_ONCE)  # first, so that no private function takes one of its names
    with gr.Column(elem_id="write-tab"):
        form = build_form(
            lambda: build_crossfader(registry, active_requests.mixes),
            lambda model: build_read_first(registry, active_requests.readings, model),
        )
        with gr.Row(elem_id="write-page"):
            text = build_surprisal_text("Text", "A text appears here, letter by letter.", "text", is_main=True)
            build_next_letter(registry)
        with gr.Row(elem_id="after-text"):
            continue_button = gr.Button("Continue", size="sm", elem_id="continue-writing")
            build_take_along(registry)
            copied = build_copied(registry, form.model, text)
        gr.HTML(html_template="<div></div>", js_on_load=_EARLIER, elem_id="earlier")
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
    form.model.input(None, None, form.held, js=_OTHER_MODEL, queue=False, **PRIVATE)  # its units are others
    compared = [form.model, form.prompt, *form.settings]
    inputs = [form.model, form.prompt, form.held, form.mix, form.read, *form.settings]
    wired: dict[str, Any] = {
        "outputs": [text, form.problem, form.settings[-1], copied],
        "concurrency_limit": WRITERS_AT_ONCE,
        "concurrency_id": "write",
        **PRIVATE,
    }
    begun = [
        gr.on([form.write.click, form.prompt.submit], events.write, [form.is_new_seed, *inputs], **wired),
        form.same.click(events.again, inputs, **wired),
        form.another.click(events.afresh, inputs, **wired),
        continue_button.click(events.go_on, [text, *inputs], **wired),
        text.select(events.branch, inputs, **wired),
    ]
    for event in begun:
        event.then(None, form.problem, None, js=_DONE, queue=False, **PRIVATE)
    form.stop.click(events.stop, queue=False, **PRIVATE)
    second = build_comparison(registry, active_requests, form.model, compared)
    filled = [form.prompt, *form.settings, form.held, form.mix_fold, form.mix, form.problem]
    return GenerateTab(registry, form.model, [form.model, second, *shown], filled)


class _GenerateEvents:
    """Event handlers for all visitors; yield updates of text, problem, seed, and the answer about copies."""

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
        page = {} if page is None else page
        yield from self._write(request, (model_of(page, inputs[0]), *inputs[1:]), page=page)

    def branch(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> Iterator[list[Any]]:
        sent = event._data if isinstance(event._data, dict) else {}
        yield from self._write(request, (inputs[0], sent.get("prompt"), *inputs[2:]))

    def stop(self, request: gr.Request) -> None:
        self._asked_to_stop.add(str(request.session_hash))

    def _write(
        self, request: gr.Request, inputs: tuple[Any, ...], is_new_seed: bool = False, page: Any = None
    ) -> Iterator[list[Any]]:
        visitor = str(request.session_hash)
        self._asked_to_stop.discard(visitor)
        try:
            model, prompt, hold, mix, read, *values = inputs
            named = dict(zip(SETTINGS, values, strict=True))
            if is_new_seed:
                named["seed"] = random.randrange(2**31)
            check_values(named)
            generation_request = self._request(
                model, prompt, named, page, {"hold": hold or "", "mix": read_mix(mix), "read": read_wish(read)}
            )
            others: list[Any] = ["", generation_request.config.seed, ""]
            for frame in generate(
                self._registry, generation_request, self._active_requests, lambda: visitor in self._asked_to_stop
            ):
                yield [frame.page, *others]
                others = [gr.skip()] * 3  # each update costs the page time
        except CharLSTMError as error:
            yield [gr.skip(), escape_html(error_text(error)), gr.skip(), gr.skip()]
        finally:
            self._asked_to_stop.discard(visitor)

    def _request(
        self, model: Any, prompt: Any, named: dict[str, Any], page: Any, wishes: dict[str, Any]
    ) -> GenerationRequest:
        """Check the request; one without a prompt gets an opening that belongs to the model."""
        is_open = page is None and prompt == ""
        if is_open and isinstance(model, str | None):
            prompt = self._registry.opening(model, int(named["seed"]))
        if page is not None:
            num_written = max(map(len, parse_page(page, MOST_CHARS) or [""]))
            wishes["mix"] = continue_mix(page, wishes["mix"], num_written)
        request = GenerationRequest.of(model, prompt, named, page, **wishes)
        return dataclasses.replace(request, has_chosen_opening=is_open and bool(prompt))


def _example(registry: ModelRegistry, name: str | None, number: int) -> Any:
    try:
        return registry.prompts(name)[number]
    except (CharLSTMError, IndexError):
        return gr.skip()


def _facts_updates(registry: ModelRegistry, name: str | None) -> list[Any]:
    """Return updates of what is said of model `name`, and of the buttons of its example prompts."""
    try:
        facts, prompts = describe_model(registry.load(name)), registry.prompts(name)
        said = _facts_html(facts.sentence, facts.figures, facts.explained)
    except CharLSTMError as error:
        said, prompts = escape_html(error_text(error)), ()
    labels = [prompt.strip() for prompt in prompts]
    shown = [gr.update(value=label, visible=True) for label in labels]
    hidden = [gr.update(visible=False)] * (WriteForm.NUM_EXAMPLES - len(shown))
    return [said, *shown, *hidden]


def _facts_html(sentence: str, figures: tuple[Figure, ...], explained: Mapping[str, float]) -> str:
    """Return the sentence about a model, and a button that opens its figures, each with its explanation."""
    rows = []
    for title, value, term in figures:
        button = info_button(term, explained) if term else ""
        rows.append(f"<dt>{escape_html(title)}</dt><dd>{escape_html(value)} {button}</dd>")
    return (
        f"<span>{escape_html(sentence)}</span> "
        '<button type="button" class="facts-button" popovertarget="model-facts" aria-label="Figures of this model">'
        f'i</button><div id="model-facts" popover><dl>{"".join(rows)}</dl></div>'
    )
