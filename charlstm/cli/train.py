"""The commands `train` and `resume`: settings from flags, a run's directory, and the run in this process."""

import argparse
import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from charlstm.cli.flags import DEFAULT_PRESET, Flat, Resume, Train
from charlstm.cli.progress import BytesBar, TrainingBar, ignore_output_errors
from charlstm.config import PRESETS, PresetName, Settings
from charlstm.data_folders import find_model
from charlstm.errors import ConfigError
from charlstm.formatting import format_duration, own_command
from charlstm.json_text import parse_json, read_small
from charlstm.model_paths import model_file, model_name
from charlstm.runs.continuation import add_extension, inherit_sizes, with_fine_tuning_rates
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import Extension, RunDir
from charlstm.runs.store import RunStore

if TYPE_CHECKING:
    from charlstm.corpus import Corpus
    from charlstm.training.distributed import World


def base_settings(argv: list[str]) -> Settings:
    """Return the settings that flags of `train` override: those of the preset, then of the file of `--config`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", default=DEFAULT_PRESET, choices=get_args(PresetName))
    parser.add_argument("--config", type=Path)
    parser.add_argument("--from", dest="parent", type=Path)
    try:
        known, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return Settings.preset(DEFAULT_PRESET)  # the real parser will say what is wrong with it
    flat = {**PRESETS[known.preset], **(_read_json(known.config) if known.config else {})}
    settings = Settings.from_flat(flat, needs_end=False)
    if not known.parent:
        return settings
    return inherit_sizes(with_fine_tuning_rates(settings, known.preset), find_model(known.parent))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = parse_json(read_small(path))
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path} can't be read as JSON ({what}); correct it, or name another file.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one JSON object of settings.")
    return values


def train(flags: Flat[Train]) -> None:
    """Train a model on a text."""
    from charlstm.corpus import open_corpus
    from charlstm.kernel.job_layout import limit_torch_threads
    from charlstm.language_model import LanguageModel
    from charlstm.training.distributed import World

    RunManager(flags.checkpoints_dir)  # a variable that is not a number is refused before anything begins
    limit_torch_threads()
    if flags.parent:
        flags.parent = find_model(flags.parent)
    settings, typed = Settings(model=flags.model, train=flags.train), flags.train.corpus
    settings.train.require_end()
    if flags.parent and settings != inherit_sizes(settings, flags.parent):
        raise ConfigError("the sizes are those of the model the run begins from; leave out flags that change them.")
    world = World.from_environment()
    world.shard(settings.train.batch_size)
    with world:
        with world.rank_zero_first(), BytesBar() as bar:
            corpus = open_corpus(typed, settings.train.encoding, bar.report, shown=typed)
        # whoever resumes the run may do so from another folder
        whole = settings.train.model_copy(update={"corpus": corpus.place})
        settings = settings.model_copy(update={"train": whole})
        vocabulary = None
        if flags.parent:
            characters = (char for char, _ in corpus.frequencies)
            parent = LanguageModel.load(flags.parent)
            vocabulary = parent.with_characters(characters, settings.model, settings.train.seed)[0].vocabulary
        # a text that can't be used is refused before a folder is made
        corpus.check(settings.model, settings.train, vocabulary)
        name = world.broadcast_object(_create_run(flags, settings, world, corpus).name if world.is_rank_zero else "")
        _train_here(RunDir(flags.checkpoints_dir / name), corpus, world)


def _create_run(flags: Train, settings: Settings, world: "World", corpus: "Corpus") -> RunDir:
    """Create the run's directory, with a copy of a fetched text; a restarted torchrun gets the one it made."""
    store = RunStore(flags.checkpoints_dir)
    if world.num_restarts and (begun := store.find_by_job(world.job)):
        return begun
    name = store.free_name(f"{Path(corpus.name).stem}-{flags.preset}") if flags.name is None else flags.name

    def prepare(folder: RunDir) -> None:
        if flags.parent:
            folder.save_parent(model_file(flags.parent), model_name(flags.parent))

    text = corpus.pieces() if corpus.is_fetched else None
    return store.create(settings, name, text, job=world.job, prepare=prepare)


def resume(flags: Flat[Resume]) -> None:
    """Continue a run that was stopped or cut off, exactly where it was last saved."""
    from charlstm.kernel.job_layout import limit_torch_threads
    from charlstm.runs.training_inputs import open_moved_corpus
    from charlstm.training.distributed import World

    RunManager(flags.checkpoints_dir)
    limit_torch_threads()
    more = Extension(
        minutes=flags.more_minutes,
        passes=flags.more_passes,
        steps=flags.more_steps,
        learning_rate=flags.more_rate,
        lr_schedule=flags.more_schedule,
    )
    with World.from_environment() as world, contextlib.ExitStack() as opened:
        corpus = None
        with world.rank_zero_first():
            folder = RunStore(flags.checkpoints_dir).get(flags.name)
            if world.size > 1:
                world.shard(folder.settings().train.batch_size)  # refused without making a failed run of it
            if world.is_rank_zero and not folder.is_alive():  # which the worker will say
                if flags.corpus:
                    with BytesBar() as bar:
                        corpus = open_moved_corpus(folder, flags.corpus, bar.report)
                opened.enter_context(temporary_extension(folder, more))
                clear_stale_requests(folder)
        _train_here(folder, corpus, world, flags.quiet)


@contextlib.contextmanager
def temporary_extension(folder: RunDir, more: Extension) -> Iterator[None]:
    """Add `more` to the run, and take it back if the block raises before a record of the run was written."""
    if more == Extension():
        yield
        return
    before, records = folder.extensions(), _num_bytes(folder.events_file)
    add_extension(folder, more)
    try:
        yield
    except BaseException:
        if _num_bytes(folder.events_file) == records:
            folder.save_extensions(before)
        raise


def _num_bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def clear_stale_requests(folder: RunDir) -> None:
    """Forget, before a person's `resume`, requests that no worker lived to heed."""
    if not folder.ticket():  # a manager's requests were made for the worker that is coming
        folder.clear_requests()


def _train_here(folder: RunDir, corpus: "Corpus | None", world: "World", is_quiet: bool = False) -> None:
    try:
        with ignore_output_errors():  # whoever read along has left, or the log's disk is full: no reason to stop
            _run_rank(folder, corpus, world, is_quiet)
    finally:
        if world.is_rank_zero:
            RunManager(folder.path.parent).start_queued()  # whatever waits for this one's end


def _run_rank(folder: RunDir, corpus: "Corpus | None", world: "World", is_quiet: bool) -> None:
    from charlstm.kernel.build import compiler_note
    from charlstm.runs.training_inputs import load_corpus
    from charlstm.runs.worker import run_helper_rank, run_training

    if world.num_restarts and world.broadcast_object(folder.is_completed()):
        return
    if not world.is_rank_zero:
        run_helper_rank(folder, lambda: corpus or load_corpus(folder, folder.settings()), world)
        return
    print(f"run {folder.name}, in {folder.path}")
    if note := compiler_note():
        print(note)
    with BytesBar() as download, TrainingBar(is_quiet) as bar:
        finished = run_training(folder, corpus, bar.show, download.report, world=world)
    print(f"{finished.reason} at step {finished.step:,} after {format_duration(finished.elapsed_seconds)}")
    if finished.val_stateful is not None and finished.val_windows is not None:
        print(
            f"validation {finished.val_stateful:.4f} nats per character stateful, "
            f"{finished.val_windows:.4f} in windows of 256"
        )
    print(f"write with it: {own_command()} generate {shlex.quote(str(folder.path))}")
