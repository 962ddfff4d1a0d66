"""Texts to learn from: `open_corpus` finds and reads one, `Corpus.split` cuts it, `StreamBatches` serves it."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from charlstm.config import Encoding, ModelConfig, TrainConfig
from charlstm.corpus.batches import StreamBatches
from charlstm.corpus.catalogue import DESCRIPTIONS, Report, corpus_bytes, default_corpus, is_at_hand
from charlstm.corpus.reading import decode, read_file
from charlstm.errors import CorpusError
from charlstm.vocabulary import Tokens, Vocabulary

__all__ = [
    "DESCRIPTIONS",
    "Corpus",
    "Report",
    "Split",
    "StreamBatches",
    "decode",
    "default_corpus",
    "is_at_hand",
    "open_corpus",
    "read_file",
]


@dataclass(frozen=True)
class Corpus:
    """A text, the name to show for it, and notes on what was done while reading it."""

    name: str
    text: str
    notes: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Hash of the text as UTF-8."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def frequencies(self) -> list[tuple[str, int]]:
        """Distinct characters and their counts, the most frequent first."""
        return Counter(self.text).most_common()

    def split(self, model: ModelConfig, train: TrainConfig, vocabulary: Vocabulary | None = None) -> "Split":
        """Encode and cut into training and validation; the vocabulary covers the whole text unless one is given.

        Raises `CorpusError` with the length needed if the text is too short, `VocabularyError` if the vocabulary does
        not cover it or the prompt of the samples.
        """
        vocabulary = vocabulary or Vocabulary.from_text(self.text, model.level)
        tokens = vocabulary.encode(self.text)
        num_val = max(2, round(len(tokens) * train.val_fraction))
        num_train = len(tokens) - num_val
        if num_train < train.batch_size + 1:
            needed = _length_needed(train)
            unit = "bytes" if vocabulary.level == "bytes" else "characters"
            raise CorpusError(
                f"{self.name} has {len(tokens):,} {unit}; {train.batch_size} parallel streams "
                f"and {train.val_fraction:.0%} for validation need at least {needed:,}: add text or lower batch_size."
            )
        vocabulary.fit(train.sample_prompt)  # what can't be sampled from is said before anything is trained
        return Split(vocabulary, tokens[:num_train], tokens[num_train:])


@dataclass(frozen=True)
class Split:
    """Training and validation tokens, each contiguous, (N,) of the vocabulary's integer type."""

    vocabulary: Vocabulary
    train: Tokens
    validation: Tokens


def _length_needed(train: TrainConfig) -> int:
    """The shortest text that leaves `batch_size` + 1 characters for training and 2 for validation."""
    length = train.batch_size + 3
    while length - max(2, round(length * train.val_fraction)) < train.batch_size + 1:
        length += 1
    return length


def open_corpus(
    name_or_path: str, encoding: Encoding = "auto", report: Report | None = None, shown: str | None = None
) -> Corpus:
    """A named corpus or a text file; raises `CorpusError` in one sentence, which calls a file `shown`.

    `report(bytes_so_far, bytes_in_all)` is called while something is downloaded.
    """
    if name_or_path in DESCRIPTIONS:
        return Corpus(name_or_path, *decode(corpus_bytes(name_or_path, report), name_or_path))
    try:
        path = Path(name_or_path).expanduser()
    except RuntimeError:  # ~name of nobody here
        path = Path(name_or_path)
    return Corpus(path.name, *read_file(path, encoding, shown))
