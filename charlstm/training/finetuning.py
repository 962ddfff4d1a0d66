"""Fine-tuning: a trained model as the start of a new run, with the same sizes and new characters added."""

from collections.abc import Iterable

import torch

from charlstm.config import ModelConfig
from charlstm.language_model import LanguageModel
from charlstm.vocabulary import Vocabulary


def with_characters(
    parent: LanguageModel, characters: Iterable[str], config: ModelConfig, seed: int
) -> tuple[LanguageModel, tuple[str, ...]]:
    """Return `parent` with `characters` added to its vocabulary, and those of them that are new.

    Known characters keep their ids and weights. The input vectors of new ones are initialized as in a new model; their
    output weights start as the mean of all others, so that they are neither likely nor impossible.
    """
    known = parent.vocabulary.characters
    new = () if parent.vocabulary.level == "bytes" else tuple(sorted(set(characters) - set(known)))
    vocabulary = Vocabulary(known + new, parent.vocabulary.level)
    language_model = LanguageModel.create(vocabulary, config, seed)
    tensors = parent.model.state_dict()
    with torch.no_grad():
        for name, tensor in language_model.model.state_dict().items():  # shares memory with the parameters
            old = tensors[name]
            tensor[tuple(slice(size) for size in old.shape)] = old
            if new and name.startswith("head."):
                tensor[len(known) :] = old.mean(dim=0)
    return language_model, new
