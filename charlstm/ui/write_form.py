"""The form of the Write tab: prompt, model and settings, and the check of their values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import gradio as gr

from charlstm.config import SampleConfig
from charlstm.config_fields import describe_bounds
from charlstm.errors import ConfigError
from charlstm.ui.components import GROWING
from charlstm.ui.generation import MOST_CHARS, SETTINGS

LABELS = {
    "num_chars": "Length",
    "temperature": "Temperature",
    "top_k": "Top-k",
    "top_p": "Top-p",
    "no_repeat": "Avoid repeating",
    "stop": "Stop at this text (optional)",
    "num_samples": "Number of texts",
    "seed": "Seed",
}
_NO_REPEAT = [("off", 0), ("10 characters", 10), ("20 characters", 20)]
_HELD = "window.charlstm.held(element, props, watch);"
_ENDLESS = "0 writes until you press Stop"
_LENGTHS = f"a whole number from 1 to {MOST_CHARS:,}, or 0 for a text without end"


@dataclass(frozen=True)
class WriteForm:
    """Components of the form."""

    NUM_EXAMPLES: ClassVar[int] = 3
    prompt: gr.Textbox
    write: gr.Button
    stop: gr.Button
    same: gr.Button
    another: gr.Button
    examples: list[gr.Button]
    model: gr.Dropdown
    facts: gr.HTML
    settings: list[Any]  # in the order of SETTINGS
    is_new_seed: gr.Checkbox
    held: gr.HTML  # its value is what `parse_holds` reads
    mix_fold: gr.Accordion
    mix: gr.HTML  # its value is what `read_mix` reads
    read: gr.HTML  # its value is what `read_wish` reads
    problem: gr.HTML


def build_form(
    build_crossfader: Callable[[], tuple[gr.Accordion, gr.HTML]], build_read_first: Callable[[gr.Dropdown], gr.HTML]
) -> WriteForm:
    """Lay out the form: what is written and its buttons, one line of decisions, and everything else in folds."""
    defaults = SampleConfig()
    with gr.Row(elem_id="write-row"):
        prompt = gr.Textbox(
            label="Prompt",
            lines=2,
            max_lines=4,
            elem_id="prompt",
            placeholder="Begin a text, or leave this empty. Enter: new line. Ctrl+Enter: write.",
        )
        with gr.Row(elem_id="write-buttons"):
            write = gr.Button("Write", variant="primary", elem_id="write")
            stop = gr.Button("Stop", variant="stop", elem_id="stop-writing")
            same = gr.Button("Same again", elem_id="same-again")
            another = gr.Button("Another", elem_id="another")
    with gr.Row(elem_id="examples"):
        examples = [gr.Button(size="sm", visible=False) for _ in range(WriteForm.NUM_EXAMPLES)]
        facts = gr.HTML(elem_classes="facts", elem_id="facts")
    with gr.Row(elem_id="write-controls"):
        model = gr.Dropdown(label="Model", choices=[], elem_id="model", **GROWING)
        length = gr.Number(defaults.num_chars, precision=0, label=LABELS["num_chars"], info=_ENDLESS, elem_id="length")
        temperature = gr.Slider(
            0, 2, defaults.temperature, step=0.05, label=LABELS["temperature"], elem_id="temperature", buttons=[]
        )
    held = gr.HTML("", html_template="<div></div>", js_on_load=_HELD, elem_id="held", padding=False)
    problem = gr.HTML(elem_classes="problem", elem_id="generate-problem")
    with gr.Row(elem_id="folds"):
        with gr.Accordion("More", open=False, elem_id="more"):
            more, is_new_seed = _build_more(defaults)
        read = build_read_first(model)
        fold, crossfader = build_crossfader()
    settings = [{"num_chars": length, "temperature": temperature, **more}[name] for name in SETTINGS]
    buttons = (write, stop, same, another)
    return WriteForm(
        prompt, *buttons, examples, model, facts, settings, is_new_seed, held, fold, crossfader, read, problem
    )


def _build_more(defaults: SampleConfig) -> tuple[dict[str, Any], gr.Checkbox]:
    with gr.Row(elem_classes="more-row"):
        number = {
            name: gr.Number(getattr(defaults, name), precision=0, label=LABELS[name], elem_id=name.replace("_", "-"))
            for name in ("num_samples", "top_k")
        }
        top_p = gr.Slider(0, 1, defaults.top_p, step=0.05, label=LABELS["top_p"], elem_id="top-p", buttons=[])
        no_repeat = gr.Dropdown(
            _NO_REPEAT, value=defaults.no_repeat, allow_custom_value=True, label=LABELS["no_repeat"]
        )
    with gr.Row(elem_classes="more-row"):
        stop = gr.Textbox(defaults.stop, label=LABELS["stop"])
        seed = gr.Number(defaults.seed, precision=0, label=LABELS["seed"], elem_id="seed")
        is_new_seed = gr.Checkbox(label="A new seed for each text", value=True)
    return {**number, "top_p": top_p, "no_repeat": no_repeat, "stop": stop, "seed": seed}, is_new_seed


def check_values(values: dict[str, Any]) -> None:
    """Check the settings one by one; raises `ConfigError` that names the field as the form does."""
    for name in values:
        _check_value(name, values[name])


def _check_value(name: str, value: Any) -> None:
    try:
        SampleConfig(**{name: value})
    except ConfigError:
        bounds = _LENGTHS if name == "num_chars" else describe_bounds(SampleConfig.model_fields[name])
        raise ConfigError(f"{LABELS[name]}: enter {bounds}.") from None
