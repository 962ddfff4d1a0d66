"""The worker: trains the run in a directory to its end, connecting trainer, files and control.

Runs in the process of `charlstm train` or `charlstm resume`, and is the directory's only writer. Under torchrun, rank 0
calls `run_training` and the other ranks `run_helper_rank`.
"""

import contextlib
import os
from collections.abc import Callable

from filelock import Timeout

from charlstm.config import Settings
from charlstm.corpus import Corpus, OnBytes
from charlstm.errors import CharLSTMError, RunError
from charlstm.events import (
    Failed,
    Finished,
    Record,
    StepDone,
)
from charlstm.kernel.job_layout import limit_torch_threads
from charlstm.runs.control import RequestListener, stop_signals
from charlstm.runs.event_log import EventWriter
from charlstm.runs.run_dir import RunDir
from charlstm.runs.training_inputs import (
    begin_extension,
    build_trainer,
    check_text_is_the_same,
    prepare,
)
from charlstm.runs.worker_session import TrainingSession
from charlstm.training.distributed import SINGLE_PROCESS, World

_SAVE_SECONDS = 20.0


def run_training(
    folder: RunDir,
    corpus: Corpus | None = None,
    on_record: Callable[[Record], None] | None = None,
    report: OnBytes | None = None,
    save_seconds: float = _SAVE_SECONDS,
    world: World = SINGLE_PROCESS,
) -> Finished:
    """Train the run in `folder` from its saved state to its end, and return its last record.

    `on_record` is called with each record after it is written; `report` receives the progress of a download, or of
    reading a large text; `save_seconds` is the interval between saves of the training state, lengthened if saving is
    slow. Ctrl-C, SIGTERM and SIGHUP save first. In a `world` of several processes rank 0 calls this, the others
    `run_helper_rank`. Raises `RunError` if another process works on the run or it has completed, and re-raises, after
    recording it, any error that ends the run early. An error that keeps a run with a saved state from resuming at all
    is not recorded: the run's status stays as it was.
    """
    limit_torch_threads()
    try:
        held = folder.lock().acquire()
    except Timeout:
        raise RunError(f"run {folder.name} is being worked on by another process; stop it first.") from None
    except OSError as error:
        raise RunError(_describe_write_error(error)) from None
    with held, EventWriter(folder.events_file, on_record) as log, contextlib.ExitStack() as until_recorded:
        _remove_leftovers(folder)
        if folder.is_completed():  # recording this error would mark the run as failed
            raise RunError(f"run {folder.name} has reached its planned end; give it more with --more-minutes.")
        try:
            with RequestListener(folder.mailbox) as listener:
                prepared = prepare(folder, corpus, listener, world, report)
                session = TrainingSession(folder, prepared, log, listener, world)
                session.save_no_sooner_than(save_seconds)
                # Kept until an error is recorded: torchrun terminates rank 0 once another rank is gone.
                session.is_signalled = until_recorded.enter_context(stop_signals())
                return session.run()
        except Exception as error:
            if log.num_appended or not folder.has_state:
                with contextlib.suppress(OSError):  # whatever blocked writing may block this record too
                    log.append(Failed(step=log.step, message=_describe_error(error, folder)))
            if isinstance(error, OSError) or _is_out_of_memory(error):
                raise RunError(_describe_error(error, folder)) from error
            raise


def run_helper_rank(folder: RunDir, opened: Callable[[], Corpus], world: World) -> None:
    """Compute this process's share of every step of a run that rank 0 of `world` drives.

    Writes and prints nothing. Raises `DistributedError` if another process ends early.
    """
    with world.rank_zero_first():
        corpus = opened()
    plan = world.broadcast_object(None)  # as read and resolved by rank 0
    with world.rank_zero_first():
        _, trainer, _ = build_trainer(folder, Settings.from_flat(plan["settings"]), corpus, world)
    tensors, facts = world.broadcast_state()
    check_text_is_the_same(corpus, facts)
    trainer.load_state_dict(tensors, facts)
    begin_extension(trainer, plan["num_parts"])
    with stop_signals() as is_signalled:
        for event in trainer.run():
            if isinstance(event, StepDone):
                stop, save = trainer.agree_on(is_signalled(), save=False)
                if stop:
                    break
                if save and trainer.is_finite():
                    trainer.state_dict()
        trainer.state_dict()  # which the first process saves


def _remove_leftovers(folder: RunDir) -> None:
    """Remove the run's queue ticket and the temporary files of killed workers."""
    folder.ticket_file.unlink(missing_ok=True)
    for left in (*folder.path.glob(".*.safetensors.*.tmp"), *folder.state_file.parent.glob(".*.tmp")):
        left.unlink(missing_ok=True)


_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "could not create a memory",
    "bad_alloc",
)


def _describe_error(error: Exception, folder: RunDir) -> str:
    """Return the error as one sentence for the records, without the path of the checkpoints directory."""
    if isinstance(error, OSError):
        return _describe_write_error(error)
    if _is_out_of_memory(error):
        return "the memory of this machine did not suffice; lower batch_size, seq_len or hidden_size."
    if isinstance(error, CharLSTMError):
        return str(error).replace(f"{folder.path.parent}{os.sep}", "")
    return f"an unexpected error ended the run: {type(error).__name__}; its log says more."


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; off the GPU, PyTorch says so only in the message of a `RuntimeError`."""
    message = str(error).lower()
    is_torchs = isinstance(error, RuntimeError) and any(words in message for words in _OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or is_torchs


def _describe_write_error(error: OSError) -> str:
    """Return the message for a run directory that can't be written."""
    return f"the run's folder can't be written ({error.strerror or error}); free it up and resume the run."
