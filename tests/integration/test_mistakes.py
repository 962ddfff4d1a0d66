"""Mistakes that cross several rooms, each of which was once made here."""

import os
from pathlib import Path

import pytest

from charlstm.cli import main
from charlstm.config import ModelConfig, Settings, TrainConfig
from charlstm.errors import ConfigError, CorpusError, RunError
from charlstm.runs.store import RunStore
from charlstm.training import train
from charlstm.ui.corpus_picker import select_corpus

_QUICK = ["--max-minutes", "0", "--max-steps", "5", "--hidden-size", "8", "--sample-chars", "5"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a text in Latin-1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "novel.txt").write_bytes("el señor don Quijote de la Mancha\n".encode("latin-1") * 50)
    return tmp_path


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


def test_a_model_is_evaluated_on_the_text_it_learned_from_as_that_was_read(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--corpus", "novel.txt", "--encoding", "latin-1", "--name", "mine", *_QUICK]) == 0
    assert main(["evaluate", "checkpoints/mine"]) == 0
    capsys.readouterr()
    (place / "novel.txt").write_text("quite another text\n" * 50, encoding="utf-8")
    assert main(["evaluate", "checkpoints/mine"]) == 1
    assert "is not the text this model learned from" in _said(capsys)


@pytest.mark.parametrize("name", ["a.safetensors", "a.b.c", "0"])
def test_every_legal_name_makes_a_run_that_can_be_written_with(
    place: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--corpus", "novel.txt", "--encoding", "latin-1", "--name", name, *_QUICK]) == 0
    assert main(["generate", str(place / "checkpoints" / name), "--num-chars", "10"]) == 0
    assert capsys.readouterr().out


def test_a_prompt_of_samples_that_the_text_can_not_continue_is_refused_before_a_folder_is_made(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--corpus", "novel.txt", "--encoding", "latin-1", "--sample-prompt", "東"]
    assert main(["train", *flags, *_QUICK]) == 1
    assert "U+6771" in _said(capsys)
    assert not (place / "checkpoints").exists()


def test_an_empty_name_is_refused_and_not_replaced(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--corpus", "novel.txt", "--encoding", "latin-1", "--name", "", *_QUICK]) == 1
    assert "not a name for a run" in _said(capsys)
    assert not (place / "checkpoints").exists()


def test_limits_may_come_from_file_and_flags_together(place: Path) -> None:
    (place / "settings.json").write_text('{"max_minutes": 0}', encoding="utf-8")
    flags = ["--config", "settings.json", "--max-steps", "3", "--hidden-size", "8"]
    assert main(["train", "--corpus", "novel.txt", "--encoding", "latin-1", "--name", "mine", *flags]) == 0


def test_training_that_would_never_end_is_refused_through_the_api_too() -> None:
    with pytest.raises(ConfigError, match="nothing ends this run"):
        train("to be or not to be\n" * 20, TrainConfig(max_minutes=0), ModelConfig(hidden_size=4))


@pytest.mark.parametrize(
    ("pasted", "words"),
    [("", "is empty"), (" \n ", "is empty"), ("ab\0c", "NUL"), ("ab\ud800c", "half a character")],
    ids=["nothing", "white space", "a NUL", "half a surrogate pair"],
)
def test_pasted_text_gets_the_sentences_a_file_gets(pasted: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        select_corpus("pasted", None, pasted, "auto")


def test_pasted_line_ends_become_plain_newlines() -> None:
    assert select_corpus("pasted", None, "a\r\nb\rc", "auto").text == "a\nb\nc"


def test_a_run_that_can_not_be_prepared_leaves_its_name_free(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(RunError, match="can't be prepared"):
        store.create(Settings.preset("minute"), "mine", "half \ud800 a character")
    assert store.create(Settings.preset("minute"), "mine", "whole").exists


@pytest.mark.skipif(os.geteuid() == 0, reason="a superuser can read everything")
def test_a_run_that_can_not_be_read_hides_no_other(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for name in ("one", "two"):
        store.create(Settings.preset("minute"), name)
    (tmp_path / "one").chmod(0)
    assert [run.name for run in store.run_dirs()] == ["two"]
    (tmp_path / "one").chmod(0o700)
