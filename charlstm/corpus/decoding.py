"""Decoding of any file a person may bring, in chunks: a file of any size takes the same memory.

Of a file that can't be read, one sentence says what is wrong with it, and what to do.
"""

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from charlstm.config_fields import Encoding
from charlstm.corpus.encoding_detection import detect_encoding, detect_wide
from charlstm.errors import CorpusError
from charlstm.safetensors_header import LFS_ADVICE, LFS_POINTER, POINTER_BYTES

HEAD_BYTES = 1 << 16
_PIECE_BYTES = 1 << 18
# By accident some bytes of an EUC-JP or GB18030 text make up UTF-8 characters, but fewer than belong to none.
_MOST_FOREIGN = 1  # foreign bytes for each good character outside of ASCII, in what is still called UTF-8


def diagnose(file: BinaryIO, name: str, is_asked_for: bool) -> CorpusError:
    """Make the error for `file`, called `name`, which UTF-8 can't read or which holds NUL bytes."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    scan = _Scan(file)
    if scan.holds_nul and not is_asked_for:
        if wide := detect_wide(head):
            return CorpusError(f"{name} holds NUL bytes: it is {wide.upper()} without a mark; say encoding {wide}.")
        return CorpusError(
            f"{name} is not a text file: it holds NUL bytes; choose another one, or say encoding utf-16 if it is that."
        )
    if scan.num_good * _MOST_FOREIGN >= scan.num_foreign and scan.num_good:
        return _stray(name, scan)
    if not _looks_like_text(head):
        return CorpusError(f"{name} is not a text file; choose another one.")
    return _other_encoding(name, scan, head)


def _stray(name: str, scan: "_Scan") -> CorpusError:
    number = f"{scan.num_foreign:,} byte{'s' * (scan.num_foreign > 1)}"
    return CorpusError(
        f"{name} is UTF-8 but for {number}, the first on line {scan.line:,} ({scan.first}); correct the text there, or "
        "leave such bytes out with `iconv -c -f UTF-8 -t UTF-8`."
    )


def _other_encoding(name: str, scan: "_Scan", head: bytes) -> CorpusError:
    found = f"{name} is not UTF-8 ({scan.first})"
    if scan.is_end and scan.num_foreign == 1 and scan.first_byte >= 0xC2:
        return CorpusError(f"{found}: its last byte is all that is wrong; remove it, or name the file's encoding.")
    # what stands around the first foreign byte, wherever it is: the head may be plain ASCII
    codec = detect_encoding(scan.sample or head)
    if codec == "latin-1":
        return CorpusError(f"{found}; if it is Latin-1 text, say encoding latin-1.")
    if codec:
        return CorpusError(f"{found}; it looks like {codec} text: if it is, say encoding {codec}.")
    return CorpusError(f"{found}; name the encoding that it was written in, such as cp1252, koi8-r or gb18030.")


def _looks_like_text(head: bytes) -> bool:
    """Return whether hardly any byte is a control character that no text holds; advice makes sense only then."""
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return controls <= len(head) // 1000


class _Scan:
    """Statistics of one scan of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self.num_good, self.num_foreign = 0, 0  # characters outside of ASCII; bytes that belong to none
        self.first, self.first_byte, self.line = "", 0, 1
        self.holds_nul, self.is_end = False, False
        self.sample = b""
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        position, data = 0, b"-"
        while data:
            data = file.read(_PIECE_BYTES)
            self.holds_nul |= b"\0" in data
            position = self._add(decoder.decode(data, final=not data), position)
        self.is_end = self.num_foreign == 1 and self._first_at == position - 1
        if self.num_foreign:
            self._keep_sample(file)

    def _add(self, text: str, position: int) -> int:
        """Count what is in `text`, which begins at byte `position`; returns where it ends."""
        if text.isascii():
            self.line += 0 if self.num_foreign else text.count("\n")
            return position + len(text)
        foreign = len(re.findall("[\udc80-\udcff]", text))
        if foreign and not self.num_foreign:
            at = re.search("[\udc80-\udcff]", text)
            assert at is not None
            before = text[: at.start()]
            self._first_at = position + len(before.encode())
            self.first_byte = ord(text[at.start()]) - 0xDC00
            self.first = f"byte 0x{self.first_byte:02X} at position {self._first_at:,}"
            self.line += before.count("\n")
        elif not self.num_foreign:
            self.line += text.count("\n")
        self.num_foreign += foreign
        self.num_good += len(re.findall("[^\0-\x7f]", text)) - foreign
        return position + len(text.encode("utf-8", "surrogateescape"))

    def _keep_sample(self, file: BinaryIO) -> None:
        """Keep the text from the beginning of the line of the first foreign byte on."""
        begin = max(0, self._first_at - 1000)
        file.seek(begin)
        before = file.read(self._first_at - begin)
        self.sample = before[before.rfind(b"\n") + 1 :] if b"\n" in before else (b"" if begin else before)
        self.sample += file.read(HEAD_BYTES)


CHUNK_SIZE = 1 << 18  # bytes read, or characters handled, at once: large enough for speed, small enough for a cache
_MARKS = {  # in this order: the mark of UTF-32-LE begins with that of UTF-16-LE
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_NATIVE = "-le" if sys.byteorder == "little" else "-be"
_CONTINUED = bytes(range(0x80, 0xC0))  # bytes that are never the first of a UTF-8 character
_C1 = re.compile("[\x80-\x9f]")


@contextmanager
def open_text(path: Path, shown: str) -> Iterator[BinaryIO]:
    """Return the file at `path`, open for reading; raise `CorpusError` in one sentence, which calls it `shown`.

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
    """Decode `data` as `TextChunks` does; return the text and notes on what was done to it."""
    pieces = TextChunks(io.BytesIO(data), name, encoding)
    return "".join(pieces), pieces.notes


class _Form(NamedTuple):
    """A file's encoding and its byte-order mark."""

    mark: bytes  # byte-order mark at the beginning, which is not part of the text
    codec: str
    note: str | None
    is_asked_for: bool  # or found out


class TextChunks:
    """One way through the text of an open file; raises `CorpusError`, in one sentence, where it is none.

    `auto` reads UTF-8 with or without a byte-order mark, and UTF-16 and UTF-32 with one; it never guesses another
    encoding, it offers it. Half a UTF-8 character at either end, as cutting by bytes leaves it, is left out and noted.
    Line ends become plain newlines. A text with an error in it is refused at the error or after the last piece.
    """

    def __init__(self, file: BinaryIO, name: str, encoding: Encoding = "auto", piece_bytes: int = CHUNK_SIZE) -> None:
        self._file, self._name, self._encoding, self._piece_bytes = file, name, encoding, piece_bytes
        self.num_bytes = 0  # read so far
        self.notes: tuple[str, ...] = ()  # what was done to the text; known after the last piece

    def __iter__(self) -> Iterator[str]:
        """Yield the text in chunks that are not empty, but of any length."""
        self._file.seek(0)
        head = self._file.read(POINTER_BYTES)
        if LFS_POINTER.match(head):
            raise CorpusError(f"{self._name} {LFS_ADVICE}.")
        form = _form(head[:4], self._encoding)
        self.num_bytes = self._file.seek(len(form.mark))
        decoder = _NewlineDecoder(form.codec)
        found = _Found()
        for data in self._data(form, found):
            try:
                piece = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                piece = self._without_cut_end(form, decoder, error, is_last=not data)
                found.end = len(error.object) - error.start
            if piece:
                found.add(piece, form)
                yield piece
        self._check(form, found)
        self.notes = (*_notes(form, found), *decoder.notes)

    def _data(self, form: _Form, found: "_Found") -> Iterator[bytes]:
        """Yield the file's bytes in chunks, and an empty one at the end."""
        is_first, data = True, b"-"
        while data:
            data = self._file.read(self._piece_bytes)
            self.num_bytes += len(data)
            if form.codec == "utf-8" and not form.is_asked_for and b"\0" in data:
                raise diagnose(self._file, self._name, form.is_asked_for)
            if is_first and form.codec == "utf-8" and not form.mark:
                data = self._without_cut_beginning(data, found)
            is_first = False
            yield data

    def _without_cut_beginning(self, data: bytes, found: "_Found") -> bytes:
        """Drop up to three bytes at the beginning of `data` that continue a character of another file."""
        while len(data) < 4 and (more := self._file.read(self._piece_bytes)):  # pieces may be shorter than that
            self.num_bytes += len(more)
            data += more
        found.beginning = len(data) - len(data.lstrip(_CONTINUED))
        if found.beginning > 3:
            raise diagnose(self._file, self._name, is_asked_for=True)
        return data[found.beginning :] or self._file.read(self._piece_bytes)

    def _without_cut_end(
        self, form: _Form, decoder: "_NewlineDecoder", error: UnicodeDecodeError, is_last: bool
    ) -> str:
        """Return what is left to read of a file whose last character is cut; else raise `CorpusError`."""
        if form.codec != "utf-8":
            shown = form.codec[:6] if form.codec.startswith(("utf-16", "utf-32")) else form.codec
            raise CorpusError(f"{self._name} is not {shown}; choose another encoding, or auto.") from None
        if not is_last or error.end != len(error.object) or error.reason != "unexpected end of data":
            raise diagnose(self._file, self._name, form.is_asked_for) from None
        return decoder.finish()

    def _check(self, form: _Form, found: "_Found") -> None:
        """Raise `CorpusError` for a text that turned out to be none."""
        # A single byte that could begin or continue a character shows UTF-8 only where there are others of UTF-8.
        if (found.beginning or found.end) and found.is_ascii and found.beginning < 2 and found.end < 2:
            raise diagnose(self._file, self._name, form.is_asked_for)
        if found.is_empty:
            raise CorpusError(f"{self._name} is empty; choose a text with some characters in it.")
        if found.holds_nul:
            raise CorpusError(f"{self._name} holds NUL bytes, so it is not plain text; choose a text file.")


@dataclass
class _Found:
    """Findings of one reading of a file."""

    is_empty: bool = True
    is_ascii: bool = True
    holds_nul: bool = False
    num_controls: int = 0  # characters U+0080 to U+009F, where an encoding of ISO was asked for
    num_marks: int = 0  # byte-order marks within the text
    beginning: int = 0  # bytes of a cut character left out at the beginning
    end: int = 0  # and at the end

    def add(self, piece: str, form: _Form) -> None:
        """Look at one more piece, which is not empty."""
        self.is_empty = False
        self.is_ascii &= piece.isascii()
        self.holds_nul |= "\0" in piece
        self.num_marks += piece.count("\ufeff")
        if form.codec.startswith("iso8859"):
            self.num_controls += len(_C1.findall(piece))


class _NewlineDecoder:
    """Bytes to text with plain newlines."""

    def __init__(self, codec: str) -> None:
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._codec = codecs.getincrementaldecoder(codec)()

    def decode(self, data: bytes, final: bool) -> str:
        return self._newlines.decode(self._codec.decode(data, final), final)

    def finish(self) -> str:
        """Return what was held back of the line ends."""
        return self._newlines.decode("", final=True)

    @property
    def notes(self) -> tuple[str, ...]:
        is_plain = self._newlines.newlines in (None, "\n")
        return () if is_plain else ("Windows or old Mac line ends were turned into plain newlines.",)


def _notes(form: _Form, found: _Found) -> Iterator[str]:
    if form.note:
        yield form.note
    for num_bytes, verb in ((found.beginning, "begins"), (found.end, "ends")):
        if num_bytes:
            plural = "s" * (num_bytes > 1)
            yield f"It {verb} in the middle of a character, whose {num_bytes} byte{plural} were left out."
    if found.num_marks:
        yield f"{found.num_marks:,} byte-order marks within the text stay in it, as files put together leave them."
    if found.num_controls:
        yield (
            f"{found.num_controls:,} control characters (U+0080 to U+009F) are in it: "
            "it may be Windows-1252 text, which encoding cp1252 reads."
        )


def _form(head: bytes, encoding: Encoding) -> _Form:
    """Return the form of a file that begins with `head`."""
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    if encoding == "auto" and mark:
        kind = _MARKS[mark][:6].upper()
        return _Form(mark, _MARKS[mark], f"Read as {kind}, as its byte-order mark says.", is_asked_for=False)
    codec = "utf-8" if encoding == "auto" else codecs.lookup(encoding).name
    if codec in ("utf-8", "utf-8-sig"):
        mark = codecs.BOM_UTF8 if head.startswith(codecs.BOM_UTF8) else b""
        return _Form(mark, "utf-8", None, is_asked_for=encoding != "auto")
    note = f"Read as {encoding}, as asked."
    if codec in ("utf-16", "utf-32"):
        asked = next((mark for mark in _MARKS if head.startswith(mark) and _MARKS[mark].startswith(codec)), b"")
        return _Form(asked, _MARKS.get(asked, codec + _NATIVE), note, is_asked_for=True)
    own_mark = next((mark for mark in _MARKS if _MARKS[mark] == codec and head.startswith(mark)), b"")
    return _Form(own_mark, codec, note, is_asked_for=True)
