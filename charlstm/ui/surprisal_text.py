"""Text with surprisal: each character's surprise, its alternatives, and where to branch.

A person's or a model's text enters the document through `textContent` only; the template is constant. A value only
grows while a text is written, so that Gradio sends only the difference. Each character has one character of `surprise`,
`width` of `likeliest`, and two of `odds` for each of those; in a text of two models one of `leaning`, too.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import gradio as gr
import numpy as np

from charlstm.generation.stream import TextChunk

WIDTH = 5  # likeliest characters shown for each character
_PIECE_CHARS = 4096  # a text is sent in pieces of this size, so that only the last one is compared
_FIRST = 33  # '!', the first visible character, is code 0
_NATS_STEPS, _NATS_MOST = 10, 93
_EVEN = 46  # halfway
_ODDS_BASE = 90
_ODDS_MOST = _ODDS_BASE**2 - 1
_SWITCHES = """<label class="reader-switch"><input type="checkbox" class="reader-tint" checked
 aria-label="Colours in {label}">Colours</label>
<label class="reader-switch"><input type="checkbox" class="reader-fast">As fast as it can</label>
<div class="reader-legend"><span>expected</span><i class="s0"></i><i class="s1"></i><i class="s2"></i><i class="s3"></i>
<i class="s4"></i><i class="s5"></i>
<span>astonishing <span class="reader-chances">(chance 60 % … under ½ %)</span></span></div>"""
_HINT = """<p class="reader-hint">Touch a letter to see what else it might have been<span class="reader-keys">;
or walk with the arrow keys and press Enter</span>.</p>"""
_TEMPLATE = """
<div class="reader-head"><span class="reader-label" data-label="{label}">{label}</span>{switches}</div>
<div class="reader-frame"><div class="reader" role="textbox" aria-readonly="true" aria-multiline="true"
 aria-label="{label}" tabindex="0" data-placeholder="{placeholder}"></div>
<div class="reader-cursor" hidden></div>
<div class="reader-card" role="group" aria-label="What else it might have been" aria-live="polite" hidden></div></div>
<div class="reader-foot"><span class="reader-rate" {rate_id}></span>
<span class="reader-waiting" role="status"></span>
<button type="button" class="reader-link" aria-label="Copy a link that writes {label} again" hidden>Copy link</button>
<button type="button" class="reader-copy" aria-label="Copy {label}" disabled>Copy</button>
<button type="button" class="reader-save" aria-label="Download {label} as .txt" disabled>Download</button></div>{hint}
"""
_SCRIPT = "window.charlstm.reader(element, props, watch, trigger, { isMain: %s });"


class CodedText(TypedDict):
    """One text in pieces, and the codes of its characters, divided at the same characters."""

    text: list[str]
    surprise: list[str]
    likeliest: list[str]
    odds: list[str]
    leaning: list[str]  # of a text of two models, else empty


class Page(TypedDict):
    """Value of the component."""

    id: str  # of one generation: a page with another id is drawn anew
    given: str  # the prompt, in bold
    texts: list[CodedText]
    width: int
    is_code: bool  # shown in a monospaced font
    is_bytes: bool  # the likeliest are bytes; only those below 128 are characters
    is_writing: bool
    can_branch: bool
    copied: list[list[int]]  # begin and end of each text's stretch that is in the corpus
    link: str  # the query of an address that reproduces the texts; empty for none
    is_live: bool  # written while a person watches: shown at a pace that can be followed
    title: str  # in place of the component's label; empty for that
    caption: str  # below the text
    mixed: list[str]  # the two models of a mixed text, as people read their names; empty for one model
    has_read: bool  # written with what a text that was read first left


def build_surprisal_text(label: str, placeholder: str, elem_id: str, is_main: bool = False) -> gr.HTML:
    """Build the component; `label` and `placeholder` must be constants. Its event `select` asks for a branch.

    The main text of a page has the switches that hold for all of them.
    """
    return gr.HTML(
        TextBuilder("").page(),
        html_template=html_template(label, placeholder, is_main),
        js_on_load=_SCRIPT % ("true" if is_main else "false"),
        apply_default_css=False,
        container=True,
        padding=True,
        elem_id=elem_id,
        elem_classes="reader-block",
    )


def html_template(label: str, placeholder: str, is_main: bool = False) -> str:
    """Return the constant HTML of the component."""
    return _TEMPLATE.format(
        label=label,
        placeholder=placeholder,
        switches=_SWITCHES.format(label=label) if is_main else "",
        rate_id='id="generate-rate"' if is_main else "",
        hint=_HINT if is_main else "",
    )


class TextBuilder:
    """Builder of a page: texts that grow side by side after the same prompt."""

    def __init__(self, page_id: str, given: str = "", num_texts: int = 0, **facts: Any) -> None:
        self._facts: dict[str, Any] = {
            "id": page_id,
            "given": replace_surrogates(given),
            "is_code": False,
            "is_bytes": False,
            "can_branch": False,
            "copied": [],
            "link": "",
            "is_live": False,
            "title": "",
            "caption": "",
            "mixed": [],
            "has_read": False,
            **facts,
        }
        self._texts = [CodedText(text=[], surprise=[], likeliest=[], odds=[], leaning=[]) for _ in range(num_texts)]
        self._width = 0
        self.num_chars = 0

    def restore(self, page: Page) -> None:
        """Continue from the texts of a page."""
        self._texts, self._width = page["texts"], page["width"]
        for text in self._texts:
            text.setdefault("leaning", [])  # browsers keep pages from before there was any
            if self._facts["mixed"] and not any(text["leaning"]):  # until here it was written by one model
                _append(text["leaning"], chr(_FIRST + _EVEN) * sum(map(len, text["text"])), 1)

    def add(self, chunk: TextChunk) -> None:
        """Append a chunk to its text."""
        self._width = len(chunk.likeliest[0]) if chunk.likeliest else 0
        grown, length = self._texts[chunk.sample], len(chunk.text)
        self.num_chars += length
        pieces = {
            "text": (replace_surrogates(chunk.text), 1),
            "surprise": (_surprise_codes(chunk.surprises), 1),
            "likeliest": (replace_surrogates("".join(chunk.likeliest)), self._width),
            "odds": (_odds_codes(chunk.probabilities), 2 * self._width),
            "leaning": (_leaning_codes(chunk.leanings), 1),
        }
        for name, (new, width) in pieces.items():
            _append(grown[name], new, width)  # type: ignore[literal-required]

    def page(self, is_writing: bool = False, **facts: Any) -> Page:
        """Return the page as it is now; later chunks do not change it."""
        texts: list[Any] = [{name: list(pieces) for name, pieces in text.items()} for text in self._texts]  # type: ignore[call-overload]
        values: Any = {**self._facts, "texts": texts, "width": self._width, "is_writing": is_writing, **facts}
        page: Page = values
        return page


def text_of(grown: CodedText) -> str:
    """Return a whole text."""
    return "".join(grown["text"])


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates in `text`, which can't be encoded in a message."""
    return (
        text.encode("utf-8", "replace").decode("utf-8") if any("\ud800" <= char < "\ue000" for char in text) else text
    )


def _append(pieces: list[str], new: str, width: int) -> None:
    """Append codes, `width` per character, to the last piece, and begin new pieces where it is full."""
    longest = _PIECE_CHARS * width
    while new:
        if not pieces or len(pieces[-1]) >= longest:
            pieces.append("")
        room = longest - len(pieces[-1])
        pieces[-1] += new[:room]
        new = new[room:]


def _surprise_codes(surprises: Sequence[float]) -> str:
    steps = np.nan_to_num(np.array(surprises, np.float64) * _NATS_STEPS, nan=_NATS_MOST)
    return (np.clip(np.rint(steps), 0, _NATS_MOST) + _FIRST).astype(np.uint8).tobytes().decode("ascii")


def _leaning_codes(leanings: Sequence[float]) -> str:
    """Return a code for each character: tenths of a nat, `_EVEN` where both models wanted it alike."""
    steps = np.nan_to_num(np.array(leanings, np.float64) * _NATS_STEPS) + _EVEN
    return (np.clip(np.rint(steps), 0, _NATS_MOST) + _FIRST).astype(np.uint8).tobytes().decode("ascii")


def _odds_codes(probabilities: Sequence[Sequence[float]]) -> str:
    shares = np.nan_to_num(np.array(probabilities, np.float64).ravel())
    steps = np.clip(np.rint(shares * _ODDS_MOST), 0, _ODDS_MOST).astype(np.int64)
    digits = np.stack([steps // _ODDS_BASE, steps % _ODDS_BASE], axis=-1)
    return (digits + _FIRST).astype(np.uint8).tobytes().decode("ascii")


def parse_page(page: Any, longest: int) -> list[str] | None:
    """Return the texts of a page that a browser sent; `None` if it is invalid or longer than `longest` in all."""
    try:
        names = ("text", "surprise", "likeliest", "odds")
        texts = [[*(grown[name] for name in names), grown.get("leaning", [])] for grown in page["texts"]]
        sizes = [[sum(map(len, pieces)) for pieces in text] for text in texts]
        width = int(page["width"])
        is_whole = all(
            all(isinstance(piece, str) for pieces in text for piece in pieces)
            and (surprise, likeliest, odds) == (length, width * length, 2 * width * length)
            and leaning in (0, length)
            for text, (length, surprise, likeliest, odds, leaning) in zip(texts, sizes, strict=True)
        )
        is_page = isinstance(page["given"], str) and isinstance(page["id"], str) and 0 <= width <= WIDTH
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None
    fits = sum(size[0] for size in sizes) <= longest and len(texts) > 0
    return ["".join(text[0]) for text in texts] if is_whole and is_page and fits else None
