"""What lets many visitors share one server: two things that Gradio looks up again and again are remembered for it."""

import importlib.util
import inspect
import sys

import gradio as gr


def prepare_for_crowds(page: gr.Blocks) -> None:
    """Spare `page` most of what it does per message and per visitor beside our own work; call it once it is built.

    *Measured* with 32 visitors on 2 cores: Gradio tries to import matplotlib twice per message, 0.8 ms each where it is
    not installed, and reads the signatures of all components for each new visitor, 6 of the 15 ms that one costs.
    """
    if "matplotlib" not in sys.modules and importlib.util.find_spec("matplotlib") is None:
        sys.modules["matplotlib"] = None  # type: ignore[assignment]  # an import that fails at once
    for component in {type(block) for block in page.blocks.values()}:
        initialise = component.__init__
        if not hasattr(initialise, "__signature__"):
            initialise.__signature__ = inspect.signature(initialise)  # type: ignore[attr-defined]
