"""The command line: `charlstm train | resume | generate | evaluate | runs | app | bench`, and those of `cli_hub`.

With `cli_hub` the only module that prints. Flags are made from the fields of `config`; torch is loaded only by
commands that need it.
Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage.
"""

import argparse
import contextlib
import functools
import io
import itertools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import tyro

from charlstm import cli_hub
from charlstm.bench.report import table
from charlstm.config import PRESETS, PresetName, Settings, TrainConfig, plain_lines
from charlstm.environment import is_torchrun_helper
from charlstm.errors import CharLSTMError, ConfigError, CorpusError, DistributedError, TrainingDiverged
from charlstm.flags import DEFAULT_PRESET, App, Bench, Evaluate, Flat, Generate, Rate, Resume, Runs, Steered, Train
from charlstm.formatting import format_duration, own_command
from charlstm.json_text import parse_json, read_small
from charlstm.output import discard_unwritable, ignore_output_errors, is_reader_gone, prepare_output
from charlstm.places import find_model
from charlstm.process_setup import ensure_home, prepare_environment, prepare_proxies
from charlstm.runs.commands import added, control_run, describe_run, prepare_dataset, resolve_model
from charlstm.runs.continuation import inherit_sizes
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import Extension, RunDir
from charlstm.runs.store import RunStore
from charlstm.terminal import BytesBar, TrainingBar, harmless, muted

if TYPE_CHECKING:
    from charlstm.corpus import Corpus
    from charlstm.training.distributed import World

_LONG_CHARS = 10_000  # PyTorch alone takes seconds for so many


def _base_settings(argv: list[str]) -> Settings:
    """What the flags of `train` go on top of: the preset, then the file of `--config`. Also what its `--help` shows."""
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
    return inherit_sizes(settings, find_model(known.parent)) if known.parent else settings


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = parse_json(read_small(path))
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path} can't be read as JSON ({what}); correct it, or name another file.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one JSON object of settings.")
    return values


def _train(flags: Flat[Train]) -> None:
    """Train a model on a text."""
    from charlstm.corpus import DATASETS, absolute, is_address, open_corpus
    from charlstm.cpus import limit_torch_threads
    from charlstm.language_model import LanguageModel
    from charlstm.training import with_characters
    from charlstm.training.distributed import World

    RunManager(flags.checkpoints_dir)  # a variable that is no number is refused before anything begins
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
        if typed not in DATASETS:  # whoever resumes the run may do so from another folder
            place = corpus.name if is_address(typed) else absolute(typed)
            whole = settings.train.model_copy(update={"corpus": place})
            settings = settings.model_copy(update={"train": whole})
        vocabulary = None
        if flags.parent:
            characters = (char for char, _ in corpus.frequencies)
            parent = LanguageModel.load(flags.parent)
            vocabulary = with_characters(parent, characters, settings.model, settings.train.seed)[0].vocabulary
        # a text that can't be used is refused before a folder is made
        corpus.check(settings.model, settings.train, vocabulary)
        name = world.broadcast_object(_new_folder(flags, settings, world, corpus).name if world.is_rank_zero else "")
        _work(RunDir(flags.checkpoints_dir / name), corpus, world)


def _new_folder(flags: Train, settings: Settings, world: "World", corpus: "Corpus") -> RunDir:
    """A folder for the run, with its own copy of a fetched text; where torchrun started again, the one it began."""
    from charlstm.corpus import is_address

    store = RunStore(flags.checkpoints_dir)
    if world.num_restarts and (begun := store.find_by_job(world.job)):
        return begun
    name = store.free_name(f"{Path(corpus.name).stem}-{flags.preset}") if flags.name is None else flags.name

    def prepare(folder: RunDir) -> None:
        if flags.parent:
            folder.save_parent(*resolve_model(flags.parent))

    text = corpus.pieces() if is_address(flags.train.corpus) else None
    return store.create(settings, name, text, job=world.job, prepare=prepare)


def _resume(flags: Flat[Resume]) -> None:
    """Continue a run that was stopped or cut off, exactly where it was last saved."""
    from charlstm.cpus import limit_torch_threads
    from charlstm.runs.setup import moved_text
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
                        corpus = moved_text(folder, flags.corpus, bar.report)
                opened.enter_context(added(folder, more))
                prepare_dataset(folder)
        _work(folder, corpus, world, flags.quiet)


def _work(folder: RunDir, corpus: "Corpus | None", world: "World", is_quiet: bool = False) -> None:
    try:
        with ignore_output_errors():  # whoever read along has left, or the log's disk is full: no reason to stop
            _worked(folder, corpus, world, is_quiet)
    finally:
        if world.is_rank_zero:
            RunManager(folder.path.parent).start_queued()  # whatever waits for this one's end


def _worked(folder: RunDir, corpus: "Corpus | None", world: "World", is_quiet: bool) -> None:
    from charlstm.kernel.build import compiler_note
    from charlstm.runs.setup import load_corpus
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


def _pause(flags: Flat[Steered]) -> None:
    """Pause a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "pause"))


def _continue(flags: Flat[Steered]) -> None:
    """Continue a paused run, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "continue"))


def _stop(flags: Flat[Steered]) -> None:
    """Stop a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "stop"))


def _save(flags: Flat[Steered]) -> None:
    """Save a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "save"))


def _rate(flags: Flat[Rate]) -> None:
    """Scale the learning rate of a run that is training, from any terminal."""
    print(control_run(flags.checkpoints_dir, flags.name, "rate", flags.factor))


def _generate(flags: Flat[Generate]) -> None:
    """Write text with a model."""
    import torch

    from charlstm.kernel.build import compiler_note
    from charlstm.language_model import LanguageModel

    torch.set_num_threads(1)  # one text is read and written by one; the other cores are for others

    config, prompt = flags.sample, plain_lines(flags.prompt)
    language_model = LanguageModel.load(flags.model)
    if (config.num_chars or _LONG_CHARS) >= _LONG_CHARS and (note := compiler_note()):
        print(note, file=sys.stderr)
    if config.num_samples > 1:
        for number, text in enumerate(language_model.generate_samples(prompt, config), start=1):
            print(f"---- {number} of {config.num_samples} ----\n{harmless(prompt + text)}")
        return
    chunks = language_model.stream(prompt, config)
    first = next(chunks)  # a prompt that can't be read is refused before it is printed
    print(harmless(prompt), end="")
    for chunk in itertools.chain([first], chunks):
        print(harmless(chunk.text), end="", flush=True)
    print()


def _evaluate(flags: Flat[Evaluate]) -> None:
    """Measure a model on the validation part of a text, in nats and bits per character."""
    from charlstm.corpus import open_corpus
    from charlstm.cpus import limit_torch_threads
    from charlstm.evaluation import final_validation
    from charlstm.language_model import LanguageModel

    limit_torch_threads()
    language_model = LanguageModel.load(flags.model)
    origin = language_model.provenance
    asked = {name: getattr(flags, name) for name in ("corpus", "encoding", "val_fraction")}
    trained = {name: origin.train_config[name] for name in asked if name in origin.train_config} if origin else {}
    given = {name: value for name, value in asked.items() if value is not None}
    train = TrainConfig(**{**trained, **given, "batch_size": 1})
    with BytesBar() as bar:
        corpus = open_corpus(train.corpus, train.encoding, bar.report, shown=train.corpus)
    if origin and flags.corpus is None and corpus.sha256 != origin.corpus_sha256:
        raise CorpusError(f"{train.corpus} is not the text this model learned from; name the text with --corpus.")
    with BytesBar() as bar:
        cut = corpus.split(language_model.model.config, train, language_model.vocabulary, bar.report)
    tokens = cut.validation
    stateful, windows, method = final_validation(language_model.model, tokens)
    split = f"last {100 * train.val_fraction:g}%"
    if flags.as_json:
        figures = {
            key: {"nats": loss.nats, "bpc": loss.bpc} for key, loss in (("stateful", stateful), ("windows", windows))
        }
        print(
            json.dumps(
                {
                    **figures,
                    "method": method,
                    "characters": stateful.num_chars,
                    "model": str(flags.model),
                    "corpus": corpus.name,
                    "split": split,
                }
            )
        )
        return
    print(f"{flags.model} on {corpus.name}, {split}, {stateful.num_chars:,} characters")
    print(f"stateful             {stateful.nats:.4f} nats per character, {stateful.bpc:.4f} bits")
    print(f"cold windows of 256  {windows.nats:.4f} nats per character, {windows.bpc:.4f} bits")


def _runs(flags: Flat[Runs]) -> None:
    """List the runs, the newest first."""
    rows = [describe_run(folder) for folder in RunStore(flags.checkpoints_dir).run_dirs()]
    if flags.as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no runs in {flags.checkpoints_dir} yet; start one with: {own_command()} train")
    for row in rows if not flags.as_json else []:
        loss = f"validation {row['val_loss']:.4f}" if row["val_loss"] is not None else "no validation yet"
        print(f"{row['name']:32} {row['status']:10} step {row['step']:>9,}  {loss}")


def _app(flags: Flat[App]) -> None:
    """Open the page in a browser: train a model in front of your eyes, and write with it."""
    from charlstm.process_setup import prepare_for_gradio

    prepare_for_gradio()
    prepare_environment()
    from charlstm.ui.app import serve

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the address is seen at once, in a log too
    with ignore_output_errors():  # nobody need read along
        serve(flags)


def _bench(flags: Flat[Bench]) -> None:
    """Time this package beside the way others do the same."""
    from tqdm import tqdm

    from charlstm.bench.suites import run
    from charlstm.bench.timing import Meter
    from charlstm.cpus import limit_torch_threads

    limit_torch_threads()
    with tqdm(bar_format="{desc}", leave=False, disable=not sys.stderr.isatty()) as line:
        report = run(flags.suite, flags.config, Meter(flags.config.seconds, progress=line.set_description_str))
    print(report.model_dump_json() if flags.as_json else table(report))


def _run(argv: list[str]) -> None:
    base = _base_settings(argv)
    commands: dict[str, Callable[..., None]] = {
        "train": functools.partial(_train, flags=Train(model=base.model, train=base.train)),
        "resume": _resume,
        "pause": _pause,
        "continue": _continue,
        "stop": _stop,
        "save": _save,
        "rate": _rate,
        "generate": _generate,
        "evaluate": _evaluate,
        "runs": _runs,
        "app": _app,
        "bench": _bench,
        **cli_hub.COMMANDS,
    }
    tyro.extras.subcommand_cli_from_dict(
        commands,
        prog=own_command(),
        description="Train a character-level LSTM and write text with it.",
        args=argv,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    prepare_output()
    ensure_home()
    try:
        return _exit_code(sys.argv[1:] if argv is None else argv)
    finally:
        discard_unwritable()


def _exit_code(argv: list[str]) -> int:
    is_helper = is_torchrun_helper()
    try:
        if argv and argv[0] in cli_hub.COMMANDS:
            prepare_proxies()
        with muted() if is_helper else contextlib.nullcontext():
            _run(argv)
        sys.stdout.flush()
    except CharLSTMError as error:
        if not (
            is_helper and isinstance(error, ConfigError | DistributedError | TrainingDiverged)
        ):  # the first says so
            _complain(error)
        return 2 if isinstance(error, ConfigError) else 1
    except OSError as error:
        if is_reader_gone(error):  # `generate ... | head`: whoever reads has enough
            return 0
        # nobody foresaw it: still a sentence, and not a screenful
        _complain(f"{error.filename or 'the output or a file'} can't be used ({error.strerror or error}); check it.")
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 1
    return 0


def _complain(what: object) -> None:
    with ignore_output_errors():
        print(what, file=sys.stderr)
