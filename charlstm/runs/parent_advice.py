"""Advice for short texts: which bundled model a run had better start from."""

import numpy as np

from charlstm.corpus import Corpus
from charlstm.errors import CharLSTMError
from charlstm.evaluation import evaluate_quickly
from charlstm.language_model import LanguageModel
from charlstm.places import BUNDLED, BUNDLED_MODELS
from charlstm.runs.continuation import SHORT_CHARS

_KNOWN_SHARE = 0.9  # of the text, in characters that the model has seen


def advise_parent(corpus: Corpus) -> str:
    """Return advice to start from the bundled model that a short text surprises least, in a sentence.

    Empty for a longer text, and where its letters' frequencies tell more of it than any of the models does.
    """
    if corpus.num_chars >= SHORT_CHARS:
        return ""
    counts = np.array([count for _, count in corpus.frequencies], dtype=np.float64)
    least, best = -float((counts / counts.sum() * np.log(counts / counts.sum())).sum()), ""
    for name in BUNDLED:
        loss = _loss_of(name, corpus)
        least, best = (loss, name) if loss < least else (least, best)
    if not best:
        return ""
    return (
        f"{corpus.num_chars:,} characters are few: a run that begins with the model {best}, which can write already, "
        "comes to a lower loss."
    )


def _loss_of(name: str, corpus: Corpus) -> float:
    """Return a bundled model's nats per character on the text, infinite if there is none or it knows too little."""
    try:
        bundled = LanguageModel.load(BUNDLED_MODELS / name)
    except CharLSTMError:
        return float("inf")
    known = {*bundled.vocabulary.characters}
    if sum(count for char, count in corpus.frequencies if char in known) < _KNOWN_SHARE * corpus.num_chars:
        return float("inf")
    characters = (char for char, _ in corpus.frequencies)
    extended, _ = bundled.with_characters(characters, bundled.model.config, seed=1)
    text = "".join(corpus.pieces())
    return evaluate_quickly(extended.model, extended.vocabulary.encode(text)).nats
