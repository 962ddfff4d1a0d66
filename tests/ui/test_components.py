"""Parts of the page that need no browser: form controls, the registry of models, the cache of runs."""

import shutil
from pathlib import Path

import gradio as gr
import pytest

from charlstm.config import ModelConfig, SampleConfig, Settings, TrainConfig
from charlstm.config_fields import help_text
from charlstm.errors import CheckpointError, RunError
from charlstm.events import Progress
from charlstm.hub.loss_plot import loss_plot_png
from charlstm.model_description import describe_model
from charlstm.runs import event_log
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir
from charlstm.ui.app import owner_note
from charlstm.ui.components import build_free_control, info_button
from charlstm.ui.explanation_numbers import ExampleFacts
from charlstm.ui.hub_tab import HubTab
from charlstm.ui.models import ModelRegistry
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_endpoints import RunEndpoints

PROGRESS = {
    "train_loss": 1.0,
    "smooth_loss": 1.0,
    "learning_rate": 0.01,
    "grad_norm": 1.0,
    "num_passes": 1.0,
    "chars_per_second": 1000.0,
    "elapsed_seconds": 61.0,
}


@pytest.mark.parametrize(
    "config", [ModelConfig(), TrainConfig(), SampleConfig()], ids=lambda config: type(config).__name__
)
def test_every_field_becomes_a_control_with_its_own_value_and_words(config: ModelConfig) -> None:
    for name, field in type(config).model_fields.items():
        made = build_free_control(config, name)
        assert made.info == help_text(field)
        assert made.value == getattr(config, name)


def test_a_term_is_spelt_as_the_scripts_spell_it(repository: Path) -> None:
    script = (repository / "charlstm" / "ui" / "static" / "info.js").read_text(encoding="utf-8")
    for term, spelt in (("nats", "a nat"), ("parameters", "a parameter")):
        assert f"{term}: '{spelt}'" in script
        assert f'aria-label="What is {spelt}?"' in info_button(term, {"loss": 1.5})
    assert 'aria-label="What is perplexity?"' in info_button("perplexity", {})


@pytest.fixture
def registry(tmp_path: Path, repository: Path) -> ModelRegistry:
    for name in ("tiny-shakespeare", "another"):
        shutil.copytree(repository / "checkpoints" / "tiny-shakespeare", tmp_path / name)
    return ModelRegistry(tmp_path)


def test_the_bundled_model_comes_first(registry: ModelRegistry) -> None:
    assert registry.names() == ["tiny-shakespeare", "another"]


def test_a_page_that_names_no_model_yet_gets_the_first(registry: ModelRegistry) -> None:
    assert registry.load(None) is registry.load("tiny-shakespeare")


def test_without_any_model_the_page_says_to_train_one(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "no-such-folder")
    assert registry.names() == []
    with pytest.raises(CheckpointError, match="train one first"):
        registry.load(None)


@pytest.mark.parametrize("name", ["", "..", "../another", "nothing", "another/../another"])
def test_a_name_that_is_not_in_the_registry_opens_nothing(registry: ModelRegistry, name: str) -> None:
    with pytest.raises(CheckpointError, match="no longer there"):
        registry.load(name)


def test_a_damaged_model_is_said_without_the_path_of_the_server(registry: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "another" / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(CheckpointError) as raised:
        registry.load("another")
    assert str(tmp_path) not in str(raised.value)
    assert "another/model.safetensors" in str(raised.value)


def test_examples_are_of_the_model_that_is_asked_for_else_of_the_first(registry: ModelRegistry) -> None:
    facts = ExampleFacts(registry)
    for asked, told in ((None, registry.names()[0]), *((name, name) for name in registry.names())):
        assert facts.get(asked)["name"] == told
    for nobody in ("../x", 3, ["x"]):
        assert facts.get(nobody) == {}


def test_a_model_that_was_replaced_is_loaded_anew(registry: ModelRegistry, tmp_path: Path) -> None:
    first = registry.load("another")
    assert registry.load("another") is first
    shutil.copy(tmp_path / "tiny-shakespeare" / "model.safetensors", tmp_path / "another" / "new")
    (tmp_path / "another" / "new").replace(tmp_path / "another" / "model.safetensors")
    assert registry.load("another") is not first


def test_the_facts_of_a_model_name_its_size_corpus_and_validation(registry: ModelRegistry) -> None:
    model = registry.load("tiny-shakespeare")
    facts = describe_model(model)
    assert model.provenance is not None
    assert model.provenance.val_stateful is not None
    assert f"{model.provenance.val_stateful:.2f} nats per character" in facts.line
    assert "learned from Shakespeare" in facts.line
    assert facts.prompts[0] == "ROMEO:"
    assert not facts.is_code


@pytest.fixture
def cache(tmp_path: Path) -> RunCache:
    return RunCache(RunManager(tmp_path))


def _prepare(cache: RunCache, name: str) -> RunDir:
    folder = cache.manager.store.create(Settings.preset("minute"), name)
    cache.runs(is_fresh=True)
    return folder


def test_a_page_opens_with_the_newest_run_before_the_bundled_ones(cache: RunCache) -> None:
    assert cache.to_show() is None
    _prepare(cache, "python-stdlib")
    _prepare(cache, "tiny-shakespeare")
    assert cache.to_show() == "tiny-shakespeare"
    _prepare(cache, "mine")
    assert cache.to_show() == "mine"


def test_where_nobody_trained_a_recorded_run_of_the_preset_is_shown_which_is_no_run_of_theirs(cache: RunCache) -> None:
    showing = RunCache(cache.manager, shows_recorded=True)
    assert [showing.to_show(preset) for preset in ("auto", "best")] == ["shakespeare-quick"] * 2
    _prepare(showing, "tiny-shakespeare")
    shown = [showing.to_show(preset) for preset in ("minute", "auto", "best", "blog", None)]
    assert shown == ["shakespeare-quick"] * 2 + ["tiny-shakespeare"] * 3
    assert [run.name for run in showing.runs()] == ["tiny-shakespeare"]
    state = showing.cached_run(showing.summary("shakespeare-quick")).sections["state"].value
    assert (state["word"], state["can"]) == ("recorded", ["duplicate"])
    assert state["story"].startswith("preset Quick · took 1 min · step 5,597")
    with pytest.raises(RunError, match="comes with the app"):
        RunEndpoints(showing).perform({"run": "shakespeare-quick"}, "resume", is_owner=True)
    _prepare(showing, "mine")
    assert showing.to_show("best") == "mine"


@pytest.mark.usefixtures("registry")  # makes the two runs
def test_the_list_the_explanations_and_the_card_read_a_run_once(
    cache: RunCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    parse = event_log.parse_record
    monkeypatch.setattr(event_log, "parse_record", lambda line: (parsed.append(line), parse(line))[1])
    cache.runs(is_fresh=True)
    in_the_list = len(parsed)
    registry = ModelRegistry(cache.manager.store.root, read_history=cache.manager.read_history)
    assert ExampleFacts(registry).get("another")["characters"] > 1_000_000
    with registry.history("another") as history:
        assert loss_plot_png(history.series())
    assert len(parsed) == in_the_list > 0


def test_a_run_that_is_not_there_is_said(cache: RunCache) -> None:
    with pytest.raises(RunError, match="no longer there"):
        cache.summary("../etc")


def test_a_model_in_training_is_in_the_registry_while_its_run_goes_on(cache: RunCache, registry: ModelRegistry) -> None:
    folder = _prepare(cache, "mine")
    folder.events_file.write_text(Progress(**PROGRESS, step=5, fraction=0.1).model_dump_json() + "\n", encoding="utf-8")
    folder.live_model.parent.mkdir()
    shutil.copy(cache.manager.store.root / "another" / "model.safetensors", folder.live_model)
    registry = ModelRegistry(cache.manager.store.root, cache.live_models)
    with folder.lock():
        cache.runs(is_fresh=True)
        assert registry.names() == ["tiny-shakespeare", "another", "live: mine"]
        assert registry.load("live: mine").model.num_parameters == registry.load("another").model.num_parameters
        assert cache.model_of("mine") == "live: mine"
        with pytest.raises(CheckpointError, match="choose another"):
            registry.path("live: mine")
        share = HubTab(registry, gr.HTML(), gr.Dropdown(), gr.State())
        offered = share.offer_models("live: mine", None)
        assert (offered["choices"], offered["value"]) == (["tiny-shakespeare", "another"], "tiny-shakespeare")
        assert share.offer_models(None, "another")["value"] == "another"
        assert share.offer_models("tiny-shakespeare", "another")["value"] == "tiny-shakespeare"
    assert cache.model_of("mine") == "mine"
    assert "live: mine" not in registry.names()


def test_a_model_is_offered_under_its_runs_label_and_found_by_it_or_by_what_it_was_called_in_training(
    registry: ModelRegistry, cache: RunCache
) -> None:
    labelled = ModelRegistry(cache.manager.store.root, labels=lambda: {"another": "Shakespeare, quick, 14:05"})
    assert labelled.choices() == [
        ("tiny-shakespeare", "tiny-shakespeare"),
        ("Shakespeare, quick, 14:05", "another"),
    ]
    for name in ("another", "Shakespeare, quick, 14:05", "live: Shakespeare, quick, 14:05"):
        assert labelled.find(name) == "another"
    assert registry.find("Shakespeare, quick, 14:05") not in registry.names()


def test_a_missing_compiler_is_said_on_a_page_at_home_and_never_to_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.ui.app.compiler_note", lambda: "there is none")
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    assert owner_note() == ""
    monkeypatch.delenv("CHARLSTM_PUBLIC")
    assert owner_note() == "there is none"
