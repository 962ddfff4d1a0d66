"""What *Look inside* knows of a model: the run that one in training becomes, its units, the text it learned from."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from training_runs import config, trainer_of
from waiting import wait_until

from charlstm import LanguageModel, ModelConfig, SampleConfig, Vocabulary
from charlstm.config import Settings
from charlstm.corpus import open_corpus
from charlstm.insight.report import Insight
from charlstm.runs.run_dir import RunDir
from charlstm.training.in_process import build_provenance
from charlstm.ui import inside_analyses, inside_models
from charlstm.ui.inside_endpoints import InsideEndpoints
from charlstm.ui.inside_models import InsideModels
from charlstm.ui.models import ModelRegistry

TEXT = "so we beat on,\nboats against the current"


def save(folder: Path, seed: int) -> None:
    """Save a small network."""
    LanguageModel.create(Vocabulary.from_text(TEXT), ModelConfig(hidden_size=6), seed).save(folder)


def test_a_network_in_training_becomes_its_run_once_that_has_ended(tmp_path: Path) -> None:
    labels, live = {"run-1": "Boats"}, dict[str, Path]()
    registry = ModelRegistry(tmp_path, lambda: live, lambda: labels)
    functions = {each.__name__: each for each in InsideEndpoints(registry).functions()}
    at_work = tmp_path / "run-1" / "last"
    save(at_work, 1)
    live["live: Boats"] = at_work / "model.safetensors"

    def version() -> dict[str, Any]:
        return functions["inside_version"]({"model": "live: Boats"})  # type: ignore[no-any-return]

    first = version()
    assert first["model"] == "live: Boats"
    save(at_work, 2)
    os.utime(live["live: Boats"], (1, 1))
    assert version()["version"] != first["version"]
    save(tmp_path / "run-1", 3)
    live.clear()
    assert version()["model"] == "run-1"
    named = functions["inside_units"]
    request = {"model": "live: Boats"}  # what a page asks that has not heard of it
    assert wait_until(lambda: (answer := named(request))["state"] != "working" and answer)["units"] == []
    assert (tmp_path / "run-1" / "insight.json").is_file()
    shutil.rmtree(tmp_path / "run-1")
    assert "no longer there" in version()["problem"]


def test_the_units_of_a_network_in_training_are_searched_to_the_end_and_then_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = {"live: Boats": tmp_path / "model.safetensors"}
    analyses = InsideEndpoints(ModelRegistry(tmp_path / "none", lambda: live)).analyses
    searched, is_allowed = list[LanguageModel](), threading.Event()

    def inspect(model: LanguageModel, *_: object) -> Insight:
        searched.append(model)
        is_allowed.wait(30)
        sizes = {"num_layers": 1, "hidden_size": 6, "vocabulary": 9, "characters": len(searched), "seed": 1}
        return Insight(**sizes, units=[], nearly=[], absent=[], keepers=[])

    monkeypatch.setattr(inside_analyses, "inspect_model", inspect)
    for seed in (1, 2):
        save(tmp_path, seed)
        os.utime(live["live: Boats"], (seed, seed))
        assert analyses.units({"model": "live: Boats"})["state"] == "working"
        wait_until(lambda: searched)
    assert len(analyses.jobs._kept) == 1
    is_allowed.set()
    wait_until(lambda: next(iter(analyses.jobs._kept.values())).state == "done")
    assert len(searched) == 1
    answer = wait_until(lambda: (it := analyses.units({"model": "live: Boats"}))["state"] == "done" and it)
    assert answer["characters"] == len(searched) == 2
    assert not (tmp_path / "insight.json").exists()


def test_what_is_kept_beside_a_model_is_seen_also_if_it_comes_later(tmp_path: Path) -> None:
    save(tmp_path / "letters", 1)
    inside = InsideModels(ModelRegistry(tmp_path))
    assert inside.load_insight("letters") is None
    sizes = {"num_layers": 1, "hidden_size": 6, "vocabulary": 9, "characters": 9, "seed": 1}
    Insight(**sizes, units=[], nearly=[], absent=[], keepers=[]).save(tmp_path / "letters")
    assert inside.load_insight("letters") is not None


def test_what_several_ask_for_at_once_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "letters", 1)
    inside, written, is_allowed = InsideModels(ModelRegistry(tmp_path)), list[str](), threading.Event()
    model = inside.load("letters")

    def generate(*_: object) -> str:
        written.append("once")
        is_allowed.wait(30)
        return "text"

    monkeypatch.setattr(type(model), "generate", generate)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(inside.write, model, "so", SampleConfig()) for _ in range(4)]
        wait_until(lambda: written)
        is_allowed.set()
    assert [each.result() for each in answers] == ["text"] * 4
    assert written == ["once"]


@pytest.mark.parametrize("is_public", [False, True])
def test_a_text_elsewhere_on_this_machine_is_opened_only_for_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_public: bool
) -> None:
    file, root = tmp_path / "boats.txt", tmp_path / "runs"
    file.write_text(TEXT * 50, encoding="utf-8")
    train = config(max_steps=1, corpus=str(file), val_fraction=0.25)
    run = root / "run"
    model = LanguageModel.create(Vocabulary.from_text(TEXT), ModelConfig(hidden_size=6), 1)
    LanguageModel(
        model.model, model.vocabulary, build_provenance(trainer_of(train), open_corpus(str(file)), None)
    ).save(run)
    RunDir(run).save_settings(Settings(train=train))
    monkeypatch.setenv("CHARLSTM_PUBLIC", str(int(is_public)))
    monkeypatch.setattr(inside_models, "_WRITTEN_CHARS", 300)
    inside = InsideModels(ModelRegistry(root))
    text, source = inside.text_to_measure("run")
    assert inside.tokens_to_search("run")[1] == ("text it wrote itself" if is_public else "text it learned from")
    assert (source == "text kept for validation") is not is_public
    assert is_public or text == (TEXT * 50)[-round(0.25 * len(TEXT * 50)) :]
    file.write_text(TEXT * 49, encoding="utf-8")  # another text by now
    assert InsideModels(ModelRegistry(root)).text_to_measure("run")[1] == "text it wrote itself"
