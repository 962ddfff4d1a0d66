"""Decode errors: what is wrong with a file that can't be read as UTF-8, and what to do, in one sentence."""

import codecs
import re
from typing import BinaryIO

from charlstm.corpus.encoding_detection import detect_encoding, detect_wide
from charlstm.errors import CorpusError

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
