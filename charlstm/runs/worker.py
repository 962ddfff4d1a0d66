"""The one place where trainer, files and control meet: it works a run's folder through to the end.

Runs in the process that a person's `charlstm train` or `charlstm resume` started, and is the folder's only writer.
Where torchrun started several, the first of them does the work, and the others `assist`.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from filelock import Timeout
from torch import Tensor

from charlstm.checkpoint import MODEL_FILE, load_training_state, save_training_state
from charlstm.config import Settings
from charlstm.corpus import Corpus, Report, Split, open_corpus, open_file
from charlstm.distributed import ALONE, World
from charlstm.errors import CharLSTMError, CorpusError, RunError
from charlstm.events import Evaluated, Failed, Finished, Record, Resumed, Rewound, Started, StepDone
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM
from charlstm.runs.limits import check_parameters
from charlstm.runs.store import RunFolder
from charlstm.training import Trainer, hardware, measured, plan, provenance

_LOOK_SECONDS = 0.2  # between two looks at control.json
_SAVE_SECONDS = 20.0
_FIRST_SAVE_SECONDS = 3.0  # a run cut off early is not begun anew
_SAVE_SHARE = 0.01  # of the time may go into saving


def work(
    folder: RunFolder,
    corpus: Corpus | None = None,
    on_record: Callable[[Record], None] | None = None,
    report: Report | None = None,
    save_seconds: float = _SAVE_SECONDS,
    world: World = ALONE,
    make_trainer: Callable[..., Trainer] = Trainer,
) -> Finished:
    """Train the run in `folder` from where it stands to its end, and return its last record.

    `on_record` sees each record after it is written; `report` follows a download, or the reading of a large text;
    `make_trainer` makes another kind of trainer (`training.bursts`). `save_seconds` lie between two saves of the
    training state, or more where a save is slow. Ctrl-C, SIGTERM and SIGHUP save first. Of a `world` of several
    processes the first one calls this, the others `assist`.
    Raises `RunError` if another process works on it or it has completed, and, after recording it, whatever ends the
    run early.
    """
    try:
        held = folder.lock().acquire()
    except Timeout:
        raise RunError(f"run {folder.name} is being worked on by another process; stop it first.") from None
    except OSError as error:
        raise RunError(_unwritable(error)) from None
    with held, _Log(folder.events_file) as log:
        if folder.is_completed():  # a record of this refusal would make a failed run of it
            raise RunError(f"run {folder.name} has reached its planned end; start a new one to train longer.")

        def record(each: Record) -> None:
            log.append(each)
            if on_record:
                on_record(each)

        try:
            with world.first_goes_first():
                corpus = corpus or corpus_of(folder, report)
                planned = _planned(folder, corpus)
            world.shared(folder.settings().flat())
            with world.first_goes_first():
                begun = _Work(folder, corpus, record, report, save_seconds, world, make_trainer)
            begun.notes += planned
            return begun.through()
        except Exception as error:
            with contextlib.suppress(OSError):  # what keeps the run from writing may keep this record out too
                record(Failed(step=log.step, message=_told(error, folder)))
            if isinstance(error, OSError):
                raise RunError(_unwritable(error)) from error
            raise
        finally:
            folder.take_back_requests()


def assist(opened: Callable[[], Corpus], world: World) -> None:
    """Take this process's share of every step of a run that the first process of `world` works through.

    Nothing is written or said. Raises `GroupError` when another process ends early.
    """
    with world.first_goes_first():
        corpus = opened()
    settings = Settings.from_flat(world.shared(None))  # as the first process has planned them
    with world.first_goes_first():
        _, trainer = _prepared(settings, corpus, world)
    tensors, facts = world.shared_state()
    _check_text(corpus, facts)
    trainer.load_state(tensors, facts)
    with _stop_signals() as is_signalled:
        for event in trainer.run():
            if isinstance(event, StepDone):
                stop, save = trainer.agreed(is_signalled(), save=False)
                if stop:
                    break
                if save and trainer.is_finite():
                    trainer.state()
        trainer.state()  # which the first process saves when it has validated


def _prepared(
    settings: Settings,
    corpus: Corpus,
    world: World,
    report: Report | None = None,
    make_trainer: Callable[..., Trainer] = Trainer,
) -> tuple[Split, Trainer]:
    split = corpus.split(settings.model, settings.train, report=report)
    with torch.device("meta"):  # before memory is taken
        check_parameters(CharLSTM(len(split.vocabulary), settings.model).num_parameters)
    language_model = LanguageModel.create(split.vocabulary, settings.model, settings.train.seed)
    return split, make_trainer(language_model, split, settings.train, world=world)


def _check_text(corpus: Corpus, facts: Mapping[str, Any]) -> None:
    if facts.get("corpus_sha256") != corpus.sha256:
        raise CorpusError(
            f"{corpus.name} is not the text this run began with; bring that text back, or start a new run."
        )


def _told(error: Exception, folder: RunFolder) -> str:
    """What the records say of an error: one sentence, without the path of the folder of models."""
    if isinstance(error, OSError):
        return _unwritable(error)
    if isinstance(error, CharLSTMError):
        return str(error).replace(f"{folder.path.parent}{os.sep}", "")
    return f"an unexpected error ended the run: {type(error).__name__}; its log says more."


def _unwritable(error: OSError) -> str:
    return f"the run's folder can't be written ({error.strerror or error}); free it up and resume the run."


def corpus_of(folder: RunFolder, report: Report | None = None) -> Corpus:
    """The text that a run learns from: its own copy, or the corpus of its settings."""
    train = folder.settings().train
    if folder.corpus_file.exists():
        return open_file(folder.corpus_file, "utf-8", name=train.corpus, report=report)
    return open_corpus(train.corpus, train.encoding, report)


def _planned(folder: RunFolder, corpus: Corpus) -> tuple[str, ...]:
    """Choose the run's settings now if they are to be, once, so that a resumed run goes on alike; returns notes."""
    settings = folder.settings()
    if settings.train.plan == "off":
        return ()
    settings, note = plan(settings, corpus)
    folder.keep_settings(settings)
    return (note,)


class _Work:
    """One worker's way through one run."""

    def __init__(
        self,
        folder: RunFolder,
        corpus: Corpus,
        record: Callable[[Record], None],
        report: Report | None,
        save_seconds: float,
        world: World,
        make_trainer: Callable[..., Trainer],
    ) -> None:
        self.folder, self.corpus, self.record, self.world = folder, corpus, record, world
        self.split, self.trainer = _prepared(folder.settings(), corpus, world, report, make_trainer)
        self.notes = corpus.notes
        self.evaluated: Evaluated | None = None
        self.last_look = self.last_save = time.monotonic()
        self.shortest_wait = save_seconds
        self.save_seconds = min(save_seconds, _FIRST_SAVE_SECONDS)

    def through(self) -> Finished:
        """Start or resume, train, and finish."""
        if self.folder.state_file.exists():
            self._resume()
        else:
            if self.world.size > 1:
                self.world.shared_state(*self._state())
            self.record(self._started())
        with _stop_signals() as is_signalled:
            is_stopped = self._train(is_signalled)
            return self._finish(is_stopped)

    def _started(self) -> Started:
        return Started(
            step=0,
            started_at=_now(),
            num_chars=self.corpus.num_chars,
            num_distinct=len(self.corpus.frequencies),
            num_train_chars=len(self.split.train),
            num_val_chars=len(self.split.validation),
            num_parameters=self.trainer.language_model.model.num_parameters,
            hardware=hardware(),
            notes=self.notes,
        )

    def _resume(self) -> None:
        tensors, facts = load_training_state(self.folder.state_file)
        _check_text(self.corpus, facts)
        self.world.shared_state(tensors, facts)
        self.trainer.load_state(tensors, facts)
        self.record(Resumed(step=self.trainer.step, started_at=_now()))

    def _train(self, is_signalled: Callable[[], bool]) -> bool:
        """Work the trainer's events off; returns whether the run was stopped before its planned end."""
        for event in self.trainer.run():
            if isinstance(event, StepDone):
                is_save_due = time.monotonic() - self.last_save > self.save_seconds
                stop, save = self.trainer.agreed(is_signalled() or self._is_asked_to_stop(), is_save_due)
                if stop:
                    return self.trainer.fraction < 1
                if save and self.trainer.is_finite():
                    self._save_last()
            else:
                self.record(event)
                if isinstance(event, Evaluated):
                    self._evaluated(event)
                elif isinstance(event, Rewound):
                    self.evaluated = None  # of a step that no longer counts
        return False

    def _is_asked_to_stop(self) -> bool:
        now = time.monotonic()
        if now - self.last_look < _LOOK_SECONDS:
            return False
        self.last_look = now
        self._require_folder()
        return self.folder.control().stop

    def _require_folder(self) -> None:
        """Or saving would make the folder anew, without its settings and records, and nobody could resume the run."""
        if not self.folder.exists:
            raise RunError(f"the folder of run {self.folder.name} is gone, and the run with it; start it anew.")

    def _evaluated(self, event: Evaluated) -> None:
        self.evaluated = event
        if event.is_best:
            self._publish(self.folder.path)

    def _publish(self, place: Path) -> None:
        self._require_folder()
        latest = self.evaluated if self.evaluated and self.evaluated.step == self.trainer.step else None
        language_model = self.trainer.language_model
        origin = provenance(self.trainer, self.corpus, latest)
        LanguageModel(language_model.model, language_model.vocabulary, origin).save(place)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = self.trainer.state()
        return tensors, {**facts, "corpus_sha256": self.corpus.sha256}

    def _save_last(self) -> None:
        self._require_folder()
        began = time.monotonic()
        save_training_state(self.folder.state_file, *self._state())
        self._publish(self.folder.state_file.parent)
        self.last_save = time.monotonic()
        self.save_seconds = max(self.shortest_wait, (self.last_save - began) / _SAVE_SHARE)

    def _finish(self, is_stopped: bool) -> Finished:
        is_good = self.trainer.is_finite()  # broken weights that no report has met yet are not for keeping
        if is_stopped and is_good and (self.evaluated is None or self.evaluated.step != self.trainer.step):
            event = self.trainer.evaluate()  # so that what was learned since the last validation is not passed over
            self.record(event)
            self._evaluated(event)
        if is_good:
            self._save_last()
        best = LanguageModel.load(self.folder.path / MODEL_FILE)
        if not is_stopped:
            best = measured(best, self.split.validation)
            best.save(self.folder.path)
        assert best.provenance is not None
        finished = Finished(
            step=self.trainer.step,
            reason="stopped" if is_stopped else "completed",
            elapsed_seconds=self.trainer.elapsed_seconds,
            val_stateful=best.provenance.val_stateful,
            val_windows=best.provenance.val_windows,
        )
        self.record(finished)
        return finished


class _Log:
    """`events.jsonl`, appended a whole line at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self.step = 0  # of the last record
        _drop_broken_line(path)

    def append(self, record: Record) -> None:
        self._file.write(record.model_dump_json().encode() + b"\n")
        self._file.flush()
        self.step = record.step

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # closing writes what a full disk refused; `append` has said so
            self._file.close()


def _drop_broken_line(path: Path) -> None:
    """Cut off what a killed worker left of its last line, so that the next record starts on a line of its own."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Inside the block signals that end a process only ask; a second Ctrl-C interrupts at once.

    Signals belong to a process's main thread; another one is asked through the folder alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a polite kill, a closed terminal; Windows lacks the last
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
