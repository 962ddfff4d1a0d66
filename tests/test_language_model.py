"""`LanguageModel`: made, saved, loaded and asked for text."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch
from torch import nn

from charlstm import LanguageModel, ModelConfig, SampleConfig, Vocabulary
from charlstm.checkpoint import Provenance
from charlstm.errors import CheckpointError, VocabularyError

VOCABULARY = Vocabulary.from_text("\nthe quick brown fox jumps over the lazy dog")
CONFIG = ModelConfig(hidden_size=6, forget_bias=0, recurrent_init="uniform")


@pytest.fixture
def language_model() -> LanguageModel:
    return LanguageModel.create(VOCABULARY, CONFIG, seed=5)


def test_creation_draws_the_weights_pytorch_draws_after_the_same_seed(language_model: LanguageModel) -> None:
    torch.manual_seed(5)
    lstm = nn.LSTM(len(VOCABULARY), 6, batch_first=True)
    linear = nn.Linear(6, len(VOCABULARY))
    for parameter, expected in zip(
        language_model.model.parameters(), [*lstm.parameters(), *linear.parameters()], strict=True
    ):
        assert torch.equal(parameter, expected)


def test_another_seed_makes_other_weights(language_model: LanguageModel) -> None:
    other = LanguageModel.create(VOCABULARY, CONFIG, seed=6)
    assert not torch.equal(language_model.model.head.weight, other.model.head.weight)


def test_creation_leaves_the_global_random_state() -> None:
    torch.manual_seed(77)
    expected = torch.rand(3)
    torch.manual_seed(77)
    LanguageModel.create(VOCABULARY, CONFIG, seed=5)
    assert torch.equal(torch.rand(3), expected)


def test_a_new_model_has_no_provenance_and_a_logit_for_each_character(language_model: LanguageModel) -> None:
    assert language_model.provenance is None
    assert language_model.model(torch.tensor([[0]]))[0].shape == (1, 1, len(VOCABULARY))


@pytest.mark.parametrize("place", ["some/folder", "some/folder/other-name.safetensors"])
@pytest.mark.parametrize("as_text", [True, False])
def test_saved_to_a_folder_or_a_file_it_loads_from_there(
    language_model: LanguageModel, tmp_path: Path, place: str, as_text: bool
) -> None:
    path = str(tmp_path / place) if as_text else tmp_path / place
    file = language_model.save(path)
    expected = tmp_path / (place if place.endswith(".safetensors") else f"{place}/model.safetensors")
    assert file == expected
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [expected]
    for source in (path, file):
        loaded = LanguageModel.load(source)
        assert loaded.vocabulary == VOCABULARY
        assert loaded.provenance is None
        for parameter, saved in zip(loaded.model.parameters(), language_model.model.parameters(), strict=True):
            assert torch.equal(parameter, saved)


def test_a_loaded_model_writes_the_text_the_saved_one_wrote(language_model: LanguageModel, tmp_path: Path) -> None:
    config = SampleConfig(num_chars=100, temperature=1.0, seed=9)
    expected = language_model.generate("the ", config)
    assert LanguageModel.load(language_model.save(tmp_path)).generate("the ", config) == expected


def test_provenance_travels_with_the_model(language_model: LanguageModel, tmp_path: Path) -> None:
    provenance = Provenance(
        corpus="fox",
        corpus_sha256="00",
        corpus_chars=44,
        beginnings=("the ", "吾輩は猫"),
        split="all",
        train_config={},
        step=3,
        training_seconds=0.5,
        hardware="this",
        versions={},
    )
    LanguageModel(language_model.model, VOCABULARY, provenance).save(tmp_path)
    assert LanguageModel.load(tmp_path).provenance == provenance


@pytest.mark.parametrize("name", ["nowhere", "nowhere.safetensors"])
def test_loading_what_is_not_there_says_what_to_give(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        CheckpointError, match=r"there is no model file .*; give a folder that holds model\.safetensors"
    ):
        LanguageModel.load(tmp_path / name)


def test_generate_joins_what_stream_yields_and_leaves_the_prompt_out(language_model: LanguageModel) -> None:
    config = SampleConfig(num_chars=60, seed=4)
    text = language_model.generate("the ", config)
    assert len(text) == 60
    assert text == "".join(chunk.text for chunk in language_model.stream("the ", config))


def test_without_settings_500_characters_are_written(language_model: LanguageModel) -> None:
    assert len(language_model.generate()) == 500


def test_an_unknown_prompt_is_refused(language_model: LanguageModel) -> None:
    with pytest.raises(VocabularyError, match="'7'"):
        language_model.generate("7 foxes")


def test_a_language_model_cannot_be_changed_by_accident(language_model: LanguageModel) -> None:
    with pytest.raises(FrozenInstanceError):
        language_model.vocabulary = VOCABULARY  # type: ignore[misc]
