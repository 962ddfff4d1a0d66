"""Training in this process: `train` returns the best model and writes nothing."""

import copy
from collections.abc import Callable
from dataclasses import replace

from charlstm.config import ModelConfig, Settings, TrainConfig
from charlstm.corpus import Corpus
from charlstm.events import Evaluated, Event
from charlstm.language_model import LanguageModel
from charlstm.training.autotune import autotune
from charlstm.training.provenance import build_provenance
from charlstm.training.trainer import Trainer


def train(
    text: str | Corpus,
    train_config: TrainConfig | None = None,
    model_config: ModelConfig | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> LanguageModel:
    """Train on `text` in this process and return the best model by validation, in memory.

    Writes nothing but the compiled kernel in the user's cache. `on_event` is called with every event. Raises
    `CorpusError` if the text is too short, and `TrainingDiverged`.
    """
    corpus = text if isinstance(text, Corpus) else Corpus("text", text)
    settings = Settings(model=model_config or ModelConfig(), train=train_config or TrainConfig())
    if settings.train.plan == "on":
        settings, _ = autotune(settings, corpus)
    train_config, model_config = settings.train, settings.model
    split = corpus.split(model_config, train_config)
    trainer = Trainer(LanguageModel.create(split.vocabulary, model_config, train_config.seed), split, train_config)
    best = trainer.language_model
    for event in trainer.run():
        if isinstance(event, Evaluated) and event.is_best:
            best = copy.deepcopy(replace(trainer.language_model, provenance=build_provenance(trainer, corpus, event)))
        if on_event:
            on_event(event)
    return replace(best, model=best.model.eval())
