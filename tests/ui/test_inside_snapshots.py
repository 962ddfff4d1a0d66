"""What the page's scripts ask about a network while it learned: the ages that are kept, any of them, and the film."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import config, trainer_of
from waiting import wait_until

from charlstm import LanguageModel
from charlstm.corpus import Corpus
from charlstm.events import StepDone
from charlstm.insight.report import Insight, UnitRecord
from charlstm.training import snapshots
from charlstm.training.in_process import build_provenance
from charlstm.training.snapshots import SnapshotTaker
from charlstm.ui import inside_models
from charlstm.ui.inside_endpoints import InsideEndpoints
from charlstm.ui.models import ModelRegistry

Ask = Callable[..., dict[str, Any]]
SPACE = UnitRecord(
    layer=0, unit=3, part="cell", sign=1, property="space", label="spaces", sentence="whether it was a space",
    score=0.9, twin=0.6, last4=0.6, remembers=False, acts=None, low=-1.0, high=1.0,
    memory=2.0, stretches=60, effect=None,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 5 steps with its snapshots, and a model without any beside it."""
    monkeypatch.setattr(snapshots, "_FREE_SECONDS", 1e9)
    monkeypatch.setattr(inside_models, "_WRITTEN_CHARS", 300)
    place = tmp_path / "run"
    place.mkdir()
    trainer, taker = trainer_of(config(max_steps=5)), SnapshotTaker(place)
    taker.begin(trainer)
    for event in trainer.run():
        if isinstance(event, StepDone):
            taker.take(trainer)
    model = trainer.language_model
    origin = build_provenance(trainer, Corpus("rhyme", "the cat\n" * 99), None)
    LanguageModel(model.model, model.vocabulary, origin).save(place)
    shutil.copytree(place, tmp_path / "alone", ignore=shutil.ignore_patterns("snapshots"))
    return place


@pytest.fixture
def ask(folder: Path) -> Ask:
    functions = {each.__name__: each for each in InsideEndpoints(ModelRegistry(folder.parent)).functions()}
    return lambda name, **request: functions[f"inside_{name}"]({"model": "run", **request})


def test_every_age_that_is_kept_can_be_looked_into(ask: Ask) -> None:
    ages = ask("ages")["ages"]
    assert [each["step"] for each in ages] == [0, 1, 2, 3, 4]
    assert ages[0] == {"step": 0, "seconds": 0.0, "label": "0 s"}
    texts = [ask("trace", age=age, text="the cat sat", count=8)["values"] for age in (0, 4, None, 4)]
    assert texts[0] != texts[1] != texts[2]
    assert texts[1] == texts[3]
    for wrong in (5, -1, "4", True, [4], 1.5):
        assert "choose another age" in ask("trace", age=wrong, text="the", count=1)["problem"]
    assert ask("ages", model="alone", film=True) == {"ages": [], "film": None}
    assert "another one" in ask("ages", model="gone")["problem"]


def test_a_film_is_made_once_the_units_have_names_and_kept_beside_the_model(ask: Ask, folder: Path) -> None:
    assert ask("ages", film=True)["film"] is None
    sizes = {"num_layers": 1, "hidden_size": 8, "vocabulary": 15, "characters": 9, "seed": 1}
    Insight(**sizes, units=[SPACE], nearly=[], absent=[], keepers=[]).save(folder)
    assert ask("ages")["film"] is None  # nobody asked for it
    wait_until(lambda: ask("ages", film=True).get("state") != "working", 300)
    film = ask("ages", film=True)["film"]
    assert film["steps"] == [0, 1, 2, 3, 4, 5]
    assert film["units"][0]["unit"] == 3
    assert len(film["scores"][0]) == 6
    assert film["note"].startswith("Made of the states that were kept")
    assert (folder / "birth.json").is_file()
    assert ask("ages", film=True)["film"] == film
