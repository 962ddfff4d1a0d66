"""Parts of the page that need no browser: form controls, the registry of models, the cache of runs."""

import json
import shutil
from pathlib import Path

import gradio as gr
import pytest

from charlstm.config import ModelConfig, SampleConfig, Settings, TrainConfig, bounds_of
from charlstm.errors import CheckpointError, RunError
from charlstm.events import Evaluated, Finished, Progress
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir
from charlstm.ui import train_form
from charlstm.ui import train_form as forms
from charlstm.ui.app import owner_note
from charlstm.ui.components import build_control
from charlstm.ui.corpus_picker import Uploads
from charlstm.ui.models import ModelRegistry, describe_model
from charlstm.ui.run_cache import RunCache

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
def test_every_field_becomes_a_control_with_its_own_bounds_and_words(config: ModelConfig) -> None:
    for name, field in type(config).model_fields.items():
        made = build_control(config, name)
        assert made.info == field.description
        assert made.value == getattr(config, name)
        lower, upper = bounds_of(field)
        if lower is not None:
            assert (made.minimum, made.maximum) == (lower, upper)


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
    assert "learned from tiny-shakespeare" in facts.line
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
    assert cache.model_of("mine") == "mine"
    assert "live: mine" not in registry.names()


def test_what_a_browser_kept_is_put_back_and_what_was_forged_is_not(tmp_path: Path) -> None:
    numbers = [7.5, *(getattr(ModelConfig(), name) for name in forms.MODEL_FIELDS)]
    numbers += [getattr(TrainConfig(), name) for name in forms.TRAIN_FIELDS]
    chosen = ["python-stdlib", "some text", "latin-1", "blog", forms.NEW_MODEL, *numbers]
    uploads = Uploads(tmp_path)
    assert forms.restore(json.dumps([*chosen, ""]), uploads) == [*chosen, "", gr.skip()]
    place = len(chosen) - len(numbers) + 1 + forms.ADVANCED.index("state_reset")
    before = [*chosen[:place], *chosen[place + 1 :], ""]  # from before there was this setting
    assert forms.restore(json.dumps(before), uploads) == [*chosen, "", gr.skip()]
    forged = [{"path": "/etc/passwd"}, 5, "utf-99", "no-preset", None, *([["x"]] * len(numbers))]
    skipped = [gr.skip()] * len(chosen)
    for upload in ("../x", "/etc/passwd", 5, {"path": "/etc/passwd"}, "0" * 32):
        assert forms.restore(json.dumps([*forged, upload]), uploads) == [*skipped, "", gr.skip()]
    for each in (json.dumps(chosen[:-1]), "null", "[", "", "{}"):
        assert forms.restore(each, uploads) == [*skipped, gr.skip(), gr.skip()]


def test_a_wrong_value_is_refused_at_its_field_alone() -> None:
    values = ["tiny-shakespeare", None, "", "auto", "minute", forms.NEW_MODEL, 1.0]
    preset = Settings.preset("minute").flat()
    values += [preset[name] for name in forms.ADVANCED]
    assert all(verdict["is_valid"] for verdict in forms.validate_fields(*values))
    place = 7 + forms.ADVANCED.index("batch_size")
    for wrong in (0, 4097, 1.5, None):
        verdicts = forms.validate_fields(*values[:place], wrong, *values[place + 1 :])
        assert [verdict["is_valid"] for verdict in verdicts].index(False) == place
        assert sum(not verdict["is_valid"] for verdict in verdicts) == 1
    assert (
        "from 1 to 4,096 streams" in forms.validate_fields(*values[:place], 0, *values[place + 1 :])[place]["message"]
    )
    endless = forms.validate_fields(*values[:6], 0, *values[7:])
    assert "nothing ends this run" in endless[6]["message"].lower()


def test_a_preset_says_what_it_reached_here_once_it_was_trained_here(cache: RunCache) -> None:
    assert "Recorded on 2 cores: 1.479" in train_form.preset_summary("minute", "tiny-shakespeare", cache.runs())
    folder = _prepare(cache, "tiny-shakespeare-minute-3")
    records = [
        Progress(**PROGRESS, step=5, fraction=1.0),
        Evaluated(step=5, val_loss=1.625, method="", is_best=True, elapsed_seconds=61.0),
        Finished(step=5, reason="completed", elapsed_seconds=61.0),
    ]
    folder.events_file.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")
    said = train_form.preset_summary("minute", "tiny-shakespeare", cache.runs(is_fresh=True))
    assert "Here it reached 1.625 nats per character (2.34 bits) in 1 min 1 s." in said
    assert "Recorded" in train_form.preset_summary("minute", "python-stdlib", cache.runs())


def test_a_preset_of_passes_takes_as_long_as_the_speed_of_this_machine_lets_it(cache: RunCache) -> None:
    assert "about" not in train_form.preset_summary("blog", "tiny-shakespeare", cache.runs()).split("Recorded")[1]
    folder = _prepare(cache, "fox-minute")
    half = Progress(**{**PROGRESS, "elapsed_seconds": 120.0}, step=5289, fraction=1.0)  # half as fast as the recorded
    folder.events_file.write_text(half.model_dump_json() + "\n", encoding="utf-8")
    said = train_form.preset_summary("blog", "tiny-shakespeare", cache.runs(is_fresh=True))
    assert "in 1 min 33 s; here, by the speed so far, about 3 min 6 s." in said
    assert "0.5 times as much" in train_form.preset_summary("minute", "tiny-shakespeare", cache.runs())


def test_a_missing_compiler_is_said_on_a_page_at_home_and_never_to_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.ui.app.compiler_note", lambda: "there is none")
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    assert owner_note() == ""
    monkeypatch.delenv("CHARLSTM_PUBLIC")
    assert owner_note() == "there is none"
