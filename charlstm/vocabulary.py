"""Characters to token ids and back.

Shapes: a text of N characters becomes an array (N,) of the smallest unsigned integer type that holds every id.
At level `bytes` a token is one byte of the UTF-8 text, so any text fits a vocabulary of 256.
"""

import codecs
import contextlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charlstm.config import Level
from charlstm.config_fields import plain_lines
from charlstm.errors import VocabularyError

Tokens = NDArray[np.unsignedinteger]  # ids (N,) of a text, held in memory or mapped from a file

_NAMED_AT_MOST = 10
_CHUNK_CHARS = 1 << 20  # encoded at once: bounds the memory beside the text and its ids
_NARROW = 256  # characters of one byte in Latin-1, whose code points these are

# Typographic characters and what a plain keyboard gives instead.
_PLAIN = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": ",",
        "“": '"',
        "”": '"',
        "„": '"',
        "–": "-",
        "—": "-",
        "…": "...",
        "\u00a0": " ",
        "\t": " ",
    }
)


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of distinct characters; a character's place is its id."""

    characters: tuple[str, ...]
    level: Level = "chars"

    def __post_init__(self) -> None:
        if not self.characters or any(len(char) != 1 for char in self.characters):
            raise VocabularyError("a vocabulary is a list of single characters, at least one.")
        if len(set(self.characters)) != len(self.characters):
            raise VocabularyError("a vocabulary holds each character once.")
        if self.level == "bytes" and self.characters != _BYTES:
            raise VocabularyError("a vocabulary of bytes holds the 256 byte values in order.")

    @classmethod
    def from_text(cls, text: str, level: Level = "chars") -> "Vocabulary":
        """Build the vocabulary of the sorted distinct characters of `text`, or of the 256 bytes."""
        return cls(_BYTES if level == "bytes" else tuple(sorted(set(text))), level)

    def __len__(self) -> int:
        return len(self.characters)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.characters)

    @cached_property
    def _ids(self) -> NDArray[np.unsignedinteger]:
        """Code point -> id, or the vocabulary's size; the last entry stands for every code point beyond the table.

        Of the smallest type, as a small table and its answers stay in the processor's cache.
        """
        codes = np.array([ord(char) for char in self.characters])
        table = np.full(int(codes.max()) + 2, len(codes), dtype=np.min_scalar_type(len(codes)))
        table[codes] = np.arange(len(codes))
        return table

    @cached_property
    def _narrow_ids(self) -> tuple[bytes, bytes]:
        """For ids of one byte, what `bytes.translate` takes: the id of each Latin-1 character, and those without."""
        narrow = [char for char in map(chr, range(_NARROW)) if char in self._known]
        table = bytearray(_NARROW)
        for char in narrow:
            table[ord(char)] = int(self._ids[ord(char)])
        return bytes(table), bytes(code for code in range(_NARROW) if chr(code) not in self._known)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        """Encode `text` to ids; raise `VocabularyError` naming the characters that are not in the vocabulary."""
        if self.level == "bytes":
            return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        ids = np.empty(len(text), dtype=self.dtype)
        for begin in range(0, len(text), _CHUNK_CHARS):
            chunk = self._encode_chunk(text[begin : begin + _CHUNK_CHARS])
            if chunk is None:
                raise VocabularyError(_unknown_message(self.find_unknown(text)))
            ids[begin : begin + _CHUNK_CHARS] = chunk
        return ids

    def _encode_chunk(self, chunk: str) -> NDArray[np.unsignedinteger] | None:
        """Encode `chunk`; return `None` if it holds an unknown character."""
        if self.dtype == np.uint8:
            with contextlib.suppress(UnicodeEncodeError):  # then it holds characters beyond Latin-1
                narrow = np.frombuffer(chunk.encode("latin-1").translate(*self._narrow_ids), dtype=np.uint8)
                return narrow if len(narrow) == len(chunk) else None
        ids = self._ids.take(code_points(chunk), mode="clip")  # twice as fast as indexing
        return None if ids.max() == len(self) else ids

    def decode(self, ids: Iterable[int]) -> str:
        """Decode `ids`; at level `bytes`, what is not UTF-8 becomes U+FFFD."""
        return Decoder(self).feed(ids, is_last=True)

    def find_unknown(self, text: str) -> tuple[str, ...]:
        """Return the distinct characters of `text` outside the vocabulary, in order of appearance."""
        if self.level == "bytes":
            return ()
        return tuple(dict.fromkeys(char for char in text if char not in self._known))

    def normalize(self, text: str) -> str:
        """Return `text` with unknown characters replaced where a known equivalent exists.

        Tried in turn: plain quotes, dashes and spaces, the other case, each decomposed too (NFD); then the same for
        the composed form (NFC). Line ends are those of a corpus, but where they are known characters themselves.
        Raises `VocabularyError` naming what is still unknown; nothing is dropped.
        """
        if self.level == "bytes":  # which knows them all, but has never read another line end
            return plain_lines(text)
        if not self.find_unknown(text):
            return text
        plain = plain_lines(text)
        for composed in (str, _compose):
            fitted = "".join(self._equivalent(char) for char in composed(plain))
            unknown = self.find_unknown(fitted)
            if not unknown:
                return fitted
        raise VocabularyError(_unknown_message(unknown))

    def fit(self, text: str) -> tuple[str, tuple[str, ...]]:
        """Return `text` as `normalize` does but without characters that stay unknown, and those characters."""
        try:
            return self.normalize(text), ()
        except VocabularyError:
            fitted = "".join(map(self._equivalent, _compose(plain_lines(text))))
        unknown = self.find_unknown(fitted)
        return fitted.translate(dict.fromkeys(map(ord, unknown))), unknown

    def in_known_form(self, text: str) -> str:
        """Return `text` in the normal form of Unicode in which all its characters are known; itself where none is."""
        if not self.find_unknown("".join(set(text))):
            return text
        forms: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
        for form in forms:
            normalized = _normalize(text, form)
            if not self.find_unknown("".join(set(normalized))):
                return normalized
        return text

    def _equivalent(self, char: str) -> str:
        for each in (char, char.translate(_PLAIN), char.lower(), char.upper()):
            for form in (each, unicodedata.normalize("NFD", each)):
                if not self.find_unknown(form):
                    return form
        return char


class Decoder:
    """Turns ids into text piece by piece; holds back the bytes of an unfinished character."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._characters = vocabulary.characters
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace") if vocabulary.level == "bytes" else None

    @property
    def is_amid_character(self) -> bool:
        """Whether bytes of an unfinished character are held back."""
        return self._bytes is not None and bool(self._bytes.getstate()[0])

    def feed(self, ids: Iterable[int], is_last: bool = False) -> str:
        """Return the text that `ids` completes, possibly empty."""
        if self._bytes is None:
            return "".join(self._characters[index] for index in ids)
        text = self._bytes.decode(bytes(iter(ids)), is_last)  # iter: bytes() of an array copies its memory instead
        held = self._bytes.getstate()[0]
        if held[:1] == b"\xed" and held[1:2] >= b"\xa0":
            text += self._bytes.decode(b"", True)  # of a surrogate, which no character has: Python would wait for more
        return text


_BYTES = tuple(map(chr, range(256)))
_MARKS_AT_MOST = 30  # on one letter


def _compose(text: str) -> str:
    """Compose characters (NFC)."""
    return _normalize(text, "NFC")


def _normalize(text: str, form: Literal["NFC", "NFD"]) -> str:
    """Return a normal form, but not of a text that no script writes: thousands of marks take quadratic time.

    *Measured*: 3.6 s for 40,000 marks on one letter, during which no other thread goes on. Unicode's stream-safe format
    knows at most 30 in a row.
    """
    num_marks = 0
    for char in text:
        num_marks = num_marks + 1 if unicodedata.combining(char) else 0
        if num_marks > _MARKS_AT_MOST:
            return text
    return unicodedata.normalize(form, text)


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code point of each character, (N,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _unknown_message(unknown: tuple[str, ...]) -> str:
    named = ", ".join(f"{char!r} (U+{ord(char):04X})" for char in unknown[:_NAMED_AT_MOST])
    more = f" and {len(unknown) - _NAMED_AT_MOST} more" if len(unknown) > _NAMED_AT_MOST else ""
    if any(map(unicodedata.combining, unknown)):
        return f"the model has never seen {named}{more}; if it knows these letters, convert the text to NFC first."
    return f"the model has never seen {named}{more}; leave it out or choose a model trained on such text."
