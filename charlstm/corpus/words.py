"""Real words: what share of the words in a written text the training text has too.

A word is a run of letters, marks, digits and underscores with at least one letter; apostrophes inside it belong to it,
and case makes no difference. So identifiers count as words in texts of code. Scripts that put no spaces between words
have no such words, and neither has a text of too few or too long ones.
"""

import unicodedata
from typing import NamedTuple

import numpy as np

from charlstm.vocabulary import Tokens, Vocabulary

_READ_AT_MOST = 1 << 21  # tokens: a quarter of a second, and some 10 MB
_PIECES = 8  # that those of a longer text are taken from, evenly
_FEWEST_WORDS = 300
_LONGEST_MEAN = 15.0  # characters; words of a text without spaces, or of digits and codes, are longer
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI", "JAVANESE")
_UNSPACED_SHARE = 0.2  # of the letters, from which on a text counts as one without spaces
_APOSTROPHES = "'’"


class WordCount(NamedTuple):
    """The words of a text, and those of them that are real."""

    num_words: int
    num_real: int


class _Separated(dict[int, int | str | None]):
    """A table for `str.translate` that turns everything between words into spaces; it learns characters as they come.

    The value of a character of a word is the character itself.
    """

    def __missing__(self, code: int) -> int | str:
        char = chr(code)
        if char in _APOSTROPHES:
            found: int | str = "'"
        else:
            category = unicodedata.category(char)
            found = code if category[0] in "LM" or category in ("Nd", "Pc") else " "
        self[code] = found
        return found


class RealWords:
    """The words of a training text."""

    def __init__(self, vocabulary: Vocabulary, train: Tokens) -> None:
        """Collect the words of tokens (N,), of a long text from some pieces of it."""
        self._table = _Separated()
        self._words: frozenset[str] = frozenset()
        num_words, num_chars = 0, 0
        known: set[str] = set()
        letters = ""
        for piece in _pieces(train):
            text = _decode(vocabulary, piece)
            letters += text[:10_000]
            words = self._split(text)
            num_words += len(words)
            num_chars += sum(map(len, words))
            known.update(words)
        if num_words >= _FEWEST_WORDS and num_chars <= _LONGEST_MEAN * num_words and not _is_unspaced(letters):
            self._words = frozenset(known)

    def __len__(self) -> int:
        return len(self._words)

    def _split(self, text: str) -> list[str]:
        words = (word.strip("'") for word in text.casefold().translate(self._table).split())
        return [word for word in words if any(map(str.isalpha, word))]

    def count(self, prompt: str, continuation: str) -> WordCount:
        """Count the words of `continuation`, without a first one that `prompt` begins and a last one that may go on.

        Both counts are 0 for texts without words.
        """
        if not self._words:
            return WordCount(0, 0)
        begin, end = 0, len(continuation)
        if self._is_inside(prompt[-1:]):
            while begin < end and self._is_inside(continuation[begin]):
                begin += 1
        while end > begin and self._is_inside(continuation[end - 1]):
            end -= 1
        words = self._split(continuation[begin:end])
        return WordCount(len(words), sum(word in self._words for word in words))

    def _is_inside(self, char: str) -> bool:
        return bool(char) and not char.translate(self._table).isspace()


def _decode(vocabulary: Vocabulary, tokens: Tokens) -> str:
    """Decode tokens, ten times as fast as one at a time."""
    if vocabulary.level == "bytes":
        return tokens.astype(np.uint8).tobytes().decode("utf-8", "replace")
    codes = np.array([ord(char) for char in vocabulary.characters], "<u4")
    return codes[tokens].tobytes().decode("utf-32-le", "surrogatepass")


def _pieces(train: Tokens) -> list[Tokens]:
    if len(train) <= _READ_AT_MOST:
        return [train]
    size = _READ_AT_MOST // _PIECES
    return [
        train[begin : begin + size] for begin in range(0, len(train) - size + 1, (len(train) - size) // (_PIECES - 1))
    ]


def _is_unspaced(text: str) -> bool:
    """Return whether a good part of the letters of `text` are of scripts that put no spaces between words."""
    letters = [char for char in text if char.isalpha()]
    unspaced = sum(unicodedata.name(char, "").startswith(_UNSPACED) for char in letters if ord(char) > 0xDFF)
    return unspaced > _UNSPACED_SHARE * len(letters)
