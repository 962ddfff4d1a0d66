"""The thumbnail of a model's page: its name, and a text of its own tinted by surprise, drawn with Pillow."""

import io
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from charlstm.config import SampleConfig
from charlstm.language_model import LanguageModel

_SIZE = (1200, 630)  # what link previews show whole
_FINER = 2  # drawn larger and made smaller, so that letters are smooth
_MARGIN, _TITLE_TOP, _FACTS_TOP, _TEXT_TOP, _LINE_HEIGHT, _NUM_LINES = 64, 48, 138, 212, 46, 8
_TITLE_SIZE, _FACTS_SIZE, _TEXT_SIZE = 64, 30, 32
_INK, _FAINT, _PAPER = "#2b2622", "#6b625a", "#faf8f5"
_TINTS = (_PAPER, "#fbeee5", "#f8dcc9", "#f3c4a4", "#eba97f", "#e08f5d")  # from expected to astonishing, as the page's
_EDGES = (0.5, 1.5, 2.5, 3.75, 5.25)  # nats at which the next tint begins
_SAMPLE = SampleConfig(num_chars=600, temperature=0.8, seed=1)
_MOST_FOREIGN = 0.05  # share of a text's characters that the font may lack

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class _Letter(NamedTuple):
    """A character that was written, and its surprise in nats."""

    char: str
    surprise: float


def thumbnail_png(name: str, facts: str, language_model: LanguageModel) -> bytes:
    """Draw `name`, a line of `facts` (both ASCII), and what the model writes unless the font lacks its letters."""
    picture = Image.new("RGB", (_SIZE[0] * _FINER, _SIZE[1] * _FINER), _PAPER)
    draw = ImageDraw.Draw(picture)
    for text, top, size, ink in ((name, _TITLE_TOP, _TITLE_SIZE, _INK), (facts, _FACTS_TOP, _FACTS_SIZE, _FAINT)):
        draw.text((_MARGIN * _FINER, top * _FINER), text, fill=ink, font=_fitting_font(text, size))
    font = ImageFont.load_default(_TEXT_SIZE * _FINER)
    for number, line in enumerate(_lines(_write(language_model), font)):
        _draw_line(draw, line, (_TEXT_TOP + number * _LINE_HEIGHT) * _FINER, font)
    buffer = io.BytesIO()
    picture.reduce(_FINER).save(buffer, "PNG")
    return buffer.getvalue()


def _fitting_font(text: str, size: int) -> _Font:
    """Return the font of `size`, or of the smaller size in which `text` takes one line."""
    width = ImageFont.load_default(size).getlength(text)
    return ImageFont.load_default(size * _FINER * min(1.0, (_SIZE[0] - 2 * _MARGIN) / max(width, 1.0)))


def _write(language_model: LanguageModel) -> list[_Letter]:
    """Return what the model writes; nothing if the font, which knows ASCII alone, lacks too many of its letters."""
    letters = [
        _Letter(char, surprise)
        for chunk in language_model.stream("", _SAMPLE)
        for char, surprise in zip(chunk.text, chunk.surprises, strict=True)
    ]
    foreign = sum(not _is_drawable(letter.char) for letter in letters)
    if foreign > _MOST_FOREIGN * len(letters):
        return []
    return [letter if _is_drawable(letter.char) else _Letter(" ", letter.surprise) for letter in letters]


def _is_drawable(char: str) -> bool:
    return char == "\n" or (char.isascii() and char.isprintable())


def _lines(letters: list[_Letter], font: _Font) -> Iterator[list[_Letter]]:
    """Divide the text at its line ends, and where the next word would not fit; empty lines are left out."""
    width, lines, line, used = (_SIZE[0] - 2 * _MARGIN) * _FINER, 0, list[_Letter](), 0.0
    for letter in letters:
        used += font.getlength(letter.char) if letter.char != "\n" else 0
        is_full = used > width
        if letter.char == "\n" or is_full:
            kept, line = (line, []) if letter.char == "\n" else _divide(line)
            line += [letter] if is_full else []
            used = sum(font.getlength(each.char) for each in line)
            if kept:
                yield kept
                lines += 1
            if lines == _NUM_LINES:
                return
        else:
            line.append(letter)


def _divide(line: list[_Letter]) -> tuple[list[_Letter], list[_Letter]]:
    """Divide a full line after its last space, or at its end if it has none."""
    end = next((place for place in range(len(line), 0, -1) if line[place - 1].char == " "), len(line))
    return line[:end], line[end:]


def _draw_line(draw: ImageDraw.ImageDraw, line: list[_Letter], top: int, font: _Font) -> None:
    """Draw the tints, then the letters over them."""
    x, places = float(_MARGIN * _FINER), list[float]()
    for letter in line:
        places.append(x)
        right = x + font.getlength(letter.char)
        tint = _TINTS[bisect_right(_EDGES, letter.surprise)]
        draw.rectangle((x, top, right, top + (_LINE_HEIGHT - 4) * _FINER), fill=tint)
        x = right
    for place, letter in zip(places, line, strict=True):
        draw.text((place, top + 2 * _FINER), letter.char, fill=_INK, font=font)
