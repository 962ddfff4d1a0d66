"""Bars of the next letter, beside the text; the browser asks for them as a prompt is typed.

The answer to a key is the logarithm of each character's probability: the browser bends them by the temperature itself.
"""

from typing import Any

import gradio as gr

from charlstm.config_fields import plain_lines
from charlstm.errors import CharLSTMError
from charlstm.formatting import error_text
from charlstm.generation.prediction import Predictor
from charlstm.ui.models import ModelRegistry
from charlstm.ui.surprisal_text import replace_surrogates

_MOST_CHARACTERS = 512  # sent; of a larger vocabulary the likeliest, and what is left in one
_LONGEST_SENT = 100_000  # characters of a prompt, of which the last are read
_DIGITS = 5


def build_next_letter(registry: ModelRegistry) -> gr.HTML:
    """Build the bars."""
    predictor = Predictor()

    def next_letters(request: Any) -> dict[str, Any]:
        return predict_next(registry, predictor, request)

    return gr.HTML(
        html_template="<div></div>",
        js_on_load="window.charlstm.nextLetter(element, server);",
        server_functions=[next_letters],
        elem_id="next-letter",
    )


def predict_next(registry: ModelRegistry, predictor: Predictor, request: Any) -> dict[str, Any]:
    """Return the characters that may follow `request["prompt"]`, or a problem; anyone can call it with any value."""
    values = request if isinstance(request, dict) else {}
    model, prompt = values.get("model"), values.get("prompt")
    if not isinstance(prompt, str) or not isinstance(model, str | None) or len(prompt) > _LONGEST_SENT:
        return {"problem": "Model and prompt must be texts, the prompt of at most 100,000 characters."}
    try:
        language_model = registry.load(model)
        found = predictor.predict(
            language_model.model, language_model.vocabulary, plain_lines(prompt), _MOST_CHARACTERS
        )
    except CharLSTMError as error:
        return {"problem": error_text(error)}
    return {
        "characters": [replace_surrogates(char) for char in found.characters],
        "logs": [round(log, _DIGITS) for log in found.logs],
        "rest": found.rest,
        "is_bytes": language_model.vocabulary.level == "bytes",
    }
