"""Bytes to text, for any file a person may bring, piece by piece: a file of any size takes the same memory."""

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from charlstm.config import Encoding
from charlstm.errors import CorpusError
from charlstm.tensor_files import LFS_ADVICE, is_lfs_pointer

PIECE = 1 << 18  # bytes read, or characters handled, at once: large enough for speed, small enough for a cache
_HEAD_BYTES = 1 << 16
_UTF16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NATIVE_UTF16 = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"


@contextmanager
def opened(path: Path, shown: str) -> Iterator[BinaryIO]:
    """The file at `path`, open for reading; raises `CorpusError` in one sentence, which calls it `shown`.

    Also for what goes wrong while it is read inside the block.
    """
    try:
        if path.is_dir():
            raise CorpusError(f"{shown} is a folder; name one text file in it.")
        if path.exists() and not path.is_file():
            raise CorpusError(f"{shown} is a device or pipe; name a text file.")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise CorpusError(f"there is no file {shown}; give the path of a text file or the name of a corpus.") from None
    except OSError as error:
        raise CorpusError(f"{shown} can't be read ({error.strerror}); check its permissions.") from None


def decode(data: bytes, name: str, encoding: Encoding = "auto") -> tuple[str, tuple[str, ...]]:
    """Text of `data` and notes on what was done to it, as `Pieces` reads it."""
    pieces = Pieces(io.BytesIO(data), name, encoding)
    return "".join(pieces), pieces.notes


class _Form(NamedTuple):
    """How bytes become characters."""

    mark: bytes  # byte-order mark at the beginning, which is no part of the text
    codec: str
    note: str | None
    is_asked_for: bool  # or found out


class Pieces:
    """One way through the text of an open file; raises `CorpusError`, in one sentence, where it is none.

    `auto` reads UTF-8 with or without a byte-order mark, and UTF-16 with one; it never guesses Latin-1, it offers it.
    Line ends become plain newlines. A text with an error in it is refused at the error or after the last piece.
    """

    def __init__(self, file: BinaryIO, name: str, encoding: Encoding = "auto", piece_bytes: int = PIECE) -> None:
        self._file, self._name, self._encoding, self._piece_bytes = file, name, encoding, piece_bytes
        self.num_bytes = 0  # read so far
        self.notes: tuple[str, ...] = ()  # what was done to the text; known after the last piece

    def __iter__(self) -> Iterator[str]:
        """The text in pieces that are not empty, but of any length."""
        self._file.seek(0)
        self._head = self._file.read(_HEAD_BYTES)
        if is_lfs_pointer(self._head):
            raise CorpusError(f"{self._name} {LFS_ADVICE}.")
        form = _form(self._head, self._encoding)
        self.num_bytes = self._file.seek(len(form.mark))
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(form.codec)(), translate=True)
        is_empty, holds_nul, is_last = True, False, False
        while not is_last:
            data = self._file.read(self._piece_bytes)
            is_last = not data
            self.num_bytes += len(data)
            if form.codec == "utf-8" and not form.is_asked_for and b"\0" in data:
                raise self._binary()
            try:
                piece = decoder.decode(data, final=is_last)
            except UnicodeDecodeError as error:
                raise self._undecodable(form, error) from None
            if piece:
                is_empty = False
                holds_nul |= "\0" in piece
                yield piece
        if is_empty:
            raise CorpusError(f"{self._name} is empty; choose a text with some characters in it.")
        if holds_nul:
            raise CorpusError(f"{self._name} holds NUL bytes, so it is not plain text; choose a text file.")
        self.notes = (form.note,) if form.note else ()
        if decoder.newlines not in (None, "\n"):
            self.notes += ("Windows or old Mac line ends were turned into plain newlines.",)

    def _binary(self) -> CorpusError:
        return CorpusError(
            f"{self._name} holds NUL bytes: it is a binary file, or UTF-16 without a mark (then say encoding utf-16)."
        )

    def _undecodable(self, form: _Form, error: UnicodeDecodeError) -> CorpusError:
        if form.codec != "utf-8":
            shown = "utf-16" if form.codec.startswith("utf-16") else form.codec
            return CorpusError(f"{self._name} is not {shown}; choose another encoding, or auto.")
        # what the decoder had held back of the piece before stands in front of this one in `error.object`
        position = self.num_bytes - len(error.object) + error.start
        if not form.is_asked_for and self._nul_follows():
            return self._binary()
        if _looks_like_text(self._head):
            place = f"byte 0x{error.object[error.start]:02X} at position {position:,}"
            return CorpusError(f"{self._name} is not UTF-8 ({place}); if it is Latin-1 text, say encoding latin-1.")
        return CorpusError(f"{self._name} looks like a binary file; choose a text file.")

    def _nul_follows(self) -> bool:
        """Whether there is a NUL further on: then the file is no text, whatever else is wrong with it."""
        return any(b"\0" in data for data in iter(lambda: self._file.read(self._piece_bytes), b""))


def _form(head: bytes, encoding: Encoding) -> _Form:
    """The form of a file that begins with `head`."""
    mark = next((mark for mark in _UTF16_MARKS if head.startswith(mark)), b"")
    if encoding == "utf-16":
        return _Form(mark, _UTF16_MARKS.get(mark, _NATIVE_UTF16), "Read as utf-16, as asked.", is_asked_for=True)
    if encoding == "auto" and mark:
        return _Form(mark, _UTF16_MARKS[mark], "Read as UTF-16, as its byte-order mark says.", is_asked_for=False)
    if encoding == "latin-1":
        return _Form(b"", "latin-1", "Read as latin-1, as asked.", is_asked_for=True)
    mark = codecs.BOM_UTF8 if head.startswith(codecs.BOM_UTF8) else b""
    return _Form(mark, "utf-8", None, is_asked_for=encoding == "utf-8")


def _looks_like_text(head: bytes) -> bool:
    """Whether hardly any byte is a control character that no text holds; an offer of Latin-1 makes sense only then."""
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return controls <= len(head) // 1000
