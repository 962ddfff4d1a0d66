"""Validation of run labels: visible, and not confusable with another run's.

Unicode has many invisible characters and many that look alike. Its full list of confusables is long and changes; this
module uses what the standard library knows (compatibility forms, accents, kinds of dashes and spaces) and a short list
of letters that look like Latin ones in most typefaces. Imports no torch.
"""

import re
import unicodedata
from collections.abc import Iterable

from charlstm.errors import RunError

LONGEST_LABEL = 80
LONGEST_NOTE = 100
# Invisible despite a category of letters, symbols or marks: fillers, empty Braille, joiners, selectors.
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U00016fe4\U0001d159"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
# Invisible, but part of how others are drawn: joiners between them (emoji, Persian, Hindi), and an emoji's look.
_JOINT = re.compile("(?<=[^\\s\u200c\u200d])(?:[\ufe0e\ufe0f]|[\u200c\u200d](?=[^\\s\u200c\u200d]))")
# Look-alikes of Latin letters in most typefaces: Cyrillic, Greek, Armenian, Cherokee and small capitals.
_LOOKS_LIKE = {
    "a": "аАɑαΑᎪᴀ", "b": "вВΒᏴЬьʙ", "c": "сСϲϹᏟᴄ", "d": "ԁᎠɗᴅ", "e": "еЕΕᎬҽєᴇ", "f": "ƒғҒϜ", "g": "ɡԌᏀɢ",
    "h": "һНнΗᎻհʜ", "j": "јЈϳᎫյᴊ", "k": "КкΚκᏦᴋ", "l": "іІΙιӏӀⅼıɩɪǀ|1iʟᏞᛁ", "m": "МмΜᎷᴍ", "n": "ΝոռпηɴՈ",
    "o": "оОΟοσօ0०੦߀ᴏՕ",
    "p": "рРΡρᏢᴘ",
    "q": "ԛԚգզ", "r": "гᎡʀᴦ", "s": "ѕЅᏚꜱՏ", "t": "тТΤτᎢᴛ", "u": "υսᴜՍ", "v": "νѵѴᏙᴠ", "w": "ԝԜᏔѡωᴡ", "x": "хХΧχ",
    "y": "уУΥγүҮᎩʏ", "z": "ΖᏃᴢ",
}  # fmt: skip
_ALIKE = {ord(char): letter for letter, chars in _LOOKS_LIKE.items() for char in chars}


def validate_label(label: str, others: Iterable[str]) -> str:
    """Return the normalized `label`; raise `RunError` unless it is visible and unlike all `others`."""
    label = label.strip()
    if not label or len(label) > LONGEST_LABEL or not label.isprintable():  # first: normalizing a long label takes long
        raise RunError(f"a run's name is one line of up to {LONGEST_LABEL} characters; choose another one.")
    if any(map(_is_blank, label)) or not any(map(_is_drawn, label)):
        raise RunError("a run's name holds characters that can't be seen; choose one of letters and digits.")
    label = unicodedata.normalize("NFC", label)
    look = _look(label)
    if any(look == _look(other) for other in others):
        raise RunError(f"another run is called {label}, or looks so; choose another name.")
    return label


def validate_note(note: str) -> str:
    """Return the note as one line; raise `RunError` if it is too long or holds what can't be seen."""
    line = " ".join(note.split()) if len(note) <= 10 * LONGEST_NOTE else note
    if len(line) > LONGEST_NOTE:
        raise RunError(f"a note is one line of up to {LONGEST_NOTE} characters; shorten it.")
    parts = _JOINT.sub("", line)
    if not parts.isprintable() or any(map(_is_blank, parts)) or (line and not any(map(_is_drawn, parts))):
        raise RunError("the note holds characters that can't be seen; leave them out.")
    return line


def _is_blank(char: str) -> bool:
    return char in _BLANK or any(each in _BLANK for each in unicodedata.normalize("NFKC", char))


def _is_drawn(char: str) -> bool:
    """Return whether the character is visible: a letter, a digit, a symbol or punctuation."""
    return unicodedata.category(char)[0] in "LNSP"


def _look(label: str) -> str:
    """Return a skeleton that is equal for labels that are hard to tell apart."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", label).translate(_ALIKE).casefold())
    plain = (_plain(char) for char in folded.translate(_ALIKE) if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
    return " ".join("".join(plain).replace("rn", "m").replace("vv", "w").split())


def _plain(char: str) -> str:
    """Fold all dashes into one, and all spaces."""
    category = unicodedata.category(char)
    return "-" if category == "Pd" or char in "\u2212\u02d7\u2043\u30fc_" else " " if category == "Zs" else char
