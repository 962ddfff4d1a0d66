"""The training session of one worker: training, records, saves, requests, and the final measurement."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from torch import Tensor

from charlstm.checkpoint import load_training_state, save_training_state
from charlstm.corpus import Split
from charlstm.corpus.ngram import Cancelled, compute_baselines
from charlstm.errors import RunError
from charlstm.events import (
    Baselines,
    Continued,
    Evaluated,
    Finished,
    LearningRateChanged,
    Paused,
    Resumed,
    RolledBack,
    Sampled,
    Saved,
    SaveReason,
    Started,
    StepDone,
)
from charlstm.language_model import LanguageModel
from charlstm.model_paths import MODEL_FILE
from charlstm.runs.continuation import describe_parent
from charlstm.runs.control import RequestListener
from charlstm.runs.event_log import EventWriter
from charlstm.runs.run_dir import RunDir
from charlstm.runs.slot_time import TimeBudget
from charlstm.runs.training_inputs import (
    PreparedRun,
    begin_extension,
    check_text_is_the_same,
)
from charlstm.training import build_provenance, describe_hardware, with_validation
from charlstm.training.clock import watch_clock
from charlstm.training.distributed import World
from charlstm.training.snapshots import SnapshotTaker

_LOOK_SECONDS = 0.1  # between two reads of control.json
_FIRST_SAVE_SECONDS = 3.0  # so that a run killed early need not restart from nothing
_SAVE_SHARE = 0.01  # of the time, at most, is spent saving
_LAST_IN_LINE = 19  # as `nice` counts
_State = tuple[dict[str, Tensor], dict[str, Any]]  # tensors and facts that a trainer continues from


class _Halt(Exception):
    """Raised to stop amid a report, which need not finish: the saved state knows what is left of it."""


class TrainingSession:
    """The work of one worker on one run."""

    def __init__(
        self,
        folder: RunDir,
        prepared: PreparedRun,
        log: EventWriter,
        listener: RequestListener,
        world: World,
    ) -> None:
        self.folder, self.log, self.listener, self.world = folder, log, listener, world
        self.plan, self.corpus, self.notes = prepared.plan, prepared.corpus, prepared.notes
        self.split, self.trainer, self.new_characters = prepared.split, prepared.trainer, prepared.new_characters
        self.record = log.append
        self.snapshots = SnapshotTaker(folder.path)
        self.evaluated: Evaluated | None = None
        self.sampled_step: int | None = None
        self.last_save = time.monotonic()
        self.asked_factor, self.saved_for = 1.0, 0  # the last requested rate factor; the last fulfilled save request
        self.cause: SaveReason | None = None  # of the next save
        self.is_signalled: Callable[[], bool] = lambda: False
        self.time = TimeBudget(lambda: self.trainer.elapsed_seconds, lambda: self.listener.poll(_LOOK_SECONDS).stop)

    def save_no_sooner_than(self, seconds: float) -> None:
        """Set the minimum interval between saves, which slow saves lengthen; the first save comes sooner."""
        self.shortest_wait, self.save_seconds = seconds, min(seconds, _FIRST_SAVE_SECONDS)

    def run(self) -> Finished:
        """Start or resume the run, train it, and return its last record."""
        if self.folder.state_file.exists():
            self._resume()
            self.listener.answer(stage="training")
        else:
            self.listener.answer(stage="writing")
            if self.world.size > 1:
                self.world.broadcast_state(*self._state())
            self.record(self._start_record())
        references = BaselineThread(self.folder, self.split, self.log)
        with references, watch_clock(self.trainer.clock):
            is_stopped = self._train()
            self._halt("stop" if is_stopped else "end")
            if not is_stopped:
                references.wait(self.time.may_measure)
        return self._finish(is_stopped)

    def _start_record(self) -> Started:
        parent = self.plan.parent
        return Started(
            step=0,
            started_at=_now(),
            num_chars=self.corpus.num_chars,
            num_distinct=len(self.corpus.frequencies),
            num_train_chars=len(self.split.train),
            num_val_chars=len(self.split.validation),
            num_parameters=self.trainer.language_model.model.num_parameters,
            hardware=describe_hardware(),
            notes=(*self.notes, describe_parent(parent, self.new_characters)) if parent else self.notes,
            parent=parent.name if parent else "",
            parent_sha256=parent.sha256 if parent else "",
            new_characters=self.new_characters,
        )

    def _resume(self) -> None:
        tensors, facts = load_training_state(self.folder.state_file)
        check_text_is_the_same(self.corpus, facts)
        self.world.broadcast_state(tensors, facts)
        self.trainer.load_state_dict(tensors, facts)
        self.asked_factor = self.trainer.course.asked_factor
        self.listener.answer(rate_factor=self.asked_factor, saved_step=self.trainer.step)
        self.record(Resumed(started_at=_now(), **self._position()))
        if begin_extension(self.trainer, self.plan.num_parts):
            self.record(self.plan.extension_event(self._position()))

    def _position(self) -> dict[str, Any]:
        trainer = self.trainer
        return {"step": trainer.step, "elapsed_seconds": trainer.elapsed_seconds, "num_passes": trainer.num_passes}

    def _train(self) -> bool:
        """Process the trainer's events; return whether the run was stopped before its planned end."""
        if self.world.size == 1:
            self.trainer.on_tick = self._on_tick
        self.snapshots.begin(self.trainer)
        with contextlib.suppress(_Halt):
            for event in self.trainer.run():
                if isinstance(event, StepDone):
                    self.snapshots.take(self.trainer)
                    if self._should_stop():
                        break
                else:
                    self.record(event)
                    if isinstance(event, Evaluated):
                        self._record_evaluation(event)
                    elif isinstance(event, Sampled):
                        self.sampled_step = event.step
                    elif isinstance(event, RolledBack):
                        self.evaluated = self.sampled_step = None  # they belonged to a discarded step
                        self.snapshots.discard_after(event.step)
        self.trainer.on_tick = lambda: None
        return self.trainer.fraction < 1

    def _should_stop(self) -> bool:
        """Handle requests and due saves after a step, the same one in every process; return whether to stop."""
        self._handle_requests(_LOOK_SECONDS)
        is_due = time.monotonic() - self.last_save > self.save_seconds
        stop, save = self.trainer.agree_on(self._stop_requested(), is_due or self.cause is not None)
        if save and not stop:
            self._save_and_pause()
        return stop or (self.world.size == 1 and self._stop_requested())

    def _on_tick(self) -> None:
        """Handle requests amid a validation or sample, so that neither a pause nor a stop has to wait for it."""
        self._handle_requests(_LOOK_SECONDS)
        if self.cause:
            self._save_and_pause()
        if (self._stop_requested() and self.trainer.fraction < 1) or self.time.is_over_amid_reports():
            raise _Halt

    def _save_and_pause(self) -> None:
        """Save for the pending cause, and wait while a pause is requested."""
        if self.trainer.step and self.trainer.is_finite():  # before the first step there is nothing to save
            self._save_state(self.cause or "timer")
        self.cause = None
        if self.listener.control.pause and not self._stop_requested():
            self._pause()
        self.listener.answer(done=self.listener.control.number)

    def _pause(self) -> None:
        self.record(Paused(**self._position()))
        self.listener.answer(is_paused=True, done=self.listener.control.number)
        began, began_by_trainer = time.monotonic(), self.trainer.clock()  # which may stand still during the pause
        while self.listener.wait().pause and not self._stop_requested():
            self._handle_requests(0.0)
            if self.time.has_paused(time.monotonic() - began):
                break
            if self.cause in ("rate", "asked") and self.trainer.step:
                self._save_state(self.cause)
            self.cause = None
            self.listener.answer(done=self.listener.control.number)
        seconds = time.monotonic() - began
        self.time.paused_seconds += seconds
        self.trainer.exclude_pause(self.trainer.clock() - began_by_trainer)
        self.last_save += seconds
        self.listener.answer(is_paused=False)
        self.record(Continued(paused_seconds=seconds, **self._position()))

    def _handle_requests(self, at_most_every: float) -> None:
        """Poll the requests; set the learning rate and the cause of the next save accordingly."""
        before = self.listener.control
        control = self.listener.poll(at_most_every)
        if control is before:
            return
        self._require_folder()
        if control.pause:
            self.cause = self.cause or "pause"
        if control.save > self.saved_for:
            self.cause, self.saved_for = "asked", control.save
        if control.rate_factor not in (None, self.asked_factor):
            self.cause, self.asked_factor = "rate", control.rate_factor
            planned = self.trainer.next_learning_rate / self.trainer.course.asked_factor
            rates = {"rate_factor": self.asked_factor, "learning_rate": planned * self.asked_factor}
            self.trainer.set_lr_factor(self.asked_factor)
            self.listener.answer(rate_factor=self.asked_factor)
            self.record(LearningRateChanged(**rates, **self._position()))
        if self.cause is None:  # nothing to do
            self.listener.answer(done=control.number)

    def _stop_requested(self) -> bool:
        return self.listener.control.stop or self.is_signalled() or self.time.is_over()

    def _require_folder(self) -> None:
        """Raise `RunError` if the directory is gone: saving would recreate it without its settings."""
        if not self.folder.exists:
            raise RunError(f"the folder of run {self.folder.name} is gone, and the run with it; start it anew.")

    def _record_evaluation(self, event: Evaluated) -> None:
        self.evaluated = event
        if event.is_best:
            self._publish(self.folder.path)

    def _publish(self, place: Path) -> None:
        self._require_folder()
        latest = self.evaluated if self.evaluated and self.evaluated.step == self.trainer.step else None
        language_model = self.trainer.language_model
        origin = build_provenance(self.trainer, self.corpus, latest)
        whole = origin.model_copy(update=self.plan.provenance_fields(origin.train_config))
        LanguageModel(language_model.model, language_model.vocabulary, whole).save(place)

    def _state(self) -> _State:
        tensors, facts = self.trainer.state_dict()
        return tensors, {**facts, "corpus_sha256": self.corpus.sha256}

    def _save_state(self, cause: SaveReason, state: _State | None = None) -> None:
        self._require_folder()
        began = time.monotonic()
        save_training_state(self.folder.state_file, *(state or self._state()))
        self._publish(self.folder.state_file.parent)
        self.last_save = time.monotonic()
        self.record(Saved(cause=cause, **self._position()))
        self.listener.answer(saved_step=self.trainer.step)
        self.save_seconds = max(self.shortest_wait, (self.last_save - began) / _SAVE_SHARE)

    def _halt(self, cause: SaveReason) -> None:
        """End training and save before the final measurement, so that the save need not wait for it."""
        self.time.begin_measuring()
        self.ended: _State | None = None
        if self.trainer.step and self.trainer.is_finite():  # don't save broken weights that no report has caught
            self.ended = self._state()
            self._save_state(cause, self.ended)
        self.listener.answer(is_halted=True)

    def _report_final_step(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Validate and sample the last step unless that was done, and save the outcome in the state."""
        step, best = self.trainer.step, facts["best_val_loss"]
        is_validated = self.evaluated is not None and self.evaluated.step == step
        if not is_validated:
            event = self.trainer.evaluate()
            self.record(event)
            self._record_evaluation(event)
            best = event.val_loss if event.is_best else best
        if self.sampled_step != step:
            self.record(self.trainer.sample())
        elif is_validated:
            return
        self._save_state("end", (tensors, {**facts, "best_val_loss": best, "num_pending": 0}))

    def _finish(self, is_stopped: bool) -> Finished:
        if is_stopped and self.ended:
            self.trainer.on_tick = self._on_validation_tick
            with contextlib.suppress(_Halt):
                self._report_final_step(*self.ended)
        if (
            self.ended and not (self.folder.path / MODEL_FILE).exists()
        ):  # no validation was finished in time: publish the present weights
            self._publish(self.folder.path)
        val_stateful, val_windows = self._validate_final(is_stopped)
        finished = Finished(
            step=self.trainer.step,
            reason="stopped" if is_stopped else "completed",
            elapsed_seconds=self.trainer.elapsed_seconds,
            val_stateful=val_stateful,
            val_windows=val_windows,
            num_parts=self.trainer.course.num_parts,
        )
        self.record(finished)
        return finished

    def _on_validation_tick(self) -> None:
        if not self.time.may_measure():
            raise _Halt

    def _validate_final(self, is_stopped: bool) -> tuple[float | None, float | None]:
        """Return both validation figures of the best model, measured now if the run reached its planned end."""
        if not (self.folder.path / MODEL_FILE).exists():
            return None, None  # stopped before anything was validated
        best = LanguageModel.load(self.folder.path)
        if not is_stopped:
            with contextlib.suppress(_Halt):  # keep the figures measured during the run
                best = with_validation(best, self.split.validation, self._on_validation_tick)
                best.save(self.folder.path)
        origin = best.provenance
        return (origin.val_stateful, origin.val_windows) if origin else (None, None)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class BaselineThread:
    """A context manager whose thread records `Baselines` once per run; if cut short, the next worker starts over."""

    def __init__(self, folder: RunDir, split: Split, log: EventWriter) -> None:
        self._split, self._log = split, log
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        if b'"kind":"references"' not in folder.events_file.read_bytes():
            self._thread = threading.Thread(target=self._find, name="references", daemon=True)

    def __enter__(self) -> "BaselineThread":
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self.wait()

    def wait(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait until the baselines are recorded or no longer wanted."""
        while self._thread and self._thread.is_alive() and is_wanted():
            self._thread.join(_LOOK_SECONDS)

    def _find(self) -> None:
        if sys.platform == "linux":  # only there has a thread its own priority
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST_IN_LINE)
        began = time.monotonic()
        with contextlib.suppress(Cancelled, OSError):  # the training thread reports a full disk
            found = compute_baselines(self._split, lambda: not self._is_over.is_set())
            self._log.append(Baselines(step=0, seconds=round(time.monotonic() - began, 2), **found._asdict()))
