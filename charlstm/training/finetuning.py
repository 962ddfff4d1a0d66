"""A trained model as the beginning of another run: its sizes stay, characters it does not know are added."""

from collections.abc import Iterable

import torch

from charlstm.config import ModelConfig
from charlstm.language_model import LanguageModel
from charlstm.vocabulary import Vocabulary


def with_characters(
    parent: LanguageModel, characters: Iterable[str], config: ModelConfig, seed: int
) -> tuple[LanguageModel, tuple[str, ...]]:
    """Return `parent` with `characters` in its vocabulary, and those of them that it did not know.

    What it knows it keeps, at the ids it had. The input vectors of new characters are drawn as in a model that is
    made anew; at the output each begins as the mean of all others, so it is neither likely nor ruled out.
    """
    known = parent.vocabulary.characters
    new = () if parent.vocabulary.level == "bytes" else tuple(sorted(set(characters) - set(known)))
    vocabulary = Vocabulary(known + new, parent.vocabulary.level)
    language_model = LanguageModel.create(vocabulary, config, seed)
    tensors = parent.model.state_dict()
    with torch.no_grad():
        for name, tensor in language_model.model.state_dict().items():  # which are the parameters themselves
            old = tensors[name]
            tensor[tuple(slice(size) for size in old.shape)] = old
            if new and name.startswith("head."):
                tensor[len(known) :] = old.mean(dim=0)
    return language_model, new
