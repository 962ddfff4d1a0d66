"""A text file too large to be held: its facts are known, and it is read anew whenever its text is needed."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charlstm.config import Encoding
from charlstm.corpus.catalogue import Report
from charlstm.corpus.facts import Facts, as_utf8, gathered
from charlstm.corpus.reading import Pieces, opened
from charlstm.errors import CorpusError


@dataclass(frozen=True)
class TextFile:
    """A text file that was read once, and what was found."""

    path: Path
    encoding: Encoding
    shown: str  # what sentences call it if it can't be read
    facts: Facts
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls, path: Path, encoding: Encoding = "auto", shown: str | None = None, report: Report | None = None
    ) -> "TextFile":
        """Read the file at `path` once, and keep its facts; raises `CorpusError` in one sentence."""
        shown = shown or path.name
        with opened(path, shown) as file:
            pieces = Pieces(file, path.name, encoding)
            facts = gathered(_reported(pieces, file, report))
        return cls(path, encoding, shown, facts, pieces.notes)

    def pieces(self, report: Report | None = None) -> Iterator[str]:
        """The text in pieces, line ends normalised.

        Raises `CorpusError` if the file can't be read any more or, after the last piece, if it is not the same text.
        """
        digest = hashlib.sha256()
        with opened(self.path, self.shown) as file:
            for piece in _reported(Pieces(file, self.path.name, self.encoding), file, report):
                digest.update(as_utf8(piece))
                yield piece
        if digest.hexdigest() != self.facts.sha256:
            raise self.changed()

    def changed(self) -> CorpusError:
        """What to raise when the file turns out to hold another text than the one whose facts are known."""
        return CorpusError(f"{self.shown} has changed since it was first read; leave it alone and start again.")


def _reported(pieces: Pieces, file: BinaryIO, report: Report | None) -> Iterator[str]:
    """`pieces` of `file`, with `report(bytes_so_far, bytes_in_all)` after each."""
    num_bytes = os.fstat(file.fileno()).st_size
    for piece in pieces:
        yield piece
        if report:
            report(min(pieces.num_bytes, num_bytes), num_bytes)  # it may be growing
