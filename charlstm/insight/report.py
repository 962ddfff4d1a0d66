"""`insight.json`: what is known of a network's units, kept beside the model and never inside the weights.

It belongs to one file of weights, whose SHA-256 it names; beside any other file it is ignored. Like a model it may come
from a stranger, so it is read strictly and bounded in size.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from charlstm.files import atomic_write_text, file_sha256
from charlstm.insight.hold_effects import Effect, measure_effects
from charlstm.insight.text_sample import MOST_CHARACTERS, PLACES, Sample
from charlstm.insight.units import NamedUnit, UnitTable, name_units, with_effect
from charlstm.json_text import parse_as, read_small
from charlstm.language_model import LanguageModel
from charlstm.model_paths import model_file

INSIGHT_FILE = "insight.json"
_LARGEST_FILE = 1 << 20
_NAMING_SHARE = 0.6  # of the time, the rest goes to trying what units change

_Text = Annotated[str, Field(max_length=200)]
_Count = Annotated[int, Field(ge=0)]
_Area = Annotated[float, Field(ge=0, le=1)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
OnProgress = Callable[[float, str, UnitTable], None]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class EffectRecord(_Record):
    """An `Effect`."""

    kl: _Number
    control_kl: _Number
    value: _Number
    measure: _Text
    before: _Number
    after: _Number
    control_low: _Number
    control_high: _Number
    turn: _Number = 0.0
    control_turn: _Number = 0.0


class UnitRecord(_Record):
    """A `NamedUnit`."""

    layer: _Count
    unit: _Count
    part: Literal["cell", "output"]
    sign: Literal[-1, 1]
    property: _Text
    label: _Text
    sentence: _Text
    score: _Area
    twin: _Area
    last4: _Area
    remembers: bool
    acts: bool | None
    low: _Number
    high: _Number
    memory: _Number
    stretches: _Count
    effect: EffectRecord | None


class AbsentRecord(_Record):
    """A property that no unit goes with, and the best areas of a trained and an untrained unit."""

    property: _Text
    label: _Text
    sentence: _Text
    score: _Area
    twin: _Area


_Keeper = Annotated[list[int | float], Field(min_length=3, max_length=3)]
_Units = Annotated[list[UnitRecord], Field(max_length=5000)]


class Insight(_Record):
    """What is known of one file of weights, as `insight.json` holds it."""

    format: Literal[1] = 1
    model_sha256: Annotated[str, Field(max_length=64)] = ""  # of model.safetensors; empty until it is saved
    source: _Text = ""  # what text it was found in
    num_layers: Annotated[int, Field(ge=0, le=8)]
    hidden_size: Annotated[int, Field(ge=0, le=4096)]
    vocabulary: _Count
    characters: _Count  # places looked at
    seed: _Count  # of the untrained networks and the random units
    units: _Units
    nearly: _Units
    absent: Annotated[list[AbsentRecord], Field(max_length=1000)]
    keepers: Annotated[list[_Keeper], Field(max_length=100)]  # [layer, unit, characters]
    horizon: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _names_units_of_its_network(self) -> "Insight":
        places: list[tuple[float, float]] = [(each.layer, each.unit) for each in (*self.units, *self.nearly)]
        places += [(layer, unit) for layer, unit, _ in self.keepers]
        if not all(0 <= layer < self.num_layers and 0 <= unit < self.hidden_size for layer, unit in places):
            raise ValueError("it names a unit that its network lacks")
        return self

    @classmethod
    def of(cls, table: UnitTable, source: str = "") -> "Insight":
        """Return what a table says."""
        return cls(
            source=source[:200],
            num_layers=table.num_layers,
            hidden_size=table.hidden_size,
            vocabulary=table.vocabulary,
            characters=table.characters,
            seed=table.seed,
            units=[_describe(unit) for unit in table.units],
            nearly=[_describe(unit) for unit in table.nearly],
            absent=[
                AbsentRecord(property=each.key, label=each.label, sentence=each.sentence, score=score, twin=twin)
                for each, score, twin in table.absent
            ],
            keepers=[[*each] for each in table.keepers],
        )

    def to_json(self) -> str:
        """Return the text of an `insight.json`."""
        return json.dumps(self.model_dump(), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, data: str | bytes) -> "Insight":
        """Read the text of an `insight.json`; raise `ValueError` for anything else."""
        return parse_as(cls, data.encode() if isinstance(data, str) else data)

    def save(self, model: Path) -> Path:
        """Write this beside a model, given as its folder or file; return the file's path."""
        sha256 = file_sha256(model_file(model))
        path = model_file(model).parent / INSIGHT_FILE
        atomic_write_text(path, self.model_copy(update={"model_sha256": sha256}).to_json())
        return path

    @classmethod
    def load(cls, model: Path) -> "Insight | None":
        """Return what is kept beside a model; `None` if that is nothing, unreadable, or of other weights."""
        file = model_file(model)
        try:
            known = cls.from_json(read_small(file.parent / INSIGHT_FILE, _LARGEST_FILE))
            return known if known.model_sha256 == file_sha256(file) else None
        except (OSError, ValueError):
            return None


def _describe(unit: NamedUnit) -> UnitRecord:
    return UnitRecord(
        layer=unit.layer,
        unit=unit.unit,
        part="cell" if unit.part == "cell" else "output",
        sign=1 if unit.sign > 0 else -1,
        property=unit.follows.key,
        label=unit.follows.label,
        sentence=unit.follows.sentence,
        score=unit.score,
        twin=unit.twin,
        last4=unit.last4,
        remembers=unit.remembers,
        acts=unit.acts,
        low=unit.low,
        high=unit.high,
        memory=unit.memory,
        stretches=unit.stretches,
        effect=EffectRecord.model_validate(vars(unit.effect)) if unit.effect else None,
    )


def inspect_model(
    lm: LanguageModel,
    text: str,
    report: OnProgress | None = None,
    source: str = "",
    seed: int = 1,
    places: int = PLACES,
) -> Insight:
    """Name the units of `lm` that follow properties of `text`, and try what holding each changes.

    `report(share, stage, table)` is called with what is known so far, and may raise to end it. Raises `ConfigError` for
    a text that is too short (some 4,400 characters), `VocabularyError` for one that the network can't read.
    """
    tell: OnProgress = report or (lambda *_: None)
    sample = Sample.take(lm, text, places)
    table = name_units(lm, sample, seed, lambda share, stage, so_far: tell(_NAMING_SHARE * share, stage, so_far))
    ids = lm.vocabulary.encode(lm.vocabulary.normalize(text[:MOST_CHARACTERS]))
    units = table.units

    def note(number: int, effect: Effect) -> None:
        nonlocal table
        table = with_effect(table, number, effect)
        share = _NAMING_SHARE + (1 - _NAMING_SHARE) * (number + 1) / len(units)
        tell(share, f"holding unit {number + 1} of {len(units)}", table)

    if units:
        evidence = [(sample.evidence(unit.follows.key, len(lm.vocabulary)), unit.sign) for unit in units]
        measure_effects(lm, ids, [(unit.layer, unit.unit) for unit in units], seed, note, evidence)
    tell(1.0, "", table)
    return Insight.of(table, source)
