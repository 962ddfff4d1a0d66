"""The settings of preset `auto`: size, batch, rates and dropout for the given minutes, text and machine.

A probe of a second or two measures the training throughput. It determines the model size (more time pays for a larger
network) and the number of passes over the text, which in turn determines the regularization against overfitting.
docs/results.md, "What helped and what did not", has the figures behind the rules.
"""

import math
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from charlstm.config import Settings, TrainConfig
from charlstm.corpus import Corpus, Split
from charlstm.corpus.ngram import kneser_ney
from charlstm.events import StepDone
from charlstm.language_model import LanguageModel
from charlstm.training.optim import resolve_device
from charlstm.training.trainer import Trainer
from charlstm.vocabulary import Tokens

_PROBED_SECONDS = 1.0
_PROBED_SIZE = 384  # units
_PROBED: dict[str, int] = {
    "hidden_size": _PROBED_SIZE,
    "num_layers": 1,
    "embedding_dim": 64,
    "batch_size": 8,
    "seq_len": 64,
}
_PROBED_ON_GPU: dict[str, int] = {**_PROBED, "hidden_size": 768, "batch_size": 64}
_REFERENCE_RATE = 50_000  # characters per second of the machine the rules were measured on, at the probed size
_REFERENCE_VOCAB = 65  # of the text they were measured on
_SIZE_OF_A_MINUTE = 350  # units, there
_LARGER_SIZE = 320  # times the power of more than a minute
_TIMES_THE_TEXT = 5.5  # weights per character of training text
_OTHER_WORK = 71_300  # products that take as long as all that does not grow with the network
_SMALLER, _LARGER = 0.5, 0.3  # powers of the budget that the size follows below and above a minute of that machine
_STRETCHES = 16
_TRAINING_SHARE = 0.8  # of the time; the rest goes into validations and samples
_UNITS, _MOST_UNITS = 64, 1024
_FEWEST_UNITS = 128  # where the text is long enough: *measured*, in 6 seconds 64 came to 1.7749, and 128 to 1.7209
SMALLEST = {"hidden_size": _UNITS, "num_layers": 1, "embedding_dim": 64, "batch_size": 1, "seq_len": 64}  # of all plans
_MOST_PASSES = 60  # *assumed*: beyond, a schedule as long as that would only learn the text by heart


def choose_auto_settings(
    settings: Settings, corpus: Corpus, fits: Callable[[Settings, int], bool] = lambda *_: True
) -> tuple[Settings, str]:
    """Return `settings` with size, batch, rates and dropout chosen, and a sentence on the choice and what to expect.

    The size is the largest up to the usual one that `fits`, which is given the settings and the vocabulary's size.
    Raises `CorpusError` if the text is too short.
    """
    is_gpu = resolve_device(settings.train.device).type == "cuda"
    probed = _PROBED_ON_GPU if is_gpu else _PROBED
    split = corpus.split(settings.model, settings.train.model_copy(update={"batch_size": 1}))
    rate, minutes = measure_throughput(settings, split, probed), settings.train.max_minutes
    num_train_chars, vocab_size = len(split.train), len(split.vocabulary)

    def plan_with(most_units: int) -> tuple[dict[str, float | int | str], Settings]:
        if is_gpu:
            chosen = choose_gpu_settings(minutes, rate, num_train_chars, most_units)
        else:
            chosen = choose_settings(minutes, rate, num_train_chars, vocab_size, most_units)
        return chosen, Settings.from_flat({**settings.flat(), **chosen, "plan": "off"})

    chosen, planned = plan_with(_MOST_UNITS)
    while planned.model.hidden_size > _UNITS and not fits(planned, vocab_size):
        chosen, planned = plan_with(planned.model.hidden_size - _UNITS)
    if is_gpu:
        factor = planned.train.batch_size / probed["batch_size"]
    else:
        factor = relative_speed(planned.model.hidden_size, vocab_size)
    loss = predict_loss(split, _TRAINING_SHARE * 60 * minutes * rate * factor, planned.model.hidden_size)
    unit = "byte" if settings.model.level == "bytes" else "character"
    return planned, (
        f"Planned for {minutes:g} minutes at {rate:,.0f} characters per second (1 x {probed['hidden_size']}): "
        f"{chosen['hidden_size']} units, batch {chosen['batch_size']}, dropout {chosen['dropout']:g}{_early(chosen)}. "
        f"Expect a validation loss of about {loss:.2f} nats per {unit}."
    )


def predict_loss(split: Split, num_seen: float, num_units: int) -> float:
    """Estimate the validation loss, in nats per token, of `num_units` units that learn from `num_seen` characters.

    N-gram models tell how hard the text is: a 5-gram model of a million characters from all over the text, and of an
    eighth of that those of 3, 5 and 8. What a network reaches, compared with the first, was *fitted* to 56 runs on 34
    texts: less where 5 characters tell much more than 3, and 8 more than those; less where more text tells more, if
    the network is large enough to learn it; more for the many different characters of some languages
    (docs/results.md, "What auto expects").
    """
    vocab_size, is_of_chars = len(split.vocabulary), split.vocabulary.level == "chars"
    validation = _spread(split.validation, 1 << 16)

    def loss_of(order: int, most: int) -> float:
        counted = _spread(split.train, most)
        loss = -float(np.log(kneser_ney(counted, validation, vocab_size, order=order)).mean())
        return max(loss, 1e-3)  # of one sentence over and over there is nothing to tell

    fivegram, (three, five, eight) = loss_of(5, 1 << 20), (loss_of(order, 1 << 17) for order in (3, 5, 8))
    num_passes = num_seen / len(split.train)
    work = (
        math.log10(max(1.0, min(num_seen, len(split.train))) / 1.5e6)
        + 0.3 * math.log10(min(36.0, max(1.0, num_passes)))  # what is read again counts less
        + 2 * math.log10(num_units / _PROBED_SIZE)
    )
    structure = min(0.5, max(0.0, math.log(three / five)))  # as in the runs
    logarithm = (
        -0.134 * min(1.0, structure / 0.04)  # where no context tells more, it tells a network nothing either
        + 1.39 * math.log(min(1.0, eight / five))
        - 0.29 * structure * work
        - 1.61 * math.log(max(1.0, five / fivegram)) * math.log10(num_units / _PROBED_SIZE)
        + 0.079 * math.log10(max(1.0, vocab_size / _REFERENCE_VOCAB) if is_of_chars else 1.0)
    )
    return min(fivegram * math.exp(logarithm), math.log(max(2, vocab_size)))


def _spread(tokens: Tokens, most: int) -> NDArray[np.int64]:
    """Return at most `most` tokens, of a longer text in 16 stretches from all over it."""
    if len(tokens) <= most:
        return tokens[:].astype(np.int64)
    length = most // _STRETCHES
    begins = np.linspace(0, len(tokens) - length, _STRETCHES).astype(np.int64)
    return np.concatenate([tokens[begin : begin + length].astype(np.int64) for begin in np.unique(begins)])


def _early(chosen: dict[str, float | int | str]) -> str:
    passes = chosen["max_passes"]
    return f", {passes:g} passes at most: more would only learn so short a text by heart" if passes else ""


def choose_settings(
    minutes: float,
    rate: float,
    num_train_chars: int,
    vocab_size: int = _REFERENCE_VOCAB,
    most_units: int = _MOST_UNITS,
) -> dict[str, float | int | str]:
    """Return settings for `minutes` on a machine that trains on `rate` characters per second at 1 x 384.

    Where the output layer of thousands of different characters takes most of the time, the size is that for a machine
    which is slower by the root of the factor: *measured* in docs/results.md, "Preset auto against searches".
    """
    slowdown = _work(_PROBED_SIZE, vocab_size) / _work(_PROBED_SIZE, _REFERENCE_VOCAB)
    own_rate = rate * slowdown**0.5
    budget = minutes * own_rate / _REFERENCE_RATE  # minutes of the reference machine
    largest = (_TIMES_THE_TEXT * num_train_chars / 4) ** 0.5  # a layer has 4 H^2 recurrent weights
    size = _SIZE_OF_A_MINUTE * min(1.0, budget) ** _SMALLER
    if budget > 1:
        size = max(size, _LARGER_SIZE * budget**_LARGER)
    hidden_size = _round(min(max(size, _FEWEST_UNITS), largest, most_units))
    num_passes = 60 * minutes * rate * relative_speed(hidden_size, vocab_size) / num_train_chars
    return _settings(hidden_size, num_passes, _batch_size(hidden_size, num_train_chars), num_train_chars)


def relative_speed(hidden_size: int, vocab_size: int) -> float:
    """Return how many times as many characters per second a processor trains on with so many units as with 384."""
    return _work(_PROBED_SIZE, vocab_size) / _work(hidden_size, vocab_size)


def _work(hidden_size: int, vocab_size: int) -> int:
    """Return the products for each character: of the recurrent weights and the output layer, and those of the rest.

    That rest is *fitted*, by `measure_throughput` five times in turn: 64, 128, 192, 256, 320 and 512 units trained on
    7.5, 4.2, 2.5, 2.0, 1.4 and 0.67 times as many characters per second as 384; this gives 7.5, 4.7, 3.0, 2.0, 1.4 and
    0.60.
    """
    return hidden_size * (4 * hidden_size + vocab_size) + _OTHER_WORK


def choose_gpu_settings(
    minutes: float, rate: float, num_train_chars: int, most_units: int = _MOST_UNITS
) -> dict[str, float | int | str]:
    """Return settings for `minutes` on a GPU that trains on `rate` characters per second at 1 x 768 in 64 streams.

    There a step takes about as long whatever the size and the number of streams. *Assumed*: no GPU was at hand.
    """
    largest = (_TIMES_THE_TEXT * num_train_chars / 4) ** 0.5
    batch_size = max(1, min(_PROBED_ON_GPU["batch_size"], num_train_chars // 256))
    num_passes = 60 * minutes * rate * batch_size / _PROBED_ON_GPU["batch_size"] / num_train_chars
    return _settings(
        _round(min(_PROBED_ON_GPU["hidden_size"], largest, most_units)), num_passes, batch_size, num_train_chars
    )


def _settings(
    hidden_size: int, num_passes: float, batch_size: int, num_train_chars: int
) -> dict[str, float | int | str]:
    return {
        "hidden_size": hidden_size,
        "num_layers": 1,
        "embedding_dim": 64,
        "input_scale": 4.0,
        **_against_overfitting(num_passes * (4 * hidden_size**2 / num_train_chars) ** 0.5),
        "batch_size": batch_size,
        "seq_len": 64,
        "stretch_windows": 32,
        "learning_rate": round(7e-3 * (384 / hidden_size) ** 0.6, 5),
        "layer_rates": "tuned",
        "adam_beta1": 0.5,
        "adam_beta2": 0.99,
        "calibrate": "on",
        "warmup_steps": 50,
        "max_passes": float(_MOST_PASSES) if num_passes > _MOST_PASSES else 0.0,
    }


def _round(size: float) -> int:
    return max(_UNITS, round(size / _UNITS) * _UNITS)


def _batch_size(hidden_size: int, num_train_chars: int) -> int:
    """Return the batch size: small for many updates in little time; a short text can't be cut into many streams."""
    return max(1, min(8 if hidden_size < 512 else 16, num_train_chars // 256))


def _against_overfitting(pressure: float) -> dict[str, float]:
    """Return regularization that grows with the `pressure` to learn the text by heart.

    That is the number of passes over it, times the root of the network's weights per character. Units are dropped less
    than is usual, as runs are calibrated: *measured* at a pressure of 12 with 0.2 of the recurrent weights dropped,
    1.2559 with 0.2 of the units and 1.2850 with 0.4; at 32 with 0.3 of the weights, 1.4306 and, with 0.5, 1.4498
    (docs/results.md).
    """
    if pressure < 5:
        return {"dropout": 0.0, "weight_dropout": 0.0, "weight_decay": 0.05, "weight_average": 0.0}
    if pressure < 8:
        return {"dropout": 0.2, "weight_dropout": 0.0, "weight_decay": 0.05, "weight_average": 0.0}
    if pressure < 16:
        return {"dropout": 0.2, "weight_dropout": 0.2, "weight_decay": 0.05, "weight_average": 0.998}
    return {"dropout": 0.2, "weight_dropout": 0.3, "weight_decay": 0.05, "weight_average": 0.999}


def measure_throughput(settings: Settings, split: Split, probed: Mapping[str, int]) -> float:
    """Return the characters per second of training with the sizes `probed`."""
    flat = {**settings.flat(), **probed, "dropout": 0.0, "plan": "off"}
    flat |= {"max_steps": 10**9, "max_minutes": 0.0, "max_passes": 0.0}
    probe = Settings.from_flat({**flat, "batch_size": max(1, min(probed["batch_size"], len(split.train) - 1))})
    return _measure_speed(probe, split)


def _measure_speed(probe: Settings, split: Split) -> float:
    few = Split(split.vocabulary, split.train[:100_000], split.validation[:64])
    config: TrainConfig = probe.train.model_copy(update={"sample_chars": 1, "sample_every": 10**9, "eval_every": 10**9})
    trainer = Trainer(LanguageModel.create(few.vocabulary, probe.model, 0), few, config)
    began, seconds = 0.0, []
    for event in trainer.run():
        if trainer.device.type != "cpu":
            trainer.is_finite()  # reads a value: a step is done when the GPU has done it
        now = time.perf_counter()
        if isinstance(event, StepDone):
            seconds.append(now - began)
            if len(seconds) > 3 and sum(seconds) > _PROBED_SECONDS:
                break
        began = now
    typical = sorted(seconds[1:])[len(seconds[1:]) // 2]
    return config.batch_size * min(config.seq_len, max(1, len(few.train) // config.batch_size)) / typical
