"""Dispatch of the command line: commands by name, and exit codes.

Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage.
"""

import contextlib
import functools
import io
import sys
from collections.abc import Callable

import tyro

from charlstm import __version__
from charlstm.bench.report import table
from charlstm.cli import control, hub
from charlstm.cli import export as export_commands
from charlstm.cli import generate as generate_commands
from charlstm.cli import inspect as inspect_commands
from charlstm.cli import train as train_commands
from charlstm.cli.flags import App, Bench, Flat, Train
from charlstm.cli.progress import (
    discard_unwritable,
    ignore_output_errors,
    is_reader_gone,
    prepare_output,
    silence_output,
)
from charlstm.config import Settings
from charlstm.environment import NUMBERS_OF_LIBRARIES, is_torchrun_helper
from charlstm.errors import CharLSTMError, ConfigError, DistributedError, TrainingDiverged
from charlstm.formatting import own_command
from charlstm.process_setup import check_numbers, ensure_home, limit_spinning, prepare_environment
from charlstm.proxy_cleanup import prepare_proxies
from charlstm.space.zero_gpu_startup import import_spaces


def _open_page(flags: Flat[App]) -> None:
    """Open the page in a browser: train a model in front of your eyes, and write with it."""
    from charlstm.ui.gradio_import import prepare_for_gradio

    prepare_for_gradio()
    prepare_environment()
    import_spaces()
    from charlstm.ui.app import serve

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the address is seen at once, in a log too
    with ignore_output_errors():  # nobody need read along
        serve(flags.host, flags.port, flags.checkpoints_dir)


def _bench(flags: Flat[Bench]) -> None:
    """Time this package beside the way others do the same."""
    from tqdm import tqdm

    from charlstm.bench.suites import run
    from charlstm.bench.timing import Meter
    from charlstm.kernel.job_layout import limit_torch_threads

    limit_torch_threads()
    with tqdm(bar_format="{desc}", leave=False, disable=not sys.stderr.isatty()) as line:
        report = run(flags.suite, flags.config, Meter(flags.config.seconds, progress=line.set_description_str))
    print(report.model_dump_json() if flags.as_json else table(report))


def _run(argv: list[str]) -> None:
    if argv == ["--version"]:
        print(f"charlstm {__version__}")
        return
    base = train_commands.base_settings(argv) if argv[:1] == ["train"] else Settings()
    commands: dict[str, Callable[..., None]] = {
        "train": functools.partial(train_commands.train, flags=Train(model=base.model, train=base.train)),
        "resume": train_commands.resume,
        "pause": control.pause,
        "continue": control.continue_run,
        "stop": control.stop,
        "save": control.save,
        "rate": control.scale_rate,
        "generate": generate_commands.generate,
        "evaluate": generate_commands.evaluate,
        "inspect": inspect_commands.inspect,
        "explain": inspect_commands.explain,
        "export": export_commands.export,
        "runs": control.list_runs,
        "app": _open_page,
        "bench": _bench,
        **hub.COMMANDS,
    }
    tyro.extras.subcommand_cli_from_dict(
        commands,
        prog=own_command(),
        description="Train a character-level LSTM and write text with it. --version prints the package's version.",
        args=argv,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    prepare_output()
    ensure_home()
    limit_spinning()
    try:
        return _exit_code(sys.argv[1:] if argv is None else argv)
    finally:
        discard_unwritable()


def _exit_code(argv: list[str]) -> int:
    is_helper = is_torchrun_helper()
    try:
        check_numbers(NUMBERS_OF_LIBRARIES)
        if argv and argv[0] in hub.COMMANDS:
            prepare_proxies()
        with silence_output() if is_helper else contextlib.nullcontext():
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
