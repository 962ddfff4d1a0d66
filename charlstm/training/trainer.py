"""The training loop, a generator of events, independent of files, console, network and page.

    for event in Trainer(language_model, split, config).run():
        ...                       # record it, draw it, or stop by leaving the loop

The consumer decides what to do with an event, and may call `state_dict()` at every `StepDone`.
Shapes: B = batch_size streams, T = characters in a window, V = vocabulary size.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from charlstm.config import TrainConfig
from charlstm.corpus import Split, StreamBatches
from charlstm.corpus.batches import Batch, Stretches
from charlstm.errors import CheckpointError, TrainingDiverged
from charlstm.evaluation import sum_loss
from charlstm.events import Evaluated, Event, Progress, RolledBack, Sampled, StepDone
from charlstm.language_model import LanguageModel
from charlstm.model import State, evaluating
from charlstm.training import optim
from charlstm.training.clock import AwakeClock
from charlstm.training.loss_meter import LossMeter
from charlstm.training.samples import Sampler, SampleState
from charlstm.training.schedule import Schedule, ScheduleState, divergence_message
from charlstm.training.state_check import StateFacts
from charlstm.training.validation import Validator
from charlstm.window_backprop import WindowBackprop, flat_gradient

_STEPS_TO_KEEP = 200  # between two rollback copies of the state: each takes about as long as half a step


class Trainer:
    """Truncated back-propagation through time with a carried state and AdamW (Adam, where nothing decays)."""

    @torch.inference_mode(False)
    def __init__(
        self,
        language_model: LanguageModel,
        split: Split,
        config: TrainConfig,
        clock: Callable[[], float] | None = None,
    ) -> None:
        config.require_end()
        self.config = config
        self._streams = self._own_streams()
        self.step = 0
        self.elapsed_seconds = 0.0
        self.device = optim.resolve_device(config.device)
        self._model = language_model.model.to(self.device)
        self.dtype = optim.resolve_dtype(config.precision, self.device, self._model.config.hidden_size)
        self._model.shard = None
        self._average = copy.deepcopy(self._model).eval() if config.weight_average else None
        self.validator = Validator(
            replace(language_model, model=self._average or self._model), split, config, self.dtype
        )
        order = self._streams, Stretches(config.stretch_windows, config.seed)
        self._batches = StreamBatches(split.train, config.batch_size, config.seq_len, self.device, *order)
        self._schedule = Schedule(config, self._batches.windows_per_pass)
        betas = config.adam_beta1, config.adam_beta2
        self._optimizer = optim.AdamW(self._model, config.weight_decay, betas, config.layer_rates)
        self._gradient = flat_gradient(self._model)
        self._fused_gradients: WindowBackprop | None = None
        if self._model.is_fused(self._streams.stop - self._streams.start, self.dtype):
            weight_dtype = optim.resolve_weight_dtype(config.precision, self.dtype)
            self._fused_gradients = WindowBackprop(self._model, self.dtype, weight_dtype)
        self._carried: State | None = None
        self.clock = clock or AwakeClock()
        self.on_tick: Callable[[], None] = lambda: None  # called amid reports, when `state_dict()` is valid too
        self.course = ScheduleState()
        self.samples = SampleState()  # of the automatic schedule alone
        self._sampler = Sampler(split, config)
        self._num_pending = 0  # 2 while the current step is being validated, 1 while it is being sampled
        self._rested_seconds = 0.0  # total of the requested pauses
        self._meter = LossMeter(math.log(len(split.vocabulary)), self.device)
        self._grad_norm = torch.zeros((), device=self.device, dtype=torch.float32)
        self._learning_rate = 0.0

    @property
    def language_model(self) -> LanguageModel:
        """The model that is validated and saved: averaged and calibrated, if so configured; copy it to keep it."""
        return self.validator.language_model

    @property
    def fraction(self) -> float:
        """The fraction of the planned run that is done, 0 to 1."""
        step, seconds = self.step - self.course.part_step, self.elapsed_seconds - self.course.part_seconds
        return self._schedule.fraction(step, seconds)

    @property
    def num_passes(self) -> float:
        """The number of passes over the training text so far."""
        return self.step / self._batches.windows_per_pass

    @property
    def next_learning_rate(self) -> float:
        """The learning rate of the next update."""
        factor = self.course.asked_factor * self.course.rate_factor
        return factor * self._schedule.learning_rate(self.step, self.fraction)

    def set_lr_factor(self, factor: float) -> None:
        """Multiply the planned learning rate by `factor` from the next update on."""
        self.course.asked_factor = factor

    def agree_on(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Return whether to stop and whether to save after this step; a single process does what is requested."""
        return stop, save

    def exclude_pause(self, seconds: float) -> None:
        """Exclude `seconds` from the training time: the consumer paused, at a `StepDone` or in `on_tick`."""
        self._began += seconds
        self._meter.exclude(seconds)
        self._rested_seconds += seconds

    def begin_extension(self, num_parts: int) -> None:
        """Start the last of `num_parts` parts of the run, whose limits and schedule count from this step."""
        self.course = replace(self.course, part_step=self.step, part_seconds=self.elapsed_seconds, num_parts=num_parts)

    def run(self) -> Iterator[Event]:
        """Train to the planned end, yielding each step's reports and then its `StepDone`."""
        return optim.with_gradients(self._events())

    def _events(self) -> Iterator[Event]:
        yield from self._begin()
        while self.fraction < 1:
            self._update(self._batches[self.step])
            self._measure_time()
            is_last = self.fraction >= 1
            if any(self._is_due(is_last)) and not self.is_finite():
                yield self._roll_back()
                is_last = self.fraction >= 1  # rolled back, but out of time
                if not is_last:
                    continue
            yield from self._report(is_last)
            yield StepDone(self.step)

    def _begin(self) -> Iterator[Event]:
        """Start the clock, and report what the untrained model is like, or what a saved state left unreported."""
        self._began = self.clock() - self.elapsed_seconds
        self._meter.start(self.clock())
        self._good = self.state_dict()
        if self.step == 0:
            first = self._initial_progress()
            if not math.isfinite(first.train_loss):
                raise TrainingDiverged("the loss is NaN or infinite before the first step: start from other weights.")
            yield first
            yield from self._report(is_last=False)
        elif self._num_pending:  # the state was saved amid reports
            yield from self._evaluate_and_sample(self.fraction >= 1, self._num_pending)
            yield StepDone(self.step)

    def _update(self, batch: Batch) -> None:
        """Make one update on one window: forward, loss, backward, clip, step; reads nothing back from the device."""
        self._learning_rate = self.next_learning_rate
        self._model.train()
        state = None if batch.starts_anew else optim.reset_streams(self._carried, self.config, self.step, self._streams)
        has_dropout = self._model.config.dropout or self._model.config.weight_dropout
        with optim.seed_random(self.config.seed, self.step, self.device) if has_dropout else contextlib.nullcontext():
            nats, self._carried = self._compute_gradient(batch, state)
        nats = self._sync(nats)
        self._grad_norm = optim.clip(self._gradient, self.config.max_grad_norm)
        self._optimizer.step(self._learning_rate)
        self._meter.add(nats, batch.num_targets)
        self.step += 1
        self._average_weights()

    def _compute_gradient(self, batch: Batch, state: State | None) -> tuple[Tensor, State]:
        """Compute the gradient of one window; return its summed nats and the state after it, detached."""
        if self._fused_gradients is not None:
            return self._fused_gradients(batch, state)
        self._gradient.zero_()
        logits, carried = self._model(batch.tokens, state, self.dtype)
        nats = sum_loss(logits, batch.targets)
        (nats / batch.num_targets).backward()  # type: ignore[no-untyped-call]
        return nats.detach(), carried

    # Hooks that `DistributedTrainer` overrides ----------------------------------------------------------------------

    _is_reporter = True  # validates and samples

    def _own_streams(self) -> slice:
        """Return which streams of the batch this process trains on."""
        return slice(0, self.config.batch_size)

    def _sync(self, nats: Tensor) -> Tensor:
        """Sum the gradient and `nats` over all processes; return the nats."""
        return nats

    def _sum_over_processes(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""

    def _measure_time(self) -> None:
        """Count the time since training began."""
        self.elapsed_seconds = self.clock() - self._began

    def _gather_carried(self, carried: State) -> State:
        """Return the carried state of all streams."""
        return carried

    @torch.no_grad()
    def _average_weights(self) -> None:
        """Update the average of the weights: the mean of all at first, exponential later."""
        if self._average is not None:
            share = max(1 - self.config.weight_average, 1 / (self.step + 1))
            torch._foreach_lerp_(list(self._average.parameters()), list(self._model.parameters()), share)

    def _is_due(self, is_last: bool) -> tuple[bool, bool, bool]:
        """Return whether a point of the curve, a validation and a sample are due after this step.

        All processes of a group must get the same answer, so it follows from what they share.
        """
        every = self.config.sample_every
        logs, evaluates = (
            is_last or self.step % period == 0 for period in (self.config.log_every, self.validator.period)
        )
        if every:
            return logs, evaluates, evaluates or self.step % every == 0
        part = self.course.part_seconds
        return logs, evaluates, is_last or self.samples.is_due(self.step, self.elapsed_seconds, self.fraction, part)

    def _report(self, is_last: bool) -> Iterator[Event]:
        """Yield the reports due after this step; their time does not count towards characters per second."""
        if self._is_due(is_last)[0] and self._meter.num_targets:
            yield self._point(**self._meter.take(self.step, self.clock()))
            if self.step - self._good[1]["step"] >= _STEPS_TO_KEEP:
                self._good = self.state_dict()
        yield from self._evaluate_and_sample(is_last)

    def _evaluate_and_sample(self, is_last: bool, num_pending: int = 2) -> Iterator[Event]:
        _, evaluates, samples = self._is_due(is_last)
        began, rested = self.clock(), self._rested_seconds
        if samples and self.step == 0:  # something to look at while the untrained model is validated
            yield from self._report_sample(is_last)
        if evaluates and self._is_reporter and num_pending == 2:
            self._num_pending = 2
            yield self.evaluate()
        if samples and self.step:
            yield from self._report_sample(is_last)
        self._num_pending = 0
        self._meter.exclude(self.clock() - began - (self._rested_seconds - rested))

    def _report_sample(self, is_last: bool) -> Iterator[Sampled]:
        self._num_pending = 1
        began, rested = self.clock(), self._rested_seconds
        now = self.elapsed_seconds, self.fraction, self.course.part_seconds
        has_estimate = bool(is_last or self.config.sample_every) or self.samples.affords_estimate(*now)
        if self._is_reporter:
            yield self.sample(is_last, has_estimate)
        if not self.config.sample_every:
            spent = self.clock() - began - (self._rested_seconds - rested) if self._is_reporter else 0.0
            self.samples.add(self.elapsed_seconds, spent, has_estimate)

    def _initial_progress(self) -> Progress:
        """Return the point of the untrained model's loss on the first window, near ln V."""
        batch = self._batches[0]
        with evaluating(self._model):
            nats = sum_loss(self._model(batch.tokens)[0], batch.targets)
            self._sum_over_processes([nats])
        loss = nats.item() / batch.num_targets
        return self._point(loss, smooth_loss=loss, chars_per_second=0.0)

    def is_finite(self) -> bool:
        """Return whether the loss is finite, and the weights too if the last gradient was not."""
        if not math.isfinite(self._meter.nats.item()):
            return False
        if math.isfinite(self._grad_norm.item()):
            return True
        return all(bool(parameter.isfinite().all()) for parameter in self._model.parameters())

    def _roll_back(self) -> RolledBack:
        """Roll back to the last good state at half the learning rate; raise `TrainingDiverged` the second time."""
        if self.course.rate_factor < 1:
            raise TrainingDiverged(divergence_message(self.config, self.step))
        diverged, spent, best = self.step, self.elapsed_seconds, self.validator.best_loss
        course, samples = replace(self.course, rate_factor=0.5), self.samples
        self.load_state_dict(*self._good)
        # a published model must not be replaced by a worse one
        self.elapsed_seconds, self.validator.best_loss, self.course, self.samples = spent, best, course, samples
        self._good = self.state_dict()
        return RolledBack(step=self.step, diverged_step=diverged, rate_factor=course.rate_factor)

    def _point(self, train_loss: float, smooth_loss: float, chars_per_second: float) -> Progress:
        return Progress(
            step=self.step,
            train_loss=train_loss,
            smooth_loss=smooth_loss,
            learning_rate=self._learning_rate,
            grad_norm=self._grad_norm.item(),
            num_passes=self.num_passes,
            chars_per_second=chars_per_second,
            elapsed_seconds=self.elapsed_seconds,
            fraction=self.fraction,
        )

    def evaluate(self) -> Evaluated:
        """Validate the current weights or their average; changes no training state but the best figure."""
        return self.validator.evaluate(self.step, self.elapsed_seconds, self.on_tick)

    def sample(self, is_last: bool = False, estimates: bool = True) -> Sampled:
        """Sample a text, always with the same prompt and seed, and estimate the validation loss quickly."""
        sampled = self._sampler.write(self.language_model, self.on_tick, is_last)
        quick_loss = self.validator.quick_loss(self.step) if estimates else None
        figures = {"quick_loss": quick_loss, "elapsed_seconds": self.elapsed_seconds}
        return sampled.model_copy(update={"step": self.step, **figures})

    @torch.inference_mode(False)
    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return copied tensors and JSON facts from which `load_state_dict` continues exactly; call it at a `StepDone`.

        All processes of a group take it together, and get what one process alone would.
        """
        tensors = {f"model.{name}": tensor for name, tensor in self._model.state_dict().items()}
        if self._average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self._average.state_dict().items()}
        tensors |= self._optimizer.state_dict()
        if self._carried is not None:
            tensors["carried.h"], tensors["carried.c"] = self._gather_carried(self._carried)
        tensors["nats"] = self._meter.nats
        facts = {
            "step": self.step,
            "elapsed_seconds": self.elapsed_seconds,
            "best_val_loss": self.validator.best_loss if math.isfinite(self.validator.best_loss) else None,
            **self.course.facts(),
            **self.samples.facts(),
            "num_pending": self._num_pending,
            "logit_scale": self.validator.calibration.scale,
            **self._meter.facts(),
        }
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}, facts

    @torch.inference_mode(False)
    def load_state_dict(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Load a `state_dict()`; raise `CheckpointError` if it belongs to another model."""
        try:
            known = StateFacts.read(facts)
            self._model.load_state_dict(optim.strip_prefix("model.", tensors), strict=True)
            if self._average is not None:
                self._average.load_state_dict(optim.strip_prefix("average.", tensors), strict=True)
            self._optimizer.load_state_dict(tensors)
            expected = self._model.initial_state(self.config.batch_size)[0].shape
            self._carried = optim.load_carried(tensors, expected, self._streams, self.device)
            self._meter.load(known, tensors["nats"])
            self.step, self.elapsed_seconds, self.course = known.step, known.elapsed_seconds, known.course
            self.samples, self._num_pending = known.samples, known.num_pending
            self.validator.calibration.scale = known.logit_scale
            self.validator.best_loss = math.inf if known.best_val_loss is None else known.best_val_loss
            self.validator.forget_estimate()
        except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"the training state does not fit this run ({str(error).splitlines()[0][:200]}); start the run anew."
            ) from None
