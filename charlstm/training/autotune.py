"""Autotune: size, batch, rates and dropout for the given minutes, text and machine.

A probe of a second or two measures the training throughput. It determines the model size (more time pays for a larger
network) and the number of passes over the text, which in turn determines the regularization against overfitting.
docs/results.md, "What helped and what did not", has the figures behind the rules.
"""

import time
from collections.abc import Mapping

import torch

from charlstm.config import Settings, TrainConfig
from charlstm.corpus import Corpus, Split
from charlstm.events import StepDone
from charlstm.language_model import LanguageModel
from charlstm.training.optim import resolve_device
from charlstm.training.trainer import Trainer

_PROBED_SECONDS = 1.0
_PROBED: dict[str, int] = {"hidden_size": 384, "num_layers": 1, "embedding_dim": 64, "batch_size": 8, "seq_len": 64}
_PROBED_ON_GPU: dict[str, int] = {**_PROBED, "hidden_size": 768, "batch_size": 64}
_REFERENCE_RATE = 50_000  # characters per second of the machine the rules were measured on, at the probed size
_TIMES_THE_TEXT = 2.6  # parameters per character of training text; beyond, even strong dropout did not help
_SMALLER, _LARGER = 0.5, 0.3  # powers of the budget that the size follows below and above a minute of that machine
_UNITS = 64
_MOST_PASSES = 60  # *assumed*: beyond, a schedule as long as that would only learn the text by heart


def autotune(settings: Settings, corpus: Corpus) -> tuple[Settings, str]:
    """Return `settings` with size, batch, rates and dropout chosen, and a sentence that reports the choice.

    Raises `CorpusError` if the text is too short.
    """
    is_gpu = resolve_device(settings.train.device).type == "cuda"
    probed = _PROBED_ON_GPU if is_gpu else _PROBED
    rate, num_train_chars = measure_throughput(settings, corpus, probed)
    minutes = settings.train.max_minutes
    chosen = (choose_gpu_settings if is_gpu else choose_settings)(minutes, rate, num_train_chars)
    planned = Settings.from_flat({**settings.flat(), **chosen, "plan": "off"})
    return planned, (
        f"Planned for {minutes:g} minutes at {rate:,.0f} characters per second (1 x {probed['hidden_size']}): "
        f"{chosen['hidden_size']} units, batch {chosen['batch_size']}, dropout {chosen['dropout']:g}{_early(chosen)}."
    )


def _early(chosen: dict[str, float | int | str]) -> str:
    passes = chosen["max_passes"]
    return f", {passes:g} passes at most: more would only learn so short a text by heart" if passes else ""


def choose_settings(minutes: float, rate: float, num_train_chars: int) -> dict[str, float | int | str]:
    """Return settings for `minutes` on a machine that trains on `rate` characters per second at 1 x 384."""
    budget = minutes * rate / _REFERENCE_RATE  # minutes of the reference machine
    largest = (_TIMES_THE_TEXT * num_train_chars / 4) ** 0.5  # a layer has 4 H^2 recurrent weights
    hidden_size = _round(min(320 * budget ** (_SMALLER if budget < 1 else _LARGER), largest, 1024))
    num_passes = 60 * minutes * rate * (384 / hidden_size) ** 2 / num_train_chars
    return _settings(hidden_size, num_passes, _batch_size(hidden_size, num_train_chars))


def choose_gpu_settings(minutes: float, rate: float, num_train_chars: int) -> dict[str, float | int | str]:
    """Return settings for `minutes` on a GPU that trains on `rate` characters per second at 1 x 768 in 64 streams.

    There a step takes about as long whatever the size and the number of streams. *Assumed*: no GPU was at hand.
    """
    largest = (_TIMES_THE_TEXT * num_train_chars / 4) ** 0.5
    batch_size = max(1, min(_PROBED_ON_GPU["batch_size"], num_train_chars // 256))
    num_passes = 60 * minutes * rate * batch_size / _PROBED_ON_GPU["batch_size"] / num_train_chars
    return _settings(_round(min(_PROBED_ON_GPU["hidden_size"], largest)), num_passes, batch_size)


def _settings(hidden_size: int, num_passes: float, batch_size: int) -> dict[str, float | int | str]:
    return {
        "hidden_size": hidden_size,
        "num_layers": 1,
        "embedding_dim": 64,
        "input_scale": 4.0,
        **_against_overfitting(num_passes),
        "batch_size": batch_size,
        "seq_len": 64,
        "learning_rate": round(7e-3 * (384 / hidden_size) ** 0.6, 5),
        "layer_rates": "tuned",
        "adam_beta1": 0.5,
        "adam_beta2": 0.99,
        "warmup_steps": 50,
        "max_passes": float(_MOST_PASSES) if num_passes > _MOST_PASSES else 0.0,
    }


def _round(size: float) -> int:
    return max(_UNITS, round(size / _UNITS) * _UNITS)


def _batch_size(hidden_size: int, num_train_chars: int) -> int:
    """Return the batch size: small for many updates in little time; a short text can't be cut into many streams."""
    return max(1, min(8 if hidden_size < 512 else 16, num_train_chars // 256))


def _against_overfitting(num_passes: float) -> dict[str, float]:
    """Return regularization that grows with the number of passes over the text."""
    if num_passes < 5:
        return {"dropout": 0.0, "weight_dropout": 0.0, "weight_decay": 0.05, "weight_average": 0.0}
    if num_passes < 8:
        return {"dropout": 0.2, "weight_dropout": 0.0, "weight_decay": 0.05, "weight_average": 0.0}
    if num_passes < 16:
        return {"dropout": 0.4, "weight_dropout": 0.2, "weight_decay": 0.05, "weight_average": 0.998}
    return {"dropout": 0.5, "weight_dropout": 0.5, "weight_decay": 0.05, "weight_average": 0.999}


def measure_throughput(settings: Settings, corpus: Corpus, probed: Mapping[str, int]) -> tuple[float, int]:
    """Return the characters per second of training with the sizes `probed`, and the size of the training text."""
    flat = {
        **settings.flat(),
        **probed,
        "dropout": 0.0,
        "plan": "off",
        "max_steps": 10**9,
        "max_minutes": 0.0,
        "max_passes": 0.0,
    }
    split = corpus.split(settings.model, settings.train.model_copy(update={"batch_size": 1}))
    probe = Settings.from_flat({**flat, "batch_size": max(1, min(probed["batch_size"], len(split.train) - 1))})
    return _learned_per_second(probe, split), len(split.train)


def _learned_per_second(probe: Settings, split: Split) -> float:
    few = Split(split.vocabulary, split.train[:100_000], split.validation[:64])
    config: TrainConfig = probe.train.model_copy(update={"sample_chars": 1, "sample_every": 10**9, "eval_every": 10**9})
    trainer = Trainer(LanguageModel.create(few.vocabulary, probe.model, 0), few, config)
    began, seconds = 0.0, []
    for event in trainer.run():
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()  # a step is done when the GPU has done it
        now = time.perf_counter()
        if isinstance(event, StepDone):
            seconds.append(now - began)
            if len(seconds) > 3 and sum(seconds) > _PROBED_SECONDS:
                break
        began = now
    typical = sorted(seconds[1:])[len(seconds[1:]) // 2]
    return config.batch_size * min(config.seq_len, max(1, len(few.train) // config.batch_size)) / typical
