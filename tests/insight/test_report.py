"""`insight.json`: there and back, read strictly, and those of the bundled models."""

import json
import shutil
from pathlib import Path

import pytest

from charlstm import LanguageModel
from charlstm.insight.hold_effects import Effect
from charlstm.insight.properties import Property
from charlstm.insight.report import INSIGHT_FILE, Insight
from charlstm.insight.units import Absent, Keeper, NamedUnit, UnitTable, with_effect

UNIT = NamedUnit(
    0, 7, "cell", -1, Property("bracket", "inside brackets", "whether a bracket is open"), 0.97, 0.7, 0.64, -1.5, 3.1,
    17.2, 90,
)  # fmt: skip
VOWELS = Absent(Property("vowel", "vowels", "whether the letter just read is a vowel"), 0.6, 0.55)
TABLE = UnitTable(1, 16, 13, 32_768, 1, (UNIT,), (), (VOWELS,), (Keeper(0, 3, 20.5),))
EFFECT = Effect(0.19, 0.0046, -1.5, "a new line", 0.028, 0.079, 0.027, 0.029)


@pytest.fixture
def folder(tmp_path: Path, repository: Path) -> Path:
    shutil.copy(repository / "checkpoints" / "tiny-shakespeare" / "model.safetensors", tmp_path)
    return tmp_path


def test_what_is_known_comes_back_from_beside_its_model_only(folder: Path):
    known = Insight.of(with_effect(TABLE, 0, EFFECT), "a text")
    assert Insight.load(folder) is None
    assert known.save(folder) == folder / INSIGHT_FILE
    again = Insight.load(folder)
    assert again is not None
    assert again.model_copy(update={"model_sha256": ""}) == known
    assert Insight.load(folder / "model.safetensors") == again
    unit = again.units[0]
    assert (unit.property, unit.acts, unit.remembers, unit.effect and unit.effect.kl) == ("bracket", True, True, 0.19)
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert Insight.load(folder) is None


def test_a_unit_acts_too_if_it_turns_what_comes_next_to_its_property_further_than_all_random_units_do():
    weak = Effect(0.004, 0.0046, -1.5, "a new line", 0.028, 0.079, 0.027, 0.029, turn=0.03, control_turn=0.02)
    assert Insight.of(with_effect(TABLE, 0, weak)).units[0].acts is True
    weaker = Effect(0.004, 0.0046, -1.5, "a new line", 0.028, 0.079, 0.027, 0.029, turn=-0.03, control_turn=0.02)
    assert Insight.of(with_effect(TABLE, 0, weaker)).units[0].acts is False


def test_what_was_not_tried_is_not_claimed():
    assert Insight.of(TABLE).units[0].acts is None
    weak = with_effect(TABLE, 0, Effect(0.004, 0.0046, -1.5, "a new line", 0.028, 0.079, 0.027, 0.029))
    assert Insight.of(weak).units[0].acts is False


@pytest.mark.parametrize(
    "change",
    [
        {"units": 3},
        {"format": 2},
        {"hidden_size": -1},
        {"source": "x" * 300},
        {"units": [{"unit": 1}]},
        {"keepers": [[1, 2]]},
        {"characters": True},
        {"seed": "1"},
        {"num_layers": 0},
        {"num_layers": 9},
        {"hidden_size": 7},
        {"hidden_size": 4097},
        {"keepers": [[1, 3, 20.5]]},
        {"keepers": [[0, 16, 20.5]]},
        {"keepers": [[0, -1, 20.5]]},
    ],
)
def test_anything_else_is_no_insight(folder: Path, change: dict[str, object]):
    path = Insight.of(TABLE).save(folder)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    assert Insight.load(folder) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"{}" * 600_000])
def test_a_damaged_file_is_as_none(folder: Path, content: bytes):
    (folder / INSIGHT_FILE).write_bytes(content)
    assert Insight.load(folder) is None


@pytest.mark.parametrize(
    ("name", "golden", "least"),
    [
        ("tiny-shakespeare", {116: "column-half", 310: "verse", 485: "question", 304: "after-modal"}, 11),
        ("python-stdlib", {381: "bracket", 98: "triple", 560: "string", 610: "indented-8"}, 24),
    ],
)
def test_the_bundled_models_keep_their_units(repository: Path, name: str, golden: dict[int, str], least: int):
    known = Insight.load(repository / "checkpoints" / name)
    assert known is not None
    acting = [unit for unit in known.units if unit.acts]
    assert {unit.unit: unit.property for unit in acting if unit.unit in golden} == golden
    assert len({unit.property for unit in acting}) >= least
    size = LanguageModel.load(repository / "checkpoints" / name).model.config.hidden_size
    for unit in known.units:
        assert unit.unit < size
        assert unit.score >= 0.85
        assert 1 - unit.score <= (1 - unit.twin) / 2 + 1e-4
        assert unit.score - unit.twin >= 0.02 - 1e-4
        assert unit.effect is not None
        is_stronger = unit.effect.kl > unit.effect.control_kl
        assert unit.acts == (is_stronger or unit.effect.turn > unit.effect.control_turn)
