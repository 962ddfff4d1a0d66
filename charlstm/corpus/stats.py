"""Text statistics, computed in one reading: length, hash, character counts, common line beginnings."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.vocabulary import code_points

_NUM_BEGINNINGS = 3
_LONGEST_WORD = 16  # characters of a beginning
_SURROGATES = re.compile("[\ud800-\udfff]")


class TextStats(NamedTuple):
    """Length, identity and alphabet of a text."""

    num_chars: int
    num_bytes: int  # of the text as UTF-8
    sha256: str  # of the text as UTF-8
    frequencies: tuple[tuple[str, int], ...]  # distinct characters and their counts, the most frequent first


def compute_stats(pieces: Iterable[str]) -> TextStats:
    """Compute the statistics of the text that `pieces` make up."""
    digest, num_bytes = hashlib.sha256(), 0
    totals = np.zeros(0, np.int64)  # how often each code point occurs
    for piece in pieces:
        utf8 = as_utf8(piece)
        digest.update(utf8)
        num_bytes += len(utf8)
        counts = _counts(piece)
        if len(counts) > len(totals):
            totals, counts = counts, totals
        totals[: len(counts)] += counts
    codes = np.flatnonzero(totals)
    codes = codes[np.argsort(-totals[codes], kind="stable")]
    frequencies = tuple((chr(code), count) for code, count in zip(codes.tolist(), totals[codes].tolist(), strict=True))
    return TextStats(int(totals.sum()), num_bytes, digest.hexdigest(), frequencies)


def as_utf8(text: str) -> bytes:
    """Encode a text for its hash; half a character (a lone surrogate) is no error."""
    return text.encode("utf-8", "surrogatepass")


def _counts(piece: str) -> NDArray[np.int64]:
    """Count each code point up to the largest."""
    try:
        narrow = piece.encode("latin-1")
    except UnicodeEncodeError:
        return np.bincount(code_points(piece))
    # Two characters at a time: counting pairs, of which there are 65,536, is twice as fast as counting characters.
    pairs = np.bincount(np.frombuffer(narrow, np.uint16, len(narrow) // 2), minlength=1 << 16).reshape(256, 256)
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    if len(narrow) % 2:
        counts[narrow[-1]] += 1
    return counts


def common_line_starts(text: str) -> tuple[str, ...]:
    """Return the three most frequent line beginnings: a word and a space, or four characters if no space is near.

    Indentation does not count, nor do lines that begin without a letter or a digit. Halves of characters (lone
    surrogates) begin none, as no file could keep them.
    """
    lines = (line.lstrip() for line in text.split("\n"))
    words = (line[: at + 1] if (at := line.find(" ", 0, _LONGEST_WORD)) > 0 else line[:4] for line in lines)
    counts = Counter(word for word in words if any(map(str.isalnum, word)) and not _SURROGATES.search(word))
    return tuple(word for word, _ in counts.most_common(_NUM_BEGINNINGS))
