"""The flags of each command: the fields of its class, those of the configs in it included."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from charlstm.bench.report import BenchConfig, SuiteName
from charlstm.config import PRESET_SUMMARIES, ModelConfig, PresetName, SampleConfig, Schedule, TrainConfig
from charlstm.config_fields import Encoding, help_text
from charlstm.data_folders import default_checkpoints_dir

DEFAULT_PRESET: PresetName = "minute"
_PRESETS = "; ".join(f"{name}: {summary}" for name, summary in PRESET_SUMMARIES.items())

_T = TypeVar("_T")
# Without a name of their own, the fields of a class are flags such as --hidden-size, not --flags.model.hidden-size;
# and what a config refuses leaves tyro as the one sentence of its `ConfigError`, not in a box.
Flat = Annotated[_T, tyro.conf.arg(name="")]
_Model = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]


@dataclasses.dataclass
class Common:
    """Flags of every command that looks for runs."""

    checkpoints_dir: Path = dataclasses.field(default_factory=default_checkpoints_dir)
    """Folder of models and runs."""


@dataclasses.dataclass(kw_only=True)
class Train(Common):
    """Flags of `train`."""

    name: Annotated[str | None, tyro.conf.arg(help="Name of the run; by default made from corpus and preset")] = None
    preset: Annotated[PresetName, tyro.conf.arg(help=f"Where the settings start ({_PRESETS})")] = DEFAULT_PRESET
    config: Annotated[Path | None, tyro.conf.arg(help="JSON file of settings, on top of the preset")] = None
    parent: Annotated[
        Path | None,
        tyro.conf.arg(name="from", help="Model (folder or file) to begin from: its sizes, its weights"),
    ] = None
    model: Flat[ModelConfig]
    train: Flat[TrainConfig]


_RunName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Name of the run, as `charlstm runs` lists it")]


@dataclasses.dataclass(kw_only=True)
class Steered(Common):
    """Flags of `pause`, `continue`, `stop` and `save`."""

    name: _RunName


@dataclasses.dataclass(kw_only=True)
class Rate(Steered):
    """Flags of `rate`."""

    factor: Annotated[
        float, tyro.conf.Positional, tyro.conf.arg(help="What the planned learning rate is multiplied by, 0.01 to 10")
    ]


@dataclasses.dataclass(kw_only=True)
class Resume(Steered):
    """Flags of `resume`."""

    corpus: Annotated[
        str | None, tyro.conf.arg(help="Where the run's text is now, if it was moved: a file, or a corpus by name")
    ] = None
    more_minutes: float = 0.0
    """Train for so many minutes more than planned, from where the run stands."""
    more_passes: float = 0.0
    """Train for so many passes over the text more."""
    more_steps: int = 0
    """Train for so many steps more."""
    more_rate: float | None = None
    """Learning rate at which the added part begins; by default half the peak of one that falls, or the constant one."""
    more_schedule: Schedule | None = None
    """Learning-rate schedule of the added part; by default the run's."""
    quiet: Annotated[bool, tyro.conf.arg(help="Leave out the samples, which the run's records hold too")] = False


@dataclasses.dataclass
class App:
    """Flags of `app`."""

    host: str | None = None
    """Address to listen on (127.0.0.1; 0.0.0.0 for the whole network)."""
    port: int | None = None
    """Port to listen on (the first free one from 7860)."""
    checkpoints_dir: Path | None = None
    """Folder of models and runs; by default the one beside app.py, or the user's data folder for an installed copy."""


@dataclasses.dataclass
class Runs(Common):
    """Flags of `runs`."""

    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON list")] = False


@dataclasses.dataclass(kw_only=True)
class Generate:
    """Flags of `generate`."""

    model: _Model
    prompt: Annotated[str, tyro.conf.arg(help="Text to continue")] = ""
    hold: Annotated[
        str, tyro.conf.arg(help="Cell states to hold while it writes, as unit=value or layer:unit=value, with commas")
    ] = ""
    rounded: Annotated[
        bool, tyro.conf.arg(help="Write with the weights in 8 bits that an exported page has, at temperature 0 too")
    ] = False
    mix: Annotated[
        str,
        tyro.conf.arg(
            help="A second model to write with, and its share from 0 to 1, as MODEL=0.5; MODEL=0.5,120:0.8 changes the "
            "share at character 120"
        ),
    ] = ""
    read: Annotated[
        str,
        tyro.conf.arg(help="Text file or corpus to read first, at most 200,000 characters; the model stays as it is"),
    ] = ""
    learn: Annotated[bool, tyro.conf.arg(help="Learn what is read, instead of remembering it")] = False
    read_weight: Annotated[
        float, tyro.conf.arg(help="How much of what was read is used, 0 to 2; 1 is what predicts its text best")
    ] = 1.0
    sample: Flat[SampleConfig] = dataclasses.field(default_factory=SampleConfig)


@dataclasses.dataclass
class Evaluate:
    """Flags of `evaluate`."""

    model: _Model
    corpus: Annotated[
        str | None, tyro.conf.arg(help="Corpus or text file; by default the one the model learned from")
    ] = None
    encoding: Annotated[
        Encoding | None,
        tyro.conf.arg(help=help_text(TrainConfig.model_fields["encoding"]) + "; by default as the model was trained"),
    ] = None
    val_fraction: Annotated[
        float | None,
        tyro.conf.arg(
            help=help_text(TrainConfig.model_fields["val_fraction"]) + "; by default as the model was trained"
        ),
    ] = None
    adaptive: Annotated[
        Literal["ngram", "dynamic"] | None,
        tyro.conf.arg(
            help="Measure also what is gained by adapting to the text while reading it: by an n-gram of it that is "
            "mixed in, or by learning from each 20 characters; at most 262,144 characters"
        ),
    ] = None
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")] = False


@dataclasses.dataclass(kw_only=True)
class Inspect:
    """Flags of `inspect`."""

    model: _Model
    text: Annotated[
        str | None,
        tyro.conf.arg(help="Text file or corpus to look at; by default what is kept beside the model, or its own text"),
    ] = None
    seed: Annotated[
        int | None, tyro.conf.arg(help="Seed of the untrained networks and the random units; looks anew (1)")
    ] = None
    places: Annotated[
        int | None, tyro.conf.arg(help="How many characters are looked at, 4,096 to 262,144; looks anew (65,536)")
    ] = None
    anew: Annotated[bool, tyro.conf.arg(help="Look anew also where the answer is kept beside the model")] = False
    keep: Annotated[bool, tyro.conf.arg(help="Keep the answer beside the model, as insight.json")] = False
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")] = False
    as_csv: Annotated[bool, tyro.conf.arg(name="csv", help="Print a table with commas")] = False


@dataclasses.dataclass(kw_only=True)
class Explain:
    """Flags of `explain`."""

    model: _Model
    text: Annotated[str, tyro.conf.arg(help="Text file or corpus")]
    place: Annotated[int, tyro.conf.arg(help="Place of the letter to explain, counted from 0; negative from the end")]
    characters: Annotated[int, tyro.conf.arg(help="How many characters before it are looked at, 1 to 1,000")] = 100
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")] = False
    as_csv: Annotated[bool, tyro.conf.arg(name="csv", help="Print a table with commas")] = False


@dataclasses.dataclass(kw_only=True)
class Bench:
    """Flags of `bench`."""

    suite: Annotated[SuiteName, tyro.conf.Positional, tyro.conf.arg(help="What to measure")]
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")] = False
    config: Flat[BenchConfig] = dataclasses.field(default_factory=BenchConfig)
