"""Texts to learn from: `open_corpus` finds and reads one, `Corpus.split` cuts it, `StreamBatches` serves it."""

from charlstm.corpus.batches import StreamBatches
from charlstm.corpus.corpus import Corpus, Split, is_address, open_corpus, open_file
from charlstm.corpus.datasets import DATASETS, OnBytes, default_corpus, is_available_offline
from charlstm.corpus.decoding import decode

__all__ = [
    "DATASETS",
    "Corpus",
    "OnBytes",
    "Split",
    "StreamBatches",
    "decode",
    "default_corpus",
    "is_address",
    "is_available_offline",
    "open_corpus",
    "open_file",
]
