"""Bytes to text, for any file a person may bring."""

import codecs
from pathlib import Path

from charlstm.config import Encoding
from charlstm.errors import CorpusError

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_file(path: Path, encoding: Encoding = "auto", shown: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Text of a file and notes on what was done to it; raises `CorpusError` in one sentence.

    The sentence calls the file `shown`, by default its bare name: a path is told only to who typed it.
    """
    shown = shown or path.name
    try:
        if path.is_dir():
            raise CorpusError(f"{shown} is a folder; name one text file in it.")
        if path.exists() and not path.is_file():
            raise CorpusError(f"{shown} is a device or pipe; name a text file.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"there is no file {shown}; give the path of a text file or the name of a corpus.") from None
    except OSError as error:
        raise CorpusError(f"{shown} can't be read ({error.strerror}); check its permissions.") from None
    return decode(data, path.name, encoding)


def decode(data: bytes, name: str, encoding: Encoding = "auto") -> tuple[str, tuple[str, ...]]:
    """Text of `data` and notes on what was done to it.

    `auto` reads UTF-8 with or without a byte-order mark, and UTF-16 with one; it never guesses Latin-1, it offers it.
    Line ends become plain newlines.
    """
    text, notes = _decoded(data, name, encoding)
    if not text:
        raise CorpusError(f"{name} is empty; choose a text with some characters in it.")
    if "\0" in text:
        raise CorpusError(f"{name} holds NUL bytes, so it is not plain text; choose a text file.")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        notes = (*notes, "Windows or old Mac line ends were turned into plain newlines.")
    return text, notes


def _decoded(data: bytes, name: str, encoding: Encoding) -> tuple[str, tuple[str, ...]]:
    if encoding == "auto" and data.startswith(_UTF16_MARKS):
        return _strictly(data, name, "utf-16"), ("Read as UTF-16, as its byte-order mark says.",)
    if encoding == "auto" and b"\0" in data:
        raise CorpusError(
            f"{name} holds NUL bytes: it is a binary file, or UTF-16 without a mark (then say encoding utf-16)."
        )
    if encoding in ("auto", "utf-8"):
        return _strictly(data, name, "utf-8-sig"), ()
    return _strictly(data, name, encoding), (f"Read as {encoding}, as asked.",)


def _strictly(data: bytes, name: str, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        if codec == "utf-8-sig" and _looks_like_text(data):
            place = f"byte 0x{data[error.start]:02X} at position {error.start:,}"
            raise CorpusError(f"{name} is not UTF-8 ({place}); if it is Latin-1 text, say encoding latin-1.") from None
        if codec == "utf-8-sig":
            raise CorpusError(f"{name} looks like a binary file; choose a text file.") from None
        raise CorpusError(f"{name} is not {codec}; choose another encoding, or auto.") from None


def _looks_like_text(data: bytes) -> bool:
    """Whether hardly any byte is a control character that no text holds; an offer of Latin-1 makes sense only then."""
    head = data[:65536]
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return controls <= len(head) // 1000
