"""Advice for short texts: which bundled model a run had better start from."""

import numpy as np

from charlstm.corpus import Corpus
from charlstm.errors import CharLSTMError
from charlstm.evaluation import evaluate_quickly
from charlstm.language_model import LanguageModel
from charlstm.places import BUNDLED, BUNDLED_MODELS
from charlstm.runs.continuation import SHORT_CHARS

# Of the letters' entropy: *measured*, from a model at 0.58 and 0.41 of it a run came lower than from nothing, in one
# minute; from one at 0.84, and in another language above 1, it did not (docs/results.md).
_KNOWN_LANGUAGE = 2 / 3
_KNOWN_SHARE = 0.9  # of the text, in characters that the model has seen


def advise_parent(corpus: Corpus) -> str:
    """Return advice to start from the bundled model that a short text surprises least, in a sentence.

    Empty for a longer text, and where none of the models tells much more of it than its letters' frequencies do.
    """
    if corpus.num_chars >= SHORT_CHARS:
        return ""
    counts = np.array([count for _, count in corpus.frequencies], dtype=np.float64)
    entropy = -float((counts / counts.sum() * np.log(counts / counts.sum())).sum())
    least, best = _KNOWN_LANGUAGE * entropy, ""
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
