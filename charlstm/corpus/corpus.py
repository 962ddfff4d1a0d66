"""Texts to learn from: `open_corpus` finds and reads one, `Corpus.split` cuts it, `StreamBatches` serves it."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.config import ModelConfig, TrainConfig
from charlstm.config_fields import Encoding
from charlstm.corpus.datasets import DATASETS, OnBytes, corpus_bytes
from charlstm.corpus.decoding import CHUNK_SIZE, TextChunks, decode, open_text
from charlstm.corpus.download import fetch_text
from charlstm.corpus.multi_file import Joined, absolute, find_files, join
from charlstm.corpus.token_cache import open_cached_tokens
from charlstm.data_folders import expand
from charlstm.errors import CorpusError
from charlstm.vocabulary import Tokens, Vocabulary, code_points

HELD_BYTES = 32 << 20  # a larger file stays a file: in memory one emoji makes every character take four bytes
_NUM_BEGINNINGS = 3
_LONGEST_WORD = 16  # characters of a beginning
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character
_SURROGATES_TOO = "surrogatepass"  # a text with one in it has a hash all the same


class TextStats(NamedTuple):
    """Length, identity and alphabet of a text."""

    num_chars: int
    num_bytes: int  # of the text as UTF-8
    sha256: str  # of the text as UTF-8
    frequencies: tuple[tuple[str, int], ...]  # distinct characters and their counts, the most frequent first


@dataclass(frozen=True)
class TextFile:
    """A text file that was read once, and what was found."""

    path: Path
    encoding: Encoding
    shown: str  # what sentences call it if it can't be read
    facts: TextStats
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls, path: Path, encoding: Encoding = "auto", shown: str | None = None, report: OnBytes | None = None
    ) -> "TextFile":
        """Read the file at `path` once, and keep its facts; raises `CorpusError` in one sentence."""
        shown = shown or path.name
        with open_text(path, shown) as file:
            pieces = TextChunks(file, path.name, encoding)
            facts = compute_stats(_report_progress(pieces, file, report))
        return cls(path, encoding, shown, facts, pieces.notes)

    def pieces(self, report: OnBytes | None = None) -> Iterator[str]:
        """Yield the text in chunks, line ends normalised.

        Raises `CorpusError` if the file can't be read any more or, after the last piece, if it is not the same text.
        """
        digest = hashlib.sha256()
        with open_text(self.path, self.shown) as file:
            for piece in _report_progress(TextChunks(file, self.path.name, self.encoding), file, report):
                digest.update(piece.encode("utf-8", _SURROGATES_TOO))
                yield piece
        if digest.hexdigest() != self.facts.sha256:
            raise self.change_error()

    def change_error(self) -> CorpusError:
        """Make the error for a file that turns out to hold another text than the one whose statistics are known."""
        return CorpusError(f"{self.shown} has changed since it was first read; leave it alone and start again.")


@dataclass(frozen=True)
class Corpus:
    """A text, the name to show for it, and notes on what was done while reading it."""

    name: str
    source: str | TextFile  # the text itself, or a file too large to be held, which is read wherever it is needed
    notes: tuple[str, ...] = ()
    # its name, absolute path or address, by which `open_corpus` finds it from any folder
    place: str = field(default="", compare=False)
    is_fetched: bool = False  # from an address, where another text may stand tomorrow

    def pieces(self, report: OnBytes | None = None) -> Iterator[str]:
        """Yield the text in chunks; `report(bytes_so_far, bytes_in_all)` follows the reading of a file."""
        if isinstance(self.source, TextFile):
            return self.source.pieces(report)
        text = self.source
        return (text[begin : begin + CHUNK_SIZE] for begin in range(0, len(text), CHUNK_SIZE))

    @property
    def text(self) -> str:
        """The text in one; brings into memory all of a file that is too large for it."""
        return self.source if isinstance(self.source, str) else "".join(self.pieces())

    @cached_property
    def _facts(self) -> TextStats:
        return self.source.facts if isinstance(self.source, TextFile) else compute_stats(self.pieces())

    @property
    def num_chars(self) -> int:
        """Length of the text in characters."""
        return self._facts.num_chars

    @property
    def sha256(self) -> str:
        """Hash of the text as UTF-8."""
        return self._facts.sha256

    @property
    def frequencies(self) -> tuple[tuple[str, int], ...]:
        """Distinct characters and their counts, the most frequent first."""
        return self._facts.frequencies

    @cached_property
    def beginnings(self) -> tuple[str, ...]:
        """The most common beginnings of lines, the most frequent first; of a large file, in its first chunk."""
        return common_line_starts(next(self.pieces(), ""))

    def check(self, model: ModelConfig, train: TrainConfig, vocabulary: Vocabulary | None = None) -> Vocabulary:
        """Raise early what `split` would raise; return the vocabulary that it would encode with.

        Only characters outside of a given vocabulary are left for `split` to find.
        """
        characters = "".join(char for char, _ in self.frequencies)
        vocabulary = vocabulary or Vocabulary.from_text(characters, model.level)
        num_tokens = self._num_tokens(vocabulary)
        if num_tokens - _num_validation(num_tokens, train) < train.batch_size + 1:
            unit = "bytes" if vocabulary.level == "bytes" else "characters"
            raise CorpusError(
                f"{self.name} has {num_tokens:,} {unit}; {train.batch_size} parallel streams "
                f"and {train.val_fraction:.0%} for validation need at least {_length_needed(train):,}: "
                "add text or lower batch_size."
            )
        vocabulary.normalize(train.sample_prompt)  # what can't be sampled from is said before anything is trained
        return vocabulary

    def in_known_form(self, vocabulary: Vocabulary) -> "Corpus":
        """Return the text in the normal form of Unicode that `vocabulary` knows, with a note where it is another.

        A file too large to be held stays as it is.
        """
        if isinstance(self.source, TextFile):
            return self
        text = vocabulary.in_known_form(self.source)
        if text == self.source:
            return self
        note = "its letters are read in the normal form of Unicode that the model knows, composed or not"
        return replace(self, source=text, notes=(*self.notes, note))

    def split(
        self,
        model: ModelConfig,
        train: TrainConfig,
        vocabulary: Vocabulary | None = None,
        report: OnBytes | None = None,
    ) -> "Split":
        """Encode and cut into training and validation; the vocabulary covers the whole text unless one is given.

        `report(bytes_so_far, bytes_in_all)` follows the encoding of a large file, whose tokens are then read from
        the user's cache. Raises `CorpusError` with the length needed if the text is too short, `VocabularyError` if
        the vocabulary does not cover it or the prompt of the samples.
        """
        vocabulary = self.check(model, train, vocabulary)
        num_tokens = self._num_tokens(vocabulary)
        num_train = num_tokens - _num_validation(num_tokens, train)
        if isinstance(self.source, TextFile):
            stored = open_cached_tokens(self.source, vocabulary, report)
            return Split(vocabulary, stored[:num_train], stored[num_train:])
        tokens = vocabulary.encode(self.source)
        return Split(vocabulary, tokens[:num_train], tokens[num_train:])

    def _num_tokens(self, vocabulary: Vocabulary) -> int:
        return self._facts.num_bytes if vocabulary.level == "bytes" else self._facts.num_chars


@dataclass(frozen=True)
class Split:
    """Training and validation tokens, each contiguous, (N,) of the vocabulary's integer type."""

    vocabulary: Vocabulary
    train: Tokens
    validation: Tokens


def _num_validation(num_tokens: int, train: TrainConfig) -> int:
    """Return the number of tokens kept for validation: two at least, since one is predicted from another."""
    return max(2, round(num_tokens * train.val_fraction))


def _length_needed(train: TrainConfig) -> int:
    """Return the shortest text that leaves `batch_size` + 1 characters for training and 2 for validation."""
    length = train.batch_size + 3
    while length - _num_validation(length, train) < train.batch_size + 1:
        length += 1
    return length


def is_address(name: str) -> bool:
    """Return whether a text of this name is fetched from an address."""
    return bool(re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE))


def open_corpus(
    name_or_path: str, encoding: Encoding = "auto", report: OnBytes | None = None, shown: str | None = None
) -> Corpus:
    """Open a named corpus, a text file, several as one, or the text at an address.

    Raises `CorpusError` (or `HubError`) in one sentence, which calls a file `shown`.

    `report(bytes_so_far, bytes_in_all)` is called while something is downloaded or a large file is read.
    """
    if name_or_path in DATASETS:
        return Corpus(name_or_path, *decode(corpus_bytes(name_or_path, report), name_or_path), place=name_or_path)
    if is_address(name_or_path):
        fetched = fetch_text(name_or_path, report)
        corpus = open_file(fetched.path, encoding, fetched.name, fetched.name, report)
        notes = (*fetched.notes, *corpus.notes)
        return replace(corpus, notes=notes, place=fetched.name, is_fetched=True)
    path = Path(name_or_path)
    if not os.path.isfile(path):  # noqa: PTH113  a whole text in place of a path is no error
        path = expand(path)
        if joined := find_files(name_or_path, path):
            corpus = _open_joined(name_or_path, joined, encoding, report)
            return replace(corpus, place=absolute(name_or_path, path))
    return replace(open_file(path, encoding, shown=shown, report=report), place=str(path.resolve()))


def _open_joined(named: str, joined: Joined, encoding: Encoding, report: OnBytes | None) -> Corpus:
    try:
        path = join(joined, encoding)
    except OSError as error:
        raise CorpusError(f"the files of {named} can't be read or joined ({error.strerror}); check them.") from None
    name = Path(named).name if os.pathsep not in named else f"{len(joined.paths):,} files"
    corpus = open_file(path, "utf-8", name, name, report)
    skipped = f"; {joined.num_skipped:,} hidden, empty or binary ones were left out" if joined.num_skipped else ""
    return replace(corpus, notes=(f"{len(joined.paths):,} files make up the text{skipped}.", *corpus.notes))


def open_file(
    path: Path,
    encoding: Encoding = "auto",
    name: str | None = None,
    shown: str | None = None,
    report: OnBytes | None = None,
) -> Corpus:
    """Open a text file as a corpus called `name`, by default the file's; hold it in memory unless it is large.

    Raises `CorpusError` in one sentence, which calls the file `shown`, by default its bare name: a path is told only
    to who typed it. `report(bytes_so_far, bytes_in_all)` follows the reading of a large file.
    """
    name, shown = name or path.name, shown or path.name
    with open_text(path, shown) as file:
        if os.fstat(file.fileno()).st_size <= HELD_BYTES:
            return Corpus(name, *decode(file.read(), path.name, encoding))
    source = TextFile.read(path, encoding, shown, report)
    return Corpus(name, source, source.notes)


def compute_stats(pieces: Iterable[str]) -> TextStats:
    """Compute the statistics of the text that `pieces` make up."""
    digest, num_bytes = hashlib.sha256(), 0
    totals = np.zeros(0, np.int64)  # how often each code point occurs
    for piece in pieces:
        utf8 = piece.encode("utf-8", _SURROGATES_TOO)
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
    counts = Counter(word for word in words if any(map(str.isalnum, word)) and not _SURROGATE.search(word))
    return tuple(word for word, _ in counts.most_common(_NUM_BEGINNINGS))


def _report_progress(pieces: TextChunks, file: BinaryIO, report: OnBytes | None) -> Iterator[str]:
    """Yield `pieces` of `file`, calling `report(bytes_so_far, bytes_in_all)` after each."""
    num_bytes = os.fstat(file.fileno()).st_size
    for piece in pieces:
        yield piece
        if report:
            report(min(pieces.num_bytes, num_bytes), num_bytes)  # it may be growing
