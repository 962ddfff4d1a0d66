"""Texts to learn from: `open_corpus` finds and reads one, `Corpus.split` cuts it, `StreamBatches` serves it."""

from charlstm.corpus.batches import StreamBatches
from charlstm.corpus.corpus import Corpus, Split, open_corpus, open_file
from charlstm.corpus.datasets import DATASETS, OnBytes, default_corpus, is_available_offline
from charlstm.corpus.decoding import decode
from charlstm.corpus.download import is_address
from charlstm.corpus.multi_file import absolute

__all__ = [
    "DATASETS",
    "Corpus",
    "OnBytes",
    "Split",
    "StreamBatches",
    "absolute",
    "decode",
    "default_corpus",
    "is_address",
    "is_available_offline",
    "open_corpus",
    "open_file",
]
