"""The page of text: what was given in bold, what was written after it, a Copy button, and nothing that could act.

A person's or a model's text reaches the document through `textContent` alone; the template is constant.
"""

from typing import TypedDict

import gradio as gr

# fmt: off
_TEMPLATE = (
    '<div class="sheet-head"><span>{label}</span><button type="button" class="sheet-copy">Copy</button></div>'
    '<div class="sheet" role="textbox" aria-readonly="true" aria-multiline="true" aria-label="{label}" tabindex="0"'
    ' data-placeholder="{placeholder}"><b></b><span></span></div>'
)
# fmt: on
_BEHAVIOUR = """
let end = true;  // whether the reader is at the end, and wants to stay there while text grows
const sheet = () => element.querySelector('.sheet');
const follow = () => { const s = sheet(); end = s.scrollHeight - s.scrollTop - s.clientHeight < 40; };
const draw = () => {
  const value = props.value || {};
  const [given, written] = sheet().children;
  const isGrowing = (value.text || '').startsWith(written.textContent) && written.textContent;
  given.textContent = value.given || '';
  written.textContent = value.text || '';
  sheet().classList.toggle('is-empty', !value.given && !value.text);
  sheet().classList.toggle('is-code', Boolean(value.is_code));
  if (value.follows && (end || !isGrowing)) sheet().scrollTop = sheet().scrollHeight;
  if (!value.follows) sheet().scrollTop = 0;
};
element.addEventListener('scroll', follow, true);
element.addEventListener('click', (event) => {
  const button = event.target.closest('.sheet-copy');
  if (!button) return;
  window.charlstm.copyFor(button, sheet().textContent);
});
draw();
watch('value', draw);
"""
CSS = """
.sheet-head { display: flex; justify-content: space-between; align-items: baseline; font-size: 0.9rem; }
.sheet-copy { font-size: 0.8rem; padding: 0.1rem 0.6rem; border: 1px solid var(--border-color-primary);
  border-radius: 0.3rem; cursor: pointer; }
.sheet { white-space: pre-wrap; overflow-wrap: anywhere; overflow-y: auto; height: var(--sheet-height);
  padding: 0.6rem 0;
  font-family: Georgia, "Iowan Old Style", "Noto Serif", serif; font-size: 1.05rem; line-height: 1.55;
  max-width: 75ch; }
.sheet.is-code { font-family: ui-monospace, Consolas, monospace; font-size: 0.95rem; }
.sheet.is-empty::before { content: attr(data-placeholder); opacity: 0.75; }
"""


class Written(TypedDict):
    """What a sheet shows."""

    given: str  # the prompt, in bold
    text: str
    follows: bool  # keep the end in view while the text grows
    is_code: bool  # in a typeface for code


def sheet(label: str, placeholder: str, height_rem: float, elem_id: str) -> gr.HTML:
    """A page of text; `label` and `placeholder` are constants of this program."""
    return gr.HTML(
        written(),
        html_template=_TEMPLATE.format(label=label, placeholder=placeholder),
        css_template=f".sheet {{ --sheet-height: {height_rem}rem; }}",
        js_on_load=_BEHAVIOUR,
        container=True,
        padding=True,
        elem_id=elem_id,
    )


def written(given: str = "", text: str = "", follows: bool = False, is_code: bool = False) -> Written:
    """The value of a sheet."""
    return Written(given=given, text=text, follows=follows, is_code=is_code)
