"""Config fields -> components: label, unit, bounds, default and explanation come from the field itself."""

from typing import Any, get_args

import gradio as gr
from pydantic import BaseModel

from charlstm.config import bounds_of, unit_of

# For events of the page itself: not part of the API, and no veil over what they update.
PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_SLIDER_SPAN = 10  # a wider range needs a number field


def control(config: BaseModel, name: str, **overrides: Any) -> Any:
    """The component for field `name`, showing the value that `config` has."""
    field = type(config).model_fields[name]
    lower, upper = bounds_of(field)
    unit = unit_of(field)
    label = overrides.pop("label", name.replace("_", " ").capitalize())
    shared = {
        "label": f"{label} ({unit})" if unit else label,
        "info": field.description,
        "value": getattr(config, name),
    }
    shared |= overrides
    if choices := get_args(field.annotation):
        return gr.Dropdown(choices=list(choices), **shared)
    if lower is None or upper is None:
        return gr.Textbox(**shared)
    if field.annotation is float and upper - lower <= _SLIDER_SPAN:
        return gr.Slider(minimum=lower, maximum=upper, step=0.05, **shared)
    precision = 0 if field.annotation is int else None
    return gr.Number(minimum=lower, maximum=upper, precision=precision, **shared)
