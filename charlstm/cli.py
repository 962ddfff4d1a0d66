"""The command line: `python -m charlstm train | resume | generate | evaluate | runs | bench`.

The only module that prints. Flags are made from the fields of `config`; torch is loaded only by commands that need it.
Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage.
"""

import argparse
import dataclasses
import itertools
import json
import os
import shlex
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro
from pydantic import BaseModel

from charlstm.bench.record import BenchConfig, SuiteName, table
from charlstm.config import (
    PRESET_SUMMARIES,
    PRESETS,
    Encoding,
    ModelConfig,
    PresetName,
    SampleConfig,
    Settings,
    TrainConfig,
    checked,
    help_of,
)
from charlstm.errors import CharLSTMError, ConfigError, CorpusError
from charlstm.events import Record
from charlstm.runs.store import RunFolder, RunStore
from charlstm.wording import duration

if TYPE_CHECKING:
    from charlstm.corpus import Corpus

_DEFAULT_PRESET: PresetName = "minute"


@dataclasses.dataclass
class _Common:
    checkpoints_dir: Path = Path("checkpoints")
    """Folder of models and runs."""


@dataclasses.dataclass(kw_only=True)
class _Resume(_Common):
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Name of the run, as `charlstm runs` lists it")]


@dataclasses.dataclass
class _Runs(_Common):
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON list")] = False


@dataclasses.dataclass
class _Evaluate:
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]
    corpus: Annotated[
        str | None, tyro.conf.arg(help="Corpus or text file; by default the one the model learned from")
    ] = None
    encoding: Annotated[
        Encoding | None,
        tyro.conf.arg(help=help_of(TrainConfig.model_fields["encoding"]) + "; by default as the model was trained"),
    ] = None
    val_fraction: Annotated[
        float | None,
        tyro.conf.arg(help=help_of(TrainConfig.model_fields["val_fraction"]) + "; by default as the model was trained"),
    ] = None
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")] = False


def _flags_of(*configs: BaseModel) -> list[tuple[str, Any, Any]]:
    """One flag for every field of `configs`, their values as defaults; bounds are checked by the config itself."""
    return [
        (
            name,
            Annotated[field.annotation, tyro.conf.arg(help=help_of(field))],
            dataclasses.field(default=getattr(config, name)),
        )
        for config in configs
        for name, field in type(config).model_fields.items()
    ]


def _train_type(base: Settings) -> type:
    presets = "; ".join(f"{name}: {summary}" for name, summary in PRESET_SUMMARIES.items())
    own = [
        (
            "name",
            Annotated[str | None, tyro.conf.arg(help="Name of the run; by default made from corpus and preset")],
            None,
        ),
        ("preset", Annotated[PresetName, tyro.conf.arg(help=f"Where the settings start ({presets})")], _DEFAULT_PRESET),
        ("config", Annotated[Path | None, tyro.conf.arg(help="JSON file of settings, on top of the preset")], None),
    ]
    return dataclasses.make_dataclass("Train", [*own, *_flags_of(base.model, base.train)], bases=(_Common,))


def _generate_type() -> type:
    own: list[Any] = [
        ("model", Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]),
        ("prompt", Annotated[str, tyro.conf.arg(help="Text to continue")], ""),
    ]
    return dataclasses.make_dataclass("Generate", [*own, *_flags_of(SampleConfig())])


def _bench_type() -> type:
    own: list[Any] = [
        ("suite", Annotated[SuiteName, tyro.conf.Positional, tyro.conf.arg(help="What to measure")]),
        ("as_json", Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")], False),
    ]
    return dataclasses.make_dataclass("Bench", [*own, *_flags_of(BenchConfig())])


def _base_settings(argv: list[str]) -> Settings:
    """What the flags of `train` go on top of: the preset, then the file of `--config`. Also what its `--help` shows."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", default=_DEFAULT_PRESET, choices=get_args(PresetName))
    parser.add_argument("--config", type=Path)
    try:
        known, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return Settings.preset(_DEFAULT_PRESET)  # the real parser will say what is wrong with it
    return Settings.from_flat(
        {**PRESETS[known.preset], **(_read_json(known.config) if known.config else {})}, needs_end=False
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read as JSON ({error}).") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one JSON object of settings.")
    return values


def _values(flags: Any, *configs: type[BaseModel]) -> dict[str, Any]:
    return {name: getattr(flags, name) for config in configs for name in config.model_fields}


def _train(flags: Any) -> None:
    """Train a model on a text."""
    from charlstm.corpus import DESCRIPTIONS, open_corpus

    values = _values(flags, ModelConfig, TrainConfig)
    settings, typed = Settings.from_flat(values), flags.corpus
    with _BytesBar() as bar:
        corpus = open_corpus(typed, settings.train.encoding, bar.report, shown=typed)
    if typed not in DESCRIPTIONS:  # whoever resumes the run may do so from another folder
        whole = settings.train.model_copy(update={"corpus": str(Path(typed).expanduser().resolve())})
        settings = settings.model_copy(update={"train": whole})
    corpus.check(settings.model, settings.train)  # a text that can't be used is refused before a folder is made
    store = RunStore(flags.checkpoints_dir)
    name = store.free_name(f"{Path(typed).stem}-{flags.preset}") if flags.name is None else flags.name
    _work(store.create(settings, name), corpus)


def _resume(flags: _Resume) -> None:
    """Continue a run that was stopped or cut off, exactly where it was last saved."""
    _work(RunStore(flags.checkpoints_dir).get(flags.name), None)


def _work(folder: RunFolder, corpus: "Corpus | None") -> None:
    from charlstm.runs.worker import work

    print(f"run {folder.name}, in {folder.path}")
    with _BytesBar() as download, _TrainingBar() as bar:
        finished = work(folder, corpus, bar.show, download.report)
    print(f"{finished.reason} at step {finished.step:,} after {duration(finished.elapsed_seconds)}")
    if finished.val_stateful is not None and finished.val_windows is not None:
        print(
            f"validation {finished.val_stateful:.4f} nats per character stateful, "
            f"{finished.val_windows:.4f} in windows of 256"
        )
    print(f"write with it: python -m charlstm generate {shlex.quote(str(folder.path))}")


def _generate(flags: Any) -> None:
    """Write text with a model."""
    import torch

    from charlstm.language_model import LanguageModel

    torch.set_num_threads(1)  # measured: 3,900 characters/s with one thread, 2,300 with two

    config = checked(SampleConfig, _values(flags, SampleConfig))
    chunks = LanguageModel.load(flags.model).stream(flags.prompt, config)
    first = next(chunks)  # a prompt that can't be read is refused before it is printed
    print(_harmless(flags.prompt), end="")
    for chunk in itertools.chain([first], chunks):
        print(_harmless(chunk.text), end="", flush=True)
    print()


def _evaluate(flags: _Evaluate) -> None:
    """Measure a model on the validation part of a text, in nats and bits per character."""
    from charlstm.corpus import open_corpus
    from charlstm.evaluation import validation_figures
    from charlstm.language_model import LanguageModel

    language_model = LanguageModel.load(flags.model)
    origin = language_model.provenance
    asked = {name: getattr(flags, name) for name in ("corpus", "encoding", "val_fraction")}
    trained = {name: origin.train_config[name] for name in asked if name in origin.train_config} if origin else {}
    given = {name: value for name, value in asked.items() if value is not None}
    train = checked(TrainConfig, {**trained, **given, "batch_size": 1})
    with _BytesBar() as bar:
        corpus = open_corpus(train.corpus, train.encoding, bar.report, shown=train.corpus)
    if origin and flags.corpus is None and corpus.sha256 != origin.corpus_sha256:
        raise CorpusError(f"{train.corpus} is not the text this model learned from; name the text with --corpus.")
    with _BytesBar() as bar:
        cut = corpus.split(language_model.model.config, train, language_model.vocabulary, bar.report)
    tokens = cut.validation
    stateful, windows, method = validation_figures(language_model.model, tokens)
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


def _runs(flags: _Runs) -> None:
    """List the runs, the newest first."""
    rows = [_run_row(folder) for folder in RunStore(flags.checkpoints_dir).folders()]
    if flags.as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no runs in {flags.checkpoints_dir} yet; start one with: python -m charlstm train")
    for row in rows if not flags.as_json else []:
        loss = f"validation {row['val_loss']:.4f}" if row["val_loss"] is not None else "no validation yet"
        print(f"{row['name']:32} {row['status']:10} step {row['step']:>9,}  {loss}")


def _run_row(folder: RunFolder) -> dict[str, Any]:
    from charlstm.runs.store import History

    history = History(folder)
    history.poll()
    losses = [each.val_loss for each in history.records if each.kind == "evaluated"]
    step = max((each.step for each in history.records), default=0)
    return {"name": folder.name, "status": folder.status(), "step": step, "val_loss": min(losses, default=None)}


def _bench(flags: Any) -> None:
    """Time this package beside the way others do the same."""
    from tqdm import tqdm

    from charlstm.bench.measure import Meter
    from charlstm.bench.suites import run

    config = checked(BenchConfig, _values(flags, BenchConfig))
    with tqdm(bar_format="{desc}", leave=False, disable=not sys.stderr.isatty()) as line:
        report = run(flags.suite, config, Meter(config.seconds, progress=line.set_description_str))
    print(report.model_dump_json() if flags.as_json else table(report))


class _TrainingBar:
    """Shows a run's records: a bar on a terminal, plain lines elsewhere, samples in both."""

    def __enter__(self) -> "_TrainingBar":
        from tqdm import tqdm

        layout = "{percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left{postfix}"
        self._bar = tqdm(total=1.0, bar_format=layout, disable=not sys.stderr.isatty(), dynamic_ncols=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, record: Record) -> None:
        """Draw or print one record."""
        if record.kind == "progress":
            self._bar.update(record.fraction - self._bar.n)
            self._bar.set_postfix_str(
                f"step {record.step:,}, loss {record.smooth_loss:.3f}, {record.chars_per_second:,.0f} chars/s",
                refresh=False,
            )
        elif line := _line(record):
            self._bar.write(line)
            sys.stdout.flush()


def _line(record: Record) -> str | None:
    if record.kind == "started":
        notes = "".join(f"\n{note}" for note in record.notes)
        return (
            f"data has {record.num_chars:,} characters, {record.num_distinct:,} unique; {record.num_train_chars:,} to "
            f"learn from, {record.num_val_chars:,} for validation; {record.num_parameters:,} parameters{notes}"
        )
    if record.kind == "resumed":
        return f"resumed at step {record.step:,}"
    if record.kind == "rewound":
        return (
            f"the loss was no number at step {record.diverged_step:,}: back to step {record.step:,}, "
            f"on at {record.rate_factor:g} times the learning rate"
        )
    if record.kind == "evaluated":
        return f"step {record.step:,}: validation {record.val_loss:.4f} nats per character ({record.method})"
    if record.kind == "sampled":
        return f"---- step {record.step:,} ----\n{_harmless(record.text)}\n----"
    return None


def _harmless(text: str) -> str:
    """`text` as a terminal may show it: control characters, which could drive it, as their escapes."""
    if not sys.stdout.isatty():
        return text
    return "".join(char if char in "\n\t" or unicodedata.category(char) != "Cc" else repr(char)[1:-1] for char in text)


class _BytesBar:
    """A bar in bytes that appears, on a terminal, only while a text is downloaded, or read because it is large."""

    def __enter__(self) -> "_BytesBar":
        self._bar: Any = None
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, num_bytes: int, total_bytes: int) -> None:
        """`num_bytes` of `total_bytes` are done; when all are, the next report begins anew."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total_bytes,
                unit="B",
                unit_scale=True,
                desc="preparing the text",
                leave=False,
                disable=not sys.stderr.isatty(),
            )
        self._bar.update(num_bytes - self._bar.n)
        if num_bytes >= total_bytes:
            self._bar.close()
            self._bar = None


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        commands = {
            "train": _command(_train, _train_type(_base_settings(argv))),
            "resume": _command(_resume, _Resume),
            "generate": _command(_generate, _generate_type()),
            "evaluate": _command(_evaluate, _Evaluate),
            "runs": _command(_runs, _Runs),
            "bench": _command(_bench, _bench_type()),
        }
        tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="python -m charlstm",
            description="Train a character-level LSTM and write text with it.",
            args=argv,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalRequiredArgs),
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except CharLSTMError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # `generate ... | head`: whoever reads has enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  for the flush at exit
    except OSError as error:  # nobody foresaw it: still a sentence, and not a screenful
        print(f"{error.filename or 'a file'} can't be used ({error.strerror or error}); check it.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1
    return 0


def _command(function: Any, flags_type: type) -> Any:
    """`function` as a subcommand whose one argument, of `flags_type`, becomes the flags."""

    def command(flags: Any) -> None:
        function(flags)

    command.__doc__ = function.__doc__
    command.__annotations__ = {"flags": flags_type, "return": None}
    return command
