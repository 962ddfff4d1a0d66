"""How well a model predicts a text that it adapts to: every character is scored before it is learned from.

These figures are no model's own: they say what reading along is worth, beside those of the model as it is.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from charlstm.config import SampleConfig
from charlstm.evaluation import Loss
from charlstm.generation.dynamic_evaluation import SEGMENT, LearningModel
from charlstm.generation.engine import start_session
from charlstm.generation.ngram_memory import NgramMemory
from charlstm.model import CharLSTM
from charlstm.vocabulary import Tokens

AdaptiveMethod = Literal["ngram", "dynamic"]
MEASURED_AT_MOST = 1 << 18  # characters: minutes by the n-gram
_PIECE = 1024  # characters


class AdaptiveLoss(NamedTuple):
    """Losses on the same characters, in one stream whose state is carried."""

    alone: Loss  # of the model as it is
    adapted: Loss


def evaluate_adaptive(
    model: CharLSTM, tokens: Tokens, method: AdaptiveMethod, on_read: Callable[[int], None] = lambda _: None
) -> AdaptiveLoss:
    """Evaluate tokens (N,), of which the first 2**18 count; the characters after the first are predicted.

    The arithmetic of the model alone is float32. `on_read` is told how many characters were read, piece by piece, and
    may raise to end it.
    """
    ids = np.asarray(tokens[:MEASURED_AT_MOST]).astype(np.int32)
    texts = start_session(model, [ids[:1]], SampleConfig(temperature=0))
    ngram, learning = NgramMemory(), LearningModel(model, int(ids[0])) if method == "dynamic" else None
    ngram.read(ids[:1], np.ones(1))
    alone = adapted = 0.0
    for begin in range(1, len(ids), _PIECE):
        piece = ids[begin : begin + _PIECE]
        surprises = texts.follow(piece[None]).surprises[0].astype(np.float64)
        alone += surprises.sum()
        if learning is None:
            adapted -= np.log(ngram.read(piece, np.exp(-surprises))).sum()
        else:
            adapted += sum(learning.read(piece[at : at + SEGMENT]) for at in range(0, len(piece), SEGMENT))
        on_read(len(piece))
    num_chars = len(ids) - 1
    return AdaptiveLoss(Loss(alone / num_chars, num_chars), Loss(adapted / num_chars, num_chars))
