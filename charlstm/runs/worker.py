"""The one place where trainer, files and control meet: it works a run's folder through to the end.

Runs in the process that a person's `charlstm train` or `charlstm resume` started, and is the folder's only writer.
Where torchrun started several, the first of them does the work, and the others `run_helper_rank`.
"""

import contextlib
from collections.abc import Callable

from filelock import Timeout

from charlstm.config import Settings
from charlstm.corpus import Corpus, Report
from charlstm.cpus import limit_torch_threads
from charlstm.errors import RunError
from charlstm.events import (
    Failed,
    Finished,
    Record,
    StepDone,
)
from charlstm.runs.continuation import RunPlan
from charlstm.runs.control import RequestListener, stop_signals
from charlstm.runs.event_log import EventWriter
from charlstm.runs.run_dir import RunDir
from charlstm.runs.session import TrainingSession
from charlstm.runs.setup import (
    begin_extension,
    build_trainer,
    check_text_is_the_same,
    describe_error,
    describe_write_error,
    is_out_of_memory,
    load_corpus,
    remove_leftovers,
    resolve_autotune,
)
from charlstm.training.distributed import SINGLE_PROCESS, World

_SAVE_SECONDS = 20.0


def run_training(
    folder: RunDir,
    corpus: Corpus | None = None,
    on_record: Callable[[Record], None] | None = None,
    report: Report | None = None,
    save_seconds: float = _SAVE_SECONDS,
    world: World = SINGLE_PROCESS,
) -> Finished:
    """Train the run in `folder` from where it stands to its end, and return its last record.

    `on_record` sees each record after it is written; `report` follows a download, or the reading of a large text;
    `save_seconds` lie between two saves of the
    training state, or more where a save is slow. Ctrl-C, SIGTERM and SIGHUP save first. Of a `world` of several
    processes the first one calls this, the others `run_helper_rank`.
    Raises `RunError` if another process works on it or it has completed, and, after recording it, whatever ends the
    run early. What keeps a run that has something saved from going on at all is not recorded: it stays what it is.
    """
    limit_torch_threads()
    try:
        held = folder.lock().acquire()
    except Timeout:
        raise RunError(f"run {folder.name} is being worked on by another process; stop it first.") from None
    except OSError as error:
        raise RunError(describe_write_error(error)) from None
    with held, EventWriter(folder.events_file, on_record) as log, contextlib.ExitStack() as until_recorded:
        remove_leftovers(folder)
        if folder.is_completed():  # a record of this refusal would make a failed run of it
            raise RunError(f"run {folder.name} has reached its planned end; give it more with --more-minutes.")
        try:
            with RequestListener(folder.mailbox) as ear:
                plan = RunPlan.load(folder)
                with world.rank_zero_first():
                    corpus = corpus or load_corpus(folder, plan.settings, report)
                    plan, notes = resolve_autotune(folder, plan, corpus)
                world.broadcast_object({"settings": plan.effective_settings.flat(), "num_parts": plan.num_parts})
                with world.rank_zero_first():
                    session = TrainingSession(folder, plan, corpus, log, ear, world, report)
                session.notes += notes
                session.save_no_sooner_than(save_seconds)
                # Not taken back before an error is recorded: torchrun ends the first process once it misses another.
                session.is_signalled = until_recorded.enter_context(stop_signals())
                return session.run()
        except Exception as error:
            if log.num_appended or not folder.has_state:
                with contextlib.suppress(OSError):  # what keeps the run from writing may keep this record out too
                    log.append(Failed(step=log.step, message=describe_error(error, folder)))
            if isinstance(error, OSError) or is_out_of_memory(error):
                raise RunError(describe_error(error, folder)) from error
            raise


def run_helper_rank(folder: RunDir, opened: Callable[[], Corpus], world: World) -> None:
    """Take this process's share of every step of a run that the first process of `world` works through.

    Nothing is written or said. Raises `DistributedError` when another process ends early.
    """
    with world.rank_zero_first():
        corpus = opened()
    plan = world.broadcast_object(None)  # as rank 0 has read and resolved it
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
