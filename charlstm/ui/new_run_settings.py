"""The sheet of all other settings of a new run: groups of fields, which the page's script shows as a dialog.

Its head, the search field, the marks and the resets are drawn by `static/settings_dialog.js`.
"""

from typing import Any

import gradio as gr

from charlstm.config import ModelConfig, Settings, TrainConfig
from charlstm.formatting import escape_html
from charlstm.ui.components import build_free_control
from charlstm.ui.setting_words import GROUPS, explanation, setting_label

NEW_MODEL = "a new model"
_OUTSIDE = ("corpus", "encoding", "max_minutes")  # fields outside the sheet
MODEL_FIELDS = tuple(ModelConfig.model_fields)
TRAIN_FIELDS = tuple(name for name in TrainConfig.model_fields if name not in _OUTSIDE)
ADVANCED = (*MODEL_FIELDS, *TRAIN_FIELDS)


def build_sheet(preset: Settings) -> tuple[gr.Dropdown, dict[str, Any]]:
    """Build the sheet with the values of a preset; return the choice of a model to begin with, and the fields."""
    built: dict[str, Any] = {}
    with gr.Column(elem_id="settings-sheet"):
        for group, names in GROUPS.items():
            with gr.Column(elem_classes="sheet-group", min_width=0):
                gr.HTML(f"<h3>{escape_html(group)}</h3>", padding=False)
                if group == "Network":
                    parent = gr.Dropdown(
                        label="Begin with",
                        choices=[NEW_MODEL],
                        value=NEW_MODEL,
                        allow_custom_value=True,  # checked at Start: the list may have grown since the page was opened
                        info="A model that goes on learning from this text; it brings its own size and layers",
                        elem_id="field-parent",
                    )
                built |= {name: build_setting(preset, name) for name in names}
    return parent, {name: built[name] for name in ADVANCED}


def build_setting(preset: Settings, name: str, **overrides: Any) -> Any:
    """Build the field of setting `name` with a preset's value; it accepts any, and the form tells wrong ones."""
    config = preset.model if name in MODEL_FIELDS else preset.train
    shared = {"label": setting_label(name), "info": explanation(name), "elem_id": f"field-{name}"}
    return build_free_control(config, name, **{**shared, **overrides})
