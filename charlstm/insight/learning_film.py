"""The film of a network as it learned: what found units were at each age over one text, and how well they told.

`birth.json` beside a model holds one. It belongs beside the weights whose SHA-256 it names; its note says whether it is
of these, or of another network that learned the same text. Shapes: A = ages, U = units, T = characters of the text.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from charlstm.config import SampleConfig
from charlstm.errors import ConfigError
from charlstm.files import atomic_write_text, file_sha256
from charlstm.generation.stream import default_prompt
from charlstm.insight.properties import find_properties
from charlstm.insight.report import Insight, UnitRecord
from charlstm.insight.scores import area
from charlstm.insight.states import read_streams, trace
from charlstm.json_text import parse_as, read_small
from charlstm.language_model import LanguageModel
from charlstm.model_paths import model_file
from charlstm.training.snapshots import list_snapshots, load_snapshot

FILM_FILE = "birth.json"
LARGEST_FILE = 200_000  # bytes
TEXT_CHARACTERS = 600
MOST_UNITS = 12
_MOST_VALUES = 140_000  # A x U x T, a byte each: four letters of the file for three of them
_SCORED_CHARACTERS = 8192
_STREAMS, _BURN_IN = 64, 128
_STEPS = 127
_SEED = 11
OWN_NOTE = "Made of the states that were kept of this very network."

_Text = Annotated[str, Field(max_length=300)]
_Count = Annotated[int, Field(ge=0)]
_Score = Annotated[float, Field(ge=0, le=1)]
_Ages = Field(min_length=1, max_length=200)


class Age(NamedTuple):
    """A network as it was after `step` updates, `seconds` into its run."""

    step: int
    seconds: float
    network: LanguageModel


class FilmUnit(BaseModel):
    """A unit of the film, and the property that its scores are for."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    layer: _Count
    unit: _Count
    part: _Text
    property: _Text
    label: _Text


class Film(BaseModel):
    """A film, as `birth.json` holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)
    model_sha256: Annotated[str, Field(max_length=64)] = (
        ""  # of the model it lies beside; empty until it is saved there
    )
    note: _Text
    text: Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS)]
    steps: Annotated[list[_Count], _Ages]  # (A,), rising
    seconds: Annotated[list[Annotated[float, Field(ge=0)]], _Ages]  # (A,)
    units: Annotated[list[FilmUnit], Field(min_length=1, max_length=MOST_UNITS)]
    values: Annotated[str, Field(max_length=LARGEST_FILE)]  # base64 of int8 (A, U, T): 127 is a unit's largest of all
    scores: list[list[_Score | None]]  # (U, A): areas; null where a property has no place

    @model_validator(mode="after")
    def _fits(self) -> "Film":
        """Refuse what is not of one shape."""
        ages, units = len(self.steps), len(self.units)
        try:
            num_values = len(base64.b64decode(self.values, validate=True))
        except ValueError:
            raise ValueError("the values are not base64") from None
        if (
            len(self.seconds) != ages
            or [len(each) for each in self.scores] != [ages] * units
            or num_values != ages * units * len(self.text)
        ):
            raise ValueError("the numbers of ages, units and characters do not fit")
        return self

    def array(self) -> NDArray[np.int8]:
        """Return the values (A, U, T)."""
        flat = np.frombuffer(base64.b64decode(self.values), np.int8)
        return flat.reshape(len(self.steps), len(self.units), len(self.text))

    def to_json(self) -> str:
        """Return the text of a `birth.json`."""
        return json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":")) + "\n"

    def save(self, folder: Path) -> Path:
        """Write this into a model's folder; return the file's path."""
        path = folder / FILM_FILE
        atomic_write_text(path, self.model_copy(update={"model_sha256": file_sha256(model_file(folder))}).to_json())
        return path

    @classmethod
    def load(cls, folder: Path) -> "Film | None":
        """Return the film in a model's folder; `None` if none can be read, or only one of other weights."""
        try:
            film = parse_as(cls, read_small(folder / FILM_FILE, LARGEST_FILE))
            return film if film.model_sha256 == file_sha256(model_file(folder)) else None
        except (OSError, ValueError):
            return None


def make_film(
    ages: Iterable[Age],
    text: str,
    units: Sequence[UnitRecord],
    measured: str,
    report: Callable[[int], None] = lambda _: None,
) -> Film:
    """Make the film of `units` over the first 600 characters of `text`; their scores are of the start of `measured`.

    Of the units as many as fit into 200 kB, 12 at most. `report(ages done)` may raise to end it. Raises `ConfigError`
    if there is nothing to show, `VocabularyError` for texts that the network can't read.
    """
    kept = list(ages)
    if not kept or not units or not text:
        raise ConfigError("a film needs at least one age, one unit and one character.")
    vocabulary = kept[0].network.vocabulary
    text = vocabulary.normalize(text)[:TEXT_CHARACTERS]
    num_units = min(MOST_UNITS, len(units), max(1, _MOST_VALUES // (len(kept) * len(text))))
    chosen = units[:num_units]
    judge = _Judge(vocabulary.normalize(measured)[:_SCORED_CHARACTERS], kept[0].network, chosen)
    values, scores = [], []
    ids, ends = vocabulary.encode(text).astype(np.int32), _ends(text, kept[0].network)
    for number, age in enumerate(kept):
        report(number)
        states = trace(age.network, ids, is_exact=False)
        values.append(np.stack([states.part(unit.part)[ends, unit.layer, unit.unit] for unit in chosen]))
        scores.append(judge.score(age.network))
    whole = np.stack(values)
    largest = np.abs(whole).max(axis=(0, 2), keepdims=True).clip(1e-6)
    packed = np.round(whole / largest * _STEPS).astype(np.int8)
    return Film(
        note=OWN_NOTE,
        text=text.encode("utf-8", "replace").decode(),  # single surrogates stand in no file
        steps=[age.step for age in kept],
        seconds=[round(age.seconds, 2) for age in kept],
        units=[
            FilmUnit(layer=each.layer, unit=each.unit, part=each.part, property=each.property, label=each.label)
            for each in chosen
        ],
        values=base64.b64encode(packed.tobytes()).decode(),
        scores=[[row[at] for row in scores] for at in range(num_units)],
    )


def record_film(
    folder: Path,
    lm: LanguageModel,
    text: str,
    table: Insight,
    report: Callable[[float], None] = lambda _: None,
) -> Film | None:
    """Make the film of `lm`, the model of the run in `folder`, from the run's snapshots; `None` if there are none.

    It shows the units of `table`, those that remember first, over a text that `lm` writes; how well they tell is
    measured on `text`. Snapshots of later steps than the model's own are left out. `report(share)` may raise to end it.
    """
    origin = lm.provenance
    snapshots = [each for each in list_snapshots(folder) if origin is None or each.step < origin.step]
    units = _one_a_property([*table.units, *table.nearly])
    if not snapshots or not units:
        return None

    def ages() -> Iterator[Age]:
        for each in snapshots:
            yield Age(each.step, each.seconds, load_snapshot(each.path, lm))
        if origin is not None:
            yield Age(origin.step, origin.training_seconds, lm)

    opening = default_prompt(lm.vocabulary)
    written = opening + lm.generate(opening, SampleConfig(num_chars=TEXT_CHARACTERS, temperature=0.7, seed=_SEED))
    return make_film(ages(), written, units, text, lambda done: report(done / (len(snapshots) + 1)))


class _Judge:
    """How well units tell their properties on one text."""

    def __init__(self, text: str, lm: LanguageModel, units: Sequence[UnitRecord]) -> None:
        self._units = units
        self._ids, self._ends = lm.vocabulary.encode(text).astype(np.int32), _ends(text, lm)
        found = find_properties(text)
        columns = {each.key: at for at, each in enumerate(found.names)}
        self._truths = [
            (found.values[:, columns[each.property]], found.known[:, columns[each.property]])
            if each.property in columns
            else None
            for each in units
        ]

    def score(self, network: LanguageModel) -> list[float | None]:
        """Return the area of each unit, with the sign that it has in the end."""
        if not len(self._ids):
            return [None] * len(self._units)
        states = read_streams(network, self._ids, _STREAMS, _BURN_IN)
        scores: list[float | None] = []
        for unit, truth in zip(self._units, self._truths, strict=True):
            values = states.part(unit.part)[self._ends, unit.layer, unit.unit]
            found = area(values, *truth) if truth else float("nan")
            scores.append(round(found if unit.sign > 0 else 1 - found, 4) if found == found else None)
        return scores


def _one_a_property(units: Sequence[UnitRecord]) -> list[UnitRecord]:
    """Return the units in their order, further ones of a property last."""
    first = {unit.property: unit for unit in reversed(units)}
    return sorted(units, key=lambda unit: first[unit.property] is not unit)


def _ends(text: str, lm: LanguageModel) -> NDArray[np.int64]:
    """Return the place of each character's last token."""
    if lm.vocabulary.level == "chars":
        return np.arange(len(text))
    return np.cumsum([len(char.encode("utf-8", "surrogatepass")) for char in text]).astype(np.int64) - 1
