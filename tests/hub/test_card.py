"""The model card says what the run recorded, in the form that the Hub asks for."""

import json
import math
import re
import shlex
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from loopback import LoopbackHub
from PIL import Image

from charlstm import LanguageModel, ModelConfig, SampleConfig, Settings, Vocabulary
from charlstm.cli import main
from charlstm.errors import HubError
from charlstm.events import Evaluated, Progress, Record
from charlstm.hub.loss_plot import loss_plot_png
from charlstm.hub.push import build_files
from charlstm.runs.history import RunHistory
from charlstm.runs.retention import ORIGIN_FILE
from charlstm.runs.run_dir import RunDir


@pytest.fixture(scope="module")
def card(trained: Path, history: RunHistory) -> ModelCard:
    return ModelCard(build_files(trained, "owner/tiny", loss_plot_png(history.series()), "en").card)


def test_the_metadata_names_library_task_tags_and_language(card: ModelCard) -> None:
    assert card.data.library_name == "charlstm"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.language == "en"
    assert "char-lstm" in card.data.tags


def test_the_metrics_are_those_of_the_run_each_named_by_split_and_method(card: ModelCard, history: RunHistory) -> None:
    finished = history.finished
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
    assert ModelCard(build_files(trained, "owner/tiny").card).data.language is None
    for wrong in ("en\ntags: [x]", "en\n", "EN", "english"):
        with pytest.raises(HubError, match="not a language code"):
            build_files(trained, "owner/tiny", language=wrong)


@pytest.mark.parametrize("language", ["no", "code", "multilingual"])
def test_a_language_stays_text_in_the_metadata(trained: Path, language: str) -> None:
    assert ModelCard(build_files(trained, "owner/tiny", language=language).card).data.language == language


def test_half_a_character_in_the_vocabulary_is_escaped_in_config_json(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("a", "\ud800"))
    LanguageModel.create(vocabulary, ModelConfig(hidden_size=4), seed=1).save(tmp_path)
    assert json.loads(build_files(tmp_path, "owner/half").files["config.json"])["vocabulary"] == ["a", "\ud800"]


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


def _commands(card: str) -> list[list[str]]:
    section = card.partition("## Train it again")[2]
    return [shlex.split(line)[3:] for line in section.splitlines() if line.startswith("python -m charlstm ")]


def _equal_weights(first: Path, second: Path) -> bool:
    one, other = (LanguageModel.load(each).model.state_dict() for each in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def tuned(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model fine-tuned from one that was pulled, and gone on with twice."""
    place = tmp_path_factory.mktemp("checkpoints")
    shutil.copytree(trained, place / "base")
    (place / "base" / ORIGIN_FILE).write_text('{"repo_id": "owner/tiny", "revision": null}', encoding="utf-8")
    flags = "--batch-size 2 --seq-len 16 --max-steps 20 --max-minutes 0 --eval-every 10 --sample-every 40 "
    flags += "--sample-chars 25 --seed 5 --precision float32"
    text, where = str(trained.parent / "secret.txt"), ["--checkpoints-dir", str(place)]
    assert (
        main(["train", "--corpus", text, "--from", str(place / "base"), "--name", "tuned", *flags.split(), *where]) == 0
    )
    assert main(["resume", "tuned", "--more-steps", "10", "--more-rate", "0.001", *where]) == 0
    assert main(["resume", "tuned", "--more-steps", "5", "--more-schedule", "constant", *where]) == 0
    return place / "tuned"


class TestTheCardOfAFineTunedModel:
    def test_names_what_it_began_from(self, tuned: Path) -> None:
        card = ModelCard(build_files(tuned, "owner/tuned").card)
        digest = sha256((tuned.parent / "base" / "model.safetensors").read_bytes()).hexdigest()
        assert card.data.base_model == "owner/tiny"
        assert "fine-tuned" in card.data.tags
        assert "from-scratch" not in card.data.tags
        assert "trained from nothing" not in card.text
        assert "in 3 parts" in card.text
        assert "--sample" not in card.text
        assert digest in card.text

    def test_claims_no_base_model_that_is_not_on_the_hub(self, tuned: Path, tmp_path: Path) -> None:
        shutil.copytree(tuned, tmp_path / "tuned")
        shutil.copytree(tuned.parent / "base", tmp_path / "base")
        (tmp_path / "base" / "model.safetensors").write_bytes((tuned / "model.safetensors").read_bytes())
        card = ModelCard(build_files(tmp_path / "tuned", "owner/tuned").card)
        assert card.data.base_model is None
        assert "fine-tuned from `base`" in card.text
        assert "YOUR_MODEL.safetensors stands for the model" in card.text

    def test_tells_the_commands_that_make_the_same_weights(
        self, tuned: Path, trained: Path, tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add("owner/tiny", {"model.safetensors": (trained / "model.safetensors").read_bytes()})
        monkeypatch.chdir(tmp_path)
        (tmp_path / "YOUR_TEXT.txt").write_bytes((trained.parent / "secret.txt").read_bytes())
        commands = _commands(build_files(tuned, "owner/tuned").card)
        assert [command[0] for command in commands] == ["pull", "train", "resume", "resume"]
        for command in commands:
            assert main(command) == 0
        assert _equal_weights(tuned, tmp_path / "checkpoints" / "again")


@pytest.mark.parametrize("sizes", [{"embedding_dim": 0}, {"embedding_dim": 3, "num_layers": 2}, {"level": "bytes"}])
def test_the_ten_lines_of_plain_pytorch_write_with_the_model(
    hub: LoopbackHub, tmp_path: Path, sizes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The logits of its last character are those of this package, given all that it wrote before."""
    vocabulary = Vocabulary.from_text("a text of \"quotes\", 'marks' and {braces}\n", sizes.get("level", "chars"))
    config = ModelConfig(**{"hidden_size": 8, "embedding_dim": 4, **sizes})
    language_model = LanguageModel.create(vocabulary, config, seed=3)
    hub.add("owner/plain", {"model.safetensors": language_model.save(tmp_path).read_bytes()})
    lines = re.findall(r"```python\n(.*?)```", build_files(tmp_path, "owner/plain").card, re.DOTALL)[1]
    assert "charlstm" not in lines
    assert len(lines.splitlines()) == 10
    assert max(map(len, lines.splitlines())) <= 150
    run: dict[str, Any] = {}
    exec(lines, run)
    read = torch.tensor(run["tokens"][:-1])[None]
    expected, (h, c) = language_model.model(read)
    torch.testing.assert_close(run["head"](run["hidden"][-1]), expected[0, -1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run["state"], (h[:, 0], c[:, 0]), rtol=1e-5, atol=1e-6)
    assert capsys.readouterr().out == vocabulary.decode(run["tokens"]) + "\n"


def test_licence_citation_picture_and_data_set_are_in_the_metadata(repository: Path, card: ModelCard) -> None:
    bundled = repository / "checkpoints" / "tiny-shakespeare"
    history = RunHistory(RunDir(bundled))
    history.poll()
    shakespeare = ModelCard(build_files(bundled, "owner/shakespeare", loss_plot_png(history.series())).card)
    assert shakespeare.data.license == card.data.license == "mit"
    assert shakespeare.data.datasets == ["karpathy/tiny_shakespeare"]
    assert card.data.get("datasets") is None
    assert shakespeare.data.thumbnail.endswith("/owner/shakespeare/resolve/main/loss.png")
    assert "pip install" in shakespeare.text
    assert "```bibtex" in shakespeare.text
    assert ModelCard(build_files(bundled, "owner/x", licence="cc-by-4.0").card).data.license == "cc-by-4.0"
    with pytest.raises(HubError, match="is not a licence id"):
        build_files(bundled, "owner/x", licence="mit\ntags: [x]")


def test_a_text_that_looks_like_markup_stays_inside_its_block(tmp_path: Path) -> None:
    model = LanguageModel.create(Vocabulary(tuple(sorted("`\n<>#-"))), ModelConfig(hidden_size=4), seed=1)
    model.save(tmp_path)
    card = build_files(tmp_path, "owner/hostile").card
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
    folder = RunDir(tmp_path)
    folder.events_file.write_text("".join(f"{point.model_dump_json()}\n" for point in points))
    history = RunHistory(folder)
    history.poll()
    data = loss_plot_png(history.series())
    assert data is not None
    (tmp_path / "curve.png").write_bytes(data)
    picture = Image.open(tmp_path / "curve.png").convert("RGB")
    at_middle = [y for y in range(60, 430) if picture.getpixel((500, y))[2] < 100]  # the grid is pale, the line is not
    assert at_middle, "the line is drawn"
    assert abs(sum(at_middle) / len(at_middle) - (40 + 430) / 2) < 3


def test_without_a_curve_there_is_no_picture_and_no_link_to_one(trained: Path) -> None:
    parcel = build_files(trained, "owner/tiny")
    assert set(parcel.files) == {"model.safetensors", "config.json", "README.md"}
    assert "loss.png" not in parcel.card


def test_the_settings_of_a_named_text_need_no_file(repository: Path) -> None:
    """Checked against what the bundled model recorded itself."""
    bundled = repository / "checkpoints" / "tiny-shakespeare"
    card = build_files(bundled, "owner/shakespeare").card
    assert "YOUR_TEXT" not in card
    origin = LanguageModel.load(bundled).provenance
    assert origin is not None
    assert origin.train_config["max_passes"] == Settings.preset("best").train.max_passes
    assert "train --corpus tiny-shakespeare --preset best --precision float32\n" in card
    assert RunDir(bundled).exists


def test_the_settings_of_an_older_model_are_what_it_was_trained_with(repository: Path, tmp_path: Path) -> None:
    """Its provenance says nothing of settings that came later, which the presets have changed since."""
    bundled = LanguageModel.load(repository / "checkpoints" / "tiny-shakespeare")
    assert bundled.provenance is not None
    later = ("state_reset", "stretch_windows", "layer_rates", "calibrate", "precision")
    older = {name: value for name, value in bundled.provenance.train_config.items() if name not in later}
    provenance = bundled.provenance.model_copy(update={"train_config": older})
    LanguageModel(bundled.model, bundled.vocabulary, provenance).save(tmp_path)
    card = build_files(tmp_path, "owner/shakespeare").card
    command = next(line for line in card.splitlines() if "--preset best" in line)
    assert set(re.findall(r"--[\w-]+ [\w.-]+", command)) == {
        *("--corpus tiny-shakespeare", "--preset best"),
        *("--state-reset 0.0", "--stretch-windows 0", "--calibrate off"),
    }
