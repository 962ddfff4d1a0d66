"""The flags of each command, made from the fields of `config`: what they are called, mean and accept."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel

from charlstm.bench.report import BenchConfig, SuiteName
from charlstm.config import (
    PRESET_SUMMARIES,
    Encoding,
    PresetName,
    SampleConfig,
    Schedule,
    Settings,
    TrainConfig,
    help_text,
)
from charlstm.places import default_checkpoints_dir

DEFAULT_PRESET: PresetName = "minute"


@dataclasses.dataclass
class Common:
    checkpoints_dir: Path = dataclasses.field(default_factory=default_checkpoints_dir)
    """Folder of models and runs."""


_RunName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Name of the run, as `charlstm runs` lists it")]


@dataclasses.dataclass(kw_only=True)
class Steered(Common):
    name: _RunName


@dataclasses.dataclass(kw_only=True)
class Rate(Steered):
    factor: Annotated[
        float, tyro.conf.Positional, tyro.conf.arg(help="What the planned learning rate is multiplied by, 0.01 to 10")
    ]


@dataclasses.dataclass(kw_only=True)
class Resume(Steered):
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
    host: str | None = None
    """Address to listen on (127.0.0.1; 0.0.0.0 for the whole network)."""
    port: int | None = None
    """Port to listen on (the first free one from 7860)."""
    checkpoints_dir: Path | None = None
    """Folder of models and runs; by default the one beside app.py, or the user's data folder for an installed copy."""


@dataclasses.dataclass
class Runs(Common):
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON list")] = False


@dataclasses.dataclass
class Evaluate:
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]
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
    as_json: Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")] = False


def flags_of(*configs: BaseModel) -> list[tuple[str, Any, Any]]:
    """One flag for every field of `configs`, their values as defaults; bounds are checked by the config itself."""
    return [
        (
            name,
            Annotated[field.annotation, tyro.conf.arg(help=help_text(field))],
            dataclasses.field(default=getattr(config, name)),
        )
        for config in configs
        for name, field in type(config).model_fields.items()
    ]


def train_type(base: Settings) -> type:
    """Those of `train`, with the values of `base` as defaults."""
    presets = "; ".join(f"{name}: {summary}" for name, summary in PRESET_SUMMARIES.items())
    own = [
        (
            "name",
            Annotated[str | None, tyro.conf.arg(help="Name of the run; by default made from corpus and preset")],
            None,
        ),
        ("preset", Annotated[PresetName, tyro.conf.arg(help=f"Where the settings start ({presets})")], DEFAULT_PRESET),
        ("config", Annotated[Path | None, tyro.conf.arg(help="JSON file of settings, on top of the preset")], None),
        (
            "parent",
            Annotated[
                Path | None,
                tyro.conf.arg(name="from", help="Model (folder or file) to begin from: its sizes, its weights"),
            ],
            None,
        ),
    ]
    return dataclasses.make_dataclass("Train", [*own, *flags_of(base.model, base.train)], bases=(Common,))


def generate_type() -> type:
    """Those of `generate`."""
    own: list[Any] = [
        ("model", Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]),
        ("prompt", Annotated[str, tyro.conf.arg(help="Text to continue")], ""),
    ]
    return dataclasses.make_dataclass("Generate", [*own, *flags_of(SampleConfig())])


def bench_type() -> type:
    """Those of `bench`."""
    own: list[Any] = [
        ("suite", Annotated[SuiteName, tyro.conf.Positional, tyro.conf.arg(help="What to measure")]),
        ("as_json", Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object")], False),
    ]
    return dataclasses.make_dataclass("Bench", [*own, *flags_of(BenchConfig())])


def values(flags: Any, *configs: type[BaseModel]) -> dict[str, Any]:
    """What was given for the fields of `configs`."""
    return {name: getattr(flags, name) for config in configs for name in config.model_fields}
