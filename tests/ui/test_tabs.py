"""The rooms behind the page that need no browser: controls, the shelf of models, the shared look at runs."""

import shutil
from pathlib import Path

import pytest

from charlstm.config import ModelConfig, SampleConfig, Settings, TrainConfig, bounds_of
from charlstm.errors import CheckpointError, RunError
from charlstm.events import Progress, Started
from charlstm.runs.manager import RunManager
from charlstm.ui.controls import control
from charlstm.ui.models import ModelShelf, facts_of, line_beginnings
from charlstm.ui.watch import RunWatch


@pytest.mark.parametrize(
    "config", [ModelConfig(), TrainConfig(), SampleConfig()], ids=lambda config: type(config).__name__
)
def test_every_field_becomes_a_control_with_its_own_bounds_and_words(config: ModelConfig) -> None:
    for name, field in type(config).model_fields.items():
        made = control(config, name)
        assert made.info == field.description
        assert made.value == getattr(config, name)
        lower, upper = bounds_of(field)
        if lower is not None:
            assert (made.minimum, made.maximum) == (lower, upper)


@pytest.fixture
def shelf(tmp_path: Path, repository: Path) -> ModelShelf:
    for name in ("tiny-shakespeare", "another"):
        shutil.copytree(repository / "checkpoints" / "tiny-shakespeare", tmp_path / name)
    return ModelShelf(tmp_path)


def test_the_bundled_model_comes_first(shelf: ModelShelf) -> None:
    assert shelf.names() == ["tiny-shakespeare", "another"]


def test_without_any_model_the_page_says_to_train_one(tmp_path: Path) -> None:
    shelf = ModelShelf(tmp_path / "no-such-folder")
    assert shelf.names() == []
    with pytest.raises(CheckpointError, match="train one first"):
        shelf.load(None)


@pytest.mark.parametrize("name", ["", "..", "../another", "nothing", "another/../another"])
def test_a_name_that_is_not_on_the_shelf_opens_nothing(shelf: ModelShelf, name: str) -> None:
    with pytest.raises(CheckpointError, match="no longer there"):
        shelf.load(name)


def test_a_damaged_model_is_said_without_the_path_of_the_server(shelf: ModelShelf, tmp_path: Path) -> None:
    (tmp_path / "another" / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(CheckpointError) as raised:
        shelf.load("another")
    assert str(tmp_path) not in str(raised.value)
    assert "another/model.safetensors" in str(raised.value)


def test_a_model_that_was_replaced_is_loaded_anew(shelf: ModelShelf, tmp_path: Path) -> None:
    first = shelf.load("another")
    assert shelf.load("another") is first
    shutil.copy(tmp_path / "tiny-shakespeare" / "model.safetensors", tmp_path / "another" / "new")
    (tmp_path / "another" / "new").replace(tmp_path / "another" / "model.safetensors")
    assert shelf.load("another") is not first


def test_the_facts_of_a_model_name_its_size_corpus_and_validation(shelf: ModelShelf) -> None:
    model = shelf.load("tiny-shakespeare")
    facts = facts_of(model)
    assert model.provenance is not None
    assert model.provenance.val_stateful is not None
    assert f"{model.provenance.val_stateful:.2f} nats per character" in facts.line
    assert "learned from tiny-shakespeare" in facts.line
    assert facts.prompts[0] == "ROMEO:"
    assert not facts.is_code


def test_prompts_of_ones_own_model_are_how_lines_of_its_text_begin() -> None:
    text = "The cat\nA dog\nThe end\n吾輩は猫である\n吾輩は猫\n  \n\nThe\nfn\n"
    assert line_beginnings(text) == ("The ", "吾輩は猫", "A ")


@pytest.fixture
def watch(tmp_path: Path) -> RunWatch:
    return RunWatch(RunManager(tmp_path))


def _record(watch: RunWatch, name: str) -> None:
    folder = watch.manager.store.create(Settings.preset("minute"), name)
    started = Started(
        step=0,
        started_at="",
        num_chars=1,
        num_distinct=1,
        num_train_chars=1,
        num_val_chars=1,
        num_parameters=1,
        hardware="",
    )
    folder.events_file.write_text(started.model_dump_json() + "\n", encoding="utf-8")


def test_a_look_changes_its_version_exactly_when_something_was_recorded(watch: RunWatch) -> None:
    _record(watch, "one")
    first = watch.look("one")
    assert first is not None
    assert watch.look("one") == first
    progress = Progress(
        step=5,
        train_loss=1,
        smooth_loss=1,
        learning_rate=1,
        grad_norm=1,
        num_passes=1,
        chars_per_second=1,
        elapsed_seconds=1,
        fraction=0.5,
    )
    with watch.manager.store.get("one").events_file.open("a", encoding="utf-8") as file:
        file.write(progress.model_dump_json() + "\n")
    second = watch.look("one")
    assert second is not None
    assert second.version != first.version
    assert second.records[-1] == progress


def test_a_page_opens_with_the_newest_run_when_none_goes_on(watch: RunWatch) -> None:
    assert watch.to_show() is None
    _record(watch, "one")
    watch.runs(fresh=True)
    assert watch.to_show() == "one"
    assert watch.look("no-such-run") is None


def test_stopping_without_a_run_says_what_to_do(watch: RunWatch) -> None:
    with pytest.raises(RunError, match="choose one"):
        watch.stop(None)
