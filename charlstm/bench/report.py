"""Benchmark reports: their configuration, results, and the table for people. Starts without torch."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from charlstm.config import Config
from charlstm.config_fields import Unit

Suite = Literal["train", "generate", "evaluate", "prepare", "startup", "gpu"]
SuiteName = Literal["train", "generate", "evaluate", "prepare", "startup", "gpu", "all"]

# The unit of a figure of work done; the ratio of seconds is below 1 where we are faster, that of all else above.
SECONDS = "s"
FLOPS = "6 x weights that are multiplied (all matrices but that of the one-hot input) x chars/s"


class BenchConfig(Config):
    """Settings of a benchmark: its time and threads."""

    seconds: Annotated[float, Unit("seconds")] = Field(
        5.0, gt=0, le=3600, description="Seconds for each measurement, over all its rounds"
    )
    threads: Annotated[int, Unit("threads")] = Field(
        0, ge=0, le=1024, description="Threads to compute with; 0 takes PyTorch's number; one text is written by one"
    )


class _Found(BaseModel):
    model_config = ConfigDict(frozen=True)


class Baseline(_Found):
    """A figure to compare with, in the same unit."""

    name: str
    value: float


class Result(_Found):
    """One figure: the median of its rounds; `ratio` is the median of each round's figure over its yardstick's."""

    name: str
    value: float
    unit: str
    yardstick: Baseline | None = None
    ratio: float | None = None


class Skipped(_Found):
    """A measurement that was not possible here, and the reason."""

    name: str
    why: str


class Environment(_Found):
    """The machine and versions behind the figures, and nothing that tells whose machine it is."""

    processor: str
    features: tuple[str, ...]  # of the processor, those that matter here
    cores: int
    threads: int
    gpu: str  # its name; empty where there is none to train on
    python: str
    torch: str
    charlstm: str
    date: str  # ISO 8601, UTC
    skipped: tuple[Skipped, ...] = ()


class BenchReport(_Found):
    """Results of a suite."""

    suite: SuiteName
    environment: Environment
    results: tuple[Result, ...]


def table(report: BenchReport) -> str:
    """Return the report for people, in aligned columns."""
    where = report.environment
    lines = [
        f"{report.suite}: {where.processor}, {where.cores} cores, {where.threads} threads, {' '.join(where.features)}",
        *([where.gpu] if where.gpu else []),
        f"Python {where.python}, torch {where.torch}, charlstm {where.charlstm}, {where.date}",
        "",
    ]
    header = ("measured", "figure", "unit", "yardstick's", "ratio", "yardstick")
    rows = [header, *(_row(result) for result in report.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    sides: tuple[Callable[[str, int], str], ...] = (str.ljust, str.rjust, str.ljust, str.rjust, str.rjust, str.ljust)
    for row in rows:
        cells = (side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    if any(result.name.endswith("/flops") for result in report.results):
        lines += ["", f"flops: {FLOPS}"]
    lines += [f"{skipped.name}: skipped, {skipped.why}" for skipped in where.skipped]
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    beside = result.yardstick
    compared = (_format_value(beside.value), f"{result.ratio:.2f}", beside.name) if beside else ("", "", "")
    return (result.name, _format_value(result.value), result.unit, *compared)


def _format_value(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
