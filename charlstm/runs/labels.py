"""What a run may be called: something that can be seen, and that is not taken for the name of another one.

Unicode knows many characters without a picture and many with the picture of another one. Its whole list of those is
long and changes; here counts what the standard library knows (compatibility forms, accents, kinds of dashes and spaces)
and a short list of letters that look like Latin ones in most typefaces. Starts without torch.
"""

import unicodedata
from collections.abc import Iterable

from charlstm.errors import RunError

LONGEST_LABEL = 80
# Letters, symbols and marks by their category that show nothing: fillers, empty Braille, joiners, selectors.
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U00016fe4\U0001d159"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
# What looks like a Latin letter in most typefaces: Cyrillic, Greek, Armenian, Cherokee and small capitals.
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
    """Validate `label`; raise `RunError` unless it is visible and reads like none of `others`."""
    label = label.strip()
    if not label or len(label) > LONGEST_LABEL or not label.isprintable():  # first: long ones take long to compose
        raise RunError(f"a run's name is one line of up to {LONGEST_LABEL} characters; choose another one.")
    if any(map(_is_blank, label)) or not any(map(_is_drawn, label)):
        raise RunError("a run's name holds characters that can't be seen; choose one of letters and digits.")
    label = unicodedata.normalize("NFC", label)
    look = _look(label)
    if any(look == _look(other) for other in others):
        raise RunError(f"another run is called {label}, or looks so; choose another name.")
    return label


def _is_blank(char: str) -> bool:
    return char in _BLANK or any(each in _BLANK for each in unicodedata.normalize("NFKC", char))


def _is_drawn(char: str) -> bool:
    """Return whether the character is visible: a letter, a digit, a symbol or a sign."""
    return unicodedata.category(char)[0] in "LNSP"


def _look(label: str) -> str:
    """Reduce a label to a key that is equal for labels that are hard to tell apart."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", label).translate(_ALIKE).casefold())
    plain = (_plain(char) for char in folded.translate(_ALIKE) if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
    return " ".join("".join(plain).replace("rn", "m").replace("vv", "w").split())


def _plain(char: str) -> str:
    """Replace every kind of dash by one, and every kind of space."""
    category = unicodedata.category(char)
    return "-" if category == "Pd" or char in "\u2212\u02d7\u2043\u30fc_" else " " if category == "Zs" else char
