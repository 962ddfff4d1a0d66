"""Training on a GPU: characters per second, and seconds to a validation loss, beside nn.LSTM and nanoGPT's recipe.

Everything takes the device it runs on, so that all of it runs on the processor too, in small.
Shapes: B = streams, T = characters of a window, E = size of the input vectors, V = vocabulary size.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from charlstm.bench.baseline_models import GPTRecipe, GPTTraining
from charlstm.bench.report import SECONDS, Baseline, Result, Skipped
from charlstm.bench.timing import Meter, Task, compare
from charlstm.config import Settings
from charlstm.corpus import Corpus, Split, is_available_offline, open_corpus
from charlstm.errors import TrainingDiverged
from charlstm.evaluation import evaluate_batched
from charlstm.events import Evaluated, Progress, StepDone
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer
from charlstm.training.optim import resolve_dtype
from charlstm.vocabulary import Tokens

_SPEED = "chars/s"
_TEXT = "tiny-shakespeare"
_GPT = "nanoGPT's recipe, not compiled"
_BESIDE_GPT = "/nanoGPT"
_NO_GPU = "this machine has no CUDA GPU to train on"
_NEVER = 10**9  # steps
_UNLIMITED = {"max_steps": _NEVER, "max_passes": 0.0, "max_minutes": 0.0}
# Not calibrated, as that is done on the text that is validated here.
_SILENT = {"eval_every": _NEVER, "sample_every": _NEVER, "sample_chars": 1, "calibrate": "off"}


@dataclass(frozen=True)
class GpuSizes:
    """Sizes of the measurements; the defaults are for a card, and take about three and a half minutes at most.

    The networks are those of two presets, with eight and four times the streams. How long they train is *assumed*:
    `minute`'s, which nothing keeps from learning the text by heart, as many passes as preset `auto` allows such a
    network; `best`'s fewer than in its preset. Their learning rates are the presets'.
    """

    networks: tuple[Settings, ...] = (
        Settings.preset("minute", batch_size=64, max_passes=5.0),
        Settings.preset("best", batch_size=64, max_passes=22.0),
    )
    gpt: GPTRecipe = field(default_factory=GPTRecipe)
    steps_at_once: int = 20  # of ours and of nn.LSTM in one unit of work, after which the device is waited for
    gpt_steps_at_once: int = 4
    goals: tuple[str, ...] = ("1.60", "1.4697", "1.40")  # nats per character
    seconds: float = 50.0  # of training that a network is given at most to reach them
    check_seconds: float = 0.25  # of training between two validations
    validated_chars: int = 65_536


Findings = Iterator[Result | Skipped]


def measure(meter: Meter, sizes: GpuSizes, text: str, device: torch.device | None) -> Findings:
    """Return characters per second of training on `text`, and seconds to each goal on Shakespeare's.

    What is not possible here is skipped: everything, where there is no device.
    """
    if device is None:
        speeds = [f"gpu/train/{_label(each)}{suffix}" for each in sizes.networks for suffix in ("", _BESIDE_GPT)]
        yield from (Skipped(name=name, why=_NO_GPU) for name in (*speeds, *_goal_names(sizes)))
        return
    for settings in sizes.networks:
        yield from _speeds(meter, sizes, settings, text, device)
    if not is_available_offline(_TEXT):
        why = f"{_TEXT} is not on this machine: python -m charlstm train --max-steps 1 fetches it"
        yield from (Skipped(name=name, why=why) for name in _goal_names(sizes))
        return
    base = sizes.networks[0]
    split = open_corpus(_TEXT).split(base.model, base.train)
    yield from compare_seconds(sizes, split, device, meter.clock, meter.progress)


def _label(settings: Settings) -> str:
    """Return for example `1x384`."""
    return f"{settings.model.num_layers}x{settings.model.hidden_size}"


def _goal_names(sizes: GpuSizes) -> list[str]:
    return [f"gpu/seconds-to/{goal}/{_label(each)}" for each in sizes.networks for goal in sizes.goals]


# Characters per second ------------------------------------------------------------------------------------------------


def _speeds(meter: Meter, sizes: GpuSizes, settings: Settings, text: str, device: torch.device) -> Findings:
    name = f"gpu/train/{_label(settings)}"
    split = Corpus("drawn letters", text).split(settings.model, settings.train)
    ours = _training(name, settings, split, device, sizes.steps_at_once)
    bare = _bare_lstm(settings, len(split.vocabulary), device, sizes.steps_at_once)
    gpt = _gpt_training(sizes, split, device)
    rates = meter.take_turns([ours, bare, gpt], warm_up=1)
    for suffix, beside in (("", bare), (_BESIDE_GPT, gpt)):
        yield compare(f"{name}{suffix}", _SPEED, rates[name], (beside.name, rates[beside.name]))


def _training(name: str, settings: Settings, split: Split, device: torch.device, num_steps: int) -> Task:
    """Return the steps of our own trainer, with what they report; validation and samples are not among it."""
    train = settings.train.model_copy(update={**_UNLIMITED, **_SILENT, "device": device.type})
    events = Trainer(LanguageModel.create(split.vocabulary, settings.model, train.seed), split, train).run()

    def work() -> float:
        for _ in range(num_steps):
            while not isinstance(next(events), StepDone):
                pass
        wait_for(device)
        return num_steps * train.batch_size * train.seq_len

    return Task(name, work)


def _bare_lstm(settings: Settings, vocab_size: int, device: torch.device, num_steps: int) -> Task:
    """Return forward and backward passes of `nn.LSTM` and `nn.Linear` over one batch, weights and all in one dtype.

    The input is vectors (B, T, E) that are there already, nothing is dropped, no weight is updated.
    """
    model, train = settings.model, settings.train
    dtype = resolve_dtype(train.precision, device, model.hidden_size)
    size = model.embedding_dim or vocab_size
    lstm = nn.LSTM(size, model.hidden_size, model.num_layers, batch_first=True, device=device, dtype=dtype)
    head = nn.Linear(model.hidden_size, vocab_size, device=device, dtype=dtype)
    inputs = torch.randn(train.batch_size, train.seq_len, size, device=device, dtype=dtype)
    targets = torch.randint(vocab_size, (train.batch_size * train.seq_len,), device=device)

    def work() -> float:
        for _ in range(num_steps):
            lstm.zero_grad(set_to_none=True)
            head.zero_grad(set_to_none=True)
            logits = head(lstm(inputs)[0]).flatten(0, 1)
            functional.cross_entropy(logits.float(), targets).backward()  # type: ignore[no-untyped-call]
        wait_for(device)
        return num_steps * targets.numel()

    return Task(f"nn.LSTM and nn.Linear, no update, {_short(dtype)}, {_label(settings)}", work)


def _gpt_training(sizes: GpuSizes, split: Split, device: torch.device) -> Task:
    training = _create_gpt(sizes, split, device)

    def work() -> float:
        for _ in range(sizes.gpt_steps_at_once):
            training.step()
        wait_for(device)
        return sizes.gpt_steps_at_once * training.chars_per_step

    return Task(_GPT, work, share=0.5)


def _create_gpt(sizes: GpuSizes, split: Split, device: torch.device) -> GPTTraining:
    dtype = resolve_dtype("auto", device, sizes.gpt.width)
    return GPTTraining(sizes.gpt, _ids(split.train).to(device), len(split.vocabulary), dtype)


def _ids(tokens: Tokens) -> torch.Tensor:
    return torch.from_numpy(tokens[:].astype(np.int64))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was given; a processor has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# Seconds to a validation loss -----------------------------------------------------------------------------------------


class Stopwatch:
    """A clock of training alone: it stands still while it is stopped, as it is at first."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._seconds = clock, 0.0
        self._began: float | None = None

    def __call__(self) -> float:
        """Return the seconds that the clock has run."""
        return self._seconds + (0.0 if self._began is None else self._clock() - self._began)

    def start(self) -> None:
        """Start the clock."""
        if self._began is None:
            self._began = self._clock()

    def stop(self) -> None:
        """Stop the clock."""
        self._seconds, self._began = self(), None


class Check(NamedTuple):
    """One validation: the seconds of training before it, and the loss, in nats per character."""

    seconds: float
    loss: float


def compare_seconds(
    sizes: GpuSizes,
    split: Split,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[str], object] = lambda _: None,
) -> Findings:
    """Return seconds of training to each goal for each network, beside those of nanoGPT's recipe if it reaches it.

    Losses are over the first `validated_chars` of the validation part: ours with a carried state, nanoGPT's in cold
    windows of its context, each as it is read in use.
    """
    split = Split(split.vocabulary, split.train, split.validation[: sizes.validated_chars])
    progress(f"{_GPT}: {sizes.seconds:g} s of training")
    peer = seconds_to(sizes.goals, check_gpt(sizes, split, device, clock))
    for settings in sizes.networks:
        label = _label(settings)
        progress(f"gpu/seconds-to/.../{label}: {sizes.seconds:g} s of training")
        reached = seconds_to(sizes.goals, check_ours(sizes, settings, split, device, clock))
        for goal, seconds in reached.items():
            yield _compare_times(f"gpu/seconds-to/{goal}/{label}", seconds, peer[goal])


def _compare_times(name: str, ours: float | str, theirs: float | str) -> Result | Skipped:
    if isinstance(ours, str):
        return Skipped(name=name, why=ours)
    if isinstance(theirs, str):
        return Result(name=name, value=ours, unit=SECONDS)
    return Result(name=name, value=ours, unit=SECONDS, yardstick=Baseline(name=_GPT, value=theirs), ratio=ours / theirs)


def seconds_to(goals: tuple[str, ...], checks: Iterator[Check]) -> dict[str, float | str]:
    """Return for each goal the seconds before the first check at or below it, or in words why there is none.

    Ends with the check that reaches the last goal.
    """
    found: dict[str, float | str] = {}
    lowest, seconds, why = float("inf"), 0.0, ""
    try:
        for seconds, loss in checks:
            lowest = min(lowest, loss)
            found |= {goal: seconds for goal in goals if goal not in found and loss <= float(goal)}
            if len(found) == len(goals):
                break
    except TrainingDiverged as error:
        why = f"; {error}"
    missed = f"the lowest of {seconds:.1f} s was {lowest:.4f}{why}"
    return {goal: found.get(goal, missed) for goal in goals}


def check_ours(
    sizes: GpuSizes, settings: Settings, split: Split, device: torch.device, clock: Callable[[], float]
) -> Iterator[Check]:
    """Train one of our networks to its end, and validate again and again what the trainer would save."""
    watch = Stopwatch(clock)
    limits = {**_SILENT, "device": device.type, "max_minutes": sizes.seconds / 60}
    train = settings.train.model_copy(update=limits)
    trainer = Trainer(LanguageModel.create(split.vocabulary, settings.model, train.seed), split, train, watch)
    due = sizes.check_seconds
    for event in trainer.run():
        if isinstance(event, Evaluated) and event.step == 0:  # the last report on the untrained network
            watch.start()
        elif isinstance(event, Progress) and event.fraction >= 1:  # the first report on the trained one
            watch.stop()
        elif isinstance(event, StepDone) and (watch() >= due or trainer.fraction >= 1):
            wait_for(device)
            watch.stop()
            yield Check(
                watch(), evaluate_batched(trainer.language_model.model, split.validation, trainer.dtype)[0].nats
            )
            due = watch() + sizes.check_seconds
            watch.start()


def check_gpt(sizes: GpuSizes, split: Split, device: torch.device, clock: Callable[[], float]) -> Iterator[Check]:
    """Train nanoGPT's network for all its steps or seconds, and validate it again and again."""
    training, watch = _create_gpt(sizes, split, device), Stopwatch(clock)
    validation, due = _ids(split.validation).to(device), sizes.check_seconds
    watch.start()
    while (seconds := watch()) < sizes.seconds and training.num_steps_done < sizes.gpt.num_steps:
        training.step(seconds / sizes.seconds)
        if watch() >= due:
            wait_for(device)
            watch.stop()
            yield Check(watch(), training.evaluate(validation))
            due = watch() + sizes.check_seconds
            watch.start()
    wait_for(device)
    watch.stop()
    yield Check(watch(), training.evaluate(validation))
