"""Training in this process, and the provenance of trained weights: text, settings, step, figures and versions."""

import copy
import platform
from collections.abc import Callable
from dataclasses import replace

import torch

from charlstm import __version__
from charlstm.checkpoint import Provenance
from charlstm.config import ModelConfig, Settings, TrainConfig
from charlstm.corpus import Corpus
from charlstm.cpus import available_cpus
from charlstm.evaluation import final_validation
from charlstm.events import Evaluated, Event
from charlstm.language_model import LanguageModel
from charlstm.training.auto_settings import choose_auto_settings
from charlstm.training.trainer import Trainer
from charlstm.vocabulary import Tokens


def build_provenance(trainer: Trainer, corpus: Corpus, evaluated: Evaluated | None) -> Provenance:
    """Return the provenance of the trainer's current weights, with a corpus file's name but not its path."""
    precision = str(trainer.dtype).removeprefix("torch.")
    chosen = {"corpus": corpus.name, "precision": precision, "device": trainer.device.type}
    config = trainer.config.model_copy(update=chosen)
    return Provenance(
        corpus=corpus.name,
        corpus_sha256=corpus.sha256,
        corpus_chars=corpus.num_chars,
        beginnings=corpus.beginnings,
        split=f"first {1 - config.val_fraction:.0%} training, last {config.val_fraction:.0%} validation",
        train_config=config.model_dump(),
        step=trainer.step,
        training_seconds=round(trainer.elapsed_seconds, 1),
        val_loss=evaluated.val_loss if evaluated else None,
        val_method=evaluated.method if evaluated else None,
        logit_scale=trainer.validator.calibration.scale,
        hardware=describe_hardware(),
        versions={"charlstm": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )


def with_validation(
    language_model: LanguageModel, validation: Tokens, on_tick: Callable[[], None] = lambda: None
) -> LanguageModel:
    """Return the model with both validation figures, measured on the whole validation text, in its provenance.

    `on_tick` is called several times a second and may raise to abort.
    """
    assert language_model.provenance is not None
    stateful, windows, method = final_validation(language_model.model, validation, on_tick)
    figures = {"val_stateful": stateful.nats, "val_windows": windows.nats, "val_stateful_method": method}
    return replace(language_model, provenance=language_model.provenance.model_copy(update=figures))


def describe_hardware() -> str:
    """Return a description of the processor and its use, for example `x86_64, 2 threads of 2 cores, AVX512`."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()}, {torch.get_num_threads()} threads of {available_cpus()} cores, {capability}"


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
        settings, _ = choose_auto_settings(settings, corpus)
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
