"""A read-only text with a Copy button, in which nothing can act: it reaches the document through `textContent` alone.

*Measured* on 2026-11-28 with gradio 6.31: `gr.Code` in its place takes the page's first view from 334 to 462 kB, the
Tab key passes its text by, and only the lines in view are in the document, so a browser's search misses the others.
"""

import gradio as gr

# fmt: off
_TEMPLATE = (
    '<div class="sheet-head"><span>{label}</span><button type="button">Copy</button></div>'
    '<div class="sheet is-code" role="textbox" aria-readonly="true" aria-multiline="true" aria-label="{label}"'
    ' tabindex="0" data-placeholder="{placeholder}"></div>'
)
# fmt: on
_BEHAVIOUR = """
const text = () => element.querySelector('.sheet');
const draw = () => { text().textContent = props.value || ''; text().scrollTop = 0; };
element.addEventListener('click', (event) => {
  const button = event.target.closest('.sheet-head button');
  if (button) window.charlstm.copyFor(button, text().textContent);
});
draw();
watch('value', draw);
"""


def build_text_viewer(label: str, placeholder: str, elem_id: str) -> gr.HTML:
    """Make a view of a text, its value; `label` and `placeholder` are constants of this program."""
    return gr.HTML(
        "",
        html_template=_TEMPLATE.format(label=label, placeholder=placeholder),
        js_on_load=_BEHAVIOUR,
        container=True,
        padding=True,
        elem_id=elem_id,
    )
