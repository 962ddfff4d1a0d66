"""Events of a training run: one class per kind, one JSON line each in a run's `events.jsonl`.

`step` is the number of completed optimiser updates; losses are nats per character; times are seconds of the run.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

SaveReason = Literal["asked", "timer", "pause", "rate", "stop", "end"]


class StepDone(NamedTuple):
    """One update is done: a chance for the consumer to look up or to stop. Never recorded, holds no measurement."""

    step: int


class _Record(BaseModel):
    # strings: a gradient norm may be infinite, which plain JSON has no number for
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")
    step: int


class _Moment(_Record):
    """Something that happened to the run, and where on the curve that is."""

    elapsed_seconds: float = 0.0
    num_passes: float = 0.0


class Started(_Record):
    """First record of a run: "data has N characters, M unique", and what was planned for it."""

    kind: Literal["started"] = "started"
    started_at: str  # ISO 8601, UTC
    num_chars: int
    num_distinct: int
    num_train_chars: int
    num_val_chars: int
    num_parameters: int
    hardware: str
    notes: tuple[str, ...] = ()  # what was done to the text while reading it
    parent: str = ""  # the model that the run began from, if it did
    parent_sha256: str = ""
    new_characters: tuple[str, ...] = ()  # which that model did not know


class Resumed(_Moment):
    """The run goes on from `step`; earlier records of later steps no longer count."""

    kind: Literal["resumed"] = "resumed"
    started_at: str


class RolledBack(_Record):
    """The loss became NaN or infinite at `diverged_step`: the run went back to `step` and goes on at a lower rate."""

    kind: Literal["rewound"] = "rewound"
    diverged_step: int
    rate_factor: float  # of the learning rate that was asked for


class Progress(_Record):
    """A point of the loss curve; `train_loss` is the mean since the previous point, `smooth_loss` a decaying mean.

    At step 0 both are the loss of the untrained model on the first window.
    """

    kind: Literal["progress"] = "progress"
    train_loss: float
    smooth_loss: float
    learning_rate: float
    grad_norm: float
    num_passes: float  # passes over the training text so far
    chars_per_second: float
    elapsed_seconds: float
    fraction: float  # of the planned run, 0 to 1


class Evaluated(_Record):
    """Validation: the whole validation text, read as `method` says.

    `quick_loss` is what the quick estimate (see `Sampled`) gives at the same step, to calibrate the other estimates.
    """

    kind: Literal["evaluated"] = "evaluated"
    val_loss: float
    method: str
    is_best: bool
    elapsed_seconds: float
    quick_loss: float | None = None


class Sampled(_Record):
    """Text written by the model at this step; `text` begins with the prompt, `prompt_chars` long.

    `quick_loss` estimates the validation loss from a part of the validation text. `num_words` are the whole words
    after the prompt, `num_real_words` those of them that the training text has; both are 0 where words aren't counted.
    """

    kind: Literal["sampled"] = "sampled"
    text: str
    temperature: float
    seed: int
    prompt_chars: int = 0
    quick_loss: float | None = None
    elapsed_seconds: float = 0.0
    num_words: int = 0
    num_real_words: int = 0


class Saved(_Moment):
    """All that is needed to go on from here is on disk."""

    kind: Literal["saved"] = "saved"
    cause: SaveReason


class Paused(_Moment):
    """The run waits until it is continued; no time passes for it."""

    kind: Literal["paused"] = "paused"


class Continued(_Moment):
    """The end of a pause."""

    kind: Literal["continued"] = "continued"
    paused_seconds: float


class LearningRateChanged(_Moment):
    """From here on the planned learning rate is multiplied by `rate_factor`."""

    kind: Literal["ratechanged"] = "ratechanged"
    rate_factor: float
    learning_rate: float  # of the next update


class Extended(_Moment):
    """The run goes on for so much more, with a schedule of its own over that part; 0 sets no limit."""

    kind: Literal["extended"] = "extended"
    minutes: float
    passes: float
    steps: int
    learning_rate: float  # at the peak of the added part
    lr_schedule: str
    command: str  # what asks for the same
    note: str


class Baselines(_Record):
    """Losses of simple models on this run's own text, in nats per character; step 0, since they learn nothing."""

    kind: Literal["references"] = "references"
    uniform: float
    frequencies: float
    fivegram: float
    method: str
    num_train_chars: int  # counted
    num_val_chars: int  # predicted
    seconds: float


class Finished(_Record):
    """Last record of a run that ended in order; the two figures are those of the published model."""

    kind: Literal["finished"] = "finished"
    reason: Literal["completed", "stopped"]
    elapsed_seconds: float
    val_stateful: float | None = None
    val_windows: float | None = None
    num_parts: int = 1  # the run as it was planned, and how often it was extended


class Failed(_Record):
    """Last record of a run that could not go on; `message` is one sentence."""

    kind: Literal["failed"] = "failed"
    message: str


Record = Annotated[
    Started
    | Resumed
    | RolledBack
    | Progress
    | Evaluated
    | Sampled
    | Saved
    | Paused
    | Continued
    | LearningRateChanged
    | Extended
    | Baselines
    | Finished
    | Failed,
    Field(discriminator="kind"),
]
Event = StepDone | RolledBack | Progress | Evaluated | Sampled
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Record)


def parse_record(line: str | bytes) -> Record | None:
    """Read one line of `events.jsonl`; `None` for a kind this version does not know, or a damaged line."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None
