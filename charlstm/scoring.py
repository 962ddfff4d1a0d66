"""What a model thinks of a text that somebody else wrote: exactly, in float32."""

import math
from typing import NamedTuple

import numpy as np

from charlstm.config import SampleConfig
from charlstm.engine import begin
from charlstm.errors import VocabularyError
from charlstm.model import CharLSTM
from charlstm.sampling import TextChunk, chunk_of, opening_of
from charlstm.vocabulary import Vocabulary


class Score(NamedTuple):
    """A text's figures; `chunk` holds those of each character."""

    nats: float  # per character
    num_chars: int
    chunk: TextChunk

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """Among how many equally likely characters the model would have had to guess."""
        return math.exp(self.nats)


def score(model: CharLSTM, vocabulary: Vocabulary, text: str, num_likeliest: int = 0) -> Score:
    """How well `model` predicts `text`, from its first character on, which it expects at the beginning of a line.

    Raises `VocabularyError` for an empty text and for characters that the model has never seen.
    """
    fitted = vocabulary.fit(text)
    if not fitted:
        raise VocabularyError("there is no text to score; write or paste some.")
    ids = vocabulary.encode(fitted).astype(np.int32)
    texts = begin(model, [vocabulary.encode(opening_of(vocabulary)).astype(np.int32)], SampleConfig(temperature=0))
    chunk = chunk_of(vocabulary, texts.follow(ids[None], num_likeliest))
    return Score(math.fsum(chunk.surprises) / len(fitted), len(fitted), chunk)
