"""Settings: name, default, bounds, unit and meaning of every one, in one place.

The command line's flags, the page's controls, the saved JSON and the table in docs/settings.md are made from them.
`closest_preset` compares settings with the presets.
`ModelConfig` and `TrainConfig` share no name, so a run's settings are one flat JSON object.
"""

import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from charlstm.config_fields import Encoding, Unit, bounds_of, describe_bounds, plain_lines
from charlstm.errors import ConfigError

Level = Literal["chars", "bytes"]
Precision = Literal["auto", "bfloat16", "float32"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Schedule = Literal["constant", "linear", "cosine"]
RecurrentInit = Literal["orthogonal", "uniform"]
LayerRates = Literal["equal", "tuned"]
PresetName = Literal["auto", "blog", "minute", "best"]

REPEAT_WINDOW = 1024  # characters that the repetition guard (`no_repeat`) looks back at


class Config(BaseModel):
    """Base of all settings: frozen, each number's bounds in its description; raises `ConfigError` for bad values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_refusal(type(self), error)) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Append its bounds to the description of every number."""
        for field in cls.model_fields.values():
            if bounds_of(field)[0] is not None:
                field.description = f"{field.description} ({describe_bounds(field)})"


def _refusal(cls: type[BaseModel], error: ValidationError) -> str:
    """Return pydantic's report as one sentence: what was wrong, and the limit."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    field = cls.model_fields.get(name)
    if field is None:
        return f"there is no setting named {reprlib.repr(name)}; known are {', '.join(cls.model_fields)}."
    return f"{name} is {reprlib.repr(first['input'])}; it must be {describe_bounds(field)}."


class ModelConfig(Config):
    """The network."""

    level: Level = Field("chars", description="What a token is: one character, or one byte of the UTF-8 text")
    embedding_dim: Annotated[int, Unit("numbers")] = Field(
        0, ge=0, le=1024, description="Size of the character embeddings; 0 feeds one-hot vectors, as the post does"
    )
    hidden_size: Annotated[int, Unit("units")] = Field(256, ge=1, le=4096, description="Units in each LSTM layer")
    num_layers: Annotated[int, Unit("layers")] = Field(1, ge=1, le=8, description="Stacked LSTM layers")
    dropout: Annotated[float, Unit("share")] = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of each layer's units dropped while training, with one mask for all characters of a window",
    )
    weight_dropout: Annotated[float, Unit("share")] = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the recurrent weights dropped while training, drawn anew for every window",
    )
    forget_bias: float = Field(
        1.0,
        ge=0,
        le=5,
        description="Initial bias of the forget gates; 0 keeps PyTorch's own initialization, as the post does",
    )
    recurrent_init: RecurrentInit = Field(
        "orthogonal",
        description="Initial recurrent weights: an orthogonal matrix for each gate, or PyTorch's own initialization",
    )
    input_scale: float = Field(
        1.0, gt=0, le=100, description="Factor on PyTorch's initial input weights of the first layer"
    )


class TrainConfig(Config):
    """The text, the way it is learned, and when to stop and report."""

    corpus: str = Field(
        "tiny-shakespeare",
        min_length=1,
        description="A named corpus (tiny-shakespeare, python-reference, python-stdlib), a text file, a folder, "
        "or an address (https:// or hf://datasets/)",
    )
    encoding: Encoding = Field(
        "auto",
        max_length=40,
        description="Encoding of the text file, such as cp1252; auto detects UTF-8, and UTF-16 or 32 with a BOM",
    )
    val_fraction: Annotated[float, Unit("share")] = Field(
        0.1, gt=0, le=0.5, description="Share of the text, at its end, held out for validation"
    )
    batch_size: Annotated[int, Unit("streams")] = Field(
        8, ge=1, le=4096, description="Parallel streams the text is cut into"
    )
    seq_len: Annotated[int, Unit("characters")] = Field(
        64, ge=1, le=4096, description="Characters of each stream in one step, which is how far gradients reach back"
    )
    stretch_windows: Annotated[int, Unit("windows")] = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Consecutive windows a stream reads before it jumps to another, random place; 0 reads its share "
        "of the text from beginning to end",
    )
    state_reset: Annotated[float, Unit("share")] = Field(
        0.02,
        ge=0,
        le=1,
        description="Share of a stream's windows that start from the zero state instead of the carried one, as writing "
        "does, and more of the first ones; 0 always carries",
    )
    learning_rate: float = Field(5e-3, gt=0, le=1, description="Peak learning rate of AdamW")
    layer_rates: LayerRates = Field(
        "equal",
        description="One learning rate for all weights, or tuned multiples of it: higher for the output layer and the "
        "biases, lower for the input weights",
    )
    lr_schedule: Schedule = Field(
        "linear",
        description="Keep the learning rate, or decay it to 0 at the planned end, linearly or along half a cosine",
    )
    warmup_steps: Annotated[int, Unit("steps")] = Field(
        0, ge=0, le=1_000_000, description="Steps over which the learning rate rises from 0"
    )
    weight_decay: float = Field(0.0, ge=0, le=10, description="AdamW's weight decay, of the weight matrices only")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="Decay rate of AdamW's running mean of the gradients")
    adam_beta2: float = Field(
        0.999, ge=0, lt=1, description="Decay rate of AdamW's running mean of the squared gradients"
    )
    weight_average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay rate of a moving average of the weights, which is what is validated and saved; 0 for none",
    )
    calibrate: Literal["off", "on"] = Field(
        "off",
        description="Calibrate the saved model at each validation: scale its output layer so that its confidence "
        "matches its accuracy",
    )
    max_grad_norm: float = Field(1.0, ge=0, le=10**6, description="Clip the gradients to this norm; 0 never clips")
    plan: Literal["off", "on"] = Field(
        "off",
        description="Choose size, batch, rates and dropout at the start, for the minutes, the text and this machine",
    )
    max_steps: Annotated[int, Unit("steps")] = Field(
        0, ge=0, le=10**9, description="Stop after this many updates; 0 for no limit"
    )
    max_passes: Annotated[float, Unit("passes")] = Field(
        0.0, ge=0, le=10**6, description="Stop after this many passes over the text; 0 for no limit"
    )
    max_minutes: Annotated[float, Unit("minutes")] = Field(
        1.0, ge=0, le=10**5, description="Stop after this much training time; 0 for no limit"
    )
    log_every: Annotated[int, Unit("steps")] = Field(
        20, ge=1, le=10**6, description="Steps between points of the loss curve"
    )
    eval_every: Annotated[int, Unit("steps")] = Field(
        0, ge=0, le=10**9, description="Steps between validations; 0 spends about a twentieth of the time on them"
    )
    sample_every: Annotated[int, Unit("steps")] = Field(
        0,
        ge=0,
        le=10**9,
        description="Steps between samples; 0 takes three at once and many early on, in 1.5 % of the time, "
        "or 5 % if each takes long",
    )
    sample_chars: Annotated[int, Unit("characters")] = Field(
        500, ge=1, le=10_000, description="Length of these samples"
    )
    sample_temperature: float = Field(0.8, ge=0, le=2, description="Temperature of these samples")
    sample_prompt: Annotated[str, AfterValidator(plain_lines)] = Field(
        "",
        max_length=1000,
        description="Text that these samples continue; empty takes the beginning of the validation text",
    )
    seed: int = Field(1, ge=0, le=2**31 - 1, description="Seed of the initial weights, dropout and samples")
    precision: Precision = Field(
        "auto",
        description="Arithmetic of training; auto takes what is fastest here: bfloat16, or float32, with the recurrent "
        "weights in bfloat16 on a processor with AVX512",
    )
    device: Device = Field(
        "auto", description="Where to train, mps on Apple's GPU; auto takes a CUDA GPU if there is one"
    )

    def require_end(self) -> None:
        """Raise `ConfigError` if training with these settings would never end."""
        if not (self.max_steps or self.max_passes or self.max_minutes):
            raise ConfigError("nothing ends this run: set max_steps, max_passes or max_minutes above 0.")
        if self.plan == "on" and not self.max_minutes:
            raise ConfigError("plan chooses for a number of minutes: set max_minutes above 0.")


class SampleConfig(Config):
    """Settings of text generation."""

    num_chars: Annotated[int, Unit("characters")] = Field(
        500, ge=0, le=10**7, description="Characters to write; 0 goes on until it is stopped"
    )
    temperature: float = Field(
        0.8, ge=0, le=2, description="0 always takes the likeliest character, 1 follows the model, more is wilder"
    )
    top_k: Annotated[int, Unit("characters")] = Field(
        0, ge=0, le=10**6, description="Choose among this many likeliest characters; 0 for all"
    )
    top_p: Annotated[float, Unit("share")] = Field(
        1.0, gt=0, le=1, description="Choose among the likeliest characters that hold this share of the probability"
    )
    no_repeat: Annotated[int, Unit("characters")] = Field(
        0,
        ge=0,
        le=1000,
        description="Never write a stretch this long that stands in the last 1,024 characters already; 0 allows it",
    )
    stop: Annotated[str, AfterValidator(plain_lines)] = Field(
        "", max_length=1000, description="End once the text ends with this; empty for no such end"
    )
    num_samples: Annotated[int, Unit("texts")] = Field(1, ge=1, le=8, description="Texts to write side by side")
    seed: int = Field(1, ge=0, le=2**31 - 1, description="Same seed, same text")


class Settings(Config):
    """Settings of a run, kept as one flat JSON object in its `config.json`."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @classmethod
    def from_flat(cls, values: Mapping[str, Any], needs_end: bool = True) -> "Settings":
        """Build from one flat mapping of field names; raises `ConfigError` for unknown names and bad values.

        And for settings under which a run would never end, unless they are to be completed (`needs_end=False`).
        """
        known = (*ModelConfig.model_fields, *TrainConfig.model_fields)
        if unknown := next((key for key in values if key not in known), None):
            raise ConfigError(f"there is no setting named {reprlib.repr(unknown)}; known are {', '.join(known)}.")
        model = {key: value for key, value in values.items() if key in ModelConfig.model_fields}
        train = {key: value for key, value in values.items() if key not in ModelConfig.model_fields}
        settings = cls(model=ModelConfig(**model), train=TrainConfig(**train))
        if needs_end:
            settings.train.require_end()
        return settings

    @classmethod
    def preset(cls, name: str, /, **overrides: Any) -> "Settings":
        """Return the values of preset `name`, with `overrides` on top."""
        if name not in PRESETS:
            raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
        return cls.from_flat({**PRESETS[name], **overrides})

    def flat(self) -> dict[str, Any]:
        """Return one flat mapping, the inverse of `from_flat`."""
        return {**self.model.model_dump(), **self.train.model_dump()}


# Each preset's measured result stands in docs/results.md, with the command that gave it.
PRESETS: dict[str, dict[str, Any]] = {
    "auto": {"plan": "on", "max_minutes": 3.0},
    "minute": {
        "hidden_size": 384,
        "embedding_dim": 64,
        "input_scale": 4.0,
        "batch_size": 8,
        "seq_len": 64,
        "stretch_windows": 32,
        "learning_rate": 7e-3,
        "layer_rates": "tuned",
        "adam_beta1": 0.5,
        "adam_beta2": 0.99,
        "weight_decay": 0.05,
        "calibrate": "on",
        "warmup_steps": 50,
        "max_minutes": 1.0,
        "log_every": 50,
        "eval_every": 1250,
        "sample_chars": 300,
    },
    "best": {
        "hidden_size": 768,
        "embedding_dim": 64,
        "input_scale": 4.0,
        "batch_size": 16,
        "seq_len": 64,
        "stretch_windows": 32,
        "learning_rate": 4.6e-3,
        "adam_beta1": 0.5,
        "adam_beta2": 0.99,
        "dropout": 0.2,
        "weight_dropout": 0.3,
        "weight_decay": 0.05,
        "weight_average": 0.999,
        "calibrate": "on",
        "warmup_steps": 50,
        "max_passes": 36.0,  # not minutes: the same result on any machine
        "max_minutes": 0.0,
        "log_every": 50,
    },
    "blog": {
        "hidden_size": 250,
        "num_layers": 1,
        "embedding_dim": 0,
        "dropout": 0.0,
        "forget_bias": 0.0,
        "recurrent_init": "uniform",
        "batch_size": 1,
        "seq_len": 100,
        "state_reset": 0.0,
        "learning_rate": 0.01,
        "lr_schedule": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        "precision": "float32",
        "max_passes": 1.0,
        "max_minutes": 0.0,
        "log_every": 10,
        "eval_every": 3000,  # at 2,500 validations took 5.3 % of the time
        "sample_every": 500,
        "sample_chars": 500,
        "sample_temperature": 1.0,
    },
}
PRESET_SUMMARIES: dict[str, str] = {
    "auto": "whatever learns most in the minutes given, from this text on this machine",
    "minute": "readable text within a minute",
    "best": "the lowest validation loss known here, in half an hour to an hour",
    "blog": "the experiment of the post 'PyTorch is great'",
}
assert set(PRESETS) == set(PRESET_SUMMARIES) == set(get_args(PresetName))


_REPORTING = ("log_every", "eval_every", "sample_every", "sample_chars", "sample_temperature", "sample_prompt")
_TOLD_ELSEWHERE = (*_REPORTING, "corpus", "encoding", "plan", "precision", "device")
_CHOSEN = (
    *("hidden_size", "num_layers", "embedding_dim", "dropout", "weight_dropout", "weight_decay", "weight_average"),
    *("batch_size", "seq_len", "learning_rate", "adam_beta1", "adam_beta2", "warmup_steps", "max_passes"),
    *("input_scale", "layer_rates", "stretch_windows", "calibrate"),
)  # by `choose_auto_settings`


def closest_preset(settings: Settings, is_planned: bool) -> tuple[str, dict[str, Any]]:
    """Return the name of the preset that is closest to a run, and the settings in which it differs, with their values.

    `is_planned` tells that its size and rates were chosen for it, so that they are nobody's changes.
    """
    found = settings.flat()
    if is_planned or settings.train.plan == "on":
        return "auto", _changes(found, "auto", (*_TOLD_ELSEWHERE, *_CHOSEN))
    every = {name: _changes(found, name, _TOLD_ELSEWHERE) for name in PRESETS if PRESETS[name].get("plan") != "on"}
    return min(every.items(), key=lambda each: len(each[1]))


def _changes(found: Mapping[str, Any], preset: str, ignored: tuple[str, ...]) -> dict[str, Any]:
    usual = Settings.preset(preset).flat()
    return {name: value for name, value in found.items() if name not in ignored and value != usual[name]}
