"""Memorization: the longest stretch of a text that stands word for word in the training text.

A suffix array of both together lists all places in the order of what follows them. The corpus's place that is nearest
to one of the text, before or after it in that order, shares the longest stretch with it; from one place of the text to
the next that stretch loses one byte at most (Kasai et al. 2001), so the time grows with the lengths alone, whatever the
texts are. Figures stand in `docs/bounds.md`.
"""

import bisect
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydivsufsort import divsufsort

from charlstm.corpus import Corpus
from charlstm.errors import CorpusError

_LARGEST_BYTES = 64 << 20  # of a corpus: its index takes four times as much
_BETWEEN = b"\xff"  # no byte of UTF-8, so no stretch reaches from the corpus into the text


class Match(NamedTuple):
    """Characters `begin` to `end` of a text, which stand in the corpus from `place` on."""

    begin: int
    end: int
    place: int

    @property
    def length(self) -> int:
        """In characters."""
        return self.end - self.begin


def longest_stretch(corpus: Corpus, text: str) -> Match:
    """Find the longest stretch of `text` that `corpus` holds, the first one of equals; of length 0 if none.

    Raises `CorpusError` for a corpus too large for it.
    """
    data = corpus.text.encode("utf-8", "replace")
    if len(data) > _LARGEST_BYTES:
        raise CorpusError(
            f"{corpus.name} has {len(data) / 1e6:.0f} MB; texts are compared with corpora of at most "
            f"{_LARGEST_BYTES / 1e6:.0f} MB."
        )
    starts = _starts_of(text)
    begin, longest, place = 0, 0, 0
    for at, number_of_bytes, found in _matches(data, text.encode("utf-8", "replace")):
        number = bisect.bisect_left(starts, at) if number_of_bytes > longest else 0
        if number_of_bytes <= longest or starts[number] != at:
            continue  # no longer than what is known, or amid a character
        length = bisect.bisect_right(starts, at + number_of_bytes) - 1 - number  # whole characters
        if length > longest:
            begin, longest, place = number, length, found
    return Match(begin, begin + longest, len(data[:place].decode("utf-8", "replace")))


def _matches(corpus: bytes, text: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield for each byte of `text` its place, how many bytes from there on stand in `corpus`, and where."""
    before, after = _neighbours(corpus + _BETWEEN + text, len(corpus))
    ways = [[before.tolist(), 0], [after.tolist(), 0]]
    for at in range(len(text)):
        best, where = 0, 0
        for way in ways:
            place, shared = way[0][at], max(0, way[1] - 1)
            if place < 0:
                shared = 0
            else:
                while text[at + shared : at + shared + 1] == corpus[place + shared : place + shared + 1] != b"":
                    shared += 1
            way[1] = shared
            if shared > best:
                best, where = shared, place
        yield at, best, where


def _neighbours(data: bytes, size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return for each place of the text, behind `size` bytes of corpus, the nearest of the corpus before and after it.

    -1 where there is none.
    """
    places = divsufsort(data)
    is_corpus = places < size
    marked = np.where(is_corpus, places, -1)
    ranks = np.arange(len(places), dtype=np.int32)
    last = np.maximum.accumulate(np.where(is_corpus, ranks, -1))
    first = np.minimum.accumulate(np.where(is_corpus, ranks, len(places))[::-1])[::-1]
    found = []
    for rank, is_there in ((last, last >= 0), (first, first < len(places))):
        nearest = np.where(is_there, marked[np.where(is_there, rank, 0)], -1)
        of_text = np.full(len(places), -1, np.int32)
        of_text[places] = nearest
        found.append(of_text[size + 1 :])
    return found[0], found[1]


def _starts_of(text: str) -> list[int]:
    """Return where each character's bytes begin, and where the last one's end."""
    sizes = [len(char.encode("utf-8", "replace")) for char in text]
    return list(itertools.accumulate(sizes, initial=0))
