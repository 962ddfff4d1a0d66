"""Theme: a quiet reading room, one accent colour for what is alive, no fonts from elsewhere."""

import gradio as gr

_TERRACOTTA = gr.themes.Color(
    name="terracotta",
    c50="#fdf5f1",
    c100="#fae6dc",
    c200="#f3cab7",
    c300="#eaa98b",
    c400="#e08a63",
    c500="#c9663c",
    c600="#b4532a",
    c700="#943f1c",
    c800="#773318",
    c900="#5e2a16",
    c950="#33150a",
)
THEME = gr.themes.Base(
    primary_hue=_TERRACOTTA,
    secondary_hue=_TERRACOTTA,
    neutral_hue=gr.themes.colors.stone,
    spacing_size=gr.themes.sizes.spacing_sm,
    font=("ui-sans-serif", "system-ui", "sans-serif"),
    font_mono=("ui-monospace", "Consolas", "monospace"),
).set(
    body_background_fill="#faf8f5",
    block_border_width="1px",
    # Base's greys for explanations fall short of the contrast of 4.5 that small text needs.
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
    block_title_text_color="*neutral_700",
    block_title_text_color_dark="*neutral_200",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_500",
    button_primary_text_color="white",
    slider_color="*primary_600",
    checkbox_background_color_selected="*primary_600",
    checkbox_border_color_selected="*primary_600",
)

CSS = """
:root { --alive: #b4532a; --good: #2e6b34; --bad: #a4262c; }
.dark { --alive: #f0a07a; --good: #8fd19a; --bad: #ff9a94; }
footer a, footer button { color: var(--body-text-color) !important; }  /* Gradio's own grey is too pale to read */
footer :is(img, .divider) { display: none; }
.status-line { display: inline-flex; gap: 0.4em; align-items: baseline; }
.status-line { font-size: 0.9rem; font-variant-numeric: tabular-nums; }
.status-line:is(.is-running, .is-paused, .is-stopping, .is-starting) { color: var(--alive); }
.facts, .rate, .problem { padding-top: 0 !important; padding-bottom: 0 !important; }
.facts, .rate, .problem { font-size: 0.9rem; min-height: 1.4em; font-variant-numeric: tabular-nums; }
.facts, .rate { opacity: 0.85; }
.problem { color: var(--bad); font-weight: 600; }
#train-problem .problem { min-height: 0; }
#train-problem .html-container, .facts .html-container { padding-top: 0; padding-bottom: 0; }
#status-line .status-line * { color: inherit; }
"""
