"""What the page's scripts ask about a network: checked requests, values of units, held writing."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from waiting import wait_until

from charlstm import LanguageModel, ModelConfig, SampleConfig, Vocabulary
from charlstm.config import Level
from charlstm.generation.prediction import Prediction, Predictor
from charlstm.insight.attribution import erase_spans
from charlstm.insight.neighbors import StateIndex
from charlstm.insight.states import trace
from charlstm.ui.inside_analyses import Analyses
from charlstm.ui.inside_endpoints import InsideEndpoints
from charlstm.ui.inside_models import InsideModels
from charlstm.ui.insight_api import _Functions
from charlstm.ui.models import ModelRegistry

TEXT = "so we beat on,\nboats against the current"
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    levels: tuple[tuple[str, Level, int], ...] = (("letters", "chars", 2), ("bytes", "bytes", 1))
    for name, level, layers in levels:
        vocabulary = Vocabulary.from_text(TEXT, level)
        config = ModelConfig(hidden_size=6, num_layers=layers, level=level)
        LanguageModel.create(vocabulary, config, 3).save(root / name)
    return root


@pytest.fixture(scope="module")
def ask(models: Path) -> Ask:
    functions = {each.__name__: each for each in InsideEndpoints(ModelRegistry(models)).functions()}
    return lambda name, **request: functions[f"inside_{name}"]({"model": "letters", **request})


def cells_by_steps(model: LanguageModel, ids: list[int], layer: int) -> np.ndarray[Any, Any]:
    """The cell states after each token, (T, H), by PyTorch's own cells."""
    lstm = model.model.lstm
    states, found = model.model.initial_state(1), []
    for token in ids:
        _, states = lstm(torch.nn.functional.one_hot(torch.tensor([[token]]), len(model.vocabulary)).float(), states)
        found.append(states[1][layer, 0])
    return torch.stack(found).detach().numpy()


def test_values_of_units_are_those_of_the_network_stepped_by_hand(ask: Ask, models: Path) -> None:
    model = LanguageModel.load(models / "letters")
    answer = json.loads(json.dumps(ask("trace", text=TEXT, layer=1, first=2, count=3)))
    expected = cells_by_steps(model, model.vocabulary.encode(TEXT).tolist(), 1)[:, 2:5]
    values = [np.frombuffer(base64.b64decode(each), np.int8) / 127 for each in answer["values"]]
    found = np.stack(values, 1) * answer["scales"]
    assert np.abs(found - expected).max() < np.abs(expected).max() / 127
    assert answer["text"] == TEXT
    assert answer["source"] == "yours"
    assert answer["first"] == 2
    assert len(answer["surprises"]) == len(TEXT)
    assert answer["surprises"][0] == 0
    own = ask("trace", text=None, layer=1, first=2, count=3)
    written = model.vocabulary.encode(own["text"]).tolist()
    usual = np.quantile(cells_by_steps(model, written, 1)[:, 2:5], [0.005, 0.995], axis=0).T
    assert np.array(answer["ranges"]) == pytest.approx(usual, abs=1e-3)
    assert own["ranges"] == answer["ranges"]
    assert ask("trace", text=TEXT, quantity="forget gate", count=2)["ranges"] == [[0, 1]] * 2


def test_a_character_of_several_bytes_has_one_value_that_of_its_last(ask: Ask) -> None:
    text = "aé日b"
    answer = ask("trace", model="bytes", text=text, count=6)
    assert [len(base64.b64decode(each)) for each in answer["values"]] == [len(text)] * 6
    assert len(answer["surprises"]) == len(text)
    assert answer["surprises"][2] > answer["surprises"][3]


def test_a_model_brings_a_text_of_its_own_which_is_the_same_each_time(ask: Ask) -> None:
    first, second = (ask("trace", count=1) for _ in range(2))
    assert first["text"] == second["text"]
    assert first["source"] == "text it wrote"
    assert len(first["text"]) > 500


def test_held_and_plain_writing_begin_alike_and_are_what_the_package_writes(ask: Ask, models: Path) -> None:
    model = LanguageModel.load(models / "letters")
    answer = ask("hold", prompt="so we", holds=[[0, 2, 3.0]], temperature=0.9, num_chars=80, seed=5)
    config = SampleConfig(num_chars=80, seed=5, temperature=0.9)
    assert answer["plain"] == model.generate("so we", config) != answer["held"]
    assert ask("hold", prompt="so we", holds=[], temperature=0.9, num_chars=80, seed=5)["held"] == answer["plain"]


@pytest.mark.parametrize(
    ("name", "request_", "said"),
    [
        ("trace", {"model": "no such"}, "no longer there"),
        ("trace", {"model": ["letters"]}, "by its name"),
        ("trace", {"layer": 2}, "from 0 to 1"),
        ("trace", {"count": 65}, "from 1 to 64"),
        ("trace", {"first": -1}, "0 or more"),
        ("trace", {"first": 6}, "units 0 to 5"),
        ("trace", {"quantity": "soul"}, "one of cell, output"),
        ("trace", {"text": "Ω"}, "never seen"),
        ("trace", {"text": ""}, "at least one character"),
        ("trace", {"age": 5}, "another age"),
        ("hold", {"temperature": 0.5, "holds": [[0, 6, 1.0]]}, "units of a layer"),
        ("hold", {"temperature": 0.5, "holds": [[0, 1, 1.0]] * 6}, "at most 5"),
        ("hold", {"temperature": 0.5, "holds": [[0, 1, float("nan")]]}, "number from"),
        ("hold", {"temperature": 0.5, "holds": "1=2"}, "list"),
        ("hold", {"temperature": 9, "holds": []}, "from 0 to 2"),
        ("experiment", {"holds": []}, "Hold a unit"),
        ("experiment", {"holds": [[0, 6, 1.0]]}, "units of a layer"),
        ("hold", {"temperature": 1, "holds": [], "num_chars": 601}, "from 1 to 600"),
        ("hold", {"temperature": 1, "holds": [], "prompt": "a" * 2001}, "2,000"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(ask: Ask, name: str, request_: dict[str, Any], said: str) -> None:
    problem = ask(name, **request_)["problem"]
    assert said in problem
    assert problem.endswith(".")
    assert "\n" not in problem


def finished(ask: Ask, name: str, **request: Any) -> dict[str, Any]:
    """The answer of an analysis once it has ended."""
    return wait_until(lambda: (answer := ask(name, **request)).get("state") != "working" and answer)  # type: ignore[no-any-return]


def test_a_letters_reasons_and_what_another_letter_would_change(ask: Ask, models: Path) -> None:
    model = LanguageModel.load(models / "letters")
    place = 12
    answer = ask("explain", text=TEXT, place=place, characters=5, change={"place": 11, "to": "b"})
    with torch.no_grad():
        ids = torch.from_numpy(model.vocabulary.encode(TEXT[:place]).astype(int))
        one_hot = torch.nn.functional.one_hot(ids, len(model.vocabulary))
        logs = model.model.head(model.model.lstm(one_hot.float()[None])[0])[0, -1].log_softmax(0)
    chance = float(logs[model.vocabulary.characters.index(TEXT[place])].exp())
    assert answer["chance"] == pytest.approx(chance, abs=1e-4)
    assert answer["target"] == TEXT[place]
    assert len(answer["worths"]) == len(answer["bars"]) == 5
    other = ask("explain", text=TEXT[:11] + "b" + TEXT[12:], place=place, characters=5)
    assert answer["changed"] == {"bars": other["bars"], "chance": other["chance"]}


def test_a_letter_has_one_chance_wherever_it_is_told(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = Prediction(tuple("\nsoa,"), (math.log(0.3),) * 5, 0.0)
    monkeypatch.setattr(Predictor, "predict", lambda *_: rounded)
    answer = ask("explain", text="so", place=1, characters=5)
    assert dict(answer["bars"])["o"] == round(answer["chance"], 4) != 0.3
    assert [share for _, share in answer["bars"]] == sorted((share for _, share in answer["bars"]), reverse=True)


@pytest.mark.parametrize("model", ["letters", "bytes"])
def test_with_nothing_before_it_a_letter_stands_at_the_beginning_of_a_line(ask: Ask, model: str) -> None:
    answer = ask("explain", model=model, text="so", place=1, characters=5, change={"place": 0, "to": ""})
    line = ask("explain", model=model, text="\no", place=1, characters=5)
    assert answer["changed"] == {"bars": line["bars"], "chance": line["chance"]}
    assert 0 < answer["changed"]["chance"] < 1


def test_a_single_letter_has_nothing_to_be_guessed_from(ask: Ask) -> None:
    assert ask("cell", text="s", place=0, forget=0.5)["fixed"] is None
    assert ask("cell", text="so", place=0, forget=0.5)["fixed"]["characters"] == 2


def test_the_cells_step_is_shown_with_the_lines_of_code_that_compute_it(ask: Ask) -> None:
    answer = ask("cell", text=TEXT, place=9, layer=1, unit=4, forget=0.5)
    assert answer["cell"] == pytest.approx(0.5 * answer["old"] + answer["input"] * answer["candidate"], abs=2e-4)
    assert {stage: each["code"].split(" = ")[0] for stage, each in answer["passages"].items()} == {
        "forget": "forget_gate",
        "input": "input_gate",
        "candidate": "candidate",
        "cell": "c[layer]",
        "output": "h[layer]",
    }
    assert answer["fixed"]["held"] != answer["fixed"]["free"]


def test_places_where_a_unit_is_highest_come_first_and_show_their_text(ask: Ask) -> None:
    answer = finished(ask, "corners", layer=0, unit=1)
    values = [each["value"] for each in answer["places"]]
    assert values == sorted(values, reverse=True)
    assert all(len(each["at"]) == 1 for each in answer["places"])
    found = finished(ask, "moments", text=TEXT, place=20)
    moments = found["moments"]
    assert found["source"] == "text it wrote itself"
    assert [each["cosine"] for each in moments] == sorted((each["cosine"] for each in moments), reverse=True)


def test_a_held_unit_is_measured_beside_random_ones_at_once_the_second_time(ask: Ask) -> None:
    meter = finished(ask, "meter", layer=0, unit=1, value=2.0)
    assert meter["fitting"] in {each["key"] for each in meter["measures"]}
    assert all(each["low"] <= each["high"] for each in meter["measures"])
    again = ask("meter", layer=0, unit=1, value=-2.0)
    assert again["state"] == "done"
    assert [each["plain"] for each in again["measures"]] == [each["plain"] for each in meter["measures"]]
    assert again["measures"] != meter["measures"]


def test_a_text_that_strangers_may_not_read_is_not_looked_at(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the text was opened")

    monkeypatch.setattr(ModelRegistry, "may_read", lambda *_: False)
    monkeypatch.setattr(ModelRegistry, "corpus", refuse)
    endpoints = InsideEndpoints(ModelRegistry(models))
    functions = {each.__name__: each for each in endpoints.functions()}

    def private(name: str, **request: Any) -> dict[str, Any]:
        return functions[f"inside_{name}"]({"model": "letters", **request})  # type: ignore[no-any-return]

    assert private("trace")["source"] == "text it wrote"
    assert finished(private, "corners", unit=1)["places"]
    assert finished(private, "moments", text=TEXT, place=3)["moments"]
    horizon = finished(private, "horizon")
    assert (horizon["source"], horizon["five_gram"]) == ("text it wrote itself", None)


def test_places_of_a_text_of_bytes_are_quoted_in_whole_characters() -> None:
    analyses = Analyses(InsideModels(ModelRegistry(Path("nowhere"))))
    model = LanguageModel.create(Vocabulary.from_text("", "bytes"), ModelConfig(hidden_size=4, level="bytes"), 1)
    ids = np.frombuffer("日本語".encode(), np.uint8).astype(np.int32)
    assert [analyses._quote(model, ids, place)["at"] for place in range(9)] == [*"日日日本本本語語語"]


def test_the_first_model_is_looked_into_where_none_is_named_with_what_is_kept_beside_it(repository: Path) -> None:
    endpoints = InsideEndpoints(ModelRegistry(repository / "checkpoints"))
    units = next(each for each in endpoints.functions() if each.__name__ == "inside_units")
    found = units({"model": None})
    assert found == units({"model": "tiny-shakespeare"})
    assert found["state"] == "done"


def test_programs_get_units_traces_reasons_and_moments(models: Path) -> None:
    functions = _Functions(InsideEndpoints(ModelRegistry(models)))
    trace = functions.trace("letters", TEXT, "2, 1:0")
    assert [(each["layer"], each["unit"], len(each["cell"])) for each in trace["units"]] == [
        (0, 2, len(TEXT)),
        (1, 0, len(TEXT)),
    ]
    assert functions.explain("letters", TEXT, 9)["target"] == TEXT[9]
    assert functions.similar("letters", TEXT, 9)["moments"]
    with pytest.raises(gr.Error, match=r"unit"):  # so 4 units of the longest text are not too many
        functions.trace("letters", "a" * 20_000, "0,0,0,99999")
    for units in ("", "9" * 5000, "²", "1:x", "7", ",".join(["1"] * 65)):
        with pytest.raises(gr.Error, match=r"unit"):
            functions.trace("letters", TEXT, units)
    for text, said in (("a" * 20_001, "20,000"), ("a", "2 or more")):
        with pytest.raises(gr.Error, match=said):
            functions.explain("letters", text, 1)


def test_programs_are_told_of_the_end_of_a_long_text_what_a_trace_of_the_whole_says(models: Path) -> None:
    functions, registry = _Functions(InsideEndpoints(ModelRegistry(models))), ModelRegistry(models)
    model, text = registry.load("letters"), (TEXT * 500)[:20_000]
    whole = trace(model, model.vocabulary.encode(text))
    found = functions.trace("letters", text, "2,1:0")
    assert found["units"][1]["cell"] == pytest.approx(whole.cells[:, 1, 0], abs=1e-4)
    assert found["surprises"][1:] == pytest.approx(whole.surprises[1:], abs=1e-4)
    with pytest.raises(gr.Error, match=r"at most 13,333 characters"):
        functions.trace("letters", text, "0,1,2,3,4,5")
    explained = functions.explain("letters", text, 19_998)
    assert explained["chance"] == pytest.approx(np.exp(-whole.surprises[19_998]), abs=1e-5)
    before = whole.state(19_897)
    spans = [(at, at + 1) for at in range(19_898, 19_998)]
    worths = erase_spans(model, whole.ids, spans, (19_998, 19_999), before)
    assert explained["worths"] == pytest.approx(worths, abs=1e-3)
    index = StateIndex.build(model, InsideModels(registry).tokens_to_search("letters")[0])
    nearest = index.near(whole.cells[19_998], 1)[0].cosine
    assert functions.similar("letters", text, 19_998)["moments"][0]["cosine"] == pytest.approx(nearest, abs=1e-3)
