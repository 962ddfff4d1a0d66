"""The model card says what the run recorded, in the form that the Hub asks for."""

import json
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from charlstm import LanguageModel, ModelConfig, SampleConfig, Settings, Vocabulary
from charlstm.cli import main
from charlstm.errors import HubError
from charlstm.events import Evaluated, Progress, Record
from charlstm.hub.picture import curve_png
from charlstm.hub.push import pack
from charlstm.runs.store import RunFolder


@pytest.fixture(scope="module")
def card(trained: Path, records: list[Record]) -> ModelCard:
    return ModelCard(pack(trained, "owner/tiny", records, "en").card)


def test_the_metadata_names_library_task_tags_and_language(card: ModelCard) -> None:
    assert card.data.library_name == "charlstm"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.language == "en"
    assert "char-lstm" in card.data.tags


def test_the_metrics_are_those_of_the_run_each_named_by_split_and_method(
    card: ModelCard, records: list[Record]
) -> None:
    finished = records[-1]
    assert finished.kind == "finished"
    by_name = {result.metric_name: result for result in card.data.eval_results}
    nats = next(value for name, value in by_name.items() if "nats" in name and "stateful" in name)
    bits = next(value for name, value in by_name.items() if "bits" in name and "256" in name)
    assert nats.metric_value == pytest.approx(finished.val_stateful, abs=1e-4)
    assert bits.metric_value == pytest.approx(finished.val_windows / math.log(2), abs=1e-4)
    for result in by_name.values():
        assert result.dataset_split == "last 10% validation"
        assert result.dataset_name == "secret.txt"
        assert re.fullmatch(r"[\w./-]+", result.dataset_type)
    for figure in (finished.val_stateful, finished.val_windows):
        assert f"{figure:.4f}" in card.text


def test_without_a_language_none_is_claimed(trained: Path) -> None:
    assert ModelCard(pack(trained, "owner/tiny").card).data.language is None
    for wrong in ("en\ntags: [x]", "en\n", "EN", "english"):
        with pytest.raises(HubError, match="no code of a language"):
            pack(trained, "owner/tiny", language=wrong)


@pytest.mark.parametrize("language", ["no", "code", "multilingual"])
def test_a_language_stays_text_in_the_metadata(trained: Path, language: str) -> None:
    assert ModelCard(pack(trained, "owner/tiny", language=language).card).data.language == language


def test_half_a_character_in_the_vocabulary_is_escaped_in_config_json(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("a", "\ud800"))
    LanguageModel.create(vocabulary, ModelConfig(hidden_size=4), seed=1).save(tmp_path)
    assert json.loads(pack(tmp_path, "owner/half").files["config.json"])["vocabulary"] == ["a", "\ud800"]


def test_the_recipe_trains_the_same_model_again(card: ModelCard, trained: Path, tmp_path: Path) -> None:
    command = shlex.split(re.search(r"^python -m charlstm (train .*)$", card.text, re.MULTILINE)[1])
    text = trained.parent / "secret.txt"
    command = [str(text) if word == "YOUR_TEXT.txt" else word for word in command]
    assert main([*command, "--name", "again", "--checkpoints-dir", str(tmp_path)]) == 0
    first, again = LanguageModel.load(trained), LanguageModel.load(tmp_path / "again")
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_the_samples_are_what_the_model_writes_with_the_settings_beside_them(card: ModelCard, trained: Path) -> None:
    language_model = LanguageModel.load(trained)
    shown = re.findall(
        r"Temperature ([\d.]+), seed (\d+), (\d+) characters, no prompt:\n\n```text\n(.*?)\n```", card.text, re.DOTALL
    )
    assert len(shown) == 3
    for temperature, seed, length, text in shown:
        config = SampleConfig(temperature=float(temperature), seed=int(seed), num_chars=int(length))
        assert language_model.generate("", config) == text


def test_the_lines_that_load_it_name_the_repository(card: ModelCard) -> None:
    code = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    compile(code, "card", "exec")
    assert 'LanguageModel.from_pretrained("owner/tiny")' in code


def test_a_text_that_looks_like_markup_stays_inside_its_block(tmp_path: Path) -> None:
    model = LanguageModel.create(Vocabulary(tuple(sorted("`\n<>#-"))), ModelConfig(hidden_size=4), seed=1)
    model.save(tmp_path)
    card = pack(tmp_path, "owner/hostile").card
    fences = re.findall(r"^(`{3,})text\n(.*?)\n\1$", card, re.DOTALL | re.MULTILINE)
    assert len(fences) == 3
    for fence, text in fences:
        assert fence not in text


def test_the_curve_is_a_picture_whose_lines_lie_where_the_losses_are(tmp_path: Path) -> None:
    """Of a loss that falls in a straight line from 4 to 2, the middle of the picture's line is at 3."""
    shared = {"train_loss": 1.0, "learning_rate": 1.0, "grad_norm": 1.0, "num_passes": 1.0, "chars_per_second": 1.0}
    points: list[Record] = [
        Progress(step=step, smooth_loss=4 - step / 50, elapsed_seconds=1, fraction=0.5, **shared)
        for step in range(0, 101, 10)
    ]
    points.append(Evaluated(step=0, val_loss=4.0, method="", is_best=True, elapsed_seconds=1))
    data = curve_png(points)
    assert data is not None
    (tmp_path / "curve.png").write_bytes(data)
    picture = Image.open(tmp_path / "curve.png").convert("RGB")
    at_middle = [y for y in range(60, 430) if picture.getpixel((500, y))[2] < 100]  # the grid is pale, the line is not
    assert at_middle, "the line is drawn"
    assert abs(sum(at_middle) / len(at_middle) - (40 + 430) / 2) < 3


def test_without_a_curve_there_is_no_picture_and_no_link_to_one(trained: Path) -> None:
    parcel = pack(trained, "owner/tiny")
    assert set(parcel.files) == {"model.safetensors", "config.json", "README.md"}
    assert "loss.png" not in parcel.card


def test_the_settings_of_a_named_text_need_no_file(repository: Path) -> None:
    """Checked against what the bundled model recorded itself."""
    bundled = repository / "checkpoints" / "tiny-shakespeare"
    card = pack(bundled, "owner/shakespeare").card
    assert "YOUR_TEXT" not in card
    origin = LanguageModel.load(bundled).provenance
    assert origin is not None
    assert origin.train_config["max_passes"] == Settings.preset("best").train.max_passes
    assert "--corpus tiny-shakespeare --preset best" in card
    assert "state_reset" not in origin.train_config
    assert "--state-reset 0.0" in card, "it was trained before streams were reset"
    assert RunFolder(bundled).exists
