"""Provenance of trained weights: text, settings, step, validation figures, hardware and versions."""

import platform
from collections.abc import Callable
from dataclasses import replace

import torch

from charlstm import __version__
from charlstm.checkpoint import Provenance
from charlstm.corpus import Corpus
from charlstm.cpus import available_cpus
from charlstm.evaluation import final_validation
from charlstm.events import Evaluated
from charlstm.language_model import LanguageModel
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
        logit_scale=trainer.calibration.scale,
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
