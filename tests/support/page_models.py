"""Small models for pages, with markup wherever a text may hold it."""

from charlstm import LanguageModel
from charlstm.checkpoint import Provenance
from charlstm.config import ModelConfig
from charlstm.vocabulary import Vocabulary

MARKUP = "</script><img src=x onerror=\"document.title='hit'\">{{facts}}"


def small_model(
    corpus: str = f"{MARKUP}.txt",
    beginnings: tuple[str, ...] = (MARKUP[:16], "</script>", "<!--"),
    characters: str = "\n !\"&'-./:;<=>?{}abcdefghijklmnopqrstuvwxyzABé日",
    has_provenance: bool = True,
) -> LanguageModel:
    """An untrained network, of which is told that it learned a text called `corpus`."""
    config = ModelConfig(hidden_size=16, embedding_dim=8)
    made = LanguageModel.create(Vocabulary(tuple(characters)), config, seed=3)
    provenance = Provenance(
        corpus=corpus,
        corpus_sha256="0" * 64,
        corpus_chars=1000,
        beginnings=beginnings,
        split="first 90% training, last 10% validation",
        train_config={},
        step=10,
        training_seconds=65.0,
        val_loss=2.0,
        hardware="",
        versions={},
    )
    return LanguageModel(made.model, made.vocabulary, provenance if has_provenance else None)
