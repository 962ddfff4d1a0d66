"""What is done once for all visitors is nobody's own."""

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState

from charlstm.ui.crowd import prepare_for_crowds


@pytest.fixture
def page() -> Any:
    """As much of a page of two components as a visitor's state asks for."""
    prepare_for_crowds()
    config = BlocksConfig(SimpleNamespace(renderables=[]))  # type: ignore[arg-type]
    for component in (gr.Slider(1, 8, value=3, label="Texts"), gr.Textbox("as built", label="Prompt")):
        config.blocks[component._id] = component
    return SimpleNamespace(default_config=config, blocks=config.blocks)


def test_what_one_visitor_is_shown_does_not_show_for_the_next(page):
    slider, box = page.blocks
    first, second = SessionState(page), SessionState(page)
    first._update_value_in_config(box, "typed by the first")
    first[slider] = gr.Slider(1, 8, value=7, label="Texts")
    first._update_config(slider)
    for state in (second, SessionState(page)):
        assert state.config_values[box]["props"]["value"] == "as built"
        assert state.config_values[slider]["props"]["value"] == 3
    assert first.config_values[box]["props"]["value"] == "typed by the first"
    assert first.config_values[slider]["props"]["value"] == 7


def test_each_visitor_gets_the_components_as_they_describe_themselves(page):
    for _ in range(2):
        for number, seen in SessionState(page).config_values.items():
            anew = page.default_config.config_for_block(number, [number], page.blocks[number])
            assert seen == anew
            assert seen["props"]["label"] in ("Texts", "Prompt")
