"""A model as the beginning of another run, and a run that goes on for longer."""

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from records import counting
from safetensors.torch import load_file

from charlstm.cli import main
from charlstm.config import ModelConfig, Settings
from charlstm.errors import RunError
from charlstm.language_model import LanguageModel
from charlstm.runs.continuation import (
    add_extension,
    describe_extension,
    inherit_sizes,
    with_fine_tuning_rates,
)
from charlstm.runs.run_dir import Extension, RunDir
from charlstm.runs.store import RunStore
from charlstm.runs.worker import run_training
from charlstm.vocabulary import Vocabulary

TINY: dict[str, Any] = {
    "corpus": "pangrams",
    "hidden_size": 8,
    "batch_size": 2,
    "seq_len": 48,
    "learning_rate": 0.02,
    "lr_schedule": "cosine",
    "max_steps": 20,
    "max_minutes": 0,
    "log_every": 1,
    "eval_every": 20,
    "sample_every": 100,
    "sample_chars": 5,
}


def lines_of(folder: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.events_file.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> RunDir:
    folder = RunStore(tmp_path_factory.mktemp("runs")).create(Settings.from_flat(TINY), "run", pangrams)
    run_training(folder)
    return folder


@pytest.fixture
def copied(completed: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(completed.path, tmp_path / "copied")))


class TestNewCharacters:
    @pytest.mark.parametrize("embedding_dim", [0, 4])
    @pytest.mark.parametrize("num_layers", [1, 2])
    def test_what_was_learned_stays_and_new_ones_are_neither_likely_nor_ruled_out(
        self, embedding_dim: int, num_layers: int
    ):
        config = ModelConfig(hidden_size=8, embedding_dim=embedding_dim, num_layers=num_layers)
        parent = LanguageModel.create(Vocabulary.from_text("abcde"), config, seed=1)
        child, new = parent.with_characters("cafée", config, seed=2)
        assert new == ("f", "é")
        assert child.vocabulary.characters == ("a", "b", "c", "d", "e", "f", "é")
        text = torch.tensor([[0, 3, 4, 1, 1, 2]])
        with torch.no_grad():
            before, after = parent.model(text)[0], child.model(text)[0]
        torch.testing.assert_close(after[..., :5], before, rtol=1e-6, atol=1e-6)
        mean = before.mean(dim=-1)
        torch.testing.assert_close(after[..., 5:], torch.stack([mean, mean], dim=-1), rtol=1e-5, atol=1e-6)
        assert len({tuple(child.model(torch.tensor([[index]]))[0].flatten().tolist()) for index in (5, 6)}) == 2

    def test_bytes_are_all_known(self):
        config = ModelConfig(hidden_size=8, level="bytes")
        parent = LanguageModel.create(Vocabulary.from_text("", "bytes"), config, seed=1)
        child, new = parent.with_characters("日本", config, seed=1)
        assert new == ()
        assert child.vocabulary == parent.vocabulary


class TestFromAModel:
    def test_a_run_begins_from_the_model_says_what_is_new_and_names_its_parent(
        self, completed: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        text = tmp_path / "other.txt"
        text.write_text("über the lazy dog; ein Fuß.\n" * 40, encoding="utf-8")
        flags = ["--preset", "blog", "--batch-size", "2", "--max-steps", "5", "--dropout", "0.1"]
        place = ["--checkpoints-dir", str(tmp_path), "--corpus", str(text), "--from", str(completed.path)]
        assert main(["train", *place, *flags, "--name", "child"]) == 0
        child = RunDir(tmp_path / "child")
        model = child.settings().model
        assert (model.hidden_size, model.embedding_dim, model.dropout) == (8, 0, 0.1)
        started = lines_of(child)[0]
        digest = hashlib.sha256((completed.path / "model.safetensors").read_bytes()).hexdigest()
        assert started["new_characters"] == sorted(
            set(text.read_text(encoding="utf-8")) - set(completed.corpus_file.read_text(encoding="utf-8"))
        )
        assert "ß ü" in started["notes"][-1]
        assert "added to its vocabulary" in started["notes"][-1]
        origin = LanguageModel.load(child.path).provenance
        assert origin is not None
        assert (origin.parent, origin.parent_sha256) == ("run", digest) == (started["parent"], started["parent_sha256"])
        first = next(line for line in lines_of(child) if line["kind"] == "progress")
        assert first["train_loss"] < math.log(30), "it knows something of the text from the first step on"
        capsys.readouterr()

        assert main(["train", *place, *flags, "--name", "other", "--hidden-size", "16"]) == 2
        assert "the sizes are those of the model" in capsys.readouterr().err
        assert not (tmp_path / "other").exists()

    def test_rates_are_lower_from_a_model_on_unless_somebody_chose_others(self):
        for preset in ("minute", "auto", "blog"):
            tuned = with_fine_tuning_rates(Settings.preset(preset), preset)
            assert (tuned.train.learning_rate, tuned.train.layer_rates) == (0.002, "equal")
            assert tuned.model == Settings.preset(preset).model
        chosen = with_fine_tuning_rates(Settings.preset("minute", learning_rate=0.01), "minute")
        assert (chosen.train.learning_rate, chosen.train.layer_rates) == (0.01, "equal")

    @pytest.mark.parametrize("content", [None, b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}"])
    def test_what_is_no_model_is_refused_in_one_sentence(self, tmp_path: Path, content: bytes | None):
        if content is not None:
            (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(RunError, match="is not a model that can be continued") as caught:
            inherit_sizes(Settings(), tmp_path)
        assert "\n" not in str(caught.value)


class TestLonger:
    def test_an_added_part_has_a_schedule_of_its_own_that_begins_where_the_run_stood(self, copied: RunDir):
        assert copied.is_completed()
        add_extension(copied, Extension(steps=10))
        assert not copied.is_completed()
        finished = run_training(copied)
        assert (finished.reason, finished.step, copied.is_completed()) == ("completed", 30, True)
        rates = {line["step"]: line["learning_rate"] for line in lines_of(copied) if line["kind"] == "progress"}
        for step in range(10):  # half the peak, along a cosine of 10 steps
            assert rates[21 + step] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * step / 10)))
        (record,) = [line for line in lines_of(copied) if line["kind"] == "extended"]
        assert (record["step"], record["steps"], record["learning_rate"]) == (20, 10, 0.01)
        assert record["command"] == "python -m charlstm resume copied --more-steps 10"
        assert "begins at 0.01" in record["note"]
        with pytest.raises(RunError, match="has reached its planned end"):
            run_training(copied)
        origin = LanguageModel.load(copied.live_model).provenance
        assert origin is not None
        assert (origin.train_config["max_steps"], origin.train_config["learning_rate"]) == (20, 0.02)
        assert [each["steps"] for each in origin.more] == [10]

    def test_it_can_be_stopped_resumed_and_extended_again_by_the_command_that_its_record_names(
        self, copied: RunDir, completed: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("charlstm.runs.worker_session._LOOK_SECONDS", 0.0)
        add_extension(copied, Extension(steps=10, learning_rate=0.005, lr_schedule="constant"))
        run_training(
            copied, on_record=lambda record: copied.mailbox.request(stop=True) and None if record.step == 25 else None
        )
        assert (copied.status(), lines_of(copied)[-1]["step"]) == ("stopped", 25)
        assert run_training(copied).step == 30
        add_extension(copied, Extension(passes=0.5))
        run_training(copied)

        again = RunDir(Path(shutil.copytree(completed.path, tmp_path / "again")))
        records = counting(copied)
        commands = [record.command for record in records if record.kind == "extended"]
        assert len(commands) == 2
        for command in commands:
            words = command.replace("copied", "again").split()[3:]
            assert main([*words, "--checkpoints-dir", str(tmp_path), "--quiet"]) == 0
        ours, theirs = (load_file(each.live_model) for each in (copied, again))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_what_adds_nothing_or_can_not_go_on_is_refused(self, copied: RunDir):
        with pytest.raises(RunError, match="nothing is added"):
            add_extension(copied, Extension())
        copied.state_file.unlink()
        with pytest.raises(RunError, match="has nothing saved to go on from"):
            add_extension(copied, Extension(minutes=1))
        assert copied.is_completed()

    def test_what_it_will_do_is_said_before(self):
        said = describe_extension(Settings(), Extension(minutes=1.5, steps=100))
        assert "1 min 30 s, or 100 steps, whichever ends first" in said
        assert "begins at 0.0025 and falls along a line to 0" in said
