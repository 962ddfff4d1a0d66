"""The film of a network while it learned: values and scores are those of each state, the file small and checked."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.config import Level
from charlstm.errors import ConfigError
from charlstm.files import file_sha256
from charlstm.insight import learning_film
from charlstm.insight.learning_film import Age, Film, make_film, record_film
from charlstm.insight.report import Insight, UnitRecord

LINE = "We beat on, boats against the current, borne back.\n"
FIGURES = {"score": 0.9, "twin": 0.6, "last4": 0.6, "low": -1.0, "high": 1.0, "memory": 9.0, "stretches": 99}


def unit(number: int, key: str, sign: int = 1, part: str = "cell", layer: int = 0) -> UnitRecord:
    said = {"property": key, "label": f"knows {key}", "sentence": "whether", "remembers": True, "acts": None}
    return UnitRecord(layer=layer, unit=number, part=part, sign=sign, effect=None, **said, **FIGURES)


def network(seed: int, level: Level = "chars", layers: int = 1) -> LanguageModel:
    config = ModelConfig(hidden_size=6, num_layers=layers, level=level)
    return LanguageModel.create(Vocabulary.from_text(LINE + "é", level), config, seed)


def stepped(lm: LanguageModel, text: str, layer: int, number: int) -> np.ndarray:
    """The cell states of a unit after each character, by PyTorch's own cells."""
    state, found = lm.model.initial_state(1), []
    for char in text:
        for token in lm.vocabulary.encode(char).tolist():
            _, state = lm.model(torch.tensor([[token]]), state)
        found.append(state[1][layer, 0, number].item())
    return np.array(found)


def pairs(values: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs in the right order, counted one by one."""
    yes, no = values[truth], values[~truth]
    return float(np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no]))


@pytest.mark.parametrize(("level", "layers"), [("chars", 2), ("bytes", 1)])
def test_values_and_scores_are_those_of_each_state_stepped_by_hand(level: Level, layers: int) -> None:
    ages = [Age(step, step / 10, network(seed, level, layers)) for step, seed in ((0, 1), (1, 2), (4, 3))]
    units = [unit(2, "space", layer=layers - 1), unit(5, "space", sign=-1, layer=layers - 1), unit(1, "no such thing")]
    measured = LINE * 3  # shorter than two streams, so it is read in one
    film = make_film(ages, LINE + "é", units, measured)
    assert (film.steps, film.seconds, film.text) == ([0, 1, 4], [0.0, 0.1, 0.4], LINE + "é")
    for at, (layer, number) in enumerate(((layers - 1, 2), (layers - 1, 5), (0, 1))):
        expected = np.stack([stepped(each.network, film.text, layer, number) for each in ages])
        largest = np.abs(expected).max()
        assert np.abs(film.array()[:, at] / 127 * largest - expected).max() < largest / 100
    spaces = np.array([char == " " for char in measured])
    for at, (number, sign) in enumerate(((2, 1), (5, -1))):
        areas = [pairs(sign * stepped(each.network, measured, layers - 1, number), spaces) for each in ages]
        assert film.scores[at] == pytest.approx(areas, abs=0.02)
    assert film.scores[2] == [None] * 3


def test_a_long_film_takes_no_more_than_its_file_may(tmp_path: Path) -> None:
    lm = network(1)
    ages = [Age(step, float(step), lm) for step in range(30)]
    film = make_film(ages, LINE * 20, [unit(number % 6, "space") for number in range(20)], "")
    assert (len(film.units), len(film.text)) == (7, 600)
    assert film.scores == [[None] * 30] * 7
    lm.save(tmp_path)
    assert film.save(tmp_path).stat().st_size <= learning_film.LARGEST_FILE
    assert Film.load(tmp_path) is not None


def test_it_is_read_strictly_and_belongs_to_one_file_of_weights(tmp_path: Path) -> None:
    lm = network(1)
    lm.save(tmp_path)
    film = make_film([Age(0, 0.0, lm)], LINE, [unit(0, "space")], LINE)
    assert Film.load(tmp_path) is None
    film.save(tmp_path)
    kept = Film.load(tmp_path)
    assert kept is not None
    assert kept.model_copy(update={"model_sha256": ""}) == film
    network(2).save(tmp_path)
    assert Film.load(tmp_path) is None
    whole = json.loads(film.to_json()) | {"model_sha256": file_sha256(tmp_path / "model.safetensors")}
    for change in (
        {"values": whole["values"][:-4]},
        {"values": "<b>"},
        {"seconds": []},
        {"scores": [[2.0]]},
        {"scores": []},
        {"steps": [-1]},
        {"text": "x" * 601},
        {"model_sha256": ""},
    ):
        (tmp_path / "birth.json").write_text(json.dumps({**whole, **change}))
        assert Film.load(tmp_path) is None, change
    (tmp_path / "birth.json").write_text(json.dumps(whole))
    assert Film.load(tmp_path) is not None


@pytest.mark.parametrize("name", ["tiny-shakespeare", "python-stdlib"])
def test_a_bundled_film_belongs_beside_its_model(repository: Path, name: str) -> None:
    film = Film.load(repository / "checkpoints" / name)
    assert film is not None
    assert film.note.startswith("Not this very network, but one of 1 layer")
    assert min(len(film.steps), len(film.units)) >= 8


def test_nothing_to_show_is_said_in_a_sentence(tmp_path: Path) -> None:
    lm = network(1)
    for ages, units in (([], [unit(0, "space")]), ([Age(0, 0.0, lm)], [])):
        with pytest.raises(ConfigError, match=r"^a film needs at least one age, one unit and one character\.$"):
            make_film(ages, LINE, units, LINE)
    sizes = {"num_layers": 1, "hidden_size": 6, "vocabulary": 20, "characters": 9, "seed": 1}
    table = Insight(**sizes, units=[unit(0, "space")], nearly=[], absent=[], keepers=[])
    assert record_film(tmp_path, lm, LINE, table) is None
